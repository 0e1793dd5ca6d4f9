"""Sparsemax, hardmax and the cross entropy on CUDA, in Numba's simulator; run by `test_cuda_simulator.py`."""

import numpy as np
import pytest
import simulation  # noqa: F401 - it sets the simulator up
from numba import cuda

import numact as na

CASES = [((3, 1), 1, "float32"), ((2, 33), -1, "float64"), ((2, 5), 1, "float16"), ((4, 1, 3), 0, "float32")]
CASES += [((1, 41), 1, "float32")]  # more entries than a block has threads
RANDOM = np.random.default_rng(12)
PROJECTIONS = [na.sparsemax, na.hardmax]


def host(*shape, kind="float32"):
    return RANDOM.normal(size=shape).astype(kind)


def close(device, expected, kind=None):
    assert type(device) is type(cuda.to_device(np.zeros(1)))
    computed = device.copy_to_host()
    assert computed.dtype == expected.dtype
    assert computed.shape == expected.shape
    np.testing.assert_allclose(
        computed, expected, rtol=4 * np.finfo(expected.dtype).eps, atol=np.finfo(kind or expected.dtype).eps
    )


@pytest.mark.parametrize(("shape", "axis", "kind"), CASES)
@pytest.mark.parametrize("function", PROJECTIONS)
def test_projections(function, shape, axis, kind):
    x, grad = host(*shape, kind=kind), host(*shape, kind=kind)
    device, grads, y = cuda.to_device(x), cuda.to_device(grad), function(x, axis)
    close(function(device, axis), y)
    expected = function.backward(grad, x, axis)
    close(function.backward(grads, device, axis), expected)
    close(function.backward(grads, axis=axis, output=cuda.to_device(y)), expected)
    assert function(device, axis, out=device) is device
    close(device, y)


@pytest.mark.parametrize("function", PROJECTIONS)
def test_special_values(function):
    x = np.array([[1, np.nan, 2], [np.nan, 1, 2], [-np.inf, 0, 0], [3, 3, 3], [1, 2, np.inf]], np.float32)
    with np.errstate(invalid="ignore"):  # inf - inf, of the simulator's Python numbers
        np.testing.assert_allclose(function(cuda.to_device(x)).copy_to_host(), function(x), rtol=1e-6)
        computed = function.backward(cuda.to_device(x * 0 + 1), cuda.to_device(x)).copy_to_host()
        np.testing.assert_array_equal(computed, function.backward(x * 0 + 1, x))


def cross_entropy_cases():
    logits = host(2, 5, 3)
    labels = RANDOM.integers(0, 5, (2, 3))
    parts = RANDOM.dirichlet(np.ones(5), (2, 3)).transpose(0, 2, 1).astype(np.float32)
    yield logits, labels, {"axis": 1}
    yield logits, labels.astype(np.uint8), {"axis": 1, "label_smoothing": 0.1, "reduction": "sum"}
    yield logits, np.where(labels == 2, -100, labels), {"axis": 1, "ignore_index": -100}
    yield logits, parts, {"axis": 1, "reduction": "none", "label_smoothing": 0.2}
    yield logits[:, :, 0].astype(np.float64), labels[:, 0], {"reduction": "none"}
    yield logits[:, :, 0].astype(np.float16), labels[:, 0], {"ignore_index": 1}
    yield logits[0, :, 0] * 30, labels[0, 0], {}


@pytest.mark.parametrize("case", list(cross_entropy_cases()))
def test_cross_entropy(case):
    *arrays, options = case
    logits, labels = (np.array(part, order="C") for part in arrays)
    loss, gradient = (np.asarray(part) for part in na.softmax_cross_entropy.value_and_grad(logits, labels, **options))
    x, y = cuda.to_device(logits), cuda.to_device(labels)
    close(na.softmax_cross_entropy(x, y, **options), loss)
    computed = na.softmax_cross_entropy.value_and_grad(x, y, **options)
    close(computed[0], loss)
    close(computed[1], gradient)
    grad = host(*loss.shape, kind=logits.dtype) if loss.shape else np.array(0.5, logits.dtype)
    expected = na.softmax_cross_entropy.backward(grad, logits, labels, **options)
    close(na.softmax_cross_entropy.backward(cuda.to_device(grad), x, y, **options), expected)
    assert na.softmax_cross_entropy.backward(2.0, x, y, **options, out=x) is x
    close(x, na.softmax_cross_entropy.backward(2.0, logits, labels, **options))


def test_cross_entropy_layouts_and_errors():
    logits, labels = host(6, 8), np.arange(6)
    x, y = cuda.to_device(logits), cuda.to_device(np.repeat(labels, 2))
    close(na.softmax_cross_entropy(x[:, ::-1], y[::2]), np.asarray(na.softmax_cross_entropy(logits[:, ::-1], labels)))
    out = cuda.to_device(np.zeros((), np.float64))
    assert na.softmax_cross_entropy(x, y[::2], out=out) is out
    np.testing.assert_allclose(out.copy_to_host(), na.softmax_cross_entropy(logits, labels))
    with pytest.raises(ValueError, match="labels on the CPU"):
        na.softmax_cross_entropy(x, labels)
    with pytest.raises(ValueError, match=r"integer labels for logits of shape \(6, 8\) have \(6,\)"):
        na.softmax_cross_entropy(x, y)


def test_labels_out_of_range_are_nan():
    logits, labels = host(3, 4), np.array([0, 4, -1])
    loss, gradient = na.softmax_cross_entropy.value_and_grad(
        cuda.to_device(logits), cuda.to_device(labels), reduction="none"
    )
    np.testing.assert_array_equal(np.isnan(loss.copy_to_host()), [False, True, True])
    np.testing.assert_array_equal(
        np.isnan(gradient.copy_to_host()), np.isnan(loss.copy_to_host())[:, None] * np.ones(4)
    )
