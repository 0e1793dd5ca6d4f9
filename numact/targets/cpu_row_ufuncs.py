"""Row kernels as NumPy's generalised ufuncs, for dense rows of too few entries for threads."""

from functools import cache

import numba
from numba import types

from numact.targets import common, cpu_threads, cpu_ufuncs
from numact.targets.cpu_threads import compiled_address, define

NAMES = {"value": ("x", "out")} | dict.fromkeys(("backward", "from_output"), ("grad", "x", "out"))
# All rows are one task of the kernel. NumPy says how many there are and how long.
LOOP = """
def rows(operands, sizes, strides, address):
    kept, length, size = status(), sizes[1], sizes[0] * sizes[1]
    {operands}
    if size:
        call(address, (0, {names}, length, 1, 1.0))
    restore(kept)
"""


def make(kernel, mode, dtype):
    """Return the ufunc of a `Kernel` of dense rows: (n)->(n), or (n),(n)->(n) with the gradients first.

    Parameters
    ----------
    kernel : Kernel
        "short" or "long" of `numact.targets.cpu_rows.RowKernels`.
    mode, dtype
        As of `RowKernels`; a dtype of NumPy's own.
    """
    names, element = NAMES[mode], numba.from_dtype(common.storage(dtype))
    array = types.Array(element, 1, "C")
    given = (array.copy(readonly=True),) * (len(names) - 1)
    layout, operands = ",".join(["(n)"] * len(given)) + "->(n)", [[dtype] * len(names)]
    with cpu_threads._pool:
        address = compiled_address(kernel.function, (types.intp, *given, array, types.intp, types.intp, types.float64))
        loop = _loop(names, element)
    return cpu_ufuncs.make(kernel.function.__qualname__, loop, address, operands, kernel, layout)


@cache
def _loop(names, element):
    """Return the loop over dense rows of arrays of these names, compiled."""
    made = [f"{name} = carray(operands[{place}], size, element)" for place, name in enumerate(names)]
    source = LOOP.format(operands="; ".join(made), names=", ".join(names))
    scope = {"carray": numba.carray, "element": element}
    scope |= {"status": cpu_ufuncs.status, "restore": cpu_ufuncs.restore}
    (rows,) = define(source, __name__, scope, element.name)
    return cpu_ufuncs.ufunc_loop(rows)
