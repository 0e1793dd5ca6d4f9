"""The examples as their reader runs them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "digits.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)


def test_digits_with_gelu(tmp_path):
    from matplotlib.image import imread

    output = tmp_path / "digits.png"
    done = run("--output", str(output))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) >= 0.96
    picture = imread(output)
    assert picture.shape[0] > 300
    assert picture.std() > 0.05
    assert list(tmp_path.iterdir()) == [output]


def test_unknown_activation():
    done = run("--activation", "step")
    assert done.returncode == 2
    assert "'sigmoid', 'tanh', 'gelu', 'gelu_tanh', 'silu', 'mish'" in done.stderr


def test_output_that_cannot_be_written(tmp_path):
    done = run("--output", str(tmp_path / "missing" / "digits.png"))
    assert done.returncode == 1
    assert done.stderr.startswith("cannot write")
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu_tanh"])
def test_every_hidden_activation_learns(name):
    specification = importlib.util.spec_from_file_location("digits", SCRIPT)
    digits = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(digits)
    history = digits.train(name, epochs=15)
    assert history[-1][2] >= 0.93
    assert history[-1][0] < history[0][0]
