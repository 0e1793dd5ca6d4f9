"""Threads, forks, interrupts and memory of real processes."""

import os

import pytest
from processes import LAYERS, run, threads

BIG = "import numpy as np, numact as na\nx = np.random.default_rng(0).normal(size=300_000).astype(np.float32)\n"


@pytest.fixture(params=LAYERS)
def two_threads(request):
    """The environment for two threads of each of Numba's threading layers."""
    return threads(request.param)


@pytest.fixture(params=LAYERS)
def two_threads_of_unix(request):
    """The same where processes fork and kill each other."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork and no signals to kernels")
    return threads(request.param)


MANY_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
rows, start = x.reshape(1000, 300), Barrier(8)
calls = [lambda: na.gelu(x), lambda: na.tanh.backward(x, x), lambda: na.softmax(rows), lambda: na.softmax(rows, 0)]
expected = [call() for call in calls]
def work(number):
    start.wait()
    return all(np.array_equal(calls[(number + i) % 4](), expected[(number + i) % 4]) for i in range(16))
with ThreadPoolExecutor(8) as pool:
    print(all(pool.map(work, range(8))))
"""


def test_calls_from_eight_threads(two_threads):
    assert run(BIG + MANY_THREADS, **two_threads) == "True"


FIRST_CALLS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
functions, start = [na.sigmoid, na.tanh, na.gelu, na.silu, na.mish, na.relu], Barrier(8, timeout=60)
def work(number):
    results = []
    for function in functions:
        start.wait()
        results.append(function(x[:{size}]))
    return results
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(work, range(8)))
expected = [function(x[:{size}]) for function in functions]
print(all(np.array_equal(one, other) for found in results for one, other in zip(found, expected)))
"""


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_first_calls_from_eight_threads(two_threads, size, tmp_path):
    """The kernels compile, and Numba's threads start, while eight threads wait for both."""
    assert run(BIG + FIRST_CALLS.format(size=size), NUMBA_CACHE_DIR=str(tmp_path), **two_threads) == "True"


# An activation that returns how many elements are being computed at this very moment.
CROWD = """
import numba
from concurrent.futures import ThreadPoolExecutor
from llvmlite import ir
from numba.extending import intrinsic
counter = np.zeros(1, np.int64)

@intrinsic
def change(typing_context, difference):
    def generate(context, builder, signature, arguments):
        word = ir.IntType(64)
        pointer = builder.inttoptr(ir.Constant(word, counter.ctypes.data), word.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[0], "seq_cst")
    return numba.int64(numba.int64), generate

@numba.njit
def count(x):
    present = change(1) + 1
    for _ in range(10):
        change(0)  # time for others to come in
    change(-1)
    return np.float32(present)

@na.activation
def crowd(x):
    return count(x)

with ThreadPoolExecutor(8) as pool:
    counts = [result.max() for result in pool.map(crowd, [x] * 24)]
print(int(max(counts)), counter[0])
"""


def test_no_more_threads_compute_than_numba_may_use(two_threads, tmp_path):
    """Eight threads of a pool call, and two compute: counted inside the kernel."""
    assert run(BIG + CROWD, NUMBA_CACHE_DIR=str(tmp_path), **two_threads) == "2 0"


def test_thread_count_is_honoured_and_changes_no_bits():
    code = """
import numba
results = []
for count in (1, 2):
    numba.set_num_threads(count)
    results += [(na.tanh(x), na.softmax(x.reshape(300, 1000)), na.softmax(x.reshape(1000, 300), 0))]
print(all(np.array_equal(a, b) for a, b in zip(*results)))
"""
    assert run(BIG + code, NUMBA_NUM_THREADS="2") == "True"


# In the child an alarm ends what hangs, by a signal that the parent sees.
FORK = """
import os, signal
from concurrent.futures import ThreadPoolExecutor
expected = na.gelu(x), na.softmax(x)
def compute():
    return np.array_equal(na.gelu(x), expected[0]) and np.array_equal(na.softmax(x), expected[1])
def fork():
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        with ThreadPoolExecutor(1) as pool:
            os._exit(0 if compute() and pool.submit(compute).result() else 3)
    return os.waitpid(child, 0)[1]
"""


def test_fork(two_threads_of_unix):
    assert run(BIG + FORK + "print(fork())", **two_threads_of_unix) == "0"


def test_fork_of_a_fork(two_threads_of_unix):
    code = "\nchild = os.fork()\nif child == 0:\n    os._exit(1 if fork() else 0)\nprint(os.waitpid(child, 0)[1])"
    assert run(BIG + FORK + code, **two_threads_of_unix) == "0"


WHILE_OTHERS_COMPUTE = """
import threading
done = threading.Event()
def work():
    while not done.is_set():
        na.gelu(x)
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
results = []
forks = threading.Thread(target=lambda: results.extend(fork() for _ in range(10)))
if {from_main_thread}:
    forks.run()
else:
    forks.start()
    forks.join()
done.set()
for worker in workers:
    worker.join()
print(results)
"""


