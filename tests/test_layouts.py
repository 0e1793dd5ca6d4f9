"""Any shape, any strides, any place in memory: the bits are those of a plain contiguous call."""

import numpy as np
import pytest
from conftest import SHAPED, read_only
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import numact as na

FUNCTIONS = st.sampled_from([na.registry[name] for name in SHAPED])
SIDES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)


@st.composite
def views(draw, kind=np.float32):
    """Draw a view, read-only, of a filled array: stepped, reversed, transposed, broadcast or misaligned."""
    shape = draw(SIDES)
    steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in shape]
    whole = np.random.default_rng(draw(st.integers(0, 99))).normal(
        size=[s * abs(k) for s, k in zip(shape, steps, strict=True)]
    )
    view = whole.astype(kind)[tuple(slice(None, None, step) for step in steps)]
    if draw(st.booleans()):
        view = view.transpose(draw(st.permutations(range(view.ndim))))
    if draw(st.booleans()):
        view = np.broadcast_to(view, (draw(st.integers(0, 3)), *view.shape))
    if draw(st.booleans()):
        view = view.astype(view.dtype.newbyteorder())
    if draw(st.booleans()):
        raw = np.empty(view.nbytes + 1, np.uint8)[1:].view(view.dtype).reshape(view.shape)
        raw[...] = view
        view = raw
    return read_only(view)


@settings(deadline=None, max_examples=150)
@given(FUNCTIONS, views())
def test_layout_does_not_change_the_bits(function, x):
    plain = np.ascontiguousarray(x, dtype=np.float32)
    result = function(x)
    assert result.shape == x.shape
    np.testing.assert_array_equal(result, function(plain))
    np.testing.assert_array_equal(function.backward(x, x), function.backward(plain, plain))
    out = np.full(x.shape[::-1], np.nan, np.float32).T
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, result)


@settings(deadline=None, max_examples=60)
@given(views(), st.integers(-4, 3))
def test_softmax_over_any_axis(x, axis):
    if not -x.ndim <= axis < x.ndim:
        with pytest.raises(np.exceptions.AxisError):
            na.softmax(x, axis)
        return
    moved = np.moveaxis(x, axis, -1).astype(np.float32)
    result = np.moveaxis(na.softmax(x, axis=axis), axis, -1)
    np.testing.assert_allclose(result, na.softmax(moved), rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=60)
@given(FUNCTIONS, st.integers(0, 7), st.integers(0, 7))
def test_overlapping_out(function, start, stop):
    memory = np.random.default_rng(5).normal(size=40).astype(np.float32)
    expected = function(memory[start : start + 30].copy())
    out = memory[stop : stop + 30]
    assert function(memory[start : start + 30], out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (7, 0), (0, 200_000)])
def test_overlapping_out_on_many_threads(activation, start, stop):
    memory, grad = np.random.default_rng(6).normal(size=(2, 500_000)).astype(np.float32)
    rows = (300, 1000)
    x, out = (memory[place : place + 300_000].reshape(rows) for place in (start, stop))
    kept, whole = x.copy(), memory.copy()
    expected = activation(kept), activation.backward(grad[:300_000].reshape(rows), kept)
    assert activation(x, out=out) is out
    np.testing.assert_array_equal(out, expected[0])
    memory[:] = whole
    activation.backward(grad[:300_000].reshape(rows), x, out=out)
    np.testing.assert_array_equal(out, expected[1])


@pytest.mark.parametrize("rows", [60, 600])  # on one thread and on many
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_overlapping_out_with_a_mask(name, rows):
    function, rng = na.registry[name], np.random.default_rng(7)
    x, grad = rng.normal(size=(2, rows, 400)).astype(np.float32)
    mask = rng.random((rows, 400)) < 0.7
    value, gradient = function(x, mask=mask), function.backward(grad, x, mask=mask)
    for low, high in ((0, 1), (1, 0)):
        memory = np.empty((rows + 1, 400), np.float32)
        array, out = memory[low : low + rows], memory[high : high + rows]
        array[...] = x
        np.testing.assert_array_equal(function(array, mask=mask, out=out), value)
        array[...] = grad
        np.testing.assert_array_equal(function.backward(array, x, mask=mask, out=out), gradient)
    out = np.empty((rows, 400), np.float32)
    within = out.view(bool).reshape(4 * rows, 400)[rows : 2 * rows]
    for layout in (x, np.asfortranarray(x)):
        within[...] = mask
        np.testing.assert_array_equal(function(layout, mask=within, out=out), value)
    within[...] = mask
    np.testing.assert_array_equal(function.backward(grad, x, mask=within, out=out), gradient)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 1000, 65_535, 65_536, 65_537, 300_001])
def test_position_and_length_do_not_matter(elementwise, size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    result = elementwise(x)
    defaults = [np.float32(value) for value in elementwise.formula.__defaults__ or ()]
    for index in {0, size // 3, size - 1} & set(range(size)):
        assert result[index] == elementwise(x[index : index + 1])[0]
        assert result[index] == np.float32(elementwise.scalar(x[index]))
        assert result[index] == elementwise.ufunc(x[index : index + 1], *defaults)[0]


IN_PLACE = [("float32", 31), ("float32", 1000), ("float32", 300_001), ("float64", 300_001), ("float16", 300_001)]


@pytest.mark.parametrize(("kind", "size"), IN_PLACE)
def test_in_place_gives_the_same_bits(elementwise, kind, size):
    x, grad = np.random.default_rng(size).normal(size=(2, size)).astype(kind)
    expected, gradient = elementwise(x), elementwise.backward(grad, x)
    for values, call, result in (
        (x, lambda array: elementwise(array, out=array), expected),
        (x, lambda array: elementwise.backward(grad, array, out=array), gradient),
        (grad, lambda array: elementwise.backward(array, x, out=array), gradient),
    ):
        array = values.copy()
        assert call(array) is array
        np.testing.assert_array_equal(array, result)


def test_fortran_order_is_kept(elementwise):
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    assert elementwise(x).flags.f_contiguous


def test_zero_dimensions(elementwise):
    x = np.array(0.5, np.float32)
    assert elementwise(x) == elementwise(x.reshape(1))[0]
    assert elementwise(x).dtype == np.float32
    out = np.empty((), np.float32)
    assert elementwise(x, out=out) is out


def test_backward_broadcasts(elementwise):
    random = np.random.default_rng(1)
    x, grad = random.normal(size=(3, 4)).astype(np.float32), random.normal(size=4).astype(np.float32)
    full = np.ascontiguousarray(np.broadcast_to(grad, x.shape))
    np.testing.assert_array_equal(elementwise.backward(grad, x), elementwise.backward(full, x))
    np.testing.assert_array_equal(elementwise.backward(1.0, x), elementwise.grad(x))
    np.testing.assert_array_equal(elementwise.backward(x, grad), elementwise.backward(x, full * 0 + grad))


def test_out_of_another_dtype(activation):
    x = np.random.default_rng(2).normal(size=(8, 8)).astype(np.float32)
    for kind in (np.float64, np.float16):
        out = np.empty(x.shape, kind)
        assert activation(x, out=out) is out
        np.testing.assert_array_equal(out, activation(x).astype(kind))


def test_memory_map(activation, tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(64, 64))
    x[...] = np.random.default_rng(3).normal(size=x.shape)
    np.testing.assert_array_equal(activation(x), activation(np.array(x)))
