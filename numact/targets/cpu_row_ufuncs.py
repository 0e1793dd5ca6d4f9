"""Row kernels as NumPy ufuncs, one for each shape of dense arrays and axis.

NumPy hands the loop of a ufunc all entries of dense arrays at once. So it can be rows that it works on, and the call
takes 0.3 us less than that of a generalised ufunc.
"""

from functools import cache, partial

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from numact import memory
from numact.targets import common, cpu_threads, cpu_ufuncs
from numact.targets.cpu_threads import compiled_address, define, is_shifted

NAMES = {"value": ("x", "out")} | dict.fromkeys(("backward", "from_output"), ("grad", "x", "out"))
# What a ufunc was made with: a kernel's address, how many entries the arrays have, how many tasks they are, and sizes.
LOOP = """
def rows(operands, counts, strides, plan):
    kept, given = status(), carray(plan, {given})
    {operands}
    if counts[0] != given[1] or (counts[0] > 1 and not ({dense})):
        refuse()
        return
    {apart}
    for task in {range}(given[2]):
        call(given[0], (task, {names}, {sizes}, {scale}))
    restore(kept)
"""


def make(kernel, mode, dtype, scaled, size, tasks, sizes, is_parallel):
    """Return a function of the input, or of the output's gradients and the input, a scale if scaled, and `out` or None.

    It runs the tasks of a kernel and returns the result; or None, where threads are to share the tasks and must not.

    Parameters
    ----------
    kernel : Kernel
        Of `numact.targets.cpu_rows.RowKernels`.
    mode, dtype, scaled
        As of `RowKernels`; a dtype of NumPy's own.
    size : int
        How many entries the arrays have, which are dense and of one shape.
    tasks : int
        How many tasks they are.
    sizes : tuple of int
        What the kernel is told.
    is_parallel : bool
        Whether threads share the tasks.
    """
    names, element = NAMES[mode], numba.from_dtype(common.storage(dtype))
    with cpu_threads.pool.lock:
        kinds = types.int64, *(element[::1],) * len(names), *(types.int64,) * len(sizes), types.float64
        plan = np.array([compiled_address(kernel.function, kinds), size, tasks, *sizes])
        loop = _loop(names, element, len(sizes), scaled, is_parallel)
    operands = [[dtype] * (len(names) - 1) + [float] * scaled + [dtype]]
    ufunc = cpu_ufuncs.make(kernel.function.__qualname__, loop, plan.ctypes.data, operands, (kernel, plan))
    return partial(_share, ufunc) if is_parallel else ufunc


def _share(ufunc, x, *operands):
    """Return what a parallel ufunc gives, or None where threads must not work."""
    pool = cpu_threads.pool
    if not pool.is_open:
        return None
    if operands[-1] is None and x.nbytes >= memory.LARGE:
        operands = *operands[:-1], memory.empty_like(x)
    with pool.lock:
        return ufunc(x, *operands)


@cache
def _loop(names, element, sizes, scaled, is_parallel):
    """Return the loop over tasks of arrays of these names that are told so many sizes, compiled."""
    *inputs, out = names
    places = {name: place for place, name in enumerate(inputs)} | {out: len(inputs) + scaled}
    source = LOOP.format(
        given=3 + sizes,
        operands="; ".join(f"{name} = carray(operands[{places[name]}], given[1], element)" for name in names),
        dense=" and ".join(f"strides[{places[name]}] == out.itemsize" for name in names),
        apart="\n    ".join(f"if is_shifted({name}, out):\n        {name} = {name}.copy()" for name in inputs),
        range="prange" if is_parallel else "range",
        names=", ".join(names),
        sizes=", ".join(f"given[{3 + place}]" for place in range(sizes)),
        scale=f"carray(operands[{len(inputs)}], 1, float64)[0]" if scaled else "1.0",
    )
    scope = {"carray": numba.carray, "element": element, "float64": types.float64, "is_shifted": is_shifted}
    scope |= {"status": cpu_ufuncs.status, "restore": cpu_ufuncs.restore, "refuse": refuse}
    (rows,) = define(source, __name__, scope, element.name)
    return cpu_ufuncs.ufunc_loop(rows, is_parallel, types.CPointer(types.int64))


@intrinsic
def refuse(typing_context):
    """Set a Python exception, with which NumPy returns: an array of another size than the plan's, or no dense one."""

    def generate(context, builder, signature, arguments):
        python = context.get_python_api(builder)
        state = python.gil_ensure()
        python.err_set_string("PyExc_RuntimeError", "numact's ufunc of rows takes dense arrays of one size")
        python.gil_release(state)
        return context.get_dummy_value()

    return types.none(), generate
