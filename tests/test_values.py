"""Special values, kinks, dtypes and identities that hold exactly."""

import math

import numpy as np
import pytest
from conftest import DTYPES, dtype_of, exact

import numact as na
from numact.accuracy import ACCURACY
from numact.base import Elementwise
from numact.references import REFERENCES, ulp_error

NAN, INF = math.nan, math.inf


def same(computed, expected):
    """Compare bits, sign of zero included, except a NaN's payload."""
    expected = np.asarray(expected, dtype=computed.dtype)
    np.testing.assert_array_equal(computed.astype(np.float64), expected.astype(np.float64))
    np.testing.assert_array_equal(np.signbit(computed), np.signbit(expected))


def expected(function, which, x, dtype):
    """Return the exact value or derivative, rounded to a dtype; what is far past its numbers is infinite or a zero."""
    number = np.float64 if dtype == np.float64 else np.float32
    truth = exact(function.__name__, which, x, number)
    far = INF if abs(truth) > 1e100 else 0.0 if abs(truth) < 1e-100 else None
    return np.asarray(float(truth) if far is None else math.copysign(far, truth), number).astype(dtype)


def agree(computed, truth, bound):
    """Compare zeros and infinities by bits, other numbers within a bound on the error in ULP."""
    if truth == 0 or np.isinf(truth):
        same(computed, truth)
    assert ulp_error(computed, np.float64(truth)) <= bound


@pytest.mark.parametrize("x", [-INF, INF, 0.0])
def test_limits_and_zero(elementwise, dtype, x):
    point, bound = max(min(x, 1e150), -1e150), ACCURACY[elementwise.__name__]
    value = expected(elementwise, "value", point, dtype)
    agree(elementwise(np.array(x, dtype)), value, bound.value)
    slope = expected(elementwise, "derivative", point, dtype)
    agree(np.abs(elementwise.grad(np.array(x, dtype))), np.abs(slope), bound.derivative)
    if value == 0 and slope > 0 == x:
        same(elementwise(np.array(-0.0, dtype)), -0.0)


def test_nan_stays_nan(elementwise, dtype):
    x = np.full(3, NAN, dtype)
    one = np.ones(3, dtype)
    for result in (elementwise(x), elementwise.grad(x), elementwise.backward(one, x), elementwise.backward(x, one)):
        assert np.isnan(result.astype(np.float64)).all()


def test_kinks(elementwise, dtype):
    """The derivative jumps at the kinks and nowhere else, and at each of them it is the one stated."""
    reference, kinks = REFERENCES[elementwise.__name__], elementwise.info.kinks
    x = np.arange(-640, 641) / 64
    jumps = ~np.isclose(reference.derivative(x + 1e-9), reference.derivative(x - 1e-9), rtol=1e-6, atol=1e-6)
    assert x[jumps].tolist() == sorted(kinks)
    stated = reference.derivative(
        np.array(kinks), *reference.defaults(np.float64 if dtype == np.float64 else np.float32)
    )
    same(elementwise.grad(np.array(kinks, dtype)), stated)


def test_range(elementwise):
    low, high = np.float32(elementwise.info.range)
    value = elementwise(np.append(np.linspace(-30, 30, 100_001, dtype=np.float32), np.float32([-INF, INF])))
    assert low <= value.min() <= low + 1e-4
    assert high - 1e-4 <= value.max() <= high


def test_derivative_is_the_slope(elementwise):
    x = np.random.default_rng(0).normal(0, 2, 10_000)
    x = x[np.all([np.abs(x - kink) > 1e-3 for kink in (0.0, *elementwise.info.kinks)], axis=0)]
    step = 1e-6
    slope = (elementwise(x + step) - elementwise(x - step)) / (2 * step)
    np.testing.assert_allclose(elementwise.grad(x), slope, atol=1e-8, rtol=1e-7)


def test_backward_is_the_product(elementwise):
    random = np.random.default_rng(1)
    x, grad_output = random.normal(size=(2, 1000)).astype(np.float32)
    np.testing.assert_array_equal(elementwise.backward(grad_output, x), grad_output * elementwise.grad(x))


def test_oddness_of_tanh():
    x = np.random.default_rng(2).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(na.tanh(-x), -na.tanh(x))


@pytest.mark.parametrize("kind", DTYPES)
def test_floating_dtypes_are_kept(activation, kind):
    x = np.ones((2, 3), dtype_of(kind))
    assert activation(x).dtype == x.dtype
    assert activation.backward(x, x).dtype == x.dtype


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers_promote_as_in_numpy(activation, kind):
    x = np.array([0, 1], kind)
    result = activation(x)
    assert result.dtype == np.tanh(x).dtype
    np.testing.assert_array_equal(result, activation(x.astype(result.dtype)))


def test_python_numbers_and_lists(activation):
    assert activation([[1, 2], [3, 4]]).dtype == np.float64
    if isinstance(activation, Elementwise):
        assert isinstance(activation(1.0), np.float64)
        assert activation(1.0) == activation(np.array([1.0]))[0]


def test_parameters():
    x = np.array([-2.0, 3.0], np.float32)
    same(na.leaky_relu(x, 0.5), [-1.0, 3.0])
    same(na.leaky_relu(x, negative_slope=0.25), [-0.5, 3.0])
    same(na.leaky_relu.grad(x, 0.25), [0.25, 1.0])
    same(na.leaky_relu.backward(x, x, negative_slope=0.25), [-0.5, 3.0])
    same(na.gelu(x, approximate="tanh"), na.registry["gelu_tanh"](x))
    same(na.gelu(x, "none"), na.gelu(x))
    assert not np.array_equal(na.gelu(x, "tanh"), na.gelu(x))


def test_softmax_special_values(dtype):
    def row(*values):
        return na.softmax(np.array(values, dtype)).astype(np.float64)

    assert np.isnan(row(1, INF, 2)).all()
    assert np.isnan(row(1, NAN, 2)).all()
    assert np.isnan(row(-INF, -INF)).all()
    np.testing.assert_array_equal(row(0, -INF, 0), [0.5, 0, 0.5])
    np.testing.assert_array_equal(row(-1000, 1000), [0, 1])
    np.testing.assert_array_equal(row(5), [1])


def test_softmax_of_a_shifted_row_is_the_same():
    x = np.arange(-8, 8, dtype=np.float32)
    np.testing.assert_array_equal(na.softmax(x), na.softmax(x + np.float32(1024)))


def test_no_floating_point_warning_escapes(activation):
    with np.errstate(all="raise"):
        x = np.array([[-INF, -1e38, -100, -1e-45, 0, 1e-45, 100, 1e38, INF, NAN]], np.float32)
        for _ in range(2):  # from the second on, NumPy calls the kernel of a small array
            activation(x)
            activation.backward(x, x)
        activation(x.astype(np.float64) * 1e200, out=np.empty(x.shape, np.float16))
