"""`python -m numact explain` and `plot` as their user runs them, and what they say of every activation."""

import subprocess
import sys

import numpy as np
import pytest

import numact as na
from numact.explanation import curve, sections, special_values
from numact.references import REFERENCES

OWN = '''
import numact as na
from numact.elementary import exp

@na.activation(mechanism="Only inputs near 0 pass.")
def bump(x, width=1.0):
    """A bump."""
    return exp(-x * x / width)

@bump.derivative
def bump_grad(x, width=1.0):
    return -2.0 * x / width * exp(-x * x / width)

@na.activation
def steps(x):
    return 1.0 if x > 0.0 else 0.0

number = 3
'''


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "numact", *arguments], capture_output=True, text=True, timeout=300, cwd=folder
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with activations of the user's own."""
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("name", na.registry)
def test_everything_is_said(name):
    found = sections(na.registry[name])
    headings = ["What it does", "Where it is used", "Advantages", "Disadvantages", "Range", "Kinks"]
    assert list(found) == [*headings, "Largest error", "Paper"]
    mechanism = found["What it does"]
    assert mechanism.count(". ") >= 1, "a sentence or two on small and large inputs, and why it is used"
    assert mechanism.endswith(".")
    assert mechanism in " ".join(na.registry[name].__doc__.split())


@pytest.mark.parametrize("name", na.registry)
def test_curves(name):
    """Against the expressions that errors are measured against, and their central differences."""
    x = np.array([-4.7, -1.9, -0.3, 0.2, 1.7, 4.9])  # no kink among them
    reference, step = REFERENCES[name].value, 1e-6
    value, derivative, held = curve(na.registry[name], x)
    if "row" in held:
        rows = [np.stack([x + d, 0 * x, 0 * x], axis=1) for d in (0, step, -step)]
        exact, above, below = (reference(row) if name == "logsumexp" else reference(row)[:, 0] for row in rows)
    else:
        arguments = [0.5] * (len(na.registry[name]._sample(x)) - 1)
        exact, above, below = (
            reference(np.full_like(x, 0.5), x + d) if name == "glu" else reference(x + d, *arguments)
            for d in (0, step, -step)
        )
    np.testing.assert_allclose(value, exact, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(derivative, (above - below) / (2 * step), rtol=1e-5, atol=1e-8)


def test_special_values():
    assert special_values(na.gelu)["value"] == ("-0", "-0.158655", "-0", "0", "0.841345", "inf", "nan")
    assert special_values(na.relu)["derivative"] == ("0", "0", "0", "0", "1", "1", "nan")
    assert list(special_values(na.swiglu)) == ["x", "value, up = 0.5", "derivative"]


def test_explain(folder):
    done = run(folder, "explain", "gelu", "mine:bump")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    for words in ("gelu(x, approximate='none'", na.gelu.info.mechanism, na.gelu.info.paper, "1.8 ULP", "-0.158655"):
        assert words in text
    assert "A bump." in text
    assert "Only inputs near 0 pass." in text
    assert "steps" not in text


def test_plot(folder):
    from matplotlib.image import imread

    done = run(folder, "plot", "gelu", "silu", "mine:bump", "--grad", "-o", "picture.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "picture.png\n"
    both = imread(folder / "picture.png")
    done = run(folder, "plot", "mine:steps", "--span", "-2", "2", "-o", "steps.png")
    assert done.returncode == 0, done.stderr
    one = imread(folder / "steps.png")
    assert both.shape[1] > 1.5 * one.shape[1]  # the derivatives stand beside the values
    assert both.std() > 0.05
    assert one.std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "glu2"], "'glu2' is no activation; one of your own is MODULE:NAME, numact has relu, "),
        (["explain", "nowhere:f"], "cannot be imported: No module named 'nowhere'"),
        (["plot", "mine:nothing"], "cannot be imported"),
        (["plot", "mine:number"], "is no activation but of type int; make it one with @numact.activation"),
        (["plot", "mine:steps", "--grad"], "steps has no derivative; declare one with @steps.derivative"),
        (["plot", "relu", "--span", "3", "3"], "from 3 to 3 is empty"),
        (["plot", "relu", "-o", "missing/relu.png"], "No such file or directory"),
        (["plot", "relu", "-o", "relu.xyz"], "Format 'xyz' is not supported"),
    ],
)
def test_what_cannot_be_done(folder, arguments, message):
    done = run(folder, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"python -m numact {arguments[0]}: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