@pytest.mark.parametrize("from_main_thread", [True, False])
def test_fork_while_other_threads_compute(two_threads_of_unix, from_main_thread):
    code = BIG + FORK + WHILE_OTHERS_COMPUTE.format(from_main_thread=from_main_thread)
    *_, printed = run(code, **two_threads_of_unix).splitlines()  # Numba's tbb layer prints a warning before it
    assert printed == str([0] * 10)


WHILE_ANOTHER_COMPILES = """
import os, signal, threading
from numba.core import event
begun = threading.Event()
class Listener(event.Listener):
    def on_start(self, compilation):
        begun.set()
    def on_end(self, compilation):
        pass
event.register("numba:compile", Listener())
forked = threading.Event()
def work():
    na.gelu(x)
    # A child forked in the moment in which a thread that has used OpenMP ends may hang while it loads machine code (3
    # times in some 130 forks): presumably the thread's ending team holds a lock of the C runtime. That is not at issue.
    forked.wait()
worker = threading.Thread(target=work)
worker.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if na.relu(x).min() == 0 else 3)
print(os.waitpid(child, 0)[1])
forked.set()
worker.join()
"""


def test_fork_while_another_thread_compiles(two_threads_of_unix, tmp_path):
    """Else the child would wait for Numba's compiler lock, whose holder it does not have."""
    assert run(BIG + WHILE_ANOTHER_COMPILES, NUMBA_CACHE_DIR=str(tmp_path), **two_threads_of_unix) == "0"


MULTIPROCESSING = """
import multiprocessing
expected = na.gelu(x), na.tanh(x)
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(na.gelu, [x] * 8), pool.map_async(na.tanh, [x] * 8)
    results = [result.get(timeout=120) for result in results]
print(all(np.array_equal(value, wanted) for values, wanted in zip(results, expected) for value in values))
"""


def test_multiprocessing_with_fork(two_threads_of_unix):
    assert run(BIG + MULTIPROCESSING, **two_threads_of_unix) == "True"


# An activation that sends this process a signal in the midst of its kernel.
SIGNAL = """
import os, signal
import numba
kill = numba.types.ExternalFunction("kill", numba.int32(numba.int32, numba.int32))
process, number = os.getpid(), int({number})

@numba.njit
def send(x):
    return np.float32(kill(process, number)) if x == 12345 else x

@na.activation
def sending(x):
    return send(x)

expected = na.gelu(x)
marked = x.copy()
marked[[100_000]] = 12345
"""
INTERRUPT = """
from concurrent.futures import ThreadPoolExecutor
for attempt in range(3):
    out = np.ones_like(x)
    try:
        sending(marked, out=out)
        print("not interrupted")
    except KeyboardInterrupt:
        print(out[100_000], np.array_equal(na.gelu(x), expected))
        with ThreadPoolExecutor(1) as pool:
            print(np.array_equal(pool.submit(na.gelu, x).result(), expected))
"""


def test_interrupt_during_a_call(two_threads_of_unix, tmp_path):
    """A SIGINT that arrives inside the kernel is raised after it, and leaves nothing locked."""
    code = BIG + SIGNAL.format(number="signal.SIGINT") + INTERRUPT
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path), **two_threads_of_unix) == "\n".join(["0.0 True", "True"] * 3)


HANDLER = """
signal.signal(signal.SIGUSR1, lambda *arguments: print(np.array_equal(na.gelu(x), expected)))
sending(marked)
"""


def test_signal_handler_that_calls(two_threads_of_unix, tmp_path):
    """The handler runs while the call that it interrupts still holds the lock."""
    code = BIG + SIGNAL.format(number="signal.SIGUSR1") + HANDLER
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path), timeout=60, **two_threads_of_unix) == "True"


LEAK = """
import gc, resource, sys
import numpy as np, numact as na
x = np.linspace(-3, 3, 24, dtype=np.float32)
half, rows, out = x.astype(np.float16), x.reshape(4, 6), np.empty_like(x)
def calls(count):
    for _ in range(count):
        na.relu(x)
        na.gelu.grad(x, out=out)
        na.leaky_relu.backward(x, x, 0.2)
    for _ in range(count // 20):
        na.sigmoid(half)
        na.softmax(rows)
        na.softmax.backward(rows, rows, 0)
        try:
            na.tanh(x, out=half[:3])
        except ValueError:
            pass
calls(20_000)
gc.collect()
blocks, size = sys.getallocatedblocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
calls(300_000)
gc.collect()
print(sys.getallocatedblocks() - blocks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size)
"""


def test_a_million_calls_leak_nothing():
    """One object or 4 bytes lost in each call would be a million objects, or 4 MB."""
    pytest.importorskip("resource", reason="only Unix tells the size of a process")
    objects, kilobytes = map(int, run(LEAK).split())
    assert objects < 1000
    assert kilobytes < 4000
