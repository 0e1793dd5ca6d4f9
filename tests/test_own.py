"""Activations of the user's own: declared anywhere, with whatever the built-in ones have."""

import linecache

import numba
import numpy as np
import pytest
from conftest import DTYPES, dtype_of
from processes import run

import numact as na
from numact.base import Elementwise
from numact.binding import FormulaError
from numact.elementary import exp, log1p

RANDOM = np.random.default_rng(31)


@na.activation(range=(0.0, 1.0), paper="none", use="tests")
def bump(x, width=1.0):
    """A bump: exp(-x^2 / width)."""
    return exp(-x * x / width)


@bump.derivative
def bump_grad(x, width=1.0):
    return -2.0 * x / width * exp(-x * x / width)


@na.activation
def mixed(x, y, weight, scale=1.0):
    """Of three arrays and a parameter."""
    return scale * (weight * x + (1.0 - weight) * log1p(abs(y)))


@mixed.derivative
def mixed_grad(x, y, weight, scale=1.0):
    sign = 1.0 if y > 0.0 else -1.0
    return scale * weight, scale * (1.0 - weight) * sign / (1.0 + abs(y)), scale * (x - log1p(abs(y)))


def normal(*shape, kind="float32"):
    return RANDOM.normal(size=shape).astype(dtype_of(kind))


@pytest.mark.parametrize("kind", DTYPES)
def test_it_has_what_the_others_have(kind):
    x, grad = normal(2, 300, 500, kind=kind)
    wide = x.astype(np.float64)
    unit = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6, "float64": 1e-14}[kind]
    value, slope = np.exp(-(wide**2) / 2), -wide * np.exp(-(wide**2) / 2)
    close = {"rtol": unit, "atol": unit}
    np.testing.assert_allclose(bump(x, 2.0).astype(np.float64), value, **close)
    np.testing.assert_allclose(bump.grad(x, width=2.0).astype(np.float64), slope, **close)
    computed = bump.backward(grad, x, 2.0)
    assert computed.dtype == x.dtype
    np.testing.assert_allclose(
        computed.astype(np.float64), grad.astype(np.float64) * slope, rtol=4 * unit, atol=4 * unit
    )
    np.testing.assert_array_equal(bump(x[:, 3:77]), bump(x)[:, 3:77])
    moved, total = bump.backward(grad, x, bias=x[0])
    assert (moved.shape, total.shape) == (x.shape, x[0].shape)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_several_arrays(kind):
    x, y, grad = normal(3, 200, 300, kind=kind)
    weight = normal(300, kind=kind)
    wide = [item.astype(np.float64) for item in (grad, x, y, weight)]
    slopes = (
        wide[3] + 0 * wide[1],
        (1 - wide[3]) * np.sign(wide[2]) / (1 + abs(wide[2])),
        wide[1] - np.log1p(abs(wide[2])),
    )
    tolerance = {"rtol": 64 * np.finfo(kind).eps, "atol": 64 * np.finfo(kind).eps}
    value = 3 * (wide[3] * wide[1] + (1 - wide[3]) * np.log1p(abs(wide[2])))
    np.testing.assert_allclose(mixed(x, y, weight, scale=3.0), value, **tolerance)
    by_x, by_y, by_weight = mixed.backward(grad, x, y, weight, 3.0)
    np.testing.assert_allclose(by_x, 3 * wide[0] * slopes[0], **tolerance)
    np.testing.assert_allclose(by_y, 3 * wide[0] * slopes[1], **tolerance)
    np.testing.assert_allclose(by_weight, (3 * wide[0] * slopes[2]).sum(0), rtol=1e-5, atol=1e-4)
    assert len(mixed.grad(x, y, weight)) == 3


def test_scalars_in_compiled_code():
    """In the caller's dtype, with the bits of the array's call."""
    scalar, one, gelu = bump.scalar, exp.scalar, na.gelu.scalar

    @numba.njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = scalar(x[i]) + one(x[i]) + gelu(x[i])

    @numba.vectorize
    def together(x):
        return scalar(x) + one(x) + gelu(x)

    for kind in ("float32", "float64"):
        x = normal(1000, kind=kind)
        out = np.empty_like(x)
        loop(x, out)
        ones = np.array([one(value) for value in x], kind)
        np.testing.assert_array_equal(out, bump(x) + ones + na.gelu(x))
        np.testing.assert_array_equal(together(x), out)
        assert together(x).dtype == kind


def test_without_a_derivative():
    square = na.activation(lambda x: x * x)
    for call in (
        lambda: square.grad(1.0),
        lambda: square.backward(1.0, 1.0),
        lambda: square.backward(1.0, 1.0, bias=1.0),
    ):
        with pytest.raises(TypeError, match=r"no derivative; declare one with .*\.derivative above a formula of \(x\)"):
            call()


