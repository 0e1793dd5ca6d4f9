"""logsumexp: figures, special values, one axis, several and all."""

import itertools
import math

import numba
import numpy as np
import pytest
from conftest import DTYPES, dtype_of, read_only
from scipy import special

import numact as na
from numact.accuracy import ACCURACY

INF, NAN = math.inf, math.nan
SHAPES = [((300, 4), 1), ((300, 33), 1), ((100, 1000), 1), ((4, 65_536), 1), ((1000, 60), 0), ((5, 300, 7), 1)]
SHAPES += [((65_536, 3), 0), ((70_000,), 0), ((600_001,), None), ((3, 200_000), None), ((100_000, 3), 0)]
SHAPES += [((6, 50, 7, 80), (0, 2)), ((6, 50, 7, 80), (3, 0)), ((6, 50, 7, 80), (1, 2)), ((40, 30, 300), (0, 2))]
SHAPES += [((2, 5, 200_000), (0, 2)), ((6, 7), ()), ((1, 9, 1), (0, 2)), ((5,), -1)]


def normal(*shape, kind="float32", spread=1.0, seed=7):
    return read_only((np.random.default_rng(seed).normal(size=shape) * spread).astype(kind))


def exact(x, axis):
    """Return the value, the softmax, and the size of the terms that cancel, all in long double with all axes kept."""
    wide = x.astype(np.longdouble)
    largest = wide.max(axis=axis, keepdims=True)
    powers = np.exp(wide - largest)
    total = powers.sum(axis=axis, keepdims=True)
    return largest + np.log(total), powers / total, np.maximum(np.abs(largest), np.log(total))


def ulp(computed, truth, size):
    kind = computed.dtype
    unit = np.spacing(np.maximum(np.abs(size), np.finfo(kind).tiny).astype(kind)).astype(np.longdouble)
    return float((np.abs(computed - truth) / unit).max())


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(("spread", "shift"), [(1.0, 0.0), (5.0, -300.0)])
def test_accuracy(shape, axis, kind, spread, shift):
    x = (normal(*shape, spread=spread) + np.float32(shift)).astype(kind)
    truth, share, size = exact(x, axis)
    value = na.logsumexp(x, axis, keepdims=True)
    assert value.dtype == x.dtype
    assert value.shape == truth.shape
    bound = ACCURACY["logsumexp"]
    assert ulp(value, truth, size) <= bound.value
    np.testing.assert_array_equal(na.logsumexp(x, axis), value.squeeze(axis))
    grad = normal(*value.shape, kind=kind, seed=3)
    gradient = na.logsumexp.backward(grad, x, axis, keepdims=True)
    assert gradient.shape == x.shape
    assert ulp(gradient, grad * share, grad * share) <= bound.derivative
    np.testing.assert_array_equal(na.logsumexp.backward(grad.squeeze(axis), x, axis), gradient)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "axis"), [((50, 200), 1), ((200, 50), 0), ((70, 9), 1), ((6, 7, 8), (0, 2))])
def test_half_is_float32_rounded_once(kind, shape, axis):
    x = normal(*shape, spread=3.0).astype(dtype_of(kind))
    value = na.logsumexp(x, axis)
    assert value.dtype == x.dtype
    np.testing.assert_array_equal(value, na.logsumexp(x.astype(np.float32), axis).astype(x.dtype))
    gradient = na.logsumexp.backward(value, x, axis)
    wide = na.logsumexp.backward(value.astype(np.float32), x.astype(np.float32), axis)
    np.testing.assert_array_equal(gradient, wide.astype(x.dtype))


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("length", [2, 50, 100_000])
def test_special_values(kind, length):
    """They are SciPy's."""
    dtype = dtype_of(kind)
    for one, other in itertools.product([0.0, -INF, INF, NAN, -1000.0, 1000.0], repeat=2):
        x = np.full(length, one, dtype)
        x[length - 1] = other
        expected = special.logsumexp(x.astype(np.float64))
        unit = 2 * float(np.finfo(dtype).eps) if kind != "bfloat16" else 2**-6
        np.testing.assert_allclose(float(na.logsumexp(x)), expected, rtol=unit)
        np.testing.assert_allclose(na.logsumexp(x[:, None], 0).astype(np.float64), [expected], rtol=unit)


@pytest.mark.parametrize(("shape", "axis"), [((0,), 0), ((3, 0), 1), ((3, 0), None), ((0, 3), 0), ((2, 0, 3), (0, 1))])
def test_of_no_entries_it_is_minus_infinity(shape, axis):
    x = np.zeros(shape, np.float32)
    value = na.logsumexp(x, axis)
    # SciPy 1.17 fails at several axes of no entries, and NumPy's sum has the shape.
    np.testing.assert_array_equal(value, np.full(x.sum(axis).shape, -np.inf))
    assert value.dtype == np.float32
    assert na.logsumexp.backward(value, x, axis).shape == shape


