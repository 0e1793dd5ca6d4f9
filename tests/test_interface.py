"""The public face: names, signatures, documentation, imports."""

import ast
import doctest
import inspect
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import numact as na
from numact.base import Elementwise
from numact.projections import Projection

SIGNATURES = {
    "relu": "(x, *, out=None)",
    "leaky_relu": "(x, negative_slope=0.01, *, out=None)",
    "sigmoid": "(x, *, out=None)",
    "tanh": "(x, *, out=None)",
    "gelu": "(x, approximate='none', *, out=None)",
    "gelu_tanh": "(x, *, out=None)",
    "softmax": "(x, axis=-1, *, out=None)",
    "sparsemax": "(x, axis=-1, *, out=None)",
    "hardmax": "(x, axis=-1, *, out=None)",
}


def test_all_is_the_registry():
    public = {name for name in na.__all__ if isinstance(getattr(na, name), na.Activation)}
    assert public == set(na.registry) - {"gelu_tanh"}
    assert sorted(na.__all__, key=lambda name: (name.islower(), name)) == na.__all__


def test_signatures(activation):
    expected = SIGNATURES[activation.__name__]
    assert str(inspect.signature(activation)) == expected
    assert f"{activation.__name__}{expected}" in pydoc.plain(pydoc.render_doc(activation))


def test_stub_shows_the_same_signatures():
    """The stub that editors read, beside the signatures at run time."""
    tree = ast.parse(Path(na.__file__).with_suffix(".pyi").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    types = {node.target.id: ast.unparse(node.annotation) for node in tree.body if isinstance(node, ast.AnnAssign)}
    for name in set(na.registry) - {"gelu_tanh"}:
        methods = {node.name: node.args for node in classes[types[name]].body if isinstance(node, ast.FunctionDef)}
        for method, leading in (("__call__", []), ("grad", []), ("backward", ["grad_output"])):
            if method == "grad" and not isinstance(na.registry[name], Elementwise):
                assert method not in methods
                continue
            written = methods[method]
            # There x is optional, as the output may be given in its place.
            optional = bool(leading) and isinstance(na.registry[name], Projection)
            given = [argument.arg for argument in written.posonlyargs + written.args]
            expected = list(inspect.signature(na.registry[name]).parameters.values())
            assert given == ["self", *leading, *(item.name for item in expected if item.name != "out")]
            defaults = [ast.literal_eval(value) for value in written.defaults]
            assert defaults[optional:] == [item.default for item in expected if item.name not in ("x", "out")]
            keywords = [argument.arg for argument in written.kwonlyargs]
            assert keywords == (["output", "out"] if optional else ["out"])


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
    count = len(inspect.signature(activation.formula).parameters)

    @numba.njit
    def call(arguments):
        return scalar(*arguments)

    for kind in (np.float32, np.float64):
        arguments = (kind(0.3), kind(0.7), kind(2.0))[:count]
        assert numba.typeof(call(arguments)) == numba.float64
        if isinstance(activation, Elementwise):
            defaults = activation.formula.__defaults__ or ()
            assert call((kind(0.3), *map(kind, defaults))) == activation(np.array([0.3], kind))[0]


def test_ufunc(activation):
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    defaults = [np.float32(value) for value in activation.formula.__defaults__ or ()]
    result = activation.ufunc(x, *defaults)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, activation(x), rtol=5e-7 if activation is na.softmax else 0)


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
    # Numba itself imports SciPy where it is installed.
    code = "import sys, numba\nbefore = set(sys.modules)\nimport numact as na\n"
    found = run(f"{code}{call}\nprint([n for n in {names.split()!r} if n in sys.modules.keys() - before])")
    assert found.strip() == "[]"


def test_import_adds_few_modules():
    """The count of modules stands for the time to import them, which varies."""
    code = "import sys, numba\nbefore = set(sys.modules)\nimport numact\nprint(len(set(sys.modules) - before))"
    assert int(run(code)) < 40
