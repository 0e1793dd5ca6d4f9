"""Row kernels as NumPy's generalised ufuncs, for dense rows along the last axis."""

from functools import cache

import numba
import numpy as np
from numba import types

from numact import memory
from numact.binding import JIT_OPTIONS
from numact.targets import common, cpu_threads, cpu_ufuncs
from numact.targets.cpu_threads import compiled_address, define
from numact.targets.cpu_tiles import tile_count

NAMES = {"value": ("x", "out")} | dict.fromkeys(("backward", "from_output"), ("grad", "x", "out"))
# NumPy says how many rows there are and how long. On one thread all are one task of the kernel.
LOOP = """
def rows(operands, sizes, strides, address):
    kept, length, size = status(), sizes[1], sizes[0] * sizes[1]
    {operands}
    tasks = {tasks}
    for task in {range}(tasks):
        call(address, (task, {names}, length, 1, tasks, 1.0))
    restore(kept)
"""


@cache
def make(kernel, mode, dtype, is_parallel):
    """Return the ufunc of a `Kernel` of dense rows: (n)->(n), or (n),(n)->(n) with the gradients first.

    Parameters
    ----------
    kernel : Kernel
        "short" or "long" of `numact.targets.cpu_rows.RowKernels`.
    mode, dtype
        As of `RowKernels`; a dtype of NumPy's own.
    is_parallel : bool
        Whether threads share the rows; see `share`.
    """
    names, element = NAMES[mode], numba.from_dtype(common.storage(dtype))
    array = types.Array(element, 1, "C")
    given = (array.copy(readonly=True),) * (len(names) - 1)
    layout, operands = ",".join(["(n)"] * len(given)) + "->(n)", [[dtype] * len(names)]
    with cpu_threads._pool:
        address = compiled_address(kernel.function, (types.intp, *given, array, *(types.intp,) * 3, types.float64))
        loop = _loop(names, element, is_parallel)
    return cpu_ufuncs.make(kernel.function.__qualname__, loop, address, operands, kernel, layout)


def share(ufunc, arrays, out):
    """Return what a parallel ufunc gives, or None where threads must not work or NumPy would copy an input first."""
    if not cpu_threads.may_use_pool():
        return None
    if out is None:
        out = memory.empty_like(arrays[-1])
    else:
        for array in arrays:  # of arrays that are no views NumPy need not be asked
            is_view = array is out or array.base is not None or out.base is not None
            if is_view and np.may_share_memory(out, array):
                return None
    with cpu_threads._pool:
        return ufunc(*arrays, out)


@cache
def _loop(names, element, is_parallel):
    """Return the loop over dense rows of arrays of these names, compiled."""
    made = [f"{name} = carray(operands[{place}], size, element)" for place, name in enumerate(names)]
    tasks, loop = ("min(sizes[0], tile_count(size))", "prange") if is_parallel else ("min(1, size)", "range")
    source = LOOP.format(operands="; ".join(made), names=", ".join(names), tasks=tasks, range=loop)
    scope = {"carray": numba.carray, "element": element, "tile_count": numba.njit(tile_count, **JIT_OPTIONS)}
    scope |= {"status": cpu_ufuncs.status, "restore": cpu_ufuncs.restore}
    (rows,) = define(source, __name__, scope, element.name)
    return cpu_ufuncs.ufunc_loop(rows, is_parallel)