def test_no_rows():
    assert na.logsumexp(np.zeros((0, 3))).shape == (0,)
    assert na.logsumexp.backward(np.zeros(0), np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("axis", [-1, 0, 1, None, (0, 2), (1, 2)])
def test_any_layout_gives_the_same_values(axis):
    plain = normal(8, 30, 50)
    for x in (np.asfortranarray(plain), plain[::-1], plain[:, ::2], plain.transpose(1, 0, 2), plain.astype(">f4")):
        copy = np.ascontiguousarray(x, dtype=np.float32)
        np.testing.assert_allclose(na.logsumexp(x, axis), na.logsumexp(copy, axis), rtol=1e-6)
        grad = na.logsumexp(copy, axis)
        np.testing.assert_allclose(
            na.logsumexp.backward(grad, x, axis), na.logsumexp.backward(grad, copy, axis), rtol=1e-6, atol=1e-30
        )


@pytest.mark.parametrize("axis", [-1, 0, None, (0, 2)])
def test_out(axis):
    x = normal(8, 30, 50)
    expected = na.logsumexp(x, axis)
    for kind in (np.float32, np.float64, np.float16):
        out = np.empty(expected.shape, kind)
        assert na.logsumexp(x, axis, out=out) is out
        np.testing.assert_array_equal(out, expected.astype(kind))
    gradient = na.logsumexp.backward(expected, x, axis)
    for out in (x.copy(), np.empty(x.shape, np.float64), np.empty(x.shape[::-1], np.float32).T):
        given = out if out.dtype == np.float32 and out.flags.c_contiguous else x
        assert na.logsumexp.backward(expected, given, axis, out=out) is out
        np.testing.assert_array_equal(out, gradient)


def test_gradient_that_broadcasts():
    x = normal(4, 30)
    full = na.logsumexp.backward(np.full(4, 2.0, np.float32), x)
    for grad in (2.0, np.float32(2.0), np.full(1, 2.0, np.float32), [2.0]):
        np.testing.assert_allclose(na.logsumexp.backward(grad, x), full, rtol=1e-6)
    assert na.logsumexp.backward(2.0, x).dtype == np.float32


@pytest.mark.parametrize("kind", ["bool", "int8", "int32", "int64"])
def test_integers_promote(kind):
    x = np.array([[0, 1, 1], [1, 0, 0]], kind)
    value = na.logsumexp(x)
    assert value.dtype == np.tanh(x).dtype
    np.testing.assert_array_equal(value, na.logsumexp(x.astype(value.dtype)))


def test_python_numbers_and_lists():
    assert isinstance(na.logsumexp([1, 2]), np.float64)
    assert na.logsumexp(3.0, None) == 3.0


@pytest.mark.parametrize("shape", [(600, 1000), (1000, 600), (600_000,), (3_000_000, 1)])
def test_threads_change_no_bits(shape):
    x, threads, found = normal(*shape), numba.get_num_threads(), []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            found.append([na.logsumexp(x, axis) for axis in (0, -1, None)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*found, strict=True):
        np.testing.assert_array_equal(one, many)


def test_errors():
    x = np.ones((3, 4), np.float32)
    for call, error, message in [
        (lambda: na.logsumexp(x, 2), np.exceptions.AxisError, "axis 2"),
        (lambda: na.logsumexp(x, (0, -3)), np.exceptions.AxisError, "axis -3"),
        (lambda: na.logsumexp(x, (1, -1)), ValueError, "twice"),
        (lambda: na.logsumexp(x, 0.5), TypeError, "integer"),
        (lambda: na.logsumexp(x, keepdims="yes"), TypeError, "integer"),
        (lambda: na.logsumexp(x, out=x), ValueError, r"shape \(3, 4\)"),
        (lambda: na.logsumexp(x, out=[0] * 3), TypeError, "out must be a NumPy array"),
        (lambda: na.logsumexp(x, out=np.ones(3, int)), TypeError, "same_kind"),
        (lambda: na.logsumexp(x.astype(complex)), TypeError, "complex128"),
        (lambda: na.logsumexp.backward(np.ones(4), x), ValueError, r"grad_output of shape \(4,\)"),
        (lambda: na.logsumexp.backward(np.ones((3, 3)), x), ValueError, "does not broadcast"),
        (lambda: na.logsumexp.backward(np.ones(3), x, out=np.ones(3)), ValueError, "shape"),
        (lambda: na.logsumexp(x, mask=x > 0), TypeError, "no parameter 'mask'"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert not hasattr(na.logsumexp, "grad")


def test_input_is_let_be():
    x = normal(300, 70)
    before = x.copy()
    na.logsumexp(x), na.logsumexp.backward(1.0, x)
    np.testing.assert_array_equal(x, before)
