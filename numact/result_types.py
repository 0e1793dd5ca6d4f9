"""What dtype and shape has the result, on any target, and what may take it?"""

from functools import lru_cache

import numpy as np

FLOATING = ("float16", "bfloat16", "float32", "float64")
# What numpy.tanh makes of integers and truth values.
PROMOTED = {"bool": "float16", "int8": "float16", "uint8": "float16", "int16": "float32", "uint16": "float32"}
PROMOTED |= dict.fromkeys(("int32", "uint32", "int64", "uint64"), "float64")


def compute_dtype(name, dtype):
    """Return the name of the floating dtype of the result for an input of a dtype given by name.

    Raises
    ------
    TypeError
        If the dtype is not real, or wider than float64.
    """
    if dtype in FLOATING:
        return dtype
    if dtype in PROMOTED:
        return PROMOTED[dtype]
    taken = ", ".join(FLOATING)
    raise TypeError(f"{name} has dtype {dtype}; numact takes {taken}, and integers and bool, which promote to them")


def common_dtype(dtypes):
    """Return the name of the floating dtype of the result for dtypes by argument's name."""
    kinds = {compute_dtype(name, dtype) for name, dtype in dtypes.items()}
    if len(kinds) == 1:
        return kinds.pop()
    return "float64" if "float64" in kinds else "float32"


_broadcast_shapes = lru_cache(maxsize=4096)(np.broadcast_shapes)


def broadcast_shape(shapes):
    """Return the shape that shapes by argument's name broadcast to."""
    try:
        return _broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"the arrays do not broadcast: {listed}") from None


def check_out(out_shape, out_dtype, read_only, shape, dtype):
    """Raise unless an `out` of that shape and dtype can take a result of `shape` and `dtype`."""
    if out_dtype not in FLOATING:
        raise TypeError(f"the result of dtype {dtype} does not cast to out's dtype {out_dtype} (same_kind)")
    if out_shape != shape:
        raise ValueError(f"out has shape {out_shape}, but the result has shape {shape}")
    if read_only:
        raise ValueError("out is read-only")
