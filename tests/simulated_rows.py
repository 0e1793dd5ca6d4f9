"""The CUDA row kernels' logic in Numba's simulator; `test_cuda_simulator.py` runs this file in a process of its own."""

import numpy as np
import pytest
import simulation  # noqa: F401 - it sets the simulator up
from numba import cuda

import numact as na

RANDOM = np.random.default_rng(12)
FAMILY = ["softmax", "log_softmax", "softmin"]
SHAPES = [((1, 41), 1), ((2, 1), 1), ((2, 9), -1), ((3, 1, 2), 0), ((1, 33, 2), 1)]  # with the axis
OPTIONS = [{"scale": -1.7}, {"mask": True}, {"mask": True, "scale": 0.6}]
CASES = [(name, *place, "float32") for name in FAMILY for place in SHAPES]
CASES += [(name, *SHAPES[2], "float16") for name in FAMILY]
put = cuda.to_device


def host(*shape, kind="float32"):
    return np.asarray(RANDOM.normal(size=shape) * 3).astype(kind)


def close(device, expected, scale=0.0):
    """Compare with the CPU's result: the order of additions differs, a few roundings of sums of terms of that scale."""
    computed, expected = device.copy_to_host(), np.asarray(expected)
    assert (computed.dtype, computed.shape) == (expected.dtype, expected.shape)
    tolerance = 8 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=tolerance * scale)


def chosen(shape, options):
    """Return options for the CPU and for the GPU, a mask of that shape made where they ask for one."""
    options = dict(options)
    if "mask" in options:
        options["mask"] = RANDOM.random(shape) < 0.6
    return options, {name: put(value) if name == "mask" else value for name, value in options.items()}


@pytest.mark.parametrize(("name", "shape", "axis", "kind"), CASES)
def test_value_and_gradients(name, shape, axis, kind):
    function, x, grad = na.registry[name], host(*shape, kind=kind), host(*shape, kind=kind)
    size = np.abs(grad).sum(axis=axis).max()
    value = function(x, axis)
    close(function(put(x), axis), value)
    close(function.backward(put(grad), put(x), axis), function.backward(grad, x, axis), size)
    if function.takes_output:
        computed = function.backward(put(grad), axis=axis, output=put(value))
        close(computed, function.backward(grad, axis=axis, output=value), size)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("shape", "axis"), SHAPES[2:4])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_mask_and_scale(name, shape, axis, options):
    function, x, grad = na.registry[name], host(*shape), host(*shape)
    on_cpu, on_gpu = chosen(shape, options)
    size = 2 * np.abs(grad).sum(axis=axis).max()
    value = function(x, axis, **on_cpu)
    close(function(put(x), axis, **on_gpu), value)
    close(function.backward(put(grad), put(x), axis, **on_gpu), function.backward(grad, x, axis, **on_cpu), size)
    if function.takes_output:
        computed = function.backward(put(grad), axis=axis, output=put(value), **on_gpu)
        close(computed, function.backward(grad, axis=axis, output=value, **on_cpu), size)


def test_mask_that_broadcasts_and_hides_whole_rows():
    x = host(4, 6)
    x[0, 1], x[1, 2] = np.nan, np.inf
    for mask in (np.array([True, False, True, True, False, True]), np.array([[True], [False], [True], [False]])):
        for function in (na.softmax, na.log_softmax):
            np.testing.assert_array_equal(
                np.isfinite(function(put(x), mask=put(mask)).copy_to_host()), np.isfinite(function(x, mask=mask))
            )
    hidden = np.zeros((4, 6), bool)
    np.testing.assert_array_equal(na.softmax(put(x), mask=put(hidden)).copy_to_host(), 0)
    np.testing.assert_array_equal(na.log_softmax(put(x), mask=put(hidden)).copy_to_host(), -np.inf)
    np.testing.assert_array_equal(na.softmax.backward(put(x), put(x), mask=put(hidden)).copy_to_host(), 0)


AXES = [(axis, False, "float32") for axis in (-1, None, (0, 2), (1, 2), (0, 3), ())]


@pytest.mark.parametrize(("axis", "keepdims", "kind"), [*AXES, ((0, 2), True, "float32"), (0, True, "float16")])
def test_logsumexp(axis, keepdims, kind):
    x = host(2, 3, 2, 2, kind=kind)
    value = na.logsumexp(x, axis, keepdims)
    close(na.logsumexp(put(x), axis, keepdims), value, 1.0)
    out = put(np.zeros(np.shape(value), np.float64))
    assert na.logsumexp(put(x), axis, keepdims, out=out) is out
    np.testing.assert_allclose(out.copy_to_host(), value, rtol=8 * np.finfo(kind).eps)
    grad = host(*np.shape(value), kind=kind)
    close(na.logsumexp.backward(put(grad), put(x), axis, keepdims), na.logsumexp.backward(grad, x, axis, keepdims))


def test_special_values():
    x = np.array([[1, np.inf, 2], [1, np.nan, 2], [-np.inf, 0, 0], [-np.inf] * 3], np.float32)
    for function in (na.log_softmax, na.logsumexp):
        close(function(put(x)), function(x))
    np.testing.assert_array_equal(na.logsumexp(put(np.zeros((2, 0), np.float32))).copy_to_host(), -np.inf)


def test_errors():
    x = host(3, 4)
    with pytest.raises(ValueError, match="mask on the CPU"):
        na.softmax(put(x), mask=x > 0)
    with pytest.raises(TypeError, match="must be bool"):
        na.softmax(put(x), mask=put(x))
    with pytest.raises(ValueError, match="does not broadcast"):
        na.softmax(put(x), mask=put(np.ones(3, bool)))
    with pytest.raises(ValueError, match="grad_output of shape"):
        na.logsumexp.backward(put(x), put(x))
    with pytest.raises(ValueError, match="out has shape"):
        na.logsumexp(put(x), out=put(x))
