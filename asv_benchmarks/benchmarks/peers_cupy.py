"""Time CuPy on a GPU, for a release of CuPy to look like one."""

import peer_worker

from . import common, gpu


class CuPy(gpu.Gpu):
    """CuPy's own kernels."""

    params = (common.ALL, common.few([1_000, 64_000_000]))
    param_names = ("activation", "size")

    def setup(self, name, size):
        """Compile, and wait for it."""
        is_rowwise = name in common.ROWWISE
        shape = (size // 1_000, 1_000) if is_rowwise else (size,)
        x = gpu.arrays("cupy", shape)
        case = peer_worker.Case(name, "forward", "float32", size, shape, -1 if is_rowwise else None, True)
        self.call = peer_worker.cupy_call(case, x, None, x.copy())
        if self.call is None:
            raise NotImplementedError(f"CuPy has no {name} that writes to an array that exists")
        self.wait()
