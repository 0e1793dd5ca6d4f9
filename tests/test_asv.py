"""The benchmarks know every activation."""

import subprocess
import sys
from pathlib import Path

import numact as na

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"


def test_registry():
    code = "from benchmarks import common; print(*common.ALL)"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(na.registry)
