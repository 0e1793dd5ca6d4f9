"""Several arrays beside one another: gated units, weights, biases, and the gradients by each of them."""

import inspect

import mpmath
import numba
import numpy as np
import pytest
from conftest import DTYPES, ELEMENTWISE, MPMATH, SAMPLE, SEVERAL, dtype_of, read_only
from hypothesis import given, settings
from hypothesis import strategies as st

import numact as na
from numact import dispatch
from numact.accuracy import ACCURACY
from numact.base import Elementwise
from numact.references import REFERENCES, ulp_error

RANDOM = np.random.default_rng(12)
# The shape of an array and that of one that repeats in it.
REPEATING = [((30, 40), (40,)), ((30, 40), (30, 1)), ((30, 40), ()), ((30, 40), (1, 1)), ((2, 3, 4), (3, 1))]
REPEATING += [((8, 16, 12, 12), (16, 1, 1)), ((8, 16, 3, 3), (16, 1, 1)), ((8, 6, 4, 5), (8, 1, 4, 1)), ((9,), (1,))]
REPEATING += [((300, 5000), (5000,)), ((60_000, 5), (5,)), ((5, 60_000), (5, 1)), ((2, 200_000), (200_000,))]
REPEATING += [((3, 70_001, 3), (70_001, 1)), ((0, 5), (5,)), ((1, 5), (5,))]
AXES = [((30, 80), -1), ((30, 80), 0), ((8,), 0), ((2, 6, 40, 50), 1), ((5, 6), 1), ((600, 1000), 1), ((0, 4), 1)]


@pytest.fixture(params=SEVERAL)
def several(request):
    """Each activation of several arrays, or of parameters without a default, in turn."""
    return na.registry[request.param]


def normal(*shape, kind="float32"):
    return read_only(np.array(RANDOM.normal(size=shape) * 3).astype(kind))


def summed(array, shape):
    """Return what NumPy makes of a gradient where an array of a shape repeats, in float64."""
    missing = array.ndim - len(shape)
    axes = tuple(axis for axis in range(array.ndim) if axis < missing or shape[axis - missing] != array.shape[axis])
    return array.astype(np.float64).sum(axis=axes).reshape(shape)


def inputs(function, x, *others):
    """Return arguments of a function: these arrays, as many as it takes, and numbers for parameters."""
    count = len(function._value.inputs)
    return (x, *others, *(x,) * count)[:count] + function._sample(0.5)[count:]


def points(function, kind, count):
    """Return arguments of every size, with all pairs of special values."""
    special = np.array([0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, 30.0, -30.0, 0.5, -0.5])
    random = RANDOM.normal(0, 3, (2, count))
    scales = 2.0 ** RANDOM.uniform(-60, 6, (2, count))
    first = np.concatenate([np.repeat(special, special.size), random[0], random[0] * scales[0]])
    second = np.concatenate([np.tile(special, special.size), random[1], random[1] * scales[1]])
    return inputs(function, first.astype(kind), second.astype(kind))


def true(name, which, arguments):
    """Return the references' results in float64: by NumPy, or of float64 arguments by mpmath."""
    function = getattr(REFERENCES[name], which)
    if arguments[0].dtype == np.float32:
        return function(*(np.asarray(item, np.float64) for item in arguments))
    rows = np.broadcast_arrays(*arguments)
    with mpmath.workdps(60):
        found = [function(*map(mpmath.mpf, point), namespace=MPMATH) for point in zip(*rows, strict=True)]
    if isinstance(found[0], tuple):
        return tuple(np.array(column, np.float64) for column in zip(*found, strict=True))
    return np.array(found, np.float64)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_values_and_derivatives(several, kind):
    """What mpmath gives is itself rounded to float64."""
    name, arguments = several.__name__, points(several, kind, 20_000 if kind == "float32" else 1_000)
    bound, own = ACCURACY[name], 0 if kind == "float32" else 0.5
    wide = [np.asarray(item, np.float64) for item in arguments]
    assert ulp_error(several(*arguments), true(name, "value", arguments)).max() <= bound.value + own
    slopes, exact = several.grad(*arguments), true(name, "derivative", arguments)
    if not isinstance(exact, tuple):
        slopes, exact = (slopes,), (exact,)
    for index, (slope, truth) in enumerate(zip(slopes, exact, strict=True)):
        error = ulp_error(slope, truth)
        if index == 0:
            # A gate's derivative that is subnormal, or near its root, has no more digits for what it is multiplied by.
            factor = np.maximum(np.abs(wide[1]), 2.0**-60)
            error[np.abs(truth) < 1e4 * np.finfo(kind).tiny * factor] = 0
            if bound.root is not None:
                near = (arguments[0] > bound.root[0]) & (arguments[0] < bound.root[1])
                unit = np.spacing(np.float32(0.125).astype(kind)) * factor
                assert (np.abs(slope - truth)[near] / unit[near]).max() <= 4
                error[near] = 0
        assert error.max() <= bound.derivative + own


