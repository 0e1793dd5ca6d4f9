"""The public face: names, signatures, documentation, imports."""

import doctest
import inspect
import pickle
import pydoc
import runpy
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import numact as na
from numact.base import Elementwise
from numact.references import REFERENCES


@pytest.fixture(params=list(na.registry))
def activation(request):
    """Each activation in turn, those that reduce included."""
    return na.registry[request.param]


def test_all_is_the_registry():
    public = {getattr(na, name).__name__ for name in na.__all__ if isinstance(getattr(na, name), na.Activation)}
    assert public == set(na.registry) - {"gelu_tanh"}
    assert sorted(na.__all__, key=lambda name: (name.islower(), name)) == na.__all__


def test_signatures(activation):
    """The references state the parameters and their defaults, too; gelu alone chooses between two of them."""
    names = ["x", *(str(parameter) for parameter in REFERENCES[activation.__name__].parameters)]
    names += ["approximate='none'"] if activation is na.gelu else []
    names = {"threshold": ["x", "/", "threshold", "value"], "glu": ["x", "axis=-1"]}.get(activation.__name__, names)
    names[0] = "gate" if "up" in names else "x"
    keywords = ["bias=None"] if isinstance(activation, Elementwise) and activation is not na.glu else []
    expected = f"({', '.join([*names, '*', *keywords, 'out=None', 'stream=None'])})"
    assert str(inspect.signature(activation)) == expected
    assert f"{activation.__name__}{expected}" in pydoc.plain(pydoc.render_doc(activation))


def test_stub_is_up_to_date():
    tool = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "stub.py"))
    stub = Path(na.__file__).with_suffix(".pyi").read_text()
    assert tool["stub"]() == stub, "run: python tools/stub.py > numact/__init__.pyi"


def test_documentation(activation):
    for heading in ("Parameters", "Returns", "Raises", "References"):
        assert heading in activation.__doc__
    info = activation.info
    assert all(len(text) > 5 for text in (info.paper, info.use, info.strengths, info.weaknesses))
    assert info.range[0] < info.range[1]


def test_example_in_the_documentation(activation):
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    examples = parser.get_doctest(activation.__doc__, {activation.__name__: activation}, activation.__name__, None, 0)
    assert runner.run(examples) == doctest.TestResults(failed=0, attempted=1)


def test_pickle(activation):
    assert pickle.loads(pickle.dumps(activation)) is activation


def test_scalar_in_compiled_code(activation):
    scalar = activation.scalar
    required = [
        item for item in inspect.signature(activation.formula).parameters.values() if item.default is item.empty
    ]

    @numba.njit
    def call(arguments):
        return scalar(*arguments)

    for kind in (np.float32, np.float64):
        arguments = (kind(0.3), kind(0.7), kind(2.0))[: len(required)]
        assert numba.typeof(call(arguments)) == numba.float64
        if isinstance(activation, Elementwise):
            count = len(activation._value.inputs)
            x = [np.array([value], kind) for value in arguments[:count]]
            numbers = [float(value) for value in arguments[count:]]
            expected = activation(np.concatenate(x)) if activation is na.glu else activation(*x, *numbers)
            assert call((*arguments, *map(kind, activation.formula.__defaults__ or ()))) == expected[0]


def test_ufunc(activation):
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    arguments, expected = activation._sample(x), activation(*activation._sample(x))
    if activation is na.glu:
        arguments, expected = (x, x), na.glu(np.concatenate([x, x], axis=-1))
    defaults = activation.formula.__defaults__ or ()
    result = activation.ufunc(*(np.float32(item) for item in (*arguments, *defaults)))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0 if isinstance(activation, Elementwise) else 5e-7)


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.5, 3.0])
def test_formula_is_plain_python(elementwise, x):
    assert elementwise.formula(x) == elementwise(x)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("call", ["", "na.gelu(__import__('numpy').ones(3))"])
def test_import_brings_nothing_optional(call):
    names = "numba.cuda cupy torch scipy rich ml_dtypes jax matplotlib sklearn mpmath"
    names += " pandas xarray dask distributed zarr bokeh"
    # Numba itself imports SciPy where it is installed.
    code = "import sys, numba\nbefore = set(sys.modules)\nimport numact as na\n"
    found = run(f"{code}{call}\nprint([n for n in {names.split()!r} if n in sys.modules.keys() - before])")
    assert found.strip() == "[]"


def test_import_adds_few_modules():
    """The count of modules stands for the time to import them, which varies."""
    code = "import sys, numba\nbefore = set(sys.modules)\nimport numact\nprint(len(set(sys.modules) - before))"
    assert int(run(code)) < 40
