"""The benchmarks know every activation, and the exact figures the loops that a call runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numact as na

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"


def test_registry():
    code = "from benchmarks import common; print(*common.ALL)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(na.registry)


def test_threads():
    command = [sys.executable, "threads.py", "--function", "relu", "silu"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| relu", "| silu"))]
    assert [row[0][2:] for row in rows] == ["relu", "relu.grad", "silu", "silu.grad"]
    assert all(float(time) > 0 for row in rows for cell in row[2:] for time in cell.strip(" *|").split(" / "))


def test_loops_that_a_call_runs():
    code = (
        "import sys; sys.argv[1:] = ['x86-64-v3']; import loops; "
        "print({name: [loop.__name__ for loop in found] for name, found, _ in loops.row_loops(loops.na.softmax)})"
    )
    chosen = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True, env=os.environ | chosen
    )
    found = ast.literal_eval(done.stdout)
    assert {"weigh", "map_rows"} <= set(found["value"])
    assert {"find_largest", "strip_weights", "strip_divide"} <= set(found["value of columns"])
    assert not {"sum_weights", "strip_values"} & set(found["value of columns"])  # for a result in the input's place
