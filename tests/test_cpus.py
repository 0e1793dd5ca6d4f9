"""CPUs with and without FMA, F16C, AVX2 and AVX-512, each compiled for and run in its own process.

The same bits on all; vector arithmetic at the full width, and no call into libm.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
from conftest import ELEMENTWISE, SEVERAL, dtype_of
from numba.core.codegen import get_host_cpu_features
from results import CASES, LOOPS, ROWS

# Numba's name of the CPU -> features of the host that it needs, those set, and the widest register in its code.
# Without the one taken away on x86-64-v4 LLVM keeps to ymm there, and AVX-512 goes untested.
LEVELS = {
    "x86-64-v2": ({"sse4.2", "popcnt"}, "-prefer-256-bit", "xmm"),
    "x86-64-v3": ({"avx2", "fma", "f16c", "bmi2", "lzcnt", "movbe"}, "-prefer-256-bit", "ymm"),
    "x86-64-v4": ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "-prefer-256-bit", "zmm"),
    # As a hypervisor may show it, without what Sapphire Rapids alone has, so that others can stand for it.
    "sapphirerapids": ({"avx512vbmi2", "avx512vl"}, "-avx512fp16,-avx512bf16,+prefer-256-bit", "zmm"),
}
REGISTERS = {"x86-64-v3": "ymm", "x86-64-v4": "zmm", "sapphirerapids": "[yz]mm"}  # of a vector of float32


def start(folder, *wanted, **environment):
    """Start a process that saves its results, and its kernels' "assembly" if that is wanted."""
    command = [sys.executable, Path(__file__).with_name("results.py"), folder / "results.npz", *wanted]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, folder):
    """Return the results that a process saved, and the machine code."""
    _, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors
    with np.load(folder / "results.npz") as saved:
        return dict(saved), json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The results of every level that this CPU can run, and of its own, by name, with the machine code of some."""
    present = {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
    able = [level for level, (features, *_) in LEVELS.items() if features <= present]
    folders = {name: tmp_path_factory.mktemp(name) for name in ("host", *able)}
    processes = {"host": start(folders["host"])}
    for name in able:
        cpu = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": LEVELS[name][1], "NUMBA_CACHE_DIR": str(folders[name])}
        processes[name] = start(folders[name], *["assembly"] * (name in REGISTERS), **cpu)
    return {name: finish(process, folders[name]) for name, process in processes.items()}


def skip_unless_able(level):
    """Skip a test of a CPU that this one cannot stand for."""
    if not llvmlite.binding.get_default_triple().startswith("x86_64"):
        pytest.skip("the levels are x86-64's, and this CPU is none")
    missing = LEVELS[level][0] - {n for n, there in llvmlite.binding.get_host_cpu_features().items() if there}
    if missing:
        pytest.skip(f"this CPU cannot run {level}: it lacks {', '.join(sorted(missing))}")


@pytest.fixture(params=LEVELS)
def level(request):
    """Each CPU that this one can stand for."""
    skip_unless_able(request.param)
    return request.param


@pytest.mark.parametrize("method", ["value", "backward"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_same_bits_as_on_the_host(computed, level, name, kind, method):
    case = f"{name} {method} {kind}"
    expected, result = (computed[name][0][case] for name in ("host", level))
    values, others = (bits.view(dtype_of(kind)) for bits in (expected, result))
    both_nan = np.isnan(values) & np.isnan(others)  # IEEE leaves open which of two NaN a sum hands on
    assert (expected == result)[~both_nan].all()


WIDTHS = """
import numpy as np, numact as na
from numact.targets import cpu
x = np.ones(64, np.float32)
na.gelu(x)
print(*cpu.kernel(na.gelu._value, "float32").function.inspect_asm().values())
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


# Functions that were measured faster on Sapphire Rapids at its full width, where LLVM by itself keeps to ymm.
FULL_WIDTH = ["sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", *ROWS]
ELEMENTS = [name + suffix for name in ELEMENTWISE for suffix in ("", "_backward")] + SEVERAL
KERNELS = [name + suffix for name in ELEMENTS for suffix in ("", "_large")] + [*ROWS, *LOOPS]
SELECTIONS = {"hardmax", "relu", "relu6", "threshold", "hardtanh", "hardshrink"}  # compare and blend, no arithmetic


@pytest.fixture(params=REGISTERS)
def assembly(computed, request):
    """The machine code of every float32 kernel on one CPU, and what its vector registers are called."""
    skip_unless_able(request.param)
    return computed[request.param][1], REGISTERS[request.param]


@pytest.mark.parametrize("kernel", [*KERNELS, *(name + "_float64" for name in ELEMENTS)])
def test_vector_arithmetic(assembly, kernel):
    code, register = assembly
    arithmetic = r"v(f[n]?m(add|sub)\d+|mul|add|sub|div)p" + ("d" if kernel.endswith("_float64") else "s")
    if re.sub("_large|_float64", "", kernel) in SELECTIONS:
        arithmetic = r"v(max|min|cmp|blend|and|mov|xor)\w*"
    if register == "[yz]mm" and kernel.removesuffix("_large") in FULL_WIDTH:
        register = "zmm"
    assert re.search(rf"\b{arithmetic}\b.*%{register}", code[kernel])


@pytest.mark.parametrize("kernel", ELEMENTS)  # those of rows write what waits there, in place of asking for it
def test_lines_of_large_arrays_are_asked_for(assembly, kernel):
    assert re.search(r"\bprefetch\w*\s+\d*\(%", assembly[0][kernel + "_large"])


