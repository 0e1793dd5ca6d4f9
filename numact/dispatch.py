"""Where does each array live, and which target serves it?"""

import importlib
import math
import operator
from functools import cache

import numpy as np

FLOATING = ("float16", "bfloat16", "float32", "float64")
PLAIN = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}
# What numpy.tanh makes of integers and truth values.
PROMOTED = {"bool": "float16", "int8": "float16", "uint8": "float16", "int16": "float32", "uint16": "float32"}
PROMOTED |= dict.fromkeys(("int32", "uint32", "int64", "uint64"), "float64")
PYTHON_TYPES = (bool, int, float, list, tuple)


def elementwise(formula, arrays, parameters, out):
    """Apply a formula to arrays by name, on the device where they live."""
    values = tuple(arrays.values())
    if _are_plain(values, out):
        x = values[0]
        result = np.empty(x.shape, x.dtype) if out is None else out
        if x.ndim == 1:
            cpu_target().elementwise(formula, PLAIN[x.dtype], values, parameters, result)
            return result
        flat = [value.reshape(-1) for value in values]
        cpu_target().elementwise(formula, PLAIN[x.dtype], flat, parameters, result.reshape(-1))
        return deliver(result, out)
    interop = find_interop(arrays, out)
    if interop is None:
        return _elementwise_on_cpu(formula, arrays, parameters, out)
    return cuda_target().elementwise(interop, formula, arrays, parameters, out)


def _are_plain(values, out):
    """Return whether all are C-contiguous NumPy arrays of one shape and one of NumPy's own floating dtypes.

    Then nothing has to be checked or converted: this spares small arrays 10 us.
    """
    first = values[0]
    if type(first) is not np.ndarray or first.dtype not in PLAIN:
        return False
    dtype, shape = first.dtype, first.shape
    for value in values:
        flags = value.flags if type(value) is np.ndarray else None
        if not flags or value.dtype is not dtype or value.shape != shape:
            return False
        if not (flags.c_contiguous and flags.aligned):
            return False
    if out is None:
        return True
    if type(out) is not np.ndarray or out.dtype is not dtype or out.shape != shape or not out.flags.carray:
        return False
    return not _overlaps(out, values)


def find_interop(arrays, out):
    """Return the module for the arrays' GPU library, or None where all live on the CPU.

    Raises
    ------
    ValueError
        If the arguments live on different devices; the message names each argument and its device.
    TypeError
        If an argument is no array that numact knows.
    """
    named = arrays if out is None else {**arrays, "out": out}
    on_gpu = [name for name, value in named.items() if is_cuda(value)]
    if on_gpu:
        cuda_target()
    if not on_gpu:
        for name, value in named.items():
            _check_cpu_type(name, value)
        return None
    places = {name: f"GPU {_interop_of(value).device(value)}" for name, value in named.items() if name in on_gpu}
    places |= dict.fromkeys(named.keys() - places.keys(), "the CPU")
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{name} on {places[name]}" for name in named)
        raise ValueError(f"the arrays live on different devices: {listed}; move them to one device first")
    return _interop_of(named[on_gpu[0]])


def is_cuda(value):
    """Return whether an object is an array in a GPU's memory."""
    if isinstance(value, (np.ndarray, np.generic, *PYTHON_TYPES)):
        return False
    return hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False)


def _interop_of(value):
    library = type(value).__module__.partition(".")[0]
    return _interop_module(library if library in ("cupy", "torch") else "numba")


@cache
def _interop_module(library):
    return importlib.import_module(f"numact.interop.{library}_arrays")


@cache
def cpu_target():
    """Import the CPU target at the first call, so that `import numact` stays quick."""
    return importlib.import_module("numact.targets.cpu")


def cuda_target():
    """Import the CUDA target, or say what is missing."""
    try:
        from numact.targets import cuda
    except ImportError as error:
        raise ImportError(
            "this array is on a GPU, and numact's CUDA kernels need numba-cuda: "
            "pip install 'numact[cuda13]' (or 'numact[cuda12]' for a CUDA 12 driver)"
        ) from error
    cuda.check_driver()
    return cuda


