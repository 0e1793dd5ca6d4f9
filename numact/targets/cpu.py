"""CPU kernels: a `@vectorize` ufunc for each formula and dtype, spread over threads in tiles by `prange`."""

import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from numba.np.ufunc import parallel

from numact.binding import JIT_OPTIONS
from numact.targets import common

TILE = 16_384  # elements: two tiles of float64, in and out, fit into a core's L2 cache
PARTS = 8  # tiles at least
# Threads pay from where one of them would work for 3.5 us. What it needs for a float32 was measured on two cores of an
# AMD Zen 5 with AVX-512: from 0.04 ns (relu) to 0.34 (the derivative of gelu's tanh form, 64 operations). Two threads
# overtook one between 65,536 and 131,072 elements of relu, 16,384 and 32,768 of sigmoid, 8,192 and 16,384 of gelu.
WORTHWHILE, PER_ELEMENT, PER_OPERATION = 3_500, 0.04, 0.005  # ns
CHUNK = 4_096  # elements copied at a time where the result takes the place of an input

# The loop stands in a function of its own: written inside the prange, LLVM leaves it scalar. It calls the element's
# function rather than its ufunc, whose call LLVM does not inline where the formula is long (gelu in float64: 128 ns a
# vector against 23). LLVM runs a loop that writes what it reads as scalar code (gelu in place took 13 times as long): a
# result that takes the place of an input is computed from copies of its parts, one that overlaps it otherwise from a
# copy of the whole. To see here whether they overlap is free; to ask NumPy takes 0.2 us.
KERNELS = """
def element({names}):
    return store(core({loaded}))

def loop({names}, out):
    for i in range(out.size):
        out[i] = element({indexed})

def is_shifted(array, out):
    distance = int64(array.ctypes.data) - int64(out.ctypes.data)
    return distance != 0 and abs(distance) < out.nbytes

def serial({names}, out):
    if {shifted}:
        loop({copied_whole}, out)
    elif {in_place}:
        for low in range(0, out.size, CHUNK):
            high = low + CHUNK
            loop({copied}, out[low:high])
    else:
        loop({names}, out)

def tiles({names}, out):
    size = min(TILE, (out.size // PARTS + 64) // 64 * 64)
    if {shifted}:
        size = out.size  # a tile would write what the next one has still to read
    for tile in prange((out.size + size - 1) // size):
        low = tile * size
        high = min(low + size, out.size)
        serial({sliced}, out[low:high])
"""


class Kernel(NamedTuple):
    """What one formula compiles to for one dtype; compiled at the first call, and cached on disk."""

    serial: object
    tiles: object
    parallel_from: int


@cache
def parallel_from(formula, dtype):
    """Return the number of elements from which threads pay for a formula and the dtype of a name."""
    kind = common.number(dtype)
    time = (PER_ELEMENT + PER_OPERATION * formula.operations(kind)) * np.dtype(kind).itemsize / 4
    return int(WORTHWHILE / time)


@cache
def kernel(formula, dtype):
    """Return the `Kernel` of a formula for arrays of the dtype of that name."""
    inputs, parameters = list(formula.inputs), list(formula.parameters)
    names = inputs + parameters
    source = KERNELS.format(
        names=", ".join(names),
        loaded=", ".join([f"load({name})" for name in inputs] + parameters),
        indexed=", ".join([f"{name}[i]" for name in inputs] + [f"number({name})" for name in parameters]),
        sliced=", ".join([f"{name}[low:high]" for name in inputs] + parameters),
        copied=", ".join([f"{name}[low:high].copy()" for name in inputs] + parameters),
        copied_whole=", ".join([f"{name}.copy()" for name in inputs] + parameters),
        shifted=" or ".join(f"is_shifted({name}, out)" for name in inputs),
        in_place=" or ".join(f"{name}.ctypes.data == out.ctypes.data" for name in inputs),
    )
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"core": formula.compiled(kind), "load": load, "store": store, "number": kind}
    scope |= {"TILE": TILE, "PARTS": PARTS, "CHUNK": CHUNK, "int64": np.int64, "prange": numba.prange}
    element, loop, is_shifted, serial, tiles = common.define(source, __name__, scope, common.label(formula, dtype))
    scope["element"] = numba.njit(element, **JIT_OPTIONS)
    scope["is_shifted"] = numba.njit(is_shifted, **JIT_OPTIONS)
    scope["loop"] = numba.njit(loop, error_model="numpy")
    scope["serial"] = common.cached(numba.njit, serial, nogil=True, error_model="numpy")
    tiles = common.cached(numba.njit, tiles, nogil=True, parallel=True, error_model="numpy")
    return Kernel(scope["serial"], tiles, parallel_from(formula, dtype))


def elementwise(formula, dtype, arrays, parameters, out):
    """Fill `out` from arrays of its size; all are flat, dense, aligned, and of the dtype of that name, or its bits."""
    compiled = kernel(formula, dtype)
    if out.size < compiled.parallel_from and compiled.serial.overloads:  # what `run` would do, 0.2 us sooner
        compiled.serial(*arrays, *parameters, out)
        return
    run(compiled.serial, compiled.tiles, out.size >= compiled.parallel_from, *arrays, *parameters, out)


@cache
def public_ufunc(formula):
    """Return one ufunc with loops for float32 and float64."""
    ufunc = numba.vectorize(formula.scalar.py_func)
    counts = len(formula.__signature__.parameters)
    for kind in (numba.float32, numba.float64):
        ufunc.add(kind(*[kind] * counts))
    ufunc.disable_compile()
    return ufunc


# Held while a parallel kernel runs or any kernel compiles. So Numba's threads work for one call at a time: workqueue
# would abort the process when a second thread calls, and OpenMP would start another team of threads beside the first.
# Reentrant, as a signal handler or finalizer of the holding thread may call numact. Held during a fork, too: a child
# never starts with a kernel half run or with Numba's compiler locked by a thread that it does not have.
_pool = threading.RLock()
# In a child forked after the parent's threads started: there OpenMP ends the process, and TBB deadlocks now and then
# (2 of 80 forks from another thread than the first). Only workqueue starts its threads anew.
_pool_is_lost = False


def _after_fork():
    global _pool, _pool_is_lost
    _pool = threading.RLock()
    _pool_is_lost = _pool_is_lost or (parallel._is_initialized and numba.threading_layer() != "workqueue")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _pool.acquire(), after_in_parent=lambda: _pool.release(), after_in_child=_after_fork
    )


class _Thread(threading.local):
    """What differs between threads."""

    only_compiles = False


_thread = _Thread()


@contextmanager
def only_compiling():
    """Let this thread's calls of arrays large enough for threads compile both their kernels and compute nothing."""
    _thread.only_compiles = True
    try:
        yield
    finally:
        _thread.only_compiles = False


def run(serial, tiles, pays, *arguments):
    """Run the parallel kernel where that pays and the process has threads for it, else the serial one.

    Both take the arguments, of which they write those arrays whose names begin with "out".
    """
    if pays and _thread.only_compiles:
        _ready(serial, arguments)
        _ready(tiles, arguments)
        return
    if pays and not _pool_is_lost:
        with _pool:
            if numba.get_num_threads() > 1:
                _ready(tiles, arguments)(*arguments)
                return
    _ready(serial, arguments)(*arguments)


def _ready(kernel, arguments):
    """Return the kernel, compiled at its first call."""
    if not kernel.overloads:
        with _pool:
            common.compile_for(kernel, arguments)
    return kernel
