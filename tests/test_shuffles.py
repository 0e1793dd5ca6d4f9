"""The shuffles by which threads of a GPU join what they have found of a row, run by threads of Python."""

import math
import threading

import numpy as np
import pytest

from numact.targets import common

kernels = pytest.importorskip(
    "numact.targets.cuda_row_kernels", reason="numba-cuda is not installed: pip install 'numact[cuda13]'"
)


class Block:
    """A block of threads, with what their code calls on a GPU: exchange within a warp, and a barrier."""

    def __init__(self, count):
        self.own, self.held = threading.local(), [None] * count
        self.syncthreads = threading.Barrier(count, timeout=60).wait  # where one thread fails, the others do not hang
        self.warps = [threading.Barrier(32, timeout=60).wait for _ in range(count // 32)]

    def shfl_xor_sync(self, mask, value, offset):
        """Return the value of the thread of the warp whose number differs in a bit."""
        wait = self.warps[self.own.thread // 32]
        self.held[self.own.thread] = value
        wait()
        result = self.held[self.own.thread ^ offset]
        wait()
        return result

    def run(self, function):
        """Return what a function of a thread's number returns in each thread."""
        results = [None] * len(self.held)

        def work(thread):
            self.own.thread = thread
            results[thread] = function(thread)

        threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(len(results))]
        for item in threads:
            item.start()
        for item in threads:
            item.join()
        return np.array(results, np.float32)


def joined(name, values, lows, parts):
    """Return what each thread of a block has after the function of that name."""
    block, lows_from = Block(len(values)), 32
    source = kernels.SHUFFLES.replace("NAME", name).replace("JOIN", kernels.JOINED[name].format(**kernels.SHUFFLED))
    scope = {"cuda": block, "LOWS": lows_from}
    exec(common.ROW_ARITHMETIC + source, scope)
    shared = np.zeros(2 * lows_from, np.float32)
    return block.run(lambda thread: scope[name](values[thread], lows[thread], shared, thread, thread % parts, parts, 1))


@pytest.mark.parametrize(("count", "parts"), [(64, 1), (64, 4), (64, 32), (128, 64), (256, 128), (512, 512)])
def test_each_thread_has_its_rows_sum_and_maximum(count, parts):
    random = np.random.default_rng(parts)
    for _ in range(3):
        values = np.exp(random.normal(size=count) * 3).astype(np.float32)
        lows = (values * random.uniform(-1, 1, count) * 2.0**-25).astype(np.float32)
        rows = np.stack([values, lows], axis=1).astype(np.float64).reshape(count // parts, -1)
        sums, nothing = joined("group_sum", values, lows, parts).reshape(-1, parts), np.zeros(count, np.float32)
        for row, found in zip(rows, sums, strict=True):
            exact = math.fsum(row)
            assert (found == found[0]).all()
            assert abs(float(found[0]) - exact) <= 0.51 * np.spacing(np.float32(exact))
        largest = joined("group_largest", values, nothing, parts).reshape(-1, parts)
        assert (largest == values.reshape(-1, parts).max(axis=1, keepdims=True)).all()
