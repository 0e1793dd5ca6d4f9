"""Formulas bound to a number type, and what cannot be bound."""

import numba
import numpy as np
import pytest

import numact as na
from numact.binding import Formula, FormulaError, bind
from numact.elementary import exp
from numact.primitives import ByType, Polynomial

SCALE = 2
OFFSET = ByType(float32=1.0, float64=10.0)


def doubled(x):
    return 2 * x


def outer(x):
    return doubled(x) * SCALE + 1


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_literals_constants_and_callees_take_the_type(number):
    bound = bind(outer, number)
    assert {type(value) for value in bound.__code__.co_consts if isinstance(value, np.floating)} == {number}
    assert type(bound.__globals__["SCALE"]) is number
    compiled = numba.njit(bound)
    compiled.compile((numba.from_dtype(np.dtype(number)),))
    assert compiled.nopython_signatures[0].return_type == numba.from_dtype(np.dtype(number))
    assert compiled(number(3)) == 13


def test_small_integers_stay_narrow():
    function = na.activation(lambda x: 2 * x + 1)
    assert function(np.array([3], np.float32)).dtype == np.float32
    assert function(np.array([3], np.float32))[0] == 7


def test_closures():
    def make(factor):
        return Formula(lambda x: factor * x)

    three, four = make(3), make(4)
    assert (three(2.0), four(2.0)) == (6.0, 8.0)
    assert three.fingerprint(np.float32) != four.fingerprint(np.float32)


def test_constants_by_type():
    function = na.activation(lambda x: x + OFFSET)
    assert function(np.zeros(1, np.float32))[0] == 1
    assert function(np.zeros(1, np.float64))[0] == 10


@pytest.mark.parametrize("degree", range(1, 12))
def test_polynomial_is_the_polynomial(degree):
    coefficients = tuple(float(k + 1) for k in range(degree + 1))
    series = Polynomial(float32=coefficients, float64=coefficients)
    function = Formula(eval("lambda x: series(x)", {"series": series}))
    assert function(0.5) == pytest.approx(np.polynomial.Polynomial(coefficients)(0.5), rel=1e-15)


def test_formulas_can_be_called_from_python_and_compiled_code():
    @numba.njit
    def twice(x):
        return scalar(x) + scalar(x)

    scalar = na.leaky_relu.scalar
    assert twice(-1.0) == -0.02
    assert scalar(-1.0, negative_slope=0.5) == -0.5
    assert na.sigmoid.formula(0.0) == 0.5


@pytest.mark.parametrize("limit", [np.inf, -np.inf])
def test_infinite_defaults(limit):
    def at_most(x, limit=limit):
        return limit if x > limit else x

    scalar = Formula(at_most).scalar
    assert scalar(np.float32(1.0)) == min(1.0, limit)
    assert scalar(1.0, limit=0.5) == 0.5


def unknown_name(x):
    return x + mystery  # noqa: F821


def with_string(x):
    return x if x > 0 else "negative"


def with_while(x):
    while x > 1:
        x = x / 2
    return x


def with_for(x):
    for _ in range(3):
        x = x * x
    return x


def with_module(x):
    return np.exp(x)


def with_list(x):
    return x + TABLE


def with_builtin(x):
    return round(x)


TABLE = [1.0, 2.0]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (unknown_name, "'mystery' is unknown"),
        (with_string, "'negative' is not a real number"),
        (with_while, "loop"),
        (with_for, "loop"),
        (with_module, "from numact.elementary import exp"),
        (with_list, "'TABLE' is list"),
        (with_builtin, "'round'"),
    ],
)
def test_what_cannot_be_bound_fails_when_declared(function, words):
    before = list(na.registry)
    with pytest.raises(FormulaError, match="straight-line") as caught:
        na.activation(function)
    assert words in str(caught.value)
    assert f"{function.__name__}, line " in str(caught.value)
    assert list(na.registry) == before


def test_an_error_in_a_callee_is_found():
    with pytest.raises(FormulaError, match="with_while"):
        na.activation(lambda x: with_while(x))


def test_no_derivative():
    function = na.activation(lambda x: exp(x))
    for call in (function.grad, lambda x: function.backward(x, x)):
        with pytest.raises(TypeError, match="derivative"):
            call(np.zeros(3))
