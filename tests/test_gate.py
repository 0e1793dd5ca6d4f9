"""The gate's exact part, on a repository of its own: what it lets pass, what it stops, what it cannot measure."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ["x86-64-v3", "x86-64-v3 float64"]
# LLVM vectorises no loop with a remainder, which formulas cannot hold otherwise.
REMAINDER = '''

@intrinsic
def _remainder(typing_context, x):
    def generate(context, builder, signature, arguments):
        return builder.frem(arguments[0], arguments[0].type(3.0))

    return x(x), generate


@njit
def remainder(x):
    """Return the remainder of x over 3."""
    return _remainder(x)
'''


@pytest.fixture
def clone(tmp_path):
    """This tree as the last commit of a repository, but for relu6, which its registry lacks."""
    for name in ("numact", "asv_benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".asv"))
    edit(tmp_path / "numact/__init__.py", "leaky_relu, relu6, squared_relu", "leaky_relu, squared_relu")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "All but relu6"]):
        identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.com"]
        subprocess.run(["git", "-C", tmp_path, *identity, *command], check=True)
    return tmp_path


def edit(file, old, new):
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def gate(folder, *functions):
    """Run the gate's exact part for one CPU model; return the exit code and what it says."""
    command = ["asv_benchmarks/gate.py", "HEAD", "--exact", "--part", *PARTS, "--function", *functions]
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_an_unchanged_tree_passes(clone):
    code, said = gate(clone, "relu")
    assert (code, "0 figures worse" in said) == (0, True), said


def test_a_loop_that_is_vectorised_no_more_beside_a_new_function(clone):
    edit(clone / "numact/__init__.py", "leaky_relu, squared_relu", "leaky_relu, relu6, squared_relu")
    with open(clone / "numact/primitives.py", "a") as file:
        file.write(REMAINDER)
    rectifiers = clone / "numact/elementwise/rectifiers.py"
    edit(rectifiers, "    return 0.0 if x < 0.0 else x\n", "    return 0.0 if x < 0.0 else remainder(x)\n")
    edit(rectifiers, "from numact.primitives import clamp", "from numact.primitives import clamp, remainder")
    code, said = gate(clone, "relu", "relu6")
    assert code == 1, said
    for part in PARTS:
        assert f"relu value {part} registers for 64 bytes: " in said.partition("WORSE in changes not committed")[2]


def test_what_cannot_be_measured_does_not_pass(clone):
    code, said = gate(clone, "gelux")
    assert (code, "no activation of either side: gelux" in said) == (2, True), said
    edit(clone / "asv_benchmarks/loops.py", "    kernels = {}\n", "    raise OSError('there is no compiler')\n")
    code, said = gate(clone, "relu")
    assert (code, "there is no compiler" in said) == (2, True), said
