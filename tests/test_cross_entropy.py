"""The cross entropy against mpmath, finite differences and PyTorch, and what may be relied on."""

import pickle

import mpmath
import numba
import numpy as np
import pytest
from conftest import DTYPES, dtype_of, read_only
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run
from test_memory import CODE

import numact as na

loss_of = na.softmax_cross_entropy
BITS = {"float32": 24, "float64": 53}


def target(labels, classes, smoothing):
    """Return the target of rows in mpmath, from integers or probabilities."""
    parts = np.eye(classes)[labels] if np.ndim(labels) == 1 else labels
    return [[(1 - mpmath.mpf(smoothing)) * float(p) + mpmath.mpf(smoothing) / classes for p in row] for row in parts]


def exact(x, labels, smoothing=0.0):
    """Return each row's loss and gradient in mpmath."""
    losses, gradients = [], []
    with mpmath.workdps(60):
        for row, parts in zip(x, target(labels, x.shape[1], smoothing), strict=True):
            row = [mpmath.mpf(float(value)) for value in row]
            norm = mpmath.log(mpmath.fsum(mpmath.exp(value) for value in row))
            losses.append(mpmath.fsum(p * (norm - value) for p, value in zip(parts, row, strict=True)))
            weight = mpmath.fsum(parts)
            gradients.append([(weight * mpmath.exp(value - norm), p) for p, value in zip(parts, row, strict=True)])
    return losses, gradients


def units(computed, truth, size, kind):
    """Return the error in units in the last place of numbers of that size."""
    smallest = np.finfo(kind).tiny
    return float(
        abs(mpmath.mpf(float(computed)) - truth) / mpmath.ldexp(1, mpmath.frexp(max(size, smallest))[1] - BITS[kind])
    )


def cases(kind):
    """Yield logits and labels: plain ones, and rows whose label leads by up to 80."""
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 65)) * 4
    labels = random.integers(0, 65, 30)
    yield x.astype(kind), labels
    confident = x.copy()
    confident[np.arange(30), labels] = np.linspace(10, 80, 30)
    yield confident.astype(kind), labels
    wrong = x.copy()
    wrong[np.arange(30), labels] = -np.linspace(10, 800, 30)
    yield wrong.astype(kind), labels
    yield (x + 1e4).astype(kind), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_value_and_gradient_against_mpmath(kind, smoothing):
    with mpmath.workdps(60):
        for x, labels in cases(kind):
            losses, gradients = exact(x, labels, smoothing)
            computed = loss_of(x, labels, reduction="none", label_smoothing=smoothing)
            assert max(units(c, t, t, kind) for c, t in zip(computed, losses, strict=True)) <= 2.0
            _, gradient = loss_of.value_and_grad(x, labels, reduction="sum", label_smoothing=smoothing)
            for row, truth, label in zip(gradient, gradients, labels, strict=True):
                for k, (value, (soft, p)) in enumerate(zip(row, truth, strict=True)):
                    # Near a root of the gradient the error is that of the terms; without smoothing there is none.
                    size = abs(soft - p) if k == label and not smoothing else max(soft, p)
                    assert units(value, soft - p, size, kind) <= 4.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_probabilities_against_mpmath(kind, smoothing):
    random = np.random.default_rng(1)
    x = (random.normal(size=(30, 65)) * 4).astype(kind)
    parts = random.dirichlet(np.full(65, 0.1), 30).astype(kind)
    with mpmath.workdps(60):
        losses, gradients = exact(x, parts, smoothing)
        computed, gradient = loss_of.value_and_grad(x, parts, reduction="none", label_smoothing=smoothing)
        assert max(units(c, t, t, kind) for c, t in zip(computed, losses, strict=True)) <= 3.0
        for row, truth in zip(gradient, gradients, strict=True):
            for value, (soft, p) in zip(row, truth, strict=True):
                assert units(value, soft - p, max(soft, p), kind) <= 4.0


def test_one_hot_probabilities_are_labels():
    x, labels = next(iter(cases("float64")))
    for smoothing in (0.0, 0.3):
        plain = loss_of(x, labels, reduction="none", label_smoothing=smoothing)
        parts = loss_of(x, np.eye(65)[labels], reduction="none", label_smoothing=smoothing)
        np.testing.assert_allclose(parts, plain, rtol=1e-15)


@pytest.mark.parametrize("options", [{}, {"ignore_index": 3}, {"label_smoothing": 0.2}, {"reduction": "sum"}])
def test_gradient_is_the_slope(options):
    random = np.random.default_rng(2)
    x, direction, labels = *random.normal(size=(2, 40, 6)), random.integers(0, 6, 40)
    step = 1e-6
    slope = (loss_of(x + step * direction, labels, **options) - loss_of(x - step * direction, labels, **options)) / (
        2 * step
    )
    loss, gradient = loss_of.value_and_grad(x, labels, **options)
    assert loss == loss_of(x, labels, **options)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-8)
    np.testing.assert_array_equal(loss_of.backward(1.0, x, labels, **options), gradient)
    scaled = loss_of.backward(np.float64(0.3), x, labels, **options)
    np.testing.assert_allclose(scaled, 0.3 * gradient, rtol=1e-14, atol=1e-17)


