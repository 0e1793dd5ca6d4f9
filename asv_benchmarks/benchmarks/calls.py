"""What a call costs beside the arithmetic: overhead, threads, memory, and the start of a process."""

import subprocess
import sys

import numba

from . import common

COLD = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = folder.name
"""
FIRST = """
import numpy as np, numact as na
x = np.ones(1_000, np.float32)
"""


class Overhead:
    """A call on one element."""

    params = (common.ALL, ["forward", "backward"])
    param_names = ("activation", "direction")

    def setup(self, name, direction):
        """Compile."""
        shape = (1, 1) if name in common.ROWWISE else common.shaped(name, 1)
        self.call = common.CALLS[direction](name, common.values(shape, "float32"))
        self.call()

    def time_call(self, *case):
        """Time a call that writes into an array there is."""
        self.call()


class Threads:
    """16 million elements on one thread and on all."""

    params = (common.ALL, ["one", "all"])
    param_names = ("activation", "threads")

    def setup(self, name, threads):
        """Compile, and choose the threads."""
        shape = (16_000, 1_000) if name in common.ROWWISE else (16_000_000,)
        numba.set_num_threads(1 if threads == "one" else numba.config.NUMBA_NUM_THREADS)
        self.call = common.forward(name, common.values(shape, "float32"))
        self.call()

    def time_call(self, *case):
        """Time a call that writes into an array there is."""
        self.call()


class Memory:
    """The most memory that a process has had that called on 64 MB and got a new array."""

    params = (common.ALL,)
    param_names = ("activation",)

    def setup(self, name):
        """Compile on little, and make the input."""
        common.forward(name, common.values((2, 2), "float32"))()
        self.x = common.values((16_000, 1_000), "float32")

    def peakmem_call(self, name):
        """Call."""
        function = common.find(name)
        return function(*common.arguments_of(function, self.x))


class Start:
    """Processes of their own, as each can start but once."""

    number, rounds, repeat, warmup_time = 1, 1, 5, 0

    def timeraw_import(self):
        """Time `import numact` after NumPy and Numba."""
        return "import numact", "import numba"

    def timeraw_import_all(self):
        """Time `import numact` with what it imports."""
        return "import numact"


class FirstCall:
    """The first call of a process on 1,000 float32."""

    number, rounds, repeat, warmup_time = 1, 1, 3, 0
    params = (common.ALL,)
    param_names = ("activation",)

    def setup(self, name):
        """Fill the disk cache."""
        has_sample = hasattr(common.find(name), "_sample")  # as `common.arguments_of`, in a process of its own
        x = "x[None]" if name in common.ROWWISE else "x"
        self.call = f"f = na.registry[{name!r}]\nf({f'*f._sample({x})' if has_sample else x})"
        subprocess.run([sys.executable, "-c", FIRST + self.call], check=True)

    def timeraw_warm(self, name):
        """Time it with what is compiled on disk."""
        return self.call, FIRST

    def timeraw_cold(self, name):
        """Time it where nothing has ever been compiled."""
        return self.call, COLD + FIRST
