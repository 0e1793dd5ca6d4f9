"""The disk cache, in processes that follow or race each other, and `numact.warmup`, which fills it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import dtype_of
from numba.core import event
from processes import run

import numact as na
from numact.targets import cpu
from numact.warmup import plan

# Numba tells of everything that it compiles, and of nothing that it loads.
COUNT = """
from numba.core import event
import numpy as np
import numact as na
with event.install_recorder("numba:compile") as compiled:
    {body}
print(len(compiled.buffer), end=" ")
"""
RELU = COUNT.format(body="y = na.relu(np.array([-1.0, 2.0], np.float32))") + "print(y)"


def entries(folder):
    """Return the cache entries anywhere below a folder."""
    return sorted(Path(folder).rglob("*.nb*"))


def fresh(printed):
    """Return how many functions a process compiled; its answer must be right."""
    count, _, answer = printed.partition(" ")
    assert answer == "[0. 2.]"
    return int(count)


def test_second_process_compiles_nothing(tmp_path):
    assert fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path))) > 0
    assert fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path))) == 0


ENTRIES_READ = """
import sys
import numpy as np, numact as na
read = []
sys.addaudithook(lambda name, details: read.append(details[0]) if name == "open" else None)
na.gelu(np.ones({size}))
print(len([path for path in map(str, read) if ".nb" in path]))
"""


@pytest.mark.parametrize("size", [10, 100_000])
def test_first_call_reads_few_entries(tmp_path, size):
    """A count that stands for the time: each entry takes 2 to 8 ms to load, the first of a process 0.2 s.

    A call needs its kernel, and the loop that it shares with others.
    """
    run(ENTRIES_READ.format(size=size), NUMBA_CACHE_DIR=str(tmp_path))
    assert run(ENTRIES_READ.format(size=size), NUMBA_CACHE_DIR=str(tmp_path)) == "2"


@pytest.fixture
def installation(tmp_path):
    """A copy of the package, a home and the environment in which Python finds both and keeps no byte code."""
    shutil.copytree(Path(na.__file__).parent, tmp_path / "site/numact", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir()
    environment = {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "home"), "NUMBA_CACHE_DIR": "", "folder": tmp_path}
    yield tmp_path, environment
    protect(tmp_path, 0o755)


def protect(folder, mode=0o555):
    """Set the permissions of a folder and of those below it."""
    for path in (folder, *folder.rglob("*/")):
        path.chmod(mode)


def test_cache_beside_the_package(installation):
    folder, environment = installation
    assert fresh(run(RELU, **environment)) > 0
    assert entries(folder / "site/numact/targets/__pycache__") == entries(folder) != []
    assert fresh(run(RELU, **environment)) == 0


def test_read_only_installation(installation):
    folder, environment = installation
    protect(folder / "site")
    assert fresh(run(RELU, **environment)) > 0
    assert entries(folder / "home") == entries(folder) != []
    assert fresh(run(RELU, **environment)) == 0


def test_read_only_installation_and_home(installation):
    folder, environment = installation
    protect(folder)
    assert fresh(run(RELU, **environment)) > 0
    assert entries(folder) == []
    assert fresh(run(RELU, **environment)) > 0


def test_named_folder(installation):
    folder, environment = installation
    environment["NUMBA_CACHE_DIR"] = str(folder / "named")
    assert fresh(run(RELU, **environment)) > 0
    assert entries(folder / "named") == entries(folder) != []


def test_named_folder_that_cannot_be_written(installation):
    folder, environment = installation
    protect(folder / "site")
    (folder / "named").mkdir(mode=0o555)
    environment["NUMBA_CACHE_DIR"] = str(folder / "named")
    assert fresh(run(RELU, **environment)) > 0
    assert entries(folder / "home") == entries(folder) != []


FOLDER_GOES = """
import shutil
na.sigmoid(np.ones(3))
shutil.rmtree({folder!r})
open({folder!r}, "w").close()
print(na.relu(np.array([-1.0, 2.0])))
"""


def test_cache_folder_that_goes_away(tmp_path):
    """The cache ceases to be a folder after Numba has found it writable."""
    code = COUNT.format(body="from numact.targets import cpu; kernel = cpu.kernel(na.relu._value, 'float64')")
    code += FOLDER_GOES.format(folder=str(tmp_path / "cache"))
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "0 [0. 2.]"


@pytest.mark.parametrize("damage", ["cut in half", "emptied", "overwritten", "deleted"])
def test_damaged_entries(tmp_path, damage):
    change = {
        "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "emptied": lambda path: path.write_bytes(b""),
        "overwritten": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
        "deleted": Path.unlink,
    }[damage]
    count = fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path)))
    for path in entries(tmp_path):
        change(path)
    assert fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path))) == count
    assert fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path))) == 0


def test_changed_version(installation):
    folder, environment = installation
    environment["NUMBA_CACHE_DIR"] = str(folder / "cache")
    count = fresh(run(RELU, **environment))
    before = entries(folder)
    version = folder / "site/numact/_version.py"
    text = version.read_text()
    version.write_text(text.replace(na.__version__, "9.9.9"))
    assert fresh(run(RELU, **environment)) == count
    assert len(entries(folder)) == 2 * len(before)
    version.write_text(text)
    assert fresh(run(RELU, **environment)) == 0


RACE = """
import sys
import numpy as np, numact as na
print("ready", flush=True)
sys.stdin.read()
print([float(function(np.array([-1.0, 2.0], kind))[1]) for kind in ("float32", "float64")
       for function in (na.relu, lambda x: na.leaky_relu(x, 0.1))])