def test_backward_is_the_product(several):
    x, y, grad = normal(3, 1000)
    arguments = inputs(several, x, y)
    slopes, gradients = several.grad(*arguments), several.backward(grad, *arguments)
    if not isinstance(slopes, tuple):
        slopes, gradients = (slopes,), (gradients,)
    for slope, gradient in zip(slopes, gradients, strict=True):
        np.testing.assert_array_equal(gradient, grad * slope)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_is_float32_rounded_once(several, half):
    dtype = dtype_of(half)
    x, y, grad = (array.astype(dtype) for array in normal(3, 5000))
    narrow = inputs(several, x, y)
    wide = [item.astype(np.float32) if isinstance(item, np.ndarray) else item for item in narrow]
    np.testing.assert_array_equal(several(*narrow), several(*wide).astype(dtype))
    pairs = several.backward(grad, *narrow), several.backward(grad.astype(np.float32), *wide)
    if not isinstance(pairs[0], tuple):
        pairs = (pairs[0],), (pairs[1],)
    for computed, expected in zip(*pairs, strict=True):
        assert computed.dtype == dtype
        np.testing.assert_array_equal(computed, expected.astype(dtype))


@pytest.mark.parametrize(("shape", "small"), REPEATING)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", ["prelu", "swiglu"])
def test_arrays_that_repeat(name, shape, small, order):
    several = na.registry[name]
    x, grad, weight = np.array(normal(*shape), order=order), normal(*shape), normal(*small)
    whole = np.ascontiguousarray(np.broadcast_to(weight, shape))
    np.testing.assert_array_equal(several(x, weight), several(np.ascontiguousarray(x), whole))
    computed = several.backward(grad, x, weight)
    expected = several.backward(grad, np.ascontiguousarray(x), whole)
    np.testing.assert_array_equal(computed[0], expected[0])
    total, size = summed(expected[1], small), summed(np.abs(expected[1]), small)
    assert computed[1].shape == small
    assert (np.abs(computed[1] - total) <= 2e-7 * size).all()
    swapped = several(weight, x), several(whole, np.ascontiguousarray(x))
    np.testing.assert_array_equal(*swapped)


@pytest.mark.parametrize(("shape", "small"), REPEATING)
@pytest.mark.parametrize("name", ["gelu", "relu"])
def test_bias(name, shape, small):
    check_bias(na.registry[name], normal(*shape), normal(*shape), normal(*small))


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", SAMPLE)
def test_bias_in_every_dtype(name, kind):
    dtype = dtype_of(kind)
    check_bias(na.registry[name], *(array.astype(dtype) for array in (normal(30, 40), normal(30, 40), normal(40))))


