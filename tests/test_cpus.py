"""The same bits on CPUs with and without FMA, F16C, AVX2 and AVX-512, each compiled for and run in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
from conftest import dtype_of
from results import CASES

# Numba's name of the CPU -> features of the host that it needs, those set, and the widest register in its code.
# Without the one taken away on x86-64-v4 LLVM keeps to ymm there, and AVX-512 goes untested.
LEVELS = {
    "x86-64-v2": ({"sse4.2", "popcnt"}, "-prefer-256-bit", "xmm"),
    "x86-64-v3": ({"avx2", "fma", "f16c", "bmi2", "lzcnt", "movbe"}, "-prefer-256-bit", "ymm"),
    "x86-64-v4": ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "-prefer-256-bit", "zmm"),
    "sapphirerapids": ({"avx512fp16", "avx512bf16", "avx512vbmi2"}, "+avx512fp16,+prefer-256-bit", "zmm"),
}


def start(folder, **environment):
    """Start a process that saves its results; the kernels are compiled for the CPU named in the environment."""
    command = [sys.executable, Path(__file__).with_name("results.py"), folder / "results.npz"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "NUMBA_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, folder):
    """Return the results that a process saved."""
    _, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors
    return np.load(folder / "results.npz")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The results of every level that this CPU can run, and of its own, by name."""
    present = {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
    able = [level for level, (features, *_) in LEVELS.items() if features <= present]
    folders = {name: tmp_path_factory.mktemp(name) for name in ("host", *able)}
    processes = {name: start(folders[name], NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=LEVELS[name][1]) for name in able}
    processes["host"] = start(folders["host"])
    return {name: finish(process, folders[name]) for name, process in processes.items()}


@pytest.fixture(params=LEVELS)
def level(request):
    """Each CPU that this one can stand for."""
    if not llvmlite.binding.get_default_triple().startswith("x86_64"):
        pytest.skip("the levels are x86-64's, and this CPU is none")
    missing = LEVELS[request.param][0] - {n for n, there in llvmlite.binding.get_host_cpu_features().items() if there}
    if missing:
        pytest.skip(f"this CPU cannot run {request.param}: it lacks {', '.join(sorted(missing))}")
    return request.param


@pytest.mark.parametrize("method", ["value", "backward"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_same_bits_as_on_the_host(computed, level, name, kind, method):
    case = f"{name} {method} {kind}"
    expected, result = computed["host"][case], computed[level][case]
    values, others = (bits.view(dtype_of(kind)) for bits in (expected, result))
    both_nan = np.isnan(values) & np.isnan(others)  # IEEE leaves open which of two NaN a sum hands on
    assert (expected == result)[~both_nan].all()


WIDTHS = """
import numpy as np, numact as na
from numact.targets import cpu
x = np.ones(64, np.float32)
na.gelu(x)
print(*cpu.kernel(na.gelu._value, "float32").kernel.function.inspect_asm().values())
"""


def test_level_is_what_it_says(level, tmp_path):
    """Without this, a level whose name Numba ignored would pass for the host."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": level,
        "NUMBA_CPU_FEATURES": LEVELS[level][1],
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", WIDTHS], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    widest = next(register for register in ("zmm", "ymm", "xmm") if register in done.stdout)
    assert widest == LEVELS[level][2]
    assert ("vfmadd" in done.stdout) == (level != "x86-64-v2")