"""


def test_eight_processes_fill_one_cache(tmp_path):
    """Half of them compile for another CPU, so that two kernels want to be the first entry of one name."""
    kinds = [{"NUMBA_CACHE_DIR": str(tmp_path)}, {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "generic"}]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", RACE]
    processes = [subprocess.Popen(command, text=True, env={**os.environ, **kinds[i % 2]}, **pipes) for i in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.close()
    for process in processes:
        assert process.stdout.read() == "[2.0, 2.0, 2.0, 2.0]\n", process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == 0
    # For each CPU four kernels, and a loop for each of their kinds of arguments.
    assert len(entries(tmp_path)) == len(list(tmp_path.rglob("*.*"))) == 16
    assert {fresh(run(RELU, **kind)) for kind in kinds} == {0}


def test_dtypes_of_one_size_do_not_share_an_entry(tmp_path):
    """Kernels see both half types as 16-bit integers."""
    code = "import numpy as np, ml_dtypes, numact as na\nprint(na.tanh(np.arange(3).astype('{}')).astype(float))"
    for kind in ("float16", "bfloat16") * 2:
        expected = np.tanh(np.arange(3.0)).astype(dtype_of(kind)).astype(float)
        assert run(code.format(kind), NUMBA_CACHE_DIR=str(tmp_path)) == str(expected)


LITERAL = """
import numba, numpy as np, numact as na
@na.activation
def line(x):
    return {slope}.0 * x
"""
CLOSURE = """
import numba, numpy as np, numact as na
def make(slope):
    @na.activation
    def line(x):
        return slope * x
    return line
line = make({slope})
"""
DEFAULT = """
import numba, numpy as np, numact as na
@na.activation
def line(x, slope={slope}.0):
    return slope * x
"""
CALLEE = """
import numba, numpy as np, numact as na
def slope(x):
    return {slope}.0 * x
@na.activation
def line(x):
    return slope(x)
"""
COMPILED_CALLEE = CALLEE.replace("def slope", "@numba.njit\ndef slope")
COMPILED_GLOBAL = COMPILED_CALLEE.replace("{slope}.0 * x", "number * x").replace("@numba", "number = {slope}.0\n@numba")
VARIETIES = [LITERAL, CLOSURE, DEFAULT, CALLEE, COMPILED_CALLEE, COMPILED_GLOBAL]


@pytest.mark.parametrize("code", VARIETIES, ids=["literal", "closure", "default", "callee", "njit", "njit-global"])
def test_functions_that_differ_in_a_constant_do_not_share_an_entry(tmp_path, code):
    for slope in (2, 3, 2):
        printed = run(code.format(slope=slope) + "print(line(np.ones(1))[0])", NUMBA_CACHE_DIR=str(tmp_path))
        assert float(printed) == slope


EVERY_CALL = """
import itertools, ml_dtypes
from numact.base import Elementwise
names, kinds = {names!r}, {kinds!r}
def protected(x):
    x = x.copy(order="A")
    x.flags.writeable = False
    return x
def elementwise(function, kind):
    for size in (0, 10, 100_000):
        x = np.ones(size, kind)
        for one, other in itertools.product((x, protected(x)), repeat=2):
            function(one), function.grad(one, out=x.copy()), function.backward(one, other)
    square = np.ones((300, 400), kind)
    for x in (square, square.T, square[:, ::2], square[::-1], np.asfortranarray(square), square[:2, :2]):
        function(x), function.backward(x, x)
def rowwise(function, kind):
    for shape in ((3, 4), (300, 400), (2, 100_000), (100_000, 2), (40, 50, 60), (5,), (0, 3)):
        x = np.ones(shape, kind)
        for axis in range(x.ndim):
            for one, other in itertools.product((x, protected(x)), repeat=2):
                function(one, axis), function.backward(one, other, axis)
def calls():
    for name, kind in itertools.product(names, kinds):
        function = na.registry[name]
        (elementwise if isinstance(function, Elementwise) else rowwise)(function, kind)
        if name == "gelu":
            function.grad(np.ones(100_000, kind), approximate="tanh")