def test_softmax_divides_no_entry(assembly):
    assert not re.search(r"\bvdiv", assembly[0]["softmax"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_call_into_libm(assembly, kernel):
    named = set(re.findall(r"\b(?:exp|log|pow|tanh|erf|fma|ldexp|exp2|expm1)f?\b", assembly[0][kernel]))
    assert not named


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_float64_arithmetic(assembly, kernel):
    assert not re.search(r"\bv(f[n]?m(add|sub)\d+|mul|add|sub|div)[ps]d\b.*%[yz]mm", assembly[0][kernel])


STREAMED = """
import sys, numpy as np, numact as na
from numact.targets import cpu, cpu_memory
function = na.registry[sys.argv[1]]
na.warmup(function.__name__, "float32", "cpu")
warm = cpu.kernel(function._value, "float32")
assert warm.parallel and (warm._make_streaming is None or warm.streaming.parallel)
for name in ("float16", "float32", "float64"):
    size = cpu_memory.STREAMED // np.dtype(name).itemsize + 77
    x = np.random.default_rng(0).normal(0, 5, size).astype(name)
    parts = np.concatenate([function(x[low : low + 100_000]) for low in range(0, size, 100_000)])
    room = np.zeros(size + 40, name)
    for start in (0, 1, 8, 24):
        room[:] = -7
        function(x, out=room[start : start + size])
        assert (room[start : start + size] == parts).all(), (name, start)
        assert (room[:start] == -7).all() and (room[start + size :] == -7).all(), (name, start)
    kernel = cpu.kernel(function._value, name)
    print(*kernel.function.inspect_asm().values())
    if kernel._make_streaming:
        print(*kernel.streaming.function.inspect_asm().values())
"""


@pytest.mark.parametrize(
    ("name", "absent", "streams"),
    [("softsign", "", True), ("softsign", "clzero", False), ("softsign", "avx512f", True), ("gelu", "avx512f", False)],
)
def test_results_are_streamed_on_an_amd_alone(name, absent, streams, tmp_path):
    """Where they are, they are those of small arrays, and nothing beside them is written. AVX2 alone does not ask."""
    features, code = code_without(absent, tmp_path, STREAMED, name)
    assert is_streaming(code) == streams
    assert ("prefetch" in code) == (streams or "-avx512f" not in features)


def code_without(feature, folder, script, *arguments):
    """Return an AMD's features but one, and the machine code that a script prints there."""
    if not llvmlite.binding.get_default_triple().startswith("x86_64"):
        pytest.skip("what is streamed here is x86-64's, and this CPU is none")
    features = [*get_host_cpu_features().split(","), "+clzero"]
    if feature:  # at the end LLVM takes away all that needs it, too
        features = [item for item in features if item[1:] != feature] + [f"-{feature}"]
    environment = {**os.environ, "NUMBA_CPU_FEATURES": ",".join(features), "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return features, done.stdout


def is_streaming(code):
    """Return whether vectors are stored past the caches, and what comes after waits for them."""
    stores, waits = re.search(r"\bv?movnt\w+\s+%[xyz]mm", code), re.search(r"\bsfence\b", code)
    assert bool(stores) == bool(waits)
    return bool(stores)


STREAMED_ROWS = """
import sys, numpy as np, numact as na
from numact.targets import cpu_memory, cpu_rows
kind, shapes = sys.argv[1], eval(sys.argv[2])  # before, along and after the axis; what is 0 is as long as it takes
for name in ("float32", "float64"):
    for shape in shapes:
        least = cpu_memory.STREAMED // np.dtype(name).itemsize // np.prod([size or 1 for size in shape])
        shape, cut = [size or (least // 16 + 1) * 16 for size in shape], 0 if shape[0] != 1 else 2
        grad, y = np.random.default_rng(0).random((2, *shape)).astype(name)
        some = 1_000_000 * shape[cut] // grad.size + 1
        lows = range(some, shape[cut], some)
        few = (np.split(array, lows, cut) for array in (grad, y))
        parts = [na.softmax.backward(g.copy(), axis=1, output=output.copy()) for g, output in zip(*few)]
        expected, room = np.concatenate(parts, cut), np.zeros(grad.size + 40, name)
        for start in (0, 1, 24):
            room[:] = -7
            out = room[start : start + grad.size].reshape(shape)
            na.softmax.backward(grad, axis=1, output=y, out=out)
            assert (out == expected).all(), (name, shape, start)
            assert (room[:start] == -7).all() and (room[start + grad.size :] == -7).all(), (name, shape, start)
        assert (na.softmax.backward(grad, axis=1, output=y, out=grad) == expected).all(), (name, shape)
    kernel = getattr(cpu_rows.kernels(na.softmax._formulas, "from_output", name, False), kind)
    print(*kernel.function.inspect_asm().values())
"""
SHAPES = {
    "long": [(0, 13, 1), (0, 100, 1), (0, 512, 1), (0, 1000, 1), (0, 70_001, 1)],
    "strip": [(0, 70, 100), (0, 50, 320), (0, 60, 1_001), (1, 100, 0), (1, 5, 0), (3, 1_000, 0)],
    "tall": [(1, 0, 244), (1, 0, 1_001)],
}


@pytest.mark.parametrize(
    ("kind", "absent", "streams"),
    [
        ("long", "", True),
        ("long", "clzero", False),
        ("strip", "", True),
        ("strip", "clzero", False),
        ("tall", "", True),
    ],
)
def test_gradients_of_rows_are_streamed_on_an_amd_alone(kind, absent, streams, tmp_path):
    """They are those of few rows, in place too, and nothing beside them is written. Columns ask for what comes next."""
    _, code = code_without(absent, tmp_path, STREAMED_ROWS, kind, repr(SHAPES[kind]))
    assert is_streaming(code) == streams
    assert ("prefetch" in code) == (kind != "long")