def check_bias(function, x, grad, bias):
    """The bits are those of the sum rounded to the compute type, without its rounding to a half type."""
    number = np.float64 if x.dtype == np.float64 else np.float32
    with np.errstate(all="ignore"):
        moved = x.astype(number) + bias.astype(number)
        np.testing.assert_array_equal(function(x, bias=bias), function(moved).astype(x.dtype))
        gradient, total = function.backward(grad, x, bias=bias)
        np.testing.assert_array_equal(gradient, function.backward(grad.astype(number), moved).astype(x.dtype))
    assert (total.shape, total.dtype) == (bias.shape, bias.dtype)
    exact = function.backward(grad.astype(number), moved).astype(np.float64)
    size = summed(np.abs(exact), bias.shape)
    unit = {"float16": 2**-11, "bfloat16": 2**-8}.get(x.dtype.name, 2**-22)
    assert (np.abs(total.astype(np.float64) - summed(exact, bias.shape)) <= unit * size + 1e-7).all()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_shapes(data):
    """Shapes that broadcast in any way, and sizes of 0 and 1."""
    shape = data.draw(st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple))
    shapes = [
        tuple(data.draw(st.sampled_from([size, 1])) for size in shape)[data.draw(st.integers(0, len(shape))) :]
        for _ in range(3)
    ]
    grad, x, y = (normal(*item) for item in shapes)
    whole = np.broadcast_shapes(*shapes)
    full = [np.ascontiguousarray(np.broadcast_to(item, whole)) for item in (grad, x, y)]
    np.testing.assert_array_equal(na.reglu(x, y), na.reglu(*np.broadcast_arrays(x, y)))
    for computed, part, expected in zip(na.reglu.backward(grad, x, y), (x, y), na.reglu.backward(*full), strict=True):
        assert computed.shape == part.shape
        np.testing.assert_allclose(computed, summed(np.asarray(expected), part.shape), rtol=1e-5, atol=1e-5)


def test_rows_apart():
    """Slices that leave long rows contiguous are read and written where they are, others part by part."""
    x = normal(30, 40, 50)
    cuts = [np.s_[:, :, 5:45], np.s_[:, 3:20], np.s_[::2], np.s_[:, ::2], np.s_[:, ::2, 3:44], np.s_[:, :, ::2]]
    cuts += [np.s_[::-1], np.s_[:, ::-1], np.s_[:1, :, 3:], np.s_[:, :1, 3:], np.s_[:, :, :1], np.s_[:, 3:20, :20]]
    for cut in cuts:
        view, plain = x[cut], np.ascontiguousarray(x[cut])
        np.testing.assert_array_equal(na.gelu(view), na.gelu(plain))
        np.testing.assert_array_equal(na.reglu(view, plain), na.reglu(plain, plain))
        out = np.zeros([size + 3 for size in view.shape], np.float32)
        part = out[tuple(slice(size) for size in view.shape)]
        assert na.gelu(view, out=part) is part
        np.testing.assert_array_equal(part, na.gelu(plain))
        assert (out != 0).sum() == (part != 0).sum()
        for computed, expected in zip(
            na.reglu.backward(view, view, view[0]), na.reglu.backward(plain, plain, plain[0]), strict=True
        ):
            np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("small", [(1000,), (), (600, 1)])
def test_sums_have_the_same_bits_on_any_number_of_threads(small):
    x, grad, bias = normal(600, 1000), normal(600, 1000), normal(*small)
    threads, found = numba.get_num_threads(), []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            found.append(na.gelu.backward(grad, x, bias=bias))
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*found, strict=True):
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("size", [31, 100_000])
def test_out(size):
    x, y, grad = normal(3, size)
    expected = na.reglu.backward(grad, x, y)
    outs = np.empty(size, np.float32), np.empty(size, np.float64)
    results = na.reglu.backward(grad, x, y, out=outs)
    assert all(result is out for result, out in zip(results, outs, strict=True))
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, value)
    first, second = na.reglu.backward(grad, x, y, out=(None, outs[0]))
    assert second is outs[0]
    np.testing.assert_array_equal(first, expected[0])
    both = x.copy(), y.copy()
    na.reglu.backward(grad, *both, out=both)  # each takes the place of its input
    for result, value in zip(both, expected, strict=True):
        np.testing.assert_array_equal(result, value)
    memory = np.concatenate([x, y])
    na.reglu.backward(grad, memory[:size], memory[size:], out=(memory[size:], memory[:size]))
    for result, value in zip((memory[size:], memory[:size]), expected, strict=True):
        np.testing.assert_array_equal(result, value)


def test_bias_in_place():
    x, bias = normal(40, 5000), normal(5000)
    array = x.copy()
    assert na.gelu(array, bias=bias, out=array) is array
    np.testing.assert_array_equal(array, na.gelu(x, bias=bias))