"""
WARM = [
    (["leaky_relu", "gelu"], ["float32", "bfloat16"]),
    (["softmax"], ["float16", "float64"]),
]


@pytest.mark.parametrize(("names", "kinds"), WARM, ids=["elementwise", "rowwise"])
def test_after_warmup_nothing_compiles(tmp_path, names, kinds):
    """Warmed with one thread, where parallel kernels do not run, and called with two."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run(f"import numact as na; na.warmup({names!r}, {kinds!r}, 'cpu')", NUMBA_NUM_THREADS="1", **environment)
    code = EVERY_CALL.format(names=names, kinds=kinds) + "calls()"
    counted = COUNT.format(body="exec(code)").replace("import numact", f"code = {code!r}\nimport numact")
    assert run(counted, NUMBA_NUM_THREADS="2", **environment) == "0"


SHARED = """
from collections import Counter
from numba.core import event
import numpy as np, numact as na
def compiled_for(function, x, **given):
    with event.install_recorder("numba:compile") as seen:
        function.backward(x, x, **given)
    functions = [item.data["dispatcher"].py_func for _, item in seen.buffer if item.is_start]
    return [(str(function.__module__).rpartition(".")[2], function.__name__) for function in functions]
rows, columns = np.ones((30, 5), np.float32), np.ones((20_000, 40), np.float32)
made = compiled_for(na.softmax, rows) + compiled_for(na.softmax, rows, mask=rows > 0)
made += compiled_for(na.softmax, columns[:99], axis=0) + compiled_for(na.softmax, columns, axis=0)
assert {("cpu_rows", name) for name in ("strip", "tall", "strip_weights")} <= {*made}
assert {("cpu_row_layouts", name) for name in ("turned", "masked")} <= {*made}
of_rows = Counter(name for module, name in made if module == "cpu_rows" and name != "move")
print(*[name for name, count in of_rows.items() if count > 1])
made = compiled_for(na.log_softmax, rows) + compiled_for(na.log_softmax, rows, mask=rows > 0)
print(*[name for module, name in made if module == "cpu_row_layouts"])
"""


def test_row_kernels_share_what_they_are_made_of(tmp_path):
    """Short rows, masks and columns compile each loop once, and other formulas nothing more to turn or mask rows."""
    assert run(SHARED, NUMBA_CACHE_DIR=str(tmp_path)).split() == []


def test_warmup_covers_the_registry():
    jobs = plan(targets="cpu")
    assert {(job.function.__name__, job.dtype) for job in jobs} == {
        (name, kind) for name in na.registry for kind in ("float16", "bfloat16", "float32", "float64")
    }


@pytest.mark.parametrize("sizes", [(), (10,), (1_000_000,)])
def test_warmup_of_a_function_of_ones_own(sizes):
    """Also of one that was called: with a small array, or with a large one on many threads."""

    @na.activation
    def cube(x):
        return x * x * x

    for size in sizes:
        cube(np.ones(size, np.float32))
    na.warmup(cube, np.float32, "cpu")
    kernel = cpu.kernel(cube._value, "float32")
    assert kernel.serial and kernel.parallel
    with event.install_recorder("numba:compile") as compiled:
        cube(np.ones(10, np.float32))
        cube(np.ones(1_000_000, np.float32))
    assert not compiled.buffer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"functions": ["gelu", "glue"]}, ["'glue'", *na.registry]),
        ({"functions": 3}, ["3", *na.registry]),
        ({"dtypes": ["float32", "int8"]}, ["'int8'", "float16", "bfloat16", "float32", "float64"]),
        ({"dtypes": np.int64}, ["'int64'"]),
        ({"targets": "gpu"}, ["'gpu'", "cpu", "cuda"]),
    ],
)
def test_warmup_of_what_is_unknown(arguments, words):
    with pytest.raises(ValueError, match="unknown") as caught:
        na.warmup(**arguments)
    assert all(word in str(caught.value) for word in words)


SIMULATOR = """
from numba.cuda.simulator.kernel import FakeCUDAKernel
launch, launched = FakeCUDAKernel.__call__, []
def record(kernel, *arguments):
    if not kernel._device:
        launched.append(kernel.fn)
    return launch(kernel, *arguments)
FakeCUDAKernel.__call__ = record
import numact as na
na.warmup(["relu", "softmax"], ["float32", "float64"], "cuda")
print(len(set(launched)))
"""


def test_warmup_on_a_gpu():
    """The simulator stands for the GPU: value, derivative and products of relu, value and gradients of softmax."""
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
    assert run(SIMULATOR, NUMBA_ENABLE_CUDASIM="1") == "14"


def test_warmup_without_a_gpu():
    code = "import sys; sys.modules['numba.cuda'] = None; import numact as na; na.warmup('relu', 'float32', 'cuda')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert "RuntimeError: cannot compile for the target 'cuda'" in done.stderr


def test_warmup_command(tmp_path):
    def command(*arguments):
        command = [sys.executable, "-m", "numact", "warmup", *arguments]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)

    done = command("relu", "--dtype", "float32", "--target", "cpu")
    assert (done.returncode, done.stdout) == (0, "")
    assert fresh(run(RELU, NUMBA_CACHE_DIR=str(tmp_path))) == 0
    done = command("relu", "rleu")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'rleu'" in done.stderr
    assert "leaky_relu" in done.stderr
