"""What the benchmarks of other libraries share."""

import os

import peer_worker

from . import common


class _Peer:
    """One library's function of a name of numact's, as peers.py calls it."""

    library: str
    params = (common.ALL, ["forward", "backward"], common.SIZES)
    param_names = ("activation", "direction", "size")

    def setup(self, name, direction, size):
        """Compile."""
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
        if "absent" in (facts := peer_worker.introduce(self.library)):
            raise NotImplementedError(facts["absent"])
        is_rowwise = name in common.ROWWISE
        shape = (size // 1_000, 1_000) if is_rowwise else (size,)
        case = peer_worker.Case(name, direction, "float32", size, shape, -1 if is_rowwise else None, False)
        if len(common.arguments_of(common.find(name), 0.0)) > 1 or name == "glu":
            raise NotImplementedError(f"{name} is compared nowhere: it takes several arrays or numbers")
        self.call = peer_worker.CALLS[self.library](case, *peer_worker.arrays(case)[:2], None)
        if self.call is None:
            raise NotImplementedError(f"{self.library} has no {name}")
        self.call()

    def time_call(self, *case):
        """Time a call that returns a new array."""
        self.call()
