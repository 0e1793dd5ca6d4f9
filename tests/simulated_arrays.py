"""Activations of several arrays, `bias=` and `output=` on CUDA in the simulator; run by `test_cuda_simulator.py`."""

import numpy as np
import pytest
from conftest import ELEMENTWISE, SAMPLE, SEVERAL
from numba import cuda
from simulation import target

import numact as na
from numact.targets import cuda_sums

target.THREADS = 32  # of a block, which sums up to 32 columns
RANDOM = np.random.default_rng(13)
# The shape of one array, that of another which repeats in it, and 2 more of one that repeats along several axes.
REPEATING = [((5, 3), (3,)), ((5, 3), (5, 1)), ((2, 11), ()), ((2, 3, 4), (3, 1)), ((2, 3, 4), (2, 1, 4)), ((3,), (3,))]


def host(*shape, kind="float32"):
    return np.asarray(RANDOM.normal(size=shape) * 3).astype(kind)


def put(value):
    return cuda.to_device(value) if isinstance(value, np.ndarray) else value


def same(device, expected, summed=False):
    """Compare bits, or within a few roundings where the order of additions differs."""
    computed, expected = device.copy_to_host(), np.asarray(expected)
    assert (computed.dtype, computed.shape) == (expected.dtype, expected.shape)
    tolerance = 4 * np.finfo(expected.dtype).eps if summed else 0
    np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=10 * tolerance)


def arguments(function, x, other):
    """Return arrays for the function's inputs and numbers for its parameters without a default."""
    inputs = [x if index == 0 else other for index in range(len(function._value.inputs))]
    return [*inputs, *[0.5] * (len(function._sample(0.0)) - len(inputs))]


@pytest.mark.parametrize("name", SEVERAL)
def test_value_and_gradients(name):
    function, x, other, grad = na.registry[name], host(41), host(41), host(41)
    given = arguments(function, x, other)
    on_gpu = [put(value) for value in given]
    same(function(*on_gpu), function(*given))
    for computed, expected in (
        (function.grad(*on_gpu), function.grad(*given)),
        (function.backward(put(grad), *on_gpu), function.backward(grad, *given)),
    ):
        if not isinstance(expected, tuple):
            computed, expected = (computed,), (expected,)
        for one, truth in zip(computed, expected, strict=True):
            same(one, truth)


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize(("shape", "small"), REPEATING)
@pytest.mark.parametrize("name", ["prelu", "swiglu"])
def test_arrays_that_repeat(name, shape, small, kind):
    function, x, other, grad = (
        na.registry[name],
        host(*shape, kind=kind),
        host(*small, kind=kind),
        host(*shape, kind=kind),
    )
    same(function(put(x), put(other)), function(x, other))
    computed, expected = function.backward(put(grad), put(x), put(other)), function.backward(grad, x, other)
    same(computed[0], expected[0])
    same(computed[1], expected[1], summed=shape != small)
    swapped, expected = function.backward(put(grad), put(other), put(x)), function.backward(grad, other, x)
    same(swapped[0], expected[0], summed=shape != small)
    same(swapped[1], expected[1])


def test_both_repeat():
    gate, up, grad = host(4, 1), host(1, 5), host(4, 5)
    same(na.swiglu(put(gate), put(up)), na.swiglu(gate, up))
    computed, expected = na.swiglu.backward(put(grad), put(gate), put(up)), na.swiglu.backward(grad, gate, up)
    for one, truth in zip(computed, expected, strict=True):
        same(one, truth, summed=True)


def test_a_sum_of_many():
    x, weight, grad = host(700, 2), host(2), host(700, 2)
    additions, cuda_sums.ADDITIONS = cuda_sums.ADDITIONS, 4
    try:
        computed = na.prelu.backward(put(grad), put(x), put(weight))[1].copy_to_host()
    finally:
        cuda_sums.ADDITIONS = additions
    np.testing.assert_allclose(computed, na.prelu.backward(grad, x, weight)[1], rtol=1e-6)


@pytest.mark.parametrize(("shape", "small"), REPEATING)
@pytest.mark.parametrize("name", SAMPLE)
def test_bias(name, shape, small):
    function, x, bias, grad = na.registry[name], host(*shape), host(*small), host(*shape)
    same(function(put(x), bias=put(bias)), function(x, bias=bias))
    computed = function.backward(put(grad), put(x), bias=put(bias))
    expected = function.backward(grad, x, bias=bias)
    same(computed[0], expected[0])
    same(computed[1], expected[1], summed=shape != small)


def test_out_of_gradients():
    x, bias, grad = host(5, 3), host(3), host(5, 3)
    outs = put(np.zeros((5, 3), np.float64)), put(np.zeros(3, np.float32))
    computed = na.gelu.backward(put(grad), put(x), bias=put(bias), out=outs)
    assert computed[0] is outs[0]
    assert computed[1] is outs[1]
    for one, truth in zip(outs, na.gelu.backward(grad, x, bias=bias), strict=True):
        np.testing.assert_allclose(one.copy_to_host(), truth, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if na.registry[name].takes_output])
def test_from_the_output(name):
    function, x, grad = na.registry[name], host(41), host(41)
    output = function(x)
    same(function.backward(put(grad), output=put(output)), function.backward(grad, output=output))


@pytest.mark.parametrize(("shape", "axis"), [((6,), -1), ((4, 3), 0), ((2, 6, 3), 1)])
def test_glu(shape, axis):
    x = host(*shape)
    value = na.glu(x, axis)
    same(na.glu(put(x), axis), value)
    grad = host(*value.shape)
    same(na.glu.backward(put(grad), put(x), axis), na.glu.backward(grad, x, axis))
    same(na.glu.grad(put(x), axis), na.glu.grad(x, axis))


def test_names_that_kernels_use_themselves():
    @na.activation
    def clash(index, length, /, low=2.0, columns=0.5):
        return index * low + length * columns

    @clash.derivative
    def clash_grad(index, length, /, low=2.0, columns=0.5):
        return low, columns

    x, other = host(5, 3), host(3)
    same(clash(put(x), put(other), 0.5, 3.0), clash(x, other, 0.5, 3.0))
    computed, expected = clash.backward(put(x), put(x), put(other)), clash.backward(x, x, other)
    same(computed[0], expected[0])
    same(computed[1], expected[1], summed=True)
