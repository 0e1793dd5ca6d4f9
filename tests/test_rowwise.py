"""The softmax family: figures, masks, scales, gradients from the output, layouts, special values."""

import math
import threading

import numba
import numpy as np
import pytest
from conftest import dtype_of, read_only

import numact as na
from numact.accuracy import ACCURACY

INF, NAN = math.inf, math.nan
FAMILY = ["softmax", "log_softmax", "softmin"]
SHAPES = [((300, 4), -1), ((300, 33), 1), ((100, 1000), -1), ((4, 65_536), -1), ((1000, 60), 0), ((5, 300, 7), 1)]
# Which entries take part in an array of shape (6, 5, 300) along its last axis.
MASKS = [(6, 5, 300), (300,), (6, 1, 1), (5, 300), (1, 5, 1), ()]


@pytest.fixture(params=FAMILY)
def function(request):
    """Each function of the family in turn."""
    return na.registry[request.param]


def normal(*shape, kind="float32", spread=1.0, seed=7):
    return read_only((np.random.default_rng(seed).normal(size=shape) * spread).astype(kind))


class Exact:
    """The family in long double: softmax and its logarithm of rows along an axis, scaled and masked."""

    def __init__(self, name, x, axis=-1, mask=None, scale=1.0):
        self.name, self.axis = name, axis
        self.scale = np.longdouble(-1.0 if name == "softmin" else x.dtype.type(scale))
        self.mask = np.broadcast_to(True if mask is None else mask, x.shape)
        with np.errstate(all="ignore"):
            wide = np.where(self.mask, x.astype(np.longdouble) * self.scale, -INF)
            lead = wide - wide.max(axis=axis, keepdims=True)
            powers = np.exp(lead)
            # One of the largest entries is the 1 of log1p, and the rest is summed without it.
            first = np.arange(x.shape[axis]) == np.expand_dims(wide.argmax(axis=axis), -1)
            rest = self.sum(np.where(np.moveaxis(first, -1, axis), 0, powers))
            self.share = np.where(self.mask, powers / (1 + rest), 0)
            self.logarithm = np.where(self.mask, lead - np.log1p(rest), -INF)

    def sum(self, array):
        """Sum by pairs, as NumPy does along contiguous rows: down 65,536 entries one by one, 15 ULP of float64 go."""
        rows = np.ascontiguousarray(np.moveaxis(array, self.axis, -1))
        return np.expand_dims(rows.sum(axis=-1), self.axis)

    @property
    def value(self):
        return self.logarithm if self.name == "log_softmax" else self.share

    def gradient(self, grad, output=None):
        """Return the gradient, that at an output where one is given, and the size of the terms that cancel in it."""
        if output is not None:
            self.share = np.where(self.mask, output.astype(np.longdouble), 0)
        wide = np.where(self.mask, grad.astype(np.longdouble), 0)
        if self.name == "log_softmax":
            total, size = (self.sum(part) for part in (wide, np.abs(wide)))
            result, size = wide - self.share * total, np.abs(wide) + self.share * size
        else:
            dot, size = (self.sum(part) for part in (wide * self.share, abs(wide * self.share)))
            result, size = self.share * (wide - dot), self.share * (np.abs(wide) + size)
        return self.scale * result, abs(self.scale) * size


def ulp(computed, exact, size=None):
    """Return the largest error in units in the last place of the exact result, or of numbers of a given size."""
    kind = computed.dtype
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(computed[~finite], exact[~finite])
    size = np.abs(exact if size is None else size)[finite]
    unit = np.spacing(np.maximum(size, np.finfo(kind).tiny).astype(kind)).astype(np.longdouble)
    return float((np.abs(computed[finite] - exact[finite]) / unit).max(initial=0))


