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


class Gpu:
    """By library and size."""

    params = (["cupy", "torch"], common.ALL, ["forward", "backward"], common.few([1_000, 64_000_000]))
    param_names = ("library", "activation", "direction", "size")
    unit = "ns"

    def setup(self, library, name, direction, size):
        """Compile, and wait for it."""
        shape = (size // 1_000, 1_000) if name in common.ROWWISE else (size,)
        self.call = common.CALLS[direction](name, arrays(library, shape))
        self.wait()

    def wait(self):
        """Run a call to its end."""
        from numba import cuda

        self.call()
        cuda.synchronize()

    def time_overhead(self, *case):
        """Time a call that does not wait for the kernel."""
        self.call()

    def track_kernel(self, *case):
        """Return the median time of a kernel in nanoseconds."""
        from numba import cuda

        times = []
        for _ in range(REPEATS):
            start, stop = cuda.event(), cuda.event()
            start.record()
            self.call()
            stop.record()
            stop.synchronize()
            times.append(cuda.event_elapsed_time(start, stop) * 1e6)
        return statistics.median(times)
