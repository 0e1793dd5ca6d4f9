"""Time CuPy on a GPU, for a release of CuPy to look like one."""

import peer_worker

from . import common, gpu


class _CuPy:
    params = (common.ALL,)
    param_names = ("activation",)

    def setup(self, name):
        """Compile, and wait for it."""
        is_rowwise = name in common.ROWWISE
        shape = (self.size // 1_000, 1_000) if is_rowwise else (self.size,)
        x = gpu.arrays("cupy", shape)
        case = peer_worker.Case(name, "forward", "float32", self.size, shape, -1 if is_rowwise else None, True)
        self.call = peer_worker.cupy_call(case, x, None, x.copy())
        if self.call is None:
            raise NotImplementedError(f"CuPy has no {name} that writes to an array that exists")
        self.wait()


class Overhead(_CuPy, gpu.Overhead):
    """Calls of CuPy's own kernels."""


class Kernel(_CuPy, gpu.Kernel):
    """CuPy's own kernels."""