def test_gradient_by_each_row():
    random = np.random.default_rng(3)
    x, labels, grad = random.normal(size=(5, 6, 4)), random.integers(0, 6, (5, 4)), random.normal(size=(5, 4))
    _, gradient = loss_of.value_and_grad(x, labels, 1, "none")
    expected = grad[:, None, :] * gradient
    np.testing.assert_allclose(loss_of.backward(grad, x, labels, 1, "none"), expected, rtol=1e-14)
    np.testing.assert_allclose(loss_of.backward(2, x, labels, 1, "none"), 2 * gradient, rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("ignored", [None, 2, -100])
def test_against_torch(reduction, ignored, smoothing):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    random = np.random.default_rng(4)
    x, labels = random.normal(size=(9, 5, 7)) * 3, random.integers(0, 5, (9, 7))
    if ignored is not None:
        labels[labels == 1] = ignored
    logits = torch.tensor(x, requires_grad=True)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    theirs = torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels), ignore_index=-1 if ignored is None else ignored, **options
    )
    theirs.sum().backward()
    ours, gradient = loss_of.value_and_grad(x, labels, 1, ignore_index=ignored, **options)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-16)


def test_ignored_rows_are_zero_and_do_not_count():
    x, labels = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32), np.array([0, -100, 2, -100])
    loss, gradient = loss_of.value_and_grad(x, labels, reduction="none", ignore_index=-100)
    assert (loss[1::2] == 0).all()
    assert (gradient[1::2] == 0).all()
    assert loss_of(x, labels, ignore_index=-100) == np.float32(loss_of(x[::2], labels[::2]))
    loss, gradient = loss_of.value_and_grad(x, np.full(4, 7), ignore_index=7)
    assert np.isnan(loss)
    assert (gradient == 0).all()
    assert loss_of(x, np.full(4, 7), ignore_index=7, reduction="sum") == 0
    x[1] = np.nan  # what is ignored may be anything
    assert np.isfinite(loss_of(x, labels, ignore_index=-100))


@pytest.mark.parametrize("kind", DTYPES)
def test_special_values(kind):
    inf, nan = np.inf, np.nan
    x = np.array([[1, nan, 2], [1, inf, 2], [-inf] * 3, [-inf, 0, 0], [0, -inf, 0], [5, 5, 5]], dtype_of(kind))
    loss, gradient = loss_of.value_and_grad(x, [0, 1, 2, 0, 2, 1], reduction="none")
    assert loss.dtype == gradient.dtype == x.dtype
    assert np.isnan(loss[:3].astype(float)).all()
    assert np.isnan(gradient[:3].astype(float)).all()
    np.testing.assert_array_equal(
        loss[3:].astype(float), np.array([inf, np.log(2), np.log(3)]).astype(x.dtype).astype(float)
    )
    np.testing.assert_array_equal(gradient[3:5].astype(float), [[-1, 0.5, 0.5], [0.5, 0, -0.5]])
    parts = np.array([[0, 0.5, 0.5]], x.dtype)
    assert loss_of(x[3:4], parts) == np.array(np.log(2)).astype(x.dtype)
    assert loss_of(x[3:4], np.array([0]), label_smoothing=0.5) == inf


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 4), st.integers(1, 130), st.integers(0, 20), st.sampled_from(["int8", "uint16", "int64", ">i4"]))
def test_layouts_and_label_types(outer, length, inner, kind):
    random = np.random.default_rng(length)
    x = random.normal(size=(outer, length, inner)).astype(np.float32)
    labels = random.integers(0, min(length, 128), (outer, inner)).astype(kind)  # what int8 holds
    plain, gradient = loss_of.value_and_grad(x, labels, 1, "none")
    assert plain.shape == labels.shape
    moved = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    np.testing.assert_array_equal(plain, loss_of(moved, labels.astype(int), reduction="none"))
    for view in (
        np.asfortranarray(x),
        np.repeat(x, 2, 2)[:, :, ::2],
        x[:, :, ::-1].copy()[:, :, ::-1],
        x.astype(">f4"),
    ):
        spread = read_only(np.repeat(labels, 2, 0)[::2])
        loss, found = loss_of.value_and_grad(read_only(view[...]), spread, 1, "none")
        np.testing.assert_array_equal(loss, plain)
        np.testing.assert_array_equal(found, gradient)
        out = np.full(x.shape[::-1], np.nan, np.float32).T
        assert loss_of.backward(1.0, view, spread, 1, "none", out=out) is out
        np.testing.assert_array_equal(out, gradient)
    assert loss_of.backward(1.0, x, labels, 1, "none", out=x) is x
    np.testing.assert_array_equal(x, gradient)