@pytest.mark.parametrize(("shape", "axis"), AXES)
@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_glu(shape, axis, kind):
    x = normal(*shape, kind=kind)
    value, gate = (np.ascontiguousarray(half) for half in np.split(x, 2, axis))
    reference = REFERENCES["glu"]
    grad, scale = normal(*value.shape, kind=kind), 4 * np.finfo(kind).eps
    wide = value.astype(np.float64), gate.astype(np.float64)
    np.testing.assert_allclose(na.glu(x, axis), reference.value(*wide), rtol=scale, atol=1e-7 * (kind == "float16"))
    slopes = np.concatenate(reference.derivative(*wide), axis)
    np.testing.assert_allclose(na.glu.grad(x, axis), slopes, rtol=scale, atol=1e-7 * (kind == "float16"))
    gradient = na.glu.backward(grad, x, axis=axis)
    np.testing.assert_allclose(
        gradient, slopes * np.concatenate([grad, grad], axis), rtol=scale, atol=1e-7 * (kind == "float16")
    )
    for array in (np.full(x.shape, np.nan, kind), np.full(x.shape[::-1], np.nan, kind).T, x.copy()):
        given = array if array.flags.c_contiguous and not np.isnan(array).all() else x
        assert na.glu.backward(grad, given, axis, out=array) is array
        np.testing.assert_array_equal(array, gradient)
    out = np.empty(value.shape, kind)
    assert na.glu(x, axis, out=out) is out
    np.testing.assert_array_equal(out, na.glu(x, axis))


def test_errors():
    x = np.ones(4)
    for call, error, message in [
        (lambda: na.glu(np.ones(3)), ValueError, "even size"),
        (lambda: na.glu(x, 2), np.exceptions.AxisError, "axis 2"),
        (lambda: na.glu(x, axis=0.5), TypeError, "integer"),
        (lambda: na.glu(x, out=x), ValueError, "shape"),
        (lambda: na.reglu(x), TypeError, "needs up"),
        (lambda: na.reglu(x, np.ones(3)), ValueError, "gate .4,., up .3,."),
        (lambda: na.reglu.backward(x, x, x, out=x), ValueError, "tuple of 2"),
        (lambda: na.reglu.backward(x, x, x, out=(x, np.ones(3))), ValueError, "shape"),
        (lambda: na.reglu.backward(x, x, x, out=(x, np.ones(4, int))), TypeError, "int64"),
        (lambda: na.gelu(x, bias=np.ones(3)), ValueError, "bias .3,."),
        (lambda: na.gelu(x, bias="b"), TypeError, "bias"),
        (lambda: na.gelu.backward(x), TypeError, "needs x"),
        (lambda: na.gelu.backward(x, output=x), TypeError, "does not give the derivative"),
        (lambda: na.relu.backward(x, x, output=x), TypeError, "in the place of x"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_several_are_all_that_the_other_tests_leave_out():
    left = {name for name, function in na.registry.items() if isinstance(function, Elementwise)} - set(ELEMENTWISE)
    assert left == {*SEVERAL, "glu"}
    assert all(len(inspect.signature(na.registry[name]).parameters) > 2 for name in SEVERAL)


@pytest.mark.parametrize("kind", DTYPES)
def test_contiguous_arrays_of_each_dtype_need_no_preparation(kind, monkeypatch):
    """A call takes 2 us where nothing has to be prepared, and 20 or more else."""
    x = np.linspace(-3, 3, 60).astype(dtype_of(kind)).reshape(5, 12)
    calls = [
        lambda: na.gelu(x),
        lambda: na.gelu(x, out=np.empty_like(x)),
        lambda: na.gelu.backward(x, x),
        lambda: na.softmax(x),
        lambda: na.softmax.backward(x, x, axis=0),
        lambda: na.logsumexp(x),
        lambda: na.sparsemax(x),
    ]
    expected = [call() for call in calls]
    monkeypatch.setattr(dispatch, "prepare", None)  # of rows
    monkeypatch.setattr(dispatch, "numpy_arrays", None)
    for call, result in zip(calls, expected, strict=True):
        np.testing.assert_array_equal(call(), result)
        assert call().dtype == x.dtype
    if kind != "bfloat16":  # which NumPy does not know
        np.testing.assert_array_equal(na.gelu(x[:, 3]), expected[0][:, 3])
