"""How work is cut: no thread waits long for another, each gets tasks that lie side by side, in whole cache lines."""

import numba
import numpy as np
import pytest

import numact as na
from numact.targets import cpu_gathered, cpu_rows
from numact.targets.cpu_memory import LINE
from numact.targets.cpu_tiles import ElementKernel


def mark(x0, out, asks):
    """Stand for a kernel: mark where a tile begins, as lines of memory are asked for from there on."""
    out[0] = 1.0 if asks else 0.5


def assert_fair(sizes, fair):
    """Assert that of tasks of these sizes no thread gets more than `fair` times its share."""
    for threads in (2, 4, 8):
        most = max(sum(part) for part in np.array_split(sizes, threads))
        assert most <= fair * sum(sizes) / threads


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")
@pytest.mark.parametrize("size", [131_000, 131_073, 140_000, 200_001, 300_000, 1_000_000, 4_200_000, 16_000_000])
def test_tiles(size):
    x, out = np.zeros((2, size), np.float32)
    ElementKernel(mark, "float32", 0).fill((x,), (), out)
    starts = np.flatnonzero(out == 1)
    assert starts[0] < LINE // out.itemsize
    assert not ((out.ctypes.data + starts * out.itemsize) % LINE).any()
    assert_fair(np.diff([0, *starts[1:], size]), 1.05)