def check(function, x, axis=-1, seed=8, **options):
    """Hold the value and the gradients of a function to its figures."""
    exact, bound = Exact(function.__name__, x, axis, **options), ACCURACY[function.__name__]
    value = function(x, axis, **options)
    assert ulp(value, exact.value) <= bound.value
    one_hot = np.zeros_like(x)
    np.moveaxis(one_hot, axis, -1)[..., x.shape[axis] // 2] = 1
    for grad in (normal(*x.shape, kind=x.dtype, seed=seed), one_hot):
        assert ulp(function.backward(grad, x, axis, **options), *exact.gradient(grad)) <= bound.derivative
    if function.takes_output:  # the error of the output itself is the value's
        gradient = function.backward(grad, axis=axis, output=value, **options)
        assert ulp(gradient, *exact.gradient(grad, value)) <= bound.derivative / 2


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0, 30.0])
def test_accuracy(function, shape, axis, kind, spread):
    check(function, normal(*shape, kind=kind, spread=spread), axis)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("scale", [0.37, -1.0, -2.9, 1e-3])
@pytest.mark.parametrize(("shape", "axis"), [((50, 1000), 1), ((900, 8), 1), ((400, 60), 0), ((3, 90, 5), 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_scale(name, kind, scale, shape, axis):
    check(na.registry[name], normal(*shape, kind=kind, spread=5.0), axis, scale=scale)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), [((3, 65_536), 1), ((65_536, 3), 0), ((40, 30), 1), ((30, 40), 0)])
@pytest.mark.parametrize("top", [10.0, 17.0, 30.0])
def test_an_entry_that_dominates_keeps_its_digits(kind, shape, axis, top):
    """Beside a weight of 1, thousands of small ones have to be summed by themselves, wherever they stand."""
    length = shape[axis]
    for place, step, ties in ((0, 1, 1), (length // 2, 1, 1), (0, 16, 1), (3, 1, 2)):
        x = np.full(shape, -INF, kind)
        rows = np.moveaxis(x, axis, -1)
        rows[..., ::step] = 0.3
        rows[..., place : place + ties] = top
        check(na.log_softmax, x, axis)


def test_exp_of_a_rounded_output_loses_digits():
    """Why the gradient of log_softmax takes no output."""
    x, grad = normal(50, 1000, spread=30.0), np.zeros((50, 1000), np.float32)
    grad[:, 0] = 1
    exact, size = Exact("log_softmax", x).gradient(grad)
    gradient = grad - np.exp(na.log_softmax(x).astype(np.longdouble))
    assert ulp(gradient.astype(np.float64).astype(np.float32), exact, size) > 30
    with pytest.raises(TypeError, match="rounding error"):
        na.log_softmax.backward(grad, output=x)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "axis"), [((50, 200), 1), ((200, 50), 0), ((90, 9), 1)])
def test_half_is_float32_rounded_once(function, half, shape, axis):
    x, grad = (normal(*shape, seed=seed).astype(dtype_of(half)) for seed in (1, 2))
    wide = x.astype(np.float32), grad.astype(np.float32)
    value, gradient = function(x, axis), function.backward(grad, x, axis)
    assert value.dtype == gradient.dtype == x.dtype
    np.testing.assert_array_equal(value, function(wide[0], axis).astype(x.dtype))
    np.testing.assert_array_equal(gradient, function.backward(wide[1], wide[0], axis).astype(x.dtype))
    if function.takes_output:
        gradient = function.backward(grad, axis=axis, output=value)
        expected = function.backward(wide[1], axis=axis, output=value.astype(np.float32))
        np.testing.assert_array_equal(gradient, expected.astype(x.dtype))


# --- masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape"), [*(("float32", shape) for shape in MASKS), ("float64", MASKS[0])])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_mask(name, kind, shape):
    mask = read_only(np.array(np.random.default_rng(5).random(shape) < 0.6))
    x = normal(6, 5, 300, kind=kind)
    for axis in (-1, 0, 1):
        check(na.registry[name], x, axis, mask=mask)
    check(na.registry[name], x, mask=mask, scale=-0.7)


MASKED = [("float32", length, scale) for length in (5, 300) for scale in (1.0, 0.0, -2.0)]
MASKED += [("float64", 300, 1.0), ("float16", 5, 1.0), ("float16", 300, -2.0), ("bfloat16", 300, 1.0)]


@pytest.mark.parametrize(("kind", "length", "scale"), MASKED)
def test_what_is_masked_out_counts_for_nothing(kind, length, scale):
    """Not even NaN and infinities do, in the input and in the gradient."""
    dtype = dtype_of(kind)
    mask = np.random.default_rng(6).random((20, length)) < 0.5
    mask[3] = False  # a row that is masked out altogether
    mask[4] = True
    x, grad = (np.array(normal(20, length, seed=seed)).astype(dtype) for seed in (1, 2))
    dirty, dirty_grad = np.where(mask, x, dtype.type(NAN)), np.where(mask, grad, dtype.type(INF))
    for name, hidden in (("softmax", 0.0), ("log_softmax", -INF)):
        function = na.registry[name]
        value = function(dirty, mask=mask, scale=scale)
        np.testing.assert_array_equal(value, function(x, mask=mask, scale=scale))
        assert (value[~mask] == hidden).all()
        assert np.isfinite(value[mask].astype(np.float64)).all()
        gradient = function.backward(dirty_grad, dirty, mask=mask, scale=scale)
        np.testing.assert_array_equal(gradient, function.backward(grad, x, mask=mask, scale=scale))
        assert (gradient[~mask] == 0).all()
        assert np.isfinite(gradient.astype(np.float64)).all()
    value = na.softmax(x, mask=mask, scale=scale)
    gradient = na.softmax.backward(grad, mask=mask, scale=scale, output=value)
    np.testing.assert_array_equal(
        na.softmax.backward(dirty_grad, mask=mask, scale=scale, output=np.where(mask, value, dtype.type(NAN))), gradient
    )


def test_mask_of_ones_changes_no_bits(function):
    if function is na.softmin:
        pytest.skip("softmin takes no mask")
    for shape in ((700, 1000), (900, 8), (3, 100_000)):
        x = normal(*shape)
        np.testing.assert_array_equal(function(x, mask=np.ones(shape, bool)), function(x))
        np.testing.assert_array_equal(function.backward(x, x, mask=np.ones(shape, bool)), function.backward(x, x))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_mask_in_place_and_with_any_layout(name):
    function, mask = na.registry[name], np.random.default_rng(1).random((60, 400)) < 0.7
    x, grad = normal(60, 400), normal(60, 400, seed=9)
    expected, gradient = function(x, mask=mask), function.backward(grad, x, mask=mask)
    array = x.copy()
    assert function(array, mask=mask, out=array) is array
    np.testing.assert_array_equal(array, expected)
    for array, call in (
        (x.copy(), lambda array: function.backward(grad, array, mask=mask, out=array)),
        (grad.copy(), lambda array: function.backward(array, x, mask=mask, out=array)),
    ):
        np.testing.assert_array_equal(call(array), gradient)
    np.testing.assert_array_equal(function(np.asfortranarray(x), mask=np.asfortranarray(mask)), expected)
    turned, turned_mask = np.ascontiguousarray(x[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    np.testing.assert_array_equal(function(x[:, ::-1], mask=mask[:, ::-1]), function(turned, mask=turned_mask))
    out = np.empty((60, 400), np.float64)
    np.testing.assert_array_equal(function(x, mask=mask, out=out), expected)
    wide = function(x.astype(np.float64), mask=mask)
    np.testing.assert_array_equal(function(x.tolist(), mask=mask.tolist()), wide)


# --- special values -----------------------------------------------------------------------------------------------


def test_special_values_of_log_softmax(dtype):
    def row(*values, **options):
        return na.log_softmax(np.array(values, dtype), **options).astype(np.float64)

    assert np.isnan(row(1, INF, 2)).all()
    assert np.isnan(row(1, NAN, 2)).all()
    assert np.isnan(row(-INF, -INF)).all()
    half = np.float64(np.array(-np.log(2)).astype(dtype))
    np.testing.assert_array_equal(row(0, -INF, 0), [half, -INF, half])
    np.testing.assert_array_equal(row(-1000, 1000), [-2000, 0])
    np.testing.assert_array_equal(row(5), [0])
    np.testing.assert_array_equal(row(0, INF, 0, scale=-1.0), [half, -INF, half])
    assert np.isnan(row(1, -INF, 2, scale=-1.0)).all()


@pytest.mark.parametrize("length", [3, 70, 1000])
@pytest.mark.parametrize("axis", [0, 1])
def test_nan_and_infinity_fill_their_row_and_no_other(function, length, axis):
    x = np.array(normal(6, length))
    x[1, 0], x[2, length - 1] = NAN, -INF if function is na.softmin else INF
    x = np.moveaxis(x, 1, axis).copy()
    for result in (function(x, axis), function.backward(np.ones_like(x), x, axis)):
        bad = np.moveaxis(np.isnan(result), axis, 1)
        assert bad[1:3].all()
        assert not np.delete(bad, [1, 2], axis=0).any()


def test_softmin_is_softmax_of_the_negative():
    for shape, axis in SHAPES:
        x, grad = normal(*shape), normal(*shape, seed=3)
        np.testing.assert_array_equal(na.softmin(x, axis), na.softmax(-x, axis))
        np.testing.assert_array_equal(na.softmin(x, axis), na.softmax(x, axis, scale=-1.0))
        np.testing.assert_array_equal(na.softmin.backward(grad, x, axis), -na.softmax.backward(grad, -x, axis))


def test_powers_of_two_scale_exactly():
    x = normal(100, 50)
    np.testing.assert_array_equal(na.softmax(x, scale=4.0), na.softmax(x * 4))
    np.testing.assert_array_equal(na.log_softmax(x, scale=-0.5), na.log_softmax(x * np.float32(-0.5)))


# --- layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((31, 1000), 1), ((1000, 31), 0), ((900, 8), 1), ((8, 900), 0), ((40, 5, 8), 1), ((9, 30, 50), 1)],
)
@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_in_place_gives_the_same_bits(function, kind, shape, axis):
    x, grad = normal(*shape, kind=kind), normal(*shape, kind=kind, seed=4)
    array = x.copy()
    assert function(array, axis, out=array) is array
    value = function(x, axis)
    np.testing.assert_array_equal(array, value)
    expected = function.backward(grad, x, axis)
    for place in (0, 1):
        both = grad.copy(), x.copy()
        np.testing.assert_array_equal(function.backward(*both, axis, out=both[place]), expected)
    for place in (0, 1) if function.takes_output else ():
        grads, output = both = grad.copy(), value.copy()
        result = function.backward(grads, axis=axis, output=output, out=both[place])
        np.testing.assert_array_equal(result, function.backward(grad, axis=axis, output=value))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_rows_have_the_same_bits_wherever_they_stand(function, kind):
    for length in (4, 33, 100, 1000):
        x = normal(700, length, kind=kind)
        calls = [function, lambda x: function.backward(x[..., ::-1], x)]
        calls += [lambda x: function.backward(x, output=x)] if function.takes_output else []
        for call in calls:
            whole = call(x)
            np.testing.assert_array_equal(call(x[0]), whole[0])
            np.testing.assert_array_equal(call(x[:31]), whole[:31])


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_columns_have_the_same_bits_wherever_they_stand(function, kind):
    for length in (4, 7, 33, 1000):
        x = normal(length, 1024, kind=kind)  # lines that lie pages apart, in parts elsewhere
        calls = [function, lambda x, axis: function.backward(x, x, axis)]
        calls += [lambda x, axis: function.backward(x, axis=axis, output=x)] if function.takes_output else []
        for call in calls:
            whole = call(x, 0)
            for part in (slice(5, 300), slice(9, 40), slice(3)):
                np.testing.assert_array_equal(call(np.ascontiguousarray(x[:, part]), 0), whole[:, part])
            for inner in (7, 35):
                blocks, expected = (a[:, :980].reshape(length, -1, inner).swapaxes(0, 1) for a in (x, whole))
                np.testing.assert_array_equal(call(np.ascontiguousarray(blocks), 1), expected)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((300, 1000), 1), ((1000, 300), 0), ((40_000, 8), 1), ((30, 800, 9), 1), ((8_000, 4, 9), 1)],
)
def test_threads_change_no_bits(function, shape, axis):
    x, grad, mask = normal(*shape), normal(*shape, seed=2), normal(*shape, seed=3) < 0.5
    threads, found = numba.get_num_threads(), []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            results = [function(x, axis), function.backward(grad, x, axis)]
            if function is not na.softmin:
                results += [function(x, axis, mask), function.backward(grad, x, axis, mask, 0.3)]
            found.append(results)
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*found, strict=True):
        np.testing.assert_array_equal(one, many)


