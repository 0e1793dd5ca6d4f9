"""Threads, forks and caches of real processes."""

import os
import subprocess
import sys

import pytest

BIG = "import numpy as np, numact as na\nx = np.random.default_rng(0).normal(size=300_000).astype(np.float32)\n"


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.strip()


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_calls_from_many_threads(layer):
    code = (
        BIG
        + """
from concurrent.futures import ThreadPoolExecutor
expected = na.gelu(x)
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(lambda _: na.gelu(x), range(64)))
print(all(np.array_equal(result, expected) for result in results))
"""
    )
    assert run(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2") == "True"


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_calls_in_a_forked_child(layer):
    code = (
        BIG
        + """
import os
expected = na.gelu(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(na.gelu(x), expected) and np.array_equal(na.softmax(x), na.softmax(x)) else 3)
print(os.waitpid(child, 0)[1])
"""
    )
    assert run(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2") == "0"


def test_thread_count_is_honoured_and_changes_no_bits():
    code = (
        BIG
        + """
import numba
results = []
for threads in (1, 2):
    numba.set_num_threads(threads)
    results += [(na.tanh(x), na.softmax(x.reshape(300, 1000)), na.softmax(x.reshape(1000, 300), 0))]
print(all(np.array_equal(a, b) for a, b in zip(*results)))
"""
    )
    assert run(code, NUMBA_NUM_THREADS="2") == "True"


HITS = """
import numpy as np, numact as na
from numact.targets import cpu
for kind in (np.float32, np.float64):
    na.sigmoid(np.ones(10, kind)); na.gelu(np.ones(10, kind))
kernels = [cpu.kernel(f._value, n, 1).serial for f in (na.sigmoid, na.gelu) for n in ("float32", "float64")]
print(sum(sum(k.stats.cache_hits.values()) for k in kernels), sum(sum(k.stats.cache_misses.values()) for k in kernels))
"""


def test_second_process_loads_from_disk(tmp_path):
    assert run(HITS, NUMBA_CACHE_DIR=str(tmp_path)) == "0 4"
    assert run(HITS, NUMBA_CACHE_DIR=str(tmp_path)) == "4 0"


def test_user_functions_of_one_name_do_not_share_a_cache_entry(tmp_path):
    code = """
import numpy as np, numact as na
def make(slope):
    @na.activation
    def line(x):
        return slope * x
    return line
print(make({first})(np.ones(1, np.float32))[0], make({second})(np.ones(1, np.float32))[0])
"""
    assert run(code.format(first=2, second=3), NUMBA_CACHE_DIR=str(tmp_path)) == "2.0 3.0"
    assert run(code.format(first=4, second=2), NUMBA_CACHE_DIR=str(tmp_path)) == "4.0 2.0"


def test_without_a_writable_cache(tmp_path):
    code = """
import numba.core.caching
def refuse(*arguments):
    raise OSError("read-only")
for locator in numba.core.caching.CacheImpl._locator_classes:
    locator.ensure_cache_path = refuse
import numpy as np, numact as na
print(na.relu(np.array([-1.0, 2.0])))
"""
    assert run(code) == "[0. 2.]"
