"""What hardware there is, and how long a call takes on it."""

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

REPEATS = 7
LARGE = 4_000_000  # elements of a copy that keeps all its threads busy
WINDOW = 0.05  # seconds
THREADED = 65_536  # elements from which a copy is faster on all threads than on one


class Target(NamedTuple):
    """Where arrays can live: how one gets there and back, and how long a call takes there, in seconds."""

    name: str
    put: Callable[[np.ndarray], Any]
    get: Callable[[Any], np.ndarray]
    seconds: Callable[[Callable[[], Any]], float]


@numba.njit(parallel=True, nogil=True)
def copy_tiles(x, out):
    """Copy on all threads, as a yardstick: the same bytes with no arithmetic."""
    for tile in numba.prange((x.size + 16_383) // 16_384):
        low = tile * 16_384
        out[low : low + 16_384] = x[low : low + 16_384]


def cpu_seconds(call):
    """Return the median time of a call by wall clock, compiled and warm."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gpu_seconds(call):
    """Return the median time of a call between two CUDA events."""
    from numba import cuda

    call()
    times = []
    for _ in range(REPEATS):
        start, stop = cuda.event(), cuda.event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(cuda.event_elapsed_time(start, stop) / 1e3)
    return statistics.median(times)


def find_targets():
    """Return the targets present, and a line on the GPU or on why there is none."""
    targets = [Target("cpu", lambda x: x, lambda x: x, cpu_seconds)]
    try:
        from numba import cuda
    except ImportError:
        return targets, "none: numba-cuda is not installed (pip install 'numact[cuda13]' or 'numact[cuda12]')"
    if not cuda.is_available():
        return targets, "none: no CUDA driver or device found"
    name = cuda.get_current_device().name
    targets.append(Target("gpu", cuda.to_device, lambda x: x.copy_to_host(), gpu_seconds))
    return targets, name.decode() if isinstance(name, bytes) else name


def hardware(gpu):
    """Return what was found, as lines by label."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    widths = {"avx512f": "AVX-512, 16 float32", "avx2": "AVX2, 8 float32", "neon": "NEON, 4 float32"}
    numba.get_num_threads()
    copy_tiles(np.ones(10, np.float32), np.ones(10, np.float32))
    return {
        "CPU": f"{llvm.get_host_cpu_name()} ({platform.machine()})",
        "SIMD": next((text for name, text in widths.items() if features.get(name)), "baseline"),
        "threads": f"{numba.get_num_threads()} ({numba.threading_layer()})",
        "GPU": gpu,
    }


def free_cores():
    """Return how many cores a large copy on all threads gets, in the best of several windows of time."""
    x, out = np.ones((2, LARGE), np.float32)
    copy_tiles(x, out)
    found = []
    for _ in range(REPEATS):
        start, used = time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - start) < WINDOW:
            copy_tiles(x, out)
        found.append((time.process_time() - used) / passed)
    return max(found)


def copy_call(target, x, out):
    """Return a call that copies an array to another of a target."""
    if target.name == "cpu" and x.size < THREADED:
        return partial(np.copyto, out, x)
    if target.name == "cpu":
        return partial(copy_tiles, x.ravel(), out.ravel())
    return partial(out.copy_to_device, x)
