"""Sparsemax and hardmax against exact fractions, and what holds of them exactly."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from conftest import DTYPES, dtype_of, read_only
from hypothesis import given, settings
from hypothesis import strategies as st

import numact as na


def exact_threshold(row):
    """Return the threshold of a row of Fractions by sorting it (Martins and Astudillo, algorithm 1)."""
    total, threshold = Fraction(0), None
    for count, value in enumerate(sorted(row, reverse=True), 1):
        total += value
        if 1 + count * value > total:
            threshold = (total - 1) / count
    return threshold


def exact(x):
    """Return sparsemax of the rows of x as Fractions."""
    rows = [[Fraction(float(value)) for value in row] for row in x]
    return [[max(value - t, Fraction(0)) for value in row] for row, t in ((row, exact_threshold(row)) for row in rows)]


def errors(computed, truth, floor):
    """Return the errors in units in the last place of the exact values, those below `floor` counted as of that size."""
    found = []
    for y, t in zip(computed.ravel(), [value for row in truth for value in row], strict=True):
        unit = np.spacing(computed.dtype.type(max(float(t), floor)))
        found.append(float(abs(Fraction(float(y)) - t) / Fraction(float(unit))))
    return np.array(found)


def hard_rows(kind):
    """Return rows with small and large supports, ties, entries at the edge of the support, and far from 0."""
    random = np.random.default_rng(0)
    rows = [random.normal(size=(6, 70)) * scale for scale in (10, 1, 0.1, 1e-3, 1e-6)]
    rows += [random.normal(size=(3, 70)) * 0.3 + shift for shift in (1e-3, 7.0, 1000.0, -1e5)]
    edge = np.full((4, 70), -5.0)
    edge[:, :3] = 0.25, 0.25 - 1e-5, -0.75 + 1e-5  # the last of them lies near the threshold of the first
    edge[1:, 2] += [1e-6, 1e-7, -1e-7]
    rows += [edge, np.round(random.normal(size=(4, 70)) * 8) / 8]
    return read_only(np.concatenate(rows).astype(kind))


# Below the floor the error is absolute: of float32 4 * 2^-24 * 2^-22. The threshold is kept in two numbers, to about
# twice the digits of one.
@pytest.mark.parametrize(("kind", "floor"), [("float32", 2.0**-22), ("float64", 2.0**-50)])
def test_value_against_fractions(kind, floor):
    x = hard_rows(kind)
    found = errors(na.sparsemax(x), exact(x), floor)
    assert found.max() <= 1.0
    support = np.array([[value > 0 for value in row] for row in exact(x)])
    np.testing.assert_array_equal(na.sparsemax(x) > 0, support)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_types_round_the_float32_result_once(kind):
    x = np.random.default_rng(1).normal(size=(20, 300)).astype(dtype_of(kind))
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(na.sparsemax(x), na.sparsemax(wide).astype(x.dtype))
    np.testing.assert_array_equal(na.sparsemax.backward(x, x), na.sparsemax.backward(wide, wide).astype(x.dtype))


@pytest.mark.parametrize(("kind", "floor"), [("float32", 2.0**-22), ("float64", 2.0**-50)])
def test_gradient_against_fractions(kind, floor):
    x = hard_rows(kind)
    grad = np.random.default_rng(2).normal(size=x.shape).astype(kind)
    truth = []
    for row, ys in zip(grad, exact(x), strict=True):
        inside = [Fraction(float(g)) for g, y in zip(row, ys, strict=True) if y > 0]
        mean = sum(inside) / len(inside)
        truth.append([Fraction(float(g)) - mean if y > 0 else Fraction(0) for g, y in zip(row, ys, strict=True)])
    computed = na.sparsemax.backward(grad, x)
    units = np.spacing(np.maximum(np.abs(np.array(truth, float)), floor).astype(kind))
    assert (np.abs(computed - np.array(truth, float)) / units).max() <= 1.0
    np.testing.assert_array_equal(na.sparsemax.backward(grad, output=na.sparsemax(x)), computed)


def test_gradient_is_the_slope():
    random = np.random.default_rng(3)
    x, grad, direction = random.normal(size=(3, 40, 30))
    step = 1e-7
    slope = ((na.sparsemax(x + step * direction) - na.sparsemax(x - step * direction)) / (2 * step) * grad).sum()
    np.testing.assert_allclose((na.sparsemax.backward(grad, x) * direction).sum(), slope, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 200), st.integers(1, 20), st.sampled_from([0.01, 1.0, 30.0]), st.booleans())
def test_rows_sum_to_one_and_hardmax_is_argmax(outer, length, inner, scale, wide):
    x = np.random.default_rng(length).normal(size=(outer, length, inner)) * scale
    x = x.astype(np.float64 if wide else np.float32)
    y, h = na.sparsemax(x, 1), na.hardmax(x, axis=1)
    np.testing.assert_allclose(y.sum(1, dtype=float), 1, rtol=1e-6 if not wide else 1e-14)
    np.testing.assert_array_equal(y, np.moveaxis(na.sparsemax(np.moveaxis(x, 1, -1)), -1, 1))
    np.testing.assert_array_equal(h.argmax(1), x.argmax(1))
    assert (h.sum(1) == 1).all()
    gradient = na.sparsemax.backward(x, x, 1)
    np.testing.assert_array_equal(gradient, na.sparsemax.backward(x, axis=1, output=y))
    np.testing.assert_array_equal(gradient[y == 0], 0)


@pytest.mark.parametrize("kind", DTYPES)
def test_special_values(kind):
    x = np.array([[1, np.nan, 2], [np.nan, 1, 2], [np.inf, 0, 0], [-np.inf] * 3, [-np.inf, 0, 0]], dtype_of(kind))
    one = np.ones_like(x)
    y, h = na.sparsemax(x).astype(float), na.hardmax(x).astype(float)
    assert np.isnan(y[:4]).all()
    np.testing.assert_array_equal(y[4], [0, 0.5, 0.5])
    assert np.isnan(h[:2]).all()
    np.testing.assert_array_equal(h[2:], [[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert np.isnan(na.sparsemax.backward(one, x).astype(float)[:4]).all()
    assert np.isnan(na.sparsemax.backward(one, output=na.sparsemax(x)).astype(float)[:4]).all()
    assert np.isnan(na.hardmax.backward(one, x).astype(float)[:2]).all()
    nan_alone = np.where(np.isnan(x.astype(float)), x.astype(float), 0)
    np.testing.assert_array_equal(na.hardmax.backward(x, one).astype(float), nan_alone)
    grad = np.array([[np.nan, 1, 2], [1, 5, np.nan]], x.dtype)
    gradient = na.sparsemax.backward(grad, np.array([[-9, 0, 0]] * 2, x.dtype))
    np.testing.assert_array_equal(gradient.astype(float), [[np.nan, -0.5, 0.5], [0, np.nan, np.nan]])


@pytest.mark.parametrize("function", [na.sparsemax, na.hardmax])
def test_threads_do_not_change_the_bits(function):
    x = np.random.default_rng(5).normal(size=(1500, 300)).astype(np.float32)
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        results.append((function(x), function(x, 0), function.backward(x, x)))
        numba.set_num_threads(before)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(function(x[7]), results[0][0][7])


def test_backward_takes_x_or_output():
    x = np.ones(3)
    for arguments, keywords in (((x,), {}), ((x, x), {"output": x})):
        with pytest.raises(TypeError, match="either x or output="):
            na.sparsemax.backward(*arguments, **keywords)
