"""The CUDA kernels' logic in Numba's simulator, where each GPU thread is a Python thread: small arrays only.

`test_cuda_simulator.py` runs this file in a process of its own, as the simulator is chosen when Numba is imported.
"""

import itertools

import numpy as np
import pytest
import simulation  # noqa: F401 - it sets the simulator up
from conftest import ELEMENTWISE, SAMPLE
from numba import cuda

import numact as na

SHAPES = [((3, 1), 1), ((2, 3), 1), ((2, 33), -1), ((1, 41), 1), ((4, 1, 3), 0), ((1, 40, 2), 1)]  # with the axis
RANDOM = np.random.default_rng(11)


def host(*shape, kind="float32"):
    return (RANDOM.normal(size=shape) * 3).astype(kind)


def equal(device, expected):
    assert type(device) is type(cuda.to_device(np.zeros(1)))
    computed = device.copy_to_host()
    assert computed.dtype == expected.dtype
    assert computed.shape == expected.shape
    np.testing.assert_array_equal(computed, expected)


CASES = [(name, "float32", 41) for name in ELEMENTWISE]
CASES += itertools.product(SAMPLE, ["float32", "float64", "float16"], [0, 1, 41])


@pytest.mark.parametrize(("name", "kind", "size"), CASES)
def test_elementwise(name, kind, size):
    elementwise, x, grad = na.registry[name], host(size, kind=kind), host(size, kind=kind)
    equal(elementwise(cuda.to_device(x)), elementwise(x))
    equal(elementwise.grad(cuda.to_device(x)), elementwise.grad(x))
    equal(elementwise.backward(cuda.to_device(grad), cuda.to_device(x)), elementwise.backward(grad, x))


@pytest.mark.parametrize("name", ["leaky_relu", "gelu"])
def test_layouts(name):
    function, x = na.registry[name], host(6, 10)
    device = cuda.to_device(x)
    equal(function(device[:, ::2]), function(x[:, ::2]))
    equal(function(device[::-1]), function(x[::-1]))
    equal(function(device.T), np.ascontiguousarray(function(x.T)))
    equal(function(cuda.to_device(np.float32(0.5).reshape(()))), np.array(function(np.float32(0.5))))
    row = host(10)
    equal(function.backward(cuda.to_device(row), device), function.backward(row, x))


def test_parameters():
    x = host(40)
    equal(na.leaky_relu(cuda.to_device(x), 0.3), na.leaky_relu(x, 0.3))
    equal(na.gelu(cuda.to_device(x), approximate="tanh"), na.gelu(x, approximate="tanh"))


@pytest.mark.parametrize("kind", ["bool", "int8", "int16", "int32", "int64"])
def test_integers_promote(kind):
    x = np.array([0, 1, 1, 0], kind)
    equal(na.sigmoid(cuda.to_device(x)), na.sigmoid(x))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_softmax(shape, axis, kind):
    x, grad = host(*shape, kind=kind), host(*shape, kind=kind)
    # The order of additions differs: a few roundings of a sum of positive terms.
    tolerance = 8 * np.finfo(kind).eps
    computed = na.softmax(cuda.to_device(x), axis)
    assert computed.dtype == x.dtype
    np.testing.assert_allclose(computed.copy_to_host(), na.softmax(x, axis), rtol=tolerance)
    computed = na.softmax.backward(cuda.to_device(grad), cuda.to_device(x), axis).copy_to_host()
    np.testing.assert_allclose(computed, na.softmax.backward(grad, x, axis), atol=tolerance * np.abs(grad).max())


def test_softmax_layouts():
    x = host(6, 20)
    device = cuda.to_device(x)
    expected = na.softmax(np.ascontiguousarray(x[:, ::2]))
    np.testing.assert_allclose(na.softmax(device[:, ::2]).copy_to_host(), expected, rtol=1e-6)
    out = cuda.to_device(np.zeros((20, 6), np.float64)).T
    assert na.softmax(device, out=out) is out
    np.testing.assert_allclose(out.copy_to_host(), na.softmax(x), rtol=1e-6)
    integers = np.arange(12).reshape(3, 4)
    np.testing.assert_allclose(na.softmax(cuda.to_device(integers)).copy_to_host(), na.softmax(integers), rtol=1e-15)


def test_softmax_special_values():
    x = np.array([[1, np.inf, 2], [1, np.nan, 2], [-np.inf, 0, 0], [-np.inf] * 3], np.float32)
    np.testing.assert_array_equal(na.softmax(cuda.to_device(x)).copy_to_host(), na.softmax(x))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", [*SAMPLE, "softmax"])
def test_out(name, kind):
    activation, x, out = na.registry[name], host(5, 8), cuda.to_device(np.zeros((5, 8), kind))
    assert activation(cuda.to_device(x), out=out) is out
    np.testing.assert_allclose(out.copy_to_host(), activation(x).astype(kind), rtol=2 * np.finfo(kind).eps + 1e-6)


def test_in_place_and_overlap():
    x = host(64)
    device = cuda.to_device(x.copy())
    assert na.tanh(device, out=device) is device
    equal(device, na.tanh(x))
    device = cuda.to_device(x.copy())
    na.tanh(device[:-8], out=device[8:])
    np.testing.assert_array_equal(device.copy_to_host()[8:], na.tanh(x[:-8]))


def test_errors(activation):
    device, x = cuda.to_device(host(3, 4)), host(3, 4)
    with pytest.raises(ValueError, match="grad_output on the CPU, x on GPU 0"):
        activation.backward(x, device)
    with pytest.raises(ValueError, match="x on GPU 0, out on the CPU"):
        activation(device, out=x)
    with pytest.raises(ValueError, match="shape"):
        activation(device, out=cuda.to_device(host(4, 3)))
    with pytest.raises(TypeError, match="int32"):
        activation(device, out=cuda.to_device(np.zeros((3, 4), np.int32)))
    with pytest.raises(TypeError, match="complex64"):
        activation(cuda.to_device(np.zeros(3, np.complex64)))


def test_scalar_in_a_kernel():
    for name in ELEMENTWISE:
        scalar, x = na.registry[name].scalar, host(16)

        @cuda.jit
        def kernel(x, out, scalar=scalar):
            i = cuda.grid(1)
            if i < x.size:
                out[i] = scalar(x[i])

        out = cuda.to_device(np.zeros_like(x))
        kernel[1, 32](cuda.to_device(x), out)
        np.testing.assert_array_equal(out.copy_to_host(), na.registry[name](x))