@pytest.mark.parametrize("size", [8_192, 8_193, 150_001])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_all_elements_are_written_wherever_lines_begin(kind, size):
    """On one thread and on several, and nothing before or behind the result."""
    x = np.linspace(-1, 1, size).astype(kind)
    lines = np.empty(size + 2 * LINE, kind)
    start = LINE - lines.ctypes.data % LINE // lines.itemsize
    for place in range(start, start + LINE // lines.itemsize):
        lines[:] = 7
        na.relu(x, out=lines[place : place + size])
        np.testing.assert_array_equal(lines[place : place + size], np.maximum(x, 0))
        assert (lines[:place] == 7).all() and (lines[place + size :] == 7).all()


ROWS = [(100, 1000), (20, 5000), (3125, 32), (60, 20_000), (1000, 1000), (16_000, 1000)]


@pytest.mark.parametrize(("rows", "length"), ROWS)
def test_rows(rows, length):
    *_, tasks, sizes = cpu_rows.plan(na.softmax._formulas, "value", "float32", False, False, (rows, length, 1))
    assert sizes == (length, 1, tasks)
    assert_fair([(task + 1) * rows // tasks - task * rows // tasks for task in range(tasks)], 1.25)
    tasks, size = cpu_gathered.divided(rows, length, 1)
    assert_fair([min(size, rows - task * size) for task in range(tasks)], 1.25)


@pytest.mark.parametrize(("length", "columns"), [(32, 3125), (4, 25_000), (100, 1000), (20, 18_433), (32, 500_000)])
def test_strips_of_columns(length, columns):
    *_, tasks, (_, inner, width, blocks) = cpu_rows.plan(
        na.softmax._formulas, "value", "float32", False, False, (1, length, columns)
    )
    assert (inner, blocks) == (columns, 1)
    assert tasks == -(-columns // width)
    assert_fair([min(width, columns - task * width) for task in range(tasks)], 1.05)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("length", "columns"), [(3000, 100), (20_000, 7)])
def test_lines_of_columns_are_shared(length, columns, name, kind, monkeypatch):
    """Same bits on one thread or for more, of few columns, in the place of any input, where the result overlaps one."""
    function = na.registry[name]
    x, grad = np.random.default_rng(0).normal(0, 3, (2, length, columns)).astype(kind)
    kernel, *_ = cpu_rows.plan(function._formulas, "value", kind, False, False, (1, length, columns))
    assert isinstance(kernel, cpu_rows.TallKernel)
    value, gradient = function(x, 0), function.backward(grad, x, 0)
    calls = [(function, [x], value), (function.backward, [grad, x], gradient)]
    if function.takes_output:
        expected = function.backward(grad, axis=0, output=value)
        calls.append(
            (lambda g, y, axis, **out: function.backward(g, axis=axis, output=y, **out), [grad, value], expected)
        )
    for call, arrays, expected in calls:
        few = [np.ascontiguousarray(array[:, 2:5]) for array in arrays]
        np.testing.assert_array_equal(call(*few, 0), expected[:, 2:5])
        for place in range(len(arrays)):
            copies = [array.copy() for array in arrays]
            np.testing.assert_array_equal(call(*copies, 0, out=copies[place]), expected)
            for low, high in ((0, 1), (1, 0)):
                memory = np.empty((length + 1, columns), kind)
                copies[place] = memory[low:][:length]
                copies[place][:] = arrays[place]
                np.testing.assert_array_equal(call(*copies, 0, out=memory[high:][:length]), expected)
                copies[place] = arrays[place].copy()
        threads = numba.get_num_threads()
        try:
            numba.set_num_threads(1)
            np.testing.assert_array_equal(call(*arrays, 0), expected)
        finally:
            numba.set_num_threads(threads)
    modes = "value", "backward", "from_output"
    for (call, arrays, expected), mode in zip(calls, modes[: len(calls)], strict=True):
        kernel, *_ = cpu_rows.plan(function._formulas, mode, kind, False, False, (1, length, columns))
        for shares in (1, 3, 64) if isinstance(kernel, cpu_rows.TallKernel) else ():
            monkeypatch.setattr(kernel, "_shares", shares)
            np.testing.assert_array_equal(call(*arrays, 0), expected)
    last = np.ascontiguousarray(np.moveaxis(x, 0, 1))
    np.testing.assert_allclose(value.astype(float), function(last).T.astype(float), 2e-3 if kind == "float16" else 1e-6)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_lines_of_columns_that_are_reduced_are_shared(kind):
    x = np.random.default_rng(0).normal(0, 3, (3000, 100)).astype(kind)
    grad = np.linspace(-1, 1, 100).astype(kind)
    for mode in ("value", "backward"):
        kernel, *_ = cpu_rows.plan(na.logsumexp._formulas, mode, kind, False, False, (1, *x.shape))
        assert isinstance(kernel, cpu_rows.TallKernel)
    value, gradient = na.logsumexp(x, 0), na.logsumexp.backward(grad, x, 0)
    rows = np.ascontiguousarray(x.T)
    np.testing.assert_allclose(
        value.astype(float), na.logsumexp(rows).astype(float), 2e-3 if kind == "float16" else 1e-6
    )
    expected = na.logsumexp.backward(grad, rows).T
    np.testing.assert_allclose(
        gradient.astype(float), expected.astype(float), 2e-3 if kind == "float16" else 1e-6, 1e-7
    )
    few = np.ascontiguousarray(x[:, 40:72])
    threads = numba.get_num_threads()
    try:
        for count in (threads, 1):
            numba.set_num_threads(count)
            np.testing.assert_array_equal(na.logsumexp(x, 0), value)
            np.testing.assert_array_equal(na.logsumexp(few, 0), value[40:72])
            np.testing.assert_array_equal(na.logsumexp.backward(grad, x, 0), gradient)
            np.testing.assert_array_equal(na.logsumexp.backward(grad[40:72], few, 0), gradient[:, 40:72])
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(na.logsumexp.backward(grad, x, 0, out=x), gradient)


@pytest.mark.parametrize(("kind", "reach"), [("float32", 50), ("float64", 300)])
def test_sums_of_columns_have_one_order(kind, reach):
    """Of gradients that cancel, so that what their sum loses to rounding is all that is left, and shows the order."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 100)).astype(kind)
    fours = (rng.integers(1, 8, (375, 4, 100)) * 2.0 ** rng.integers(-reach, reach, (375, 1, 100))).astype(kind)
    grad = np.concatenate([fours, -rng.permutation(fours)]).reshape(x.shape)
    gradient = na.log_softmax.backward(grad, x, 0)
    few = na.log_softmax.backward(np.ascontiguousarray(grad[:, :5]), np.ascontiguousarray(x[:, :5]), 0)
    np.testing.assert_array_equal(few, gradient[:, :5])