def test_overlapping_out():
    memory = np.random.default_rng(6).normal(size=1300).astype(np.float32)
    labels = np.arange(30) % 40
    expected = loss_of.backward(1.0, memory[:1200].reshape(30, 40).copy(), labels)
    out = memory[7:1207].reshape(30, 40)
    loss_of.backward(1.0, memory[:1200].reshape(30, 40), labels, out=out)
    np.testing.assert_array_equal(out, expected)


def test_threads_do_not_change_the_bits():
    random = np.random.default_rng(7)
    x, labels = random.normal(size=(30_000, 10)).astype(np.float32), random.integers(0, 10, 30_000)
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        results.append([*loss_of.value_and_grad(x, labels), loss_of(x, labels, reduction="sum")])
        numba.set_num_threads(before)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


def test_mean_of_a_million_rows():
    """Losses of 0.3 added one by one in float32 would end 3 % off."""
    random = np.random.default_rng(8)
    x = random.normal(size=(1_000_000, 2)).astype(np.float32)
    labels = random.integers(0, 2, 1_000_000)
    gap = (
        np.take_along_axis(x, 1 - labels[:, None], 1)[:, 0].astype(float)
        - np.take_along_axis(x, labels[:, None], 1)[:, 0]
    )
    truth = np.logaddexp(0, gap).mean()
    assert abs(float(loss_of(x, labels)) - truth) <= 0.51 * np.spacing(np.float32(truth))


BAD = [
    (np.zeros((2, 3)), [0, 3], {}, ValueError, r"labels holds 3 at \(1,\), but there are 3 classes"),
    (np.zeros((2, 3)), [-1, 0], {}, ValueError, r"labels holds -1 at \(0,\)"),
    (np.zeros((2, 3, 2)), [[0, 1], [9, 0]], {"axis": 1}, ValueError, r"labels holds 9 at \(1, 0\)"),
    (np.zeros((2, 3)), [0, 1, 2], {}, ValueError, r"integer labels for logits of shape \(2, 3\) have \(2,\)"),
    (np.zeros((2, 3)), [0.0, 1.0], {}, ValueError, "probabilities for logits"),
    (np.zeros((2, 3)), ["a", "b"], {}, TypeError, "labels has dtype str"),
    (np.zeros((2, 3), complex), [0, 0], {}, TypeError, "logits has dtype complex128"),
    (np.zeros((2, 3)), [0, 0], {"axis": 2}, ValueError, "axis 2 is out of bounds"),
    (np.zeros((2, 3)), [0, 0], {"reduction": "max"}, ValueError, "reduction must be 'none', 'mean', 'sum', not 'max'"),
    (np.zeros((2, 3)), [0, 0], {"label_smoothing": 1.5}, ValueError, "label_smoothing must be from 0 to 1"),
    (np.zeros((2, 3)), np.zeros((2, 3)), {"ignore_index": 1}, ValueError, "ignore_index is for integer labels"),
]


@pytest.mark.parametrize(("logits", "labels", "options", "error", "message"), BAD)
def test_errors(logits, labels, options, error, message):
    out = np.full(logits.shape, 7.0)
    with pytest.raises(error, match=message):
        loss_of.value_and_grad(logits, labels, **options, out=out)
    with pytest.raises(error, match=message):
        loss_of(logits, labels, **options)
    assert (out == 7).all()


def test_out():
    x, out = np.zeros((2, 3), np.float32), np.zeros((), np.float64)
    assert loss_of(x, [0, 1], out=out) is out
    assert out == np.float32(np.log(3))
    with pytest.raises(ValueError, match="out has shape"):
        loss_of(x, [0, 1], out=np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        loss_of.value_and_grad(x, [0, 1], out=read_only(np.zeros((2, 3))))
    with pytest.raises(ValueError, match="grad_output has shape"):
        loss_of.backward([1.0, 2.0], x, [0, 1])


def test_empty():
    assert np.isnan(loss_of(np.zeros((0, 3)), np.zeros(0, int)))
    assert loss_of(np.zeros((0, 3)), np.zeros(0, int), reduction="sum") == 0
    assert loss_of.backward(1.0, np.zeros((0, 3)), np.zeros(0, int)).shape == (0, 3)


def test_pickle():
    assert pickle.loads(pickle.dumps(loss_of)) is loss_of


LAYOUTS = {
    "contiguous": "arrays = filled('f4'), filled('f4'), np.zeros(SIDE, 'i8')",
    "transposed": "arrays = filled('f4').T, filled('f4'), np.zeros(SIDE, 'i4')",
    "float16": "arrays = filled('f2'), filled('f2'), np.zeros(2 * SIDE, 'i2')[::2]",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_temporary_of_the_size_of_the_input(layout):
    call = "lambda x, out, labels: na.softmax_cross_entropy.value_and_grad(x, labels[: len(x)], out=out)"
    assert int(run(CODE.format(setup=f"{LAYOUTS[layout]}\ncalls = [{call}]"), NUMBA_NUM_THREADS="2")) < 16e6