def _check_cpu_type(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass {name}.filled(...) or {name}.data")
    if not isinstance(value, (np.ndarray, np.generic, *PYTHON_TYPES)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{name} is a {kind}; numact takes NumPy and GPU arrays: pass numpy.asarray({name})")


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


def broadcast_shape(shapes):
    """Return the shape that shapes by argument's name broadcast to."""
    try:
        return np.broadcast_shapes(*shapes.values())
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


def _prepare(arrays, out):
    """Check NumPy arguments; return them as arrays by name, with the result's dtype and shape."""
    # As in NumPy, a Python number takes the dtype of the arrays beside it.
    weak = {name for name, value in arrays.items() if isinstance(value, (bool, int, float))}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    strong = arrays.keys() - weak or arrays.keys()
    name = common_dtype({name: arrays[name].dtype.name for name in strong})
    shape = broadcast_shape({name: value.shape for name, value in arrays.items()})
    if out is not None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a NumPy array, as the input is, not {type(out).__name__}")
        check_out(out.shape, out.dtype.name, not out.flags.writeable, shape, name)
    if name != "bfloat16":
        return arrays, np.dtype(name), shape
    return arrays, next(value.dtype for value in arrays.values() if value.dtype.name == name), shape


def _elementwise_on_cpu(formula, arrays, parameters, out):
    from numact.targets import common, cpu

    arrays, dtype, shape = _prepare(arrays, out)
    *_, x = arrays.values()
    if out is not None and out.dtype == dtype and is_dense(out) and not _overlaps(out, arrays.values()):
        result = out
    elif x.shape == shape:
        result = np.empty_like(x, dtype=dtype, subok=False)
    else:
        result = np.empty(shape, dtype)
    storage = common.storage(dtype.name)
    inputs = [_flatten(value, result).view(storage) for value in arrays.values()]
    cpu.elementwise(formula, dtype.name, inputs, parameters, result.ravel(order="K").view(storage))
    return deliver(result, out)


def rowwise(weight, arrays, axis, out):
    """Apply a row-wise function, by the formula of its weights, to arrays by name along an axis."""
    interop = find_interop(arrays, out)
    if interop is not None:
        return cuda_target().rowwise(interop, weight, arrays, axis, out)
    from numact.targets import common, cpu_rows

    arrays, dtype, shape = _prepare(arrays, out)
    rows = split_at(shape, axis)
    direct = out is not None and out.dtype == dtype and out.flags.carray and not _overlaps(out, arrays.values())
    result = out if direct else np.empty(shape, dtype)
    storage = common.storage(dtype.name)
    inputs = [_flatten(value, result).view(storage).reshape(rows) for value in arrays.values()]
    cpu_rows.rowwise(weight, dtype.name, inputs, result.view(storage).reshape(rows))
    return deliver(result, out)


def split_at(shape, axis):
    """Return the sizes (before, along, after) of an axis.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis is out of range; a ValueError and an IndexError.
    TypeError
        If it is not an integer.
    """
    axis = operator.index(axis)
    if not -len(shape) <= axis < len(shape):
        raise np.exceptions.AxisError(axis, len(shape))
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def deliver(result, out):
    """Return the result, copied to `out` where it was not computed there; 0-d results become scalars."""
    if out is None:
        return result if result.ndim else result[()]
    if out is not result:
        with np.errstate(all="ignore"):
            np.copyto(out, result, casting="same_kind")
    return out


def is_dense(array):
    """Return whether flat views of an array exist that kernels can run on."""
    flags = array.flags
    return flags.aligned and (flags.c_contiguous or flags.f_contiguous)


def _overlaps(out, arrays):
    """Return whether writing `out` could change an input that is still to be read."""
    return any(value is not out and np.may_share_memory(out, value) for value in arrays)


def _flatten(array, like):
    """Return an array's elements in the memory order of `like`, as a dense vector of its dtype: a view if possible."""
    if array.dtype != like.dtype or array.shape != like.shape or array.strides != like.strides or not is_dense(array):
        copy = np.empty_like(like)
        with np.errstate(all="ignore"):
            copy[...] = array
        array = copy
    return array.ravel(order="K")