def test_a_derivative_of_other_arguments():
    double = na.activation(lambda x, factor=2.0: factor * x)
    with pytest.raises(FormulaError, match="x, factor"):
        double.derivative(lambda x: 2.0)
    with pytest.raises(FormulaError, match="output, factor"):
        double.derivative_from_output(lambda y, factor=2.0: factor)


def test_a_derivative_declared_again_takes_the_place_of_the_first():
    double = na.activation(lambda x: x + x)
    for slope, formula in ((2.0, lambda x: 2.0), (3.0, lambda x: 3.0)):
        double.derivative(formula)
        assert (double.grad(1.0), double.backward(2.0, 1.0)) == (slope, 2.0 * slope)
        assert double.backward(2.0, 1.0, bias=1.0) == (2.0 * slope, 2.0 * slope)


def test_a_form_for_calls_without_parameters():
    scaled = na.activation(lambda x, factor=2.0: factor * x)
    with pytest.raises(FormulaError, match=r"must be the arrays of .*: x"):
        scaled.at_defaults(lambda x, factor=2.0: x + x)
    with pytest.raises(FormulaError, match=r"must be the arrays of .*: x"):
        scaled.at_defaults(lambda y: y + y)
    assert scaled(1.0) == 2.0
    form = scaled.at_defaults(lambda x: x + x + 1.0)  # its bits tell which of the two is called
    form.derivative(lambda x: 3.0)
    scaled.derivative(lambda x, factor=2.0: factor)
    assert (scaled(1.0), scaled(1.0, 2.0), scaled(1.0, factor=3.0)) == (3.0, 2.0, 3.0)
    assert (scaled(1.0, bias=1.0), scaled(1.0, factor=2.0, bias=1.0)) == (5.0, 4.0)
    assert (scaled.grad(1.0), scaled.grad(1.0, 2.0)) == (3.0, 2.0)
    assert (scaled.backward(2.0, 1.0), scaled.backward(2.0, 1.0, 2.0)) == (6.0, 4.0)


def test_calls_without_parameters_take_the_defaults_as_constants():
    scaled = na.activation(lambda x, factor=2.0: factor * x)
    assert (scaled.common._value.parameters, scaled(1.0), scaled(1.0, bias=1.0)) == ((), 2.0, 4.0)
    for call in (lambda: scaled.grad(1.0), lambda: scaled.backward(1.0, 1.0)):
        with pytest.raises(TypeError, match=r"has no derivative.*\(x, factor\)"):
            call()
    for slope in (3.0, 4.0):  # the second time in place of the first
        scaled.derivative(eval(f"lambda x, factor=2.0: {slope} * factor"))
        assert (scaled.grad(1.0), scaled.backward(2.0, 1.0), scaled.grad(1.0, 1.0)) == (2 * slope, 4 * slope, slope)
        assert scaled.backward(2.0, 1.0, bias=1.0) == (4 * slope, 4 * slope)
    with pytest.raises(TypeError, match="needs x"):
        scaled.backward(1.0, output=1.0)
    scaled.derivative_from_output(lambda output, factor=2.0: 5.0 * factor)
    assert (scaled.backward(2.0, output=1.0), scaled.backward(2.0, output=1.0, factor=1.0)) == (20.0, 10.0)
    needed = na.activation(lambda x, /, factor: factor * x)
    assert (needed.common, needed(1.0, 2.0)) == (needed, 2.0)


