"""`python -m numact` as a real process, and the error measure that it prints."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import dtype_of

import numact as na
from numact.accuracy import ACCURACY
from numact.references import ulp_error


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "numact", *arguments], capture_output=True, text=True, timeout=300)


def test_json():
    done = run("--json", "--shape", "300x400", "--shape", "50x7")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["numact"] == na.__version__
    assert {"CPU", "SIMD", "threads", "GPU"} == set(report["hardware"])
    lines = [line for line in report["results"] if line["target"] == "cpu"]
    assert [line["activation"] for line in lines] == 2 * [name for name in na.registry if name != "glu"]
    assert {tuple(line["shape"]) for line in lines} == {(300, 400), (50, 7)}
    for line in lines:
        assert line["largest_error_ulp"] <= ACCURACY[line["activation"]].value
        assert line["milliseconds"] > 0
        assert line["times_numpy"] > 0
        assert line["share_of_copy"] > 0


def test_table():
    done = run("--shape", "300x400")
    assert done.returncode == 0, done.stderr
    for text in ("swiglu", "logsumexp", "300 x 400", "largest ULP", "threads"):
        assert text in done.stdout


@pytest.mark.parametrize("arguments", [["--shape", "big"], ["--shape", "0x5"], ["--fast"], ["gelu"]])
def test_bad_arguments(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("package", ["rich", "scipy"])
def test_missing_package(package):
    code = f"import sys; sys.modules[{package!r}] = None; from numact.__main__ import main; sys.exit(main([]))"
    if package == "scipy":  # Numba would import it, too
        code = (
            f"import sys, numba; sys.modules[{package!r}] = None; from numact.__main__ import main; sys.exit(main([]))"
        )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr == f"python -m numact needs {package}: pip install 'numact[cli]'\n"


@pytest.mark.parametrize(
    ("kind", "computed", "truth", "error"),
    [
        ("float32", 1.0, 1 + 2.0**-24, 0.5),
        ("float32", 0.0, 2.0**-150, 0.5),
        ("float32", 2.0**-149, 0.0, 1.0),
        ("float32", 2.0, 2 - 2.0**-24, 0.5),
        ("float32", np.inf, 2.0**128, 0.0),
        ("float32", np.inf, 1.0, np.inf),
        ("float32", np.nan, 1.0, np.inf),
        ("float32", np.nan, np.nan, 0.0),
        ("float32", -np.inf, -np.inf, 0.0),
        ("float16", 1.0, 1 + 2.0**-11, 0.5),
        ("float16", 2.0**-24, 2.0**-25, 0.5),
        ("bfloat16", 1.0, 1 + 2.0**-8, 0.5),
        ("float64", 0.0, 2.0**-1074, 1.0),
    ],
)
def test_ulp_error(kind, computed, truth, error):
    assert ulp_error(np.array([computed], dtype_of(kind)), np.array([truth]))[0] == error