# --- arguments ----------------------------------------------------------------------------------------------------


def test_errors():
    x = np.ones((3, 4), np.float32)
    for call, error, message in [
        (lambda: na.softmax.backward(x), TypeError, "exactly one"),
        (lambda: na.softmax.backward(x, x, output=x), TypeError, "exactly one"),
        (lambda: na.softmax(x, mask=np.ones(4)), TypeError, "float64; it must be bool"),
        (lambda: na.softmax(x, mask=np.ones(3, bool)), ValueError, r"mask of shape \(3,\)"),
        (lambda: na.softmax(x, mask=np.ones((2, 3, 4), bool)), ValueError, "does not broadcast"),
        (lambda: na.log_softmax(x, scale="hot"), TypeError, "scale must be a real number"),
        (lambda: na.log_softmax(x, scale=None), TypeError, "scale must be a real number"),
        (lambda: na.softmin(x, mask=x > 0), TypeError, "no parameter 'mask'"),
        (lambda: na.softmax.backward(x, output=np.ones(3)), ValueError, "output"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_grad_does_not_exist(function):
    assert not hasattr(function, "grad")


def test_calls_from_many_threads_at_once(function):
    x = normal(300, 1000)
    expected, wrong = function(x), []

    def call():
        for _ in range(5):
            if not np.array_equal(function(x), expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("length", [13, 31, 100, 600])
def test_rows_end_where_they_end(length, dtype):
    """The last vector of a row may be written beyond it: neither where something else lies, nor what is still read."""
    shape, generator = (21, length), np.random.default_rng(length)
    x, grad_output = (read_only(generator.normal(size=shape).astype(dtype)) for _ in range(2))
    y = np.stack([na.softmax(row) for row in x])
    from_x = np.stack([na.softmax.backward(*rows) for rows in zip(grad_output, x, strict=True)])
    from_y = np.stack([na.softmax.backward(g, output=row) for g, row in zip(grad_output, y, strict=True)])
    room = np.full(x.size + 40, 7, dtype)
    out, behind = room[: x.size].reshape(shape), room[x.size :]
    for call, arrays, expected in (
        (na.softmax, [x], y),
        (na.softmax.backward, [grad_output, x], from_x),
        (lambda g, y, out: na.softmax.backward(g, output=y, out=out), [grad_output, y], from_y),
    ):
        np.testing.assert_array_equal(call(*arrays, out=out), expected)
        assert (behind == 7).all()
        for place in range(len(arrays)):
            own = [array.copy() for array in arrays]
            np.testing.assert_array_equal(call(*own, out=own[place]), expected)