class Changing:
    """A number that has a hash and may change."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value


def test_arguments_are_not_taken_for_equal_ones():
    """What a call made of its arguments is remembered for the next one that has the same."""
    scaled = na.activation(lambda x, factor=2.0: factor * x)
    signs = [float(np.copysign(1.0, scaled(1.0, factor))) for factor in (0, -0.0, 0.0, -0.0)]
    assert signs == [1.0, -1.0, 1.0, -1.0]
    factor, number = np.array(3.0), Changing(3.0)
    for value in (3.0, 4.0):
        factor[()] = number.value = value
        assert (scaled(1.0, factor), scaled(1.0, number), scaled(1.0, factor=number)) == (value, value, value)
    with pytest.raises(TypeError, match="no parameter 'factors'"):
        scaled(1.0, factors=3.0)
    for sign in (-1.0, -3.0):  # the second time in place of the first
        scaled.variant(form="other")(eval(f"lambda x, factor=2.0: {sign} * factor * x"))
        assert (scaled(1.0, 4.0), scaled(1.0, 4.0, "other"), scaled(1.0, form="other")) == (4.0, 4 * sign, 2 * sign)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_forms_for_calls_without_parameters_give_the_same_bits(kind):
    functions = [item for item in na.registry.values() if isinstance(item, Elementwise) and item.common is not item]
    assert na.silu in functions
    tail = -100.0 if kind == "float32" else -740.0
    x = np.concatenate([normal(100_000, kind=kind) * scale for scale in (1, 10, 1e3, 1e30)])
    x = np.concatenate([x, np.linspace(tail, 0, 100_000), [0.0, -0.0, np.inf, -np.inf, np.nan]]).astype(kind)
    for function in functions:
        given = function._defaults
        for plain, general in (
            (function(x), function(x, **given)),
            (function.grad(x), function.grad(x, **given)),
            (function.backward(x[::-1], x), function.backward(x[::-1], x, **given)),
            (function(x[-2000:]), np.array([function.scalar(value) for value in x[-2000:]], kind)),
        ):
            np.testing.assert_array_equal(plain, general)
            signs = [np.signbit(values[~np.isnan(values)]) for values in (plain, general)]  # NaN may have any
            np.testing.assert_array_equal(*signs)


@pytest.mark.parametrize("name", ["out", "bias", "output", "grad_output"])
def test_names_that_calls_need(name):
    with pytest.raises(FormulaError, match=f"'{name}'"):
        na.activation(eval(f"lambda x, {name}=1.0: x * {name}"))


def test_from_the_output():
    double = na.activation(lambda x, rate=1.0: exp(rate * x))
    double.derivative(lambda x, rate=1.0: rate * exp(rate * x))
    double.derivative_from_output(lambda output, rate=1.0: rate * output)
    x = normal(100)
    grad = normal(100)
    computed = double.backward(grad, output=double(x, 2.0), rate=2.0)
    np.testing.assert_allclose(computed, double.backward(grad, x, 2.0), rtol=3e-7)


REFUSED = [
    ("x ** 2.0", r"the operator \*\*"),
    ("x % 2.0", "the operator %"),
    ("x // 2.0", "the operator //"),
    ("x.real", "attribute"),
    ("[x][0]", "list"),
    ("f'{x}'", "format"),
    ("None", "None"),
    ("'a' if x > 0.0 else x", "'a'"),
    ("mystery(x)", "'mystery' is unknown"),
    ("round(x)", "'round'"),
    ("sum((1.0, 2.0))", "'sum'"),
    ("x is x", "is"),
]


@pytest.mark.parametrize(("expression", "words"), REFUSED)
def test_what_cannot_be_compiled_fails_when_declared(expression, words):
    source = f"def wrong(x):\n    y = x + 1.0\n    return {expression}\n"
    scope = {}
    linecache.cache["<wrong>"] = len(source), None, source.splitlines(True), "<wrong>"
    exec(compile(source, "<wrong>", "exec"), scope)
    with pytest.raises(FormulaError, match=words) as caught:
        na.activation(scope["wrong"])
    assert "wrong, line 3: " in str(caught.value)
    assert f"    return {expression}" in str(caught.value)
    assert "straight-line" in str(caught.value)


def test_names_that_kernels_use_themselves():
    @na.activation
    def clash(index, size, /, low=2.0, number0=0.5):
        return index * low + size * number0

    @clash.derivative
    def clash_grad(index, size, /, low=2.0, number0=0.5):
        return low, number0

    x, other = np.random.default_rng(0).normal(size=(2, 300, 400)).astype(np.float32)
    np.testing.assert_allclose(clash(x, other, 0.5, number0=3.0), x * 0.5 + other * 3, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(clash(x, other[0]), x * 2 + other[0] * 0.5, rtol=1e-6, atol=1e-6)
    by_x, by_other = clash.backward(x, x, other[0])
    np.testing.assert_array_equal(by_x, 2 * x)
    np.testing.assert_allclose(by_other, 0.5 * x.sum(axis=0), rtol=1e-5, atol=1e-5)


SCRIPT = """
import sys
import numpy as np, numact as na
from numact.elementary import exp

def make(factor):
    @na.activation
    def same(x):
        return factor * exp(x)
    return same

@na.activation
def same(x):
    return x + 1.0

first = same

@na.activation
def same(x):
    return x + 2.0

x = np.zeros(3, np.float32)
scope = {"na": na}
exec(compile("same = na.activation(lambda x: x - 1.0)", "<cell 1>", "exec"), scope)
one = scope["same"]
exec(compile("same = na.activation(lambda x: x - 2.0)", "<cell 1>", "exec"), scope)
print(first(x)[0], same(x)[0], make(3.0)(x)[0], make(4.0)(x)[0], one(x)[0], scope["same"](x)[0])
from numact.targets import cpu
kernel = cpu.kernel(same._value, "float32").function
print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_one_name_many_times_in_scripts_cells_and_functions(tmp_path):
    """The cache of the first process serves the second, and never with another's machine code."""
    script = tmp_path / "own.py"
    script.write_text(SCRIPT)
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    for hits in ("0 1", "1 0"):
        values, counts = run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache")).splitlines()
        assert values == "1.0 2.0 3.0 4.0 -1.0 -2.0"
        assert counts == hits
