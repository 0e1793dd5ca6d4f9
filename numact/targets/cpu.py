"""CPU kernels: a `@vectorize` ufunc for each formula and dtype, spread over threads in tiles by `prange`."""

import os
import threading
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numba.np.ufunc import parallel

from numact._version import __version__
from numact.binding import JIT_OPTIONS
from numact.primitives import HALF_CONVERSIONS

TILE = 16_384  # elements: two tiles of float64, in and out, fit into a core's L2 cache
PARALLEL_FROM = 65_536  # elements; below it waking the threads costs more than they bring

# The loop stands in a function of its own: written inside the prange, LLVM leaves it scalar. It calls the element's
# function rather than its ufunc, whose call LLVM does not inline where the formula is long (gelu in float64: 128 ns a
# vector against 23).
KERNELS = """
def element({names}):
    return {result}

def serial({names}, out):
    for i in range(out.size):
        out[i] = element({indexed})

def tiles({names}, out):
    for tile in prange((out.size + TILE - 1) // TILE):
        low = tile * TILE
        high = min(low + TILE, out.size)
        serial({sliced}, out[low:high])
"""


class Kernel(NamedTuple):
    """What one formula compiles to for one dtype; compiled at the first call, and cached on disk."""

    serial: object
    tiles: object


def storage(dtype):
    """Return the NumPy type that kernels see: half types as the integer of their bits."""
    return np.dtype(np.uint16) if dtype.name in HALF_CONVERSIONS else dtype


def number(dtype):
    """Return the NumPy scalar type that a dtype is computed in."""
    return np.float64 if dtype.name == "float64" else np.float32


def cached(function, **options):
    """Compile with a disk cache, or without one where no cache folder can be written."""
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, **options)


def define(source, scope, fingerprint):
    """Run source text and return its functions, named so that no two share a cache entry."""
    scope["__name__"] = __name__  # a cached function is loaded by the name of its module
    exec(compile(source, __file__, "exec"), scope)
    names = [line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def ")]
    for name in names:
        scope[name].__qualname__ = f"{name}_{fingerprint}"
    return [scope[name] for name in names]


@lru_cache(maxsize=None)
def kernel(formula, dtype, arrays=1):
    """Return the `Kernel` of a formula whose first `arrays` arguments are arrays of `dtype`."""
    names = list(formula.__signature__.parameters)
    half = dtype.name in HALF_CONVERSIONS
    inputs, parameters = names[:arrays], [f"number({name})" for name in names[arrays:]]
    loaded = [f"load({name})" if half else name for name in inputs] + names[arrays:]
    result = f"core({', '.join(loaded)})"
    source = KERNELS.format(
        names=", ".join(names),
        result=f"store({result})" if half else result,
        indexed=", ".join([f"{name}[i]" for name in inputs] + parameters),
        sliced=", ".join([f"{name}[low:high]" for name in inputs] + names[arrays:]),
    )
    kind = number(dtype)
    scope = {"core": formula.compiled(kind), "number": kind, "TILE": TILE, "prange": numba.prange}
    if half:
        scope["load"], scope["store"] = HALF_CONVERSIONS[dtype.name]
    fingerprint = f"{formula.__name__}_{dtype.name}_{formula.fingerprint(kind)}_{__version__.replace('.', '_')}"
    element, serial, tiles = define(source, scope, fingerprint)
    scope["element"] = numba.njit(element, **JIT_OPTIONS)
    scope["serial"] = cached(serial, nogil=True, error_model="numpy")
    return Kernel(scope["serial"], cached(tiles, nogil=True, parallel=True, error_model="numpy"))


def elementwise(formula, dtype, arrays, parameters, out):
    """Fill `out` from arrays of its size; all are flat, dense, aligned, and of `dtype` or its bits."""
    compiled = kernel(formula, dtype, len(arrays))
    run(compiled.serial, compiled.tiles, out.size, *arrays, *parameters, out)


@lru_cache(maxsize=None)
def public_ufunc(formula):
    """Return one ufunc with loops for float32 and float64."""
    ufunc = numba.vectorize(formula.scalar.py_func)
    counts = len(formula.__signature__.parameters)
    for kind in (numba.float32, numba.float64):
        ufunc.add(kind(*[kind] * counts))
    ufunc.disable_compile()
    return ufunc


_pool = threading.Lock()
_pool_is_lost = False  # in a child forked after the parent's OpenMP threads started; using them would end it


def _after_fork():
    global _pool, _pool_is_lost
    _pool = threading.Lock()
    _pool_is_lost = _pool_is_lost or (parallel._is_initialized and numba.threading_layer() == "omp")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(serial, tiles, size, *arguments):
    """Run the parallel kernel where that pays and is safe, else the serial one."""
    if size < PARALLEL_FROM or _pool_is_lost or numba.get_num_threads() == 1:
        serial(*arguments)
        return
    started = parallel._is_initialized
    if started and numba.threading_layer() != "workqueue":
        tiles(*arguments)
        return
    # The workqueue layer aborts the process when two threads use it at once: who comes second runs alone.
    if not _pool.acquire(blocking=not started):
        serial(*arguments)
        return
    try:
        tiles(*arguments)
    finally:
        _pool.release()
