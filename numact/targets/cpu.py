"""CPU kernels of elements: one for each formula and dtype, and a `@vectorize` ufunc for users."""

from functools import cache, partial

import numba
import numpy as np

from numact.binding import INNER_OPTIONS
from numact.targets import common, cpu_memory, cpu_ufuncs, cpu_width
from numact.targets.cpu_tiles import ElementKernel

# Threads pay from where one of them would work for 3.5 us. What it needs for a float32 was measured on two cores of an
# AMD Zen 5 with AVX-512: from 0.04 ns (relu) to 0.34 (the derivative of gelu's tanh form, 64 operations). Two threads
# overtook one between 65,536 and 131,072 elements of relu, 16,384 and 32,768 of sigmoid, 8,192 and 16,384 of gelu.
WORTHWHILE, PER_ELEMENT, PER_OPERATION = 3_500, 0.04, 0.005  # ns

# A loop stands in a function of its own: beside others LLVM leaves it scalar. It calls the formula rather than its
# ufunc, whose call LLVM does not inline where the formula is long (gelu in float64: 128 ns a vector against 23).
# Of a large array lines of memory are asked for ahead of the steps that need them. How many elements a step has LLVM
# must not know, or it unrolls them all and spills, but that no vector has a rest: the constants of the scalar code for
# it would take the registers of the vectors' constants.
LOOP = """
def loop({names}, out):
    for i in range(out.size):
        out[i] = store(core({loaded}))
"""
PLAIN = """
def elements({names}, out, asks):
    loop({names}, out)
"""
ASKING = """
def loop_asking({names}, out):
    step = min(STEP, out.size) & -64
    for start in range(0, out.size, step):
        {asked}
        for j in range(step):
            i = unsigned(start + j)
            out[i] = store(core({loaded}))

def elements({names}, out, asks):
    if asks and out.size >= LARGE:
        loop_asking({names}, out)
    else:
        loop({names}, out)
"""
# Where the result is streamed a step of it waits in a room first: LLVM makes vectors of no loop that streams.
STREAMING = """
def loop_streaming({names}, out):
    step, room = min(STEP, out.size) & -64, room_for_step(out)
    part = carray(room, STEP)
    for start in range(0, out.size, step):
        {asked_to_read}
        for j in range(step):
            i = unsigned(start + j)
            part[unsigned(j)] = store(core({loaded}))
        stream(room, out, start)
    end_stream()

def streaming_elements({names}, out, asks):
    if asks:
        loop_streaming({names}, out)
    else:
        loop({names}, out)
"""


@cache
def parallel_from(formula, dtype):
    """Return the number of elements from which threads pay for a formula and the dtype of a name."""
    kind = common.number(dtype)
    time = (PER_ELEMENT + PER_OPERATION * formula.operations(kind)) * np.dtype(kind).itemsize / 4
    return int(WORTHWHILE / time)


def kernel(formula, dtype):
    """Return the `ElementKernel` of a formula for arrays of the dtype of that name, which the formula keeps."""
    if dtype not in formula.kernels:
        formula.kernels[dtype] = made = _kernel(formula, dtype)
        if dtype in cpu_ufuncs.DTYPES:
            formula.direct[np.dtype(dtype)] = made
    return formula.kernels[dtype]


def _kernel(formula, dtype, is_streaming=False):
    source = STREAMING if is_streaming else ASKING if cpu_memory.asks() else PLAIN
    arrays, numbers = common.names_in_kernels(formula)
    asked = "; ".join(f"ask_for({name}, start + AHEAD, 0)" for name in arrays)
    code = (LOOP + source).format(
        names=", ".join(arrays + numbers),
        loaded=", ".join([f"load({name}[i])" for name in arrays] + [f"number({name})" for name in numbers]),
        asked=f"{asked}; ask_for(out, start + AHEAD, 1)",
        asked_to_read=asked.replace("AHEAD", "AHEAD_OF_STREAM"),
    )
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"core": formula.compiled(kind), "load": load, "store": store, "number": kind}
    label, operations = common.label(formula, dtype), formula.operations(kind)
    storage = common.storage(dtype)
    scope["STEP"], scope["AHEAD"] = cpu_memory.steps(storage)
    scope["AHEAD_OF_STREAM"] = cpu_memory.AHEAD_OF_STREAM // storage.itemsize
    scope["LARGE"] = cpu_memory.asks_from(operations) - scope["AHEAD"]  # what lies ahead is not part of `out`
    scope |= {"unsigned": np.uint64, "carray": numba.carray}
    scope |= {name: getattr(cpu_memory, name) for name in ("ask_for", "room_for_step", "stream", "end_stream")}
    *loops, elements = cpu_width.define(code, __name__, scope, label, operations)
    for function in loops:
        scope[function.__name__] = numba.njit(function, **INNER_OPTIONS)
    streams = not is_streaming and cpu_memory.streams(operations)
    make_streaming = partial(_kernel, formula, dtype, True) if streams else None
    return ElementKernel(elements, dtype, parallel_from(formula, dtype), make_streaming)


@cache
def public_ufunc(formula):
    """Return one ufunc with loops for float32 and float64."""
    ufunc = numba.vectorize(formula.scalar.py_func)
    counts = len(formula.__signature__.parameters)
    for kind in (numba.float32, numba.float64):
        ufunc.add(kind(*[kind] * counts))
    ufunc.disable_compile()
    return ufunc
