"""No temporary of the input's size: the peak of a real process's memory during a call. What large results leave."""

import sys
import threading

import numpy as np
import pytest
from processes import run

import numact as na
from numact import memory

CODE = """
from pathlib import Path
import numpy as np, numact as na
SIDE = 4096
MASK = np.arange(SIDE) % 3 > 0

def filled(kind, shape=(SIDE, SIDE)):
    return np.ones(shape, kind)

def memory():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

def peak(call, arrays):
    call(*[array[:8, :8] if array.ndim > 1 else array[:64] for array in arrays])  # compiled, and the threads started
    for _ in range(2):
        small = [array[:600, :600] if array.ndim > 1 else array[:300_000] for array in arrays]
        call(*small)
        call(*[array.copy() for array in small])  # contiguous columns have a kernel of their own
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = memory()
    call(*arrays)
    return memory() - before

{setup}
for call in calls:
    print(peak(call, arrays))
"""
ELEMENTWISE = {
    "contiguous": "arrays = filled('f4'), filled('f4')",
    "read-only": "arrays = filled('f4'), filled('f4')\narrays[0].flags.writeable = False",
    "every second column": "arrays = filled('f4', (SIDE, 2 * SIDE))[:, ::2], filled('f4')",
    "reversed": "arrays = filled('f4')[::-1, ::-1], filled('f4')",
    "transposed": "arrays = filled('f4').T, filled('f4')",
    "Fortran order": "arrays = np.asfortranarray(filled('f4')), np.asfortranarray(filled('f4'))",
    "broadcast": "arrays = np.broadcast_to(filled('f4', SIDE), (SIDE, SIDE)), filled('f4')",
    "swapped bytes": "arrays = filled('>f4'), filled('f4')",
    "misaligned": "raw = np.zeros(4 * SIDE * SIDE + 1, 'u1')[1:]\n"
    "arrays = raw.view('f4').reshape(SIDE, SIDE), filled('f4')",
    "integers": "arrays = filled('i4'), filled('f8')",
    "float16": "arrays = filled('f2'), filled('f2')",
    "bfloat16": "import ml_dtypes\narrays = filled(ml_dtypes.bfloat16), filled(ml_dtypes.bfloat16)",
    "float64": "arrays = filled('f8'), filled('f8')",
    "another dtype out": "arrays = filled('f4'), filled('f8')",
    "in place": "x = filled('f4')\narrays = x, x",
}
CALLS = {
    "value": "lambda x, out: na.gelu(x, out=out)",
    "backward": "lambda x, out: na.gelu.backward(x, x, out=out)",
    "softmax": "lambda x, out: na.softmax(x, out=out)",
    "softmax down columns": "lambda x, out: na.softmax.backward(x, x, 0, out=out)",
    "softmax from its output": "lambda x, out: na.softmax.backward(x, output=x, out=out)",
    "log_softmax down columns": "lambda x, out: na.log_softmax(x, 0, out=out)",
    "masked": "lambda x, out: na.softmax(x, mask=MASK[: x.shape[-1]], out=out)",
    "masked down columns": "lambda x, out: na.log_softmax.backward(x, x, 0, MASK[: len(x)], out=out)",
    "logsumexp of all": "lambda x, out: na.logsumexp(x, None)",
    "logsumexp down columns": "lambda x, out: na.logsumexp(x, 0)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process set back its peak of memory")
@pytest.mark.parametrize("layout", ELEMENTWISE)
def test_no_temporary_of_the_size_of_the_input(layout):
    """A few parts of 262,144 elements may be held at a time, 2 MB each in float64; the input has 32 MB or more."""
    setup = f"{ELEMENTWISE[layout]}\ncalls = [{', '.join(CALLS.values())}]"
    for _ in range(2):  # the first process fills the cache: to compile takes memory, too, 20 MB of it once
        found = run(CODE.format(setup=setup), NUMBA_NUM_THREADS="2")
    peaks = dict(zip(CALLS, map(int, found.split()), strict=True))
    assert {name: peak for name, peak in peaks.items() if peak >= 16e6} == {}


LARGE = np.linspace(-8, 8, memory.LARGE // 4, dtype=np.float32)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def _no_blocks():
    """Memory that no test before has left, and none left for the next."""
    na.empty_cache()
    yield
    na.empty_cache()


@pytest.mark.usefixtures("_no_blocks")
@pytest.mark.parametrize(
    "call", [na.relu, na.relu.grad, na.softmax, lambda x: na.relu(x[::-1]), na.softmax_cross_entropy]
)
def test_a_large_result_takes_the_memory_of_one_that_is_gone(call):
    x = LARGE.reshape(-1, 1024)
    if call is na.softmax_cross_entropy:
        labels = np.zeros(len(x), int)
        call = lambda x: na.softmax_cross_entropy.value_and_grad(x, labels)[1]  # noqa: E731
    first = call(x)
    place, bits = address(first), first.tobytes()
    del first
    second = call(x)
    assert address(second) == place
    assert second.tobytes() == bits
    assert (second.dtype, second.shape, second.flags.carray) == (x.dtype, x.shape, True)


def view_of(result):
    return result.reshape(-1, 4)[3:5, 1]


def torch_tensor_of(result):
    return pytest.importorskip("torch").from_numpy(result)[:2]


@pytest.mark.usefixtures("_no_blocks")
@pytest.mark.parametrize("hold", [view_of, memoryview, np.nditer, torch_tensor_of, lambda result: result.T.view("u4")])
def test_not_while_anything_holds_on_to_it(hold):
    first = na.relu(LARGE)
    place, held = address(first), hold(first)
    del first
    second = na.relu(LARGE)
    assert address(second) != place
    del held
    assert address(na.relu(LARGE)) == place


@pytest.mark.usefixtures("_no_blocks")
def test_other_sizes_get_other_memory():
    first = na.relu(LARGE)
    place = address(first)
    del first
    longer = na.relu(np.concatenate([LARGE, LARGE[:16]]))
    assert address(longer) != place
    assert address(na.relu(LARGE)) == place
    assert na.relu(LARGE[:-1]).base is None  # the C library's matter


@pytest.mark.usefixtures("_no_blocks")
def test_threads_share_the_memory():
    wrong = []

    def work(factor):
        x = LARGE * np.float32(factor)
        expected = np.maximum(x, 0)
        for _ in range(10):
            result = na.relu(x)
            if not np.array_equal(result, expected):
                wrong.append(factor)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


HELD = """
import numpy as np, numact as na
from pathlib import Path

def held():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024

x = np.ones(40 * 2**20, "f4")
na.relu(x[:100]); na.relu(x[: 2**23])
na.empty_cache()
before = held()
for size in range(8, 41, 4):  # MiB of elements
    results = [na.relu(x[: size * 2**20]) for _ in range(3)]
del results
print(held() - before)
na.empty_cache()
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory a process holds in /proc")
def test_what_is_kept_and_given_back():
    kept, rest = map(float, run(HELD, NUMBA_NUM_THREADS="2").split())
    assert 200 < kept < 266  # MiB: two blocks of at most 128
    assert rest < 10
