"""Row kernels as NumPy's generalised ufuncs, one for each shape of dense arrays and axis, which it takes as a whole."""

from functools import cache

import numba
import numpy as np
from numba import types

from numact import memory
from numact.targets import common, cpu_threads, cpu_ufuncs
from numact.targets.cpu_threads import compiled_address, define

NAMES = {"value": ("x", "out")} | dict.fromkeys(("backward", "from_output"), ("grad", "x", "out"))
# What a ufunc was made with: a kernel's address, how many entries the arrays have, how many tasks they are, and sizes.
LOOP = """
def rows(operands, shape, strides, plan):
    kept, given = status(), carray(plan, {given})
    {operands}
    for task in {range}(given[2]):
        call(given[0], (task, {names}, {sizes}, 1.0))
    restore(kept)
"""


def make(kernel, mode, dtype, axes, size, tasks, sizes, is_parallel):
    """Return a ufunc that runs the tasks of a kernel: of the input, or of the output's gradients and the input.

    Parameters
    ----------
    kernel : Kernel
        Of `numact.targets.cpu_rows.RowKernels`.
    mode, dtype
        As of `RowKernels`; a dtype of NumPy's own.
    axes, size : int
        How many axes and entries the arrays have.
    tasks : int
        How many tasks they are.
    sizes : tuple of int
        What the kernel is told.
    is_parallel : bool
        Whether threads share the tasks; see `share`.
    """
    names, element = NAMES[mode], numba.from_dtype(common.storage(dtype))
    array = types.Array(element, 1, "C")
    given = (array.copy(readonly=True),) * (len(names) - 1)
    whole = "(" + ",".join(f"n{axis}" for axis in range(axes)) + ")"
    with cpu_threads._pool:
        kinds = types.int64, *given, array, *(types.int64,) * len(sizes), types.float64
        plan = np.array([compiled_address(kernel.function, kinds), size, tasks, *sizes])
        loop = _loop(names, element, len(sizes), is_parallel)
    layout, operands = ",".join([whole] * len(given)) + "->" + whole, [[dtype] * len(names)]
    return cpu_ufuncs.make(kernel.function.__qualname__, loop, plan.ctypes.data, operands, (kernel, plan), layout)


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
def _loop(names, element, sizes, is_parallel):
    """Return the loop over tasks of arrays of these names that are told so many sizes, compiled."""
    source = LOOP.format(
        given=3 + sizes,
        operands="; ".join(
            f"{name} = carray(operands[{place}], given[1], element)" for place, name in enumerate(names)
        ),
        range="prange" if is_parallel else "range",
        names=", ".join(names),
        sizes=", ".join(f"given[{3 + place}]" for place in range(sizes)),
    )
    scope = {"carray": numba.carray, "element": element}
    scope |= {"status": cpu_ufuncs.status, "restore": cpu_ufuncs.restore}
    (rows,) = define(source, __name__, scope, element.name)
    return cpu_ufuncs.ufunc_loop(rows, is_parallel, types.CPointer(types.int64))
