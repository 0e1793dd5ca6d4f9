"""Sparsemax, hardmax and the cross entropy on CUDA, in Numba's simulator; run by `test_cuda_simulator.py`."""

import numpy as np
import pytest
from numba import cuda

import numact as na

SHAPES = [((3, 1), 1), ((2, 3), 1), ((2, 33), -1), ((1, 300), 1), ((4, 1, 3), 0), ((1, 40, 2), 1)]  # with the axis
KINDS = ["float32", "float64", "float16"]
RANDOM = np.random.default_rng(12)
PROJECTIONS = [na.sparsemax, na.hardmax]


def host(*shape, kind="float32"):
    return RANDOM.normal(size=shape).astype(kind)


def close(device, expected, kind=None):
    assert type(device) is type(cuda.to_device(np.zeros(1)))
    computed = device.copy_to_host()
    assert computed.dtype == expected.dtype
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed, expected, rtol=4 * np.finfo(expected.dtype).eps, atol=np.finfo(kind or expected.dtype).eps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
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
