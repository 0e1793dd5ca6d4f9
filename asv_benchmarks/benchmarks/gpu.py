"""Time activations on a GPU: the kernels between CUDA events, the overhead of calls by wall clock."""

import importlib
import statistics

from . import common

REPEATS = 20


def arrays(library, shape):
    """Return an array on the GPU; skip where there is no GPU or not the library."""
    try:
        from numba import cuda

        module = importlib.import_module(library)
    except ImportError as error:
        raise NotImplementedError(f"not installed: {error.name}") from None
    if not cuda.is_available():
        raise NotImplementedError("no CUDA driver or device found")
    host = common.values(shape, "float32")
    return module.asarray(host, **({"device": "cuda"} if library == "torch" else {}))


class _Gpu:
    """By library; softmax and its family in rows of 1,000."""

    size: int
    params = (["cupy", "torch"], common.ALL, ["forward", "backward"])
    param_names = ("library", "activation", "direction")

    def setup(self, library, name, direction):
        """Compile, and wait for it."""
        shape = (self.size // 1_000, 1_000) if name in common.ROWWISE else (self.size,)
        self.call = common.CALLS[direction](name, arrays(library, shape))
        self.wait()

    def wait(self):
        """Run a call to its end."""
        from numba import cuda

        self.call()
        cuda.synchronize()


class Overhead(_Gpu):
    """Calls of 1,000 elements, with which the GPU is done before the host makes the next."""

    size = 1_000

    def time_call(self, *case):
        """Time a call, which does not wait for the kernel."""
        self.call()


class Kernel(_Gpu):
    """Kernels of 64 million elements."""

    size, unit = 64_000_000, "ns"

    def track_kernel(self, *case):
        """Return the median time of a kernel."""
        from numba import cuda

        times = []
        for _ in range(REPEATS):
            start, stop = cuda.event(), cuda.event()
            self.call()  # while it runs, the host hands over the one that is timed: none of its time is in between
            start.record()
            self.call()
            stop.record()
            stop.synchronize()
            times.append(cuda.event_elapsed_time(start, stop) * 1e6)
        return statistics.median(times)
