"""On a real GPU: every function, dtype and layout against the CPU; streams; CuPy and PyTorch arrays."""

import numpy as np
import pytest
from conftest import ELEMENTWISE, bit_patterns

import numact as na
from numact.base import Elementwise

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda.is_available(), reason="this machine has no CUDA driver or no GPU"),
]
RANDOM = np.random.default_rng(21)
SHAPES = [((500, 1), 1), ((500, 4), 1), ((300, 33), 1), ((9, 65_536), 1), ((700, 60), 0)]  # with the axis


def host(*shape, kind="float32"):
    return (RANDOM.normal(size=shape) * 3).astype(kind)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_float32_equals_the_cpu_to_the_bit(name):
    function, x = na.registry[name], np.append(bit_patterns(4099), np.float32("nan"))
    device = cuda.to_device(x)
    for on_gpu, on_cpu in ((function(device), function(x)), (function.grad(device), function.grad(x))):
        computed = on_gpu.copy_to_host()
        np.testing.assert_array_equal(computed, on_cpu)
        np.testing.assert_array_equal(np.signbit(computed[:-1]), np.signbit(on_cpu[:-1]))


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_layouts(activation, kind):
    x, grad = host(60, 80, kind=kind), host(80, kind=kind)
    device = cuda.to_device(x)
    close = {"rtol": 0 if isinstance(activation, Elementwise) else 8 * np.finfo(kind).eps}
    for view in (np.s_[:], np.s_[:, ::2], np.s_[1:, 3:], np.s_[::-1]):
        np.testing.assert_allclose(activation(device[view]).copy_to_host(), activation(x[view]), **close)
    np.testing.assert_allclose(activation(device.T).copy_to_host(), activation(x.T), **close)
    computed = activation.backward(cuda.to_device(grad), device).copy_to_host()
    scale = 16 * np.finfo(kind).eps * np.abs(grad).max() if not isinstance(activation, Elementwise) else 0
    np.testing.assert_allclose(computed, activation.backward(grad, x), rtol=0, atol=scale)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_softmax(shape, axis):
    x = host(*shape)
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    exact = powers / powers.sum(axis=axis, keepdims=True)
    error = np.abs(na.softmax(cuda.to_device(x), axis).copy_to_host() - exact) / np.spacing(exact.astype(np.float32))
    assert error.max() <= 4.0


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_cupy(activation, kind):
    cupy = pytest.importorskip("cupy")
    x = host(50, 70, kind=kind)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        device = cupy.asarray(x)
        result = activation(device)
        out = cupy.empty_like(device)
        assert activation(device, out=out) is out
        assert isinstance(result, cupy.ndarray)
        assert result.dtype == x.dtype
        np.testing.assert_array_equal(cupy.asnumpy(result), cupy.asnumpy(out))
    tolerance = 8 * np.finfo(kind).eps if not isinstance(activation, Elementwise) else 0
    np.testing.assert_allclose(cupy.asnumpy(result), activation(x), rtol=tolerance)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_torch(activation, kind):
    torch = pytest.importorskip("torch")
    x = torch.randn(50, 70, dtype=getattr(torch, kind))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        device = x.to("cuda", non_blocking=True)
        result = activation(device)
        assert result.dtype == x.dtype
        assert result.device == device.device
    stream.synchronize()
    truth = activation(x.double().numpy())
    unit = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-21, "float64": 2**-50}[kind]
    np.testing.assert_allclose(
        result.cpu().double().numpy(), truth, rtol=unit, atol=1e-7 if kind == "float16" else 1e-30
    )


def test_call_returns_before_the_stream_is_done():
    cupy = pytest.importorskip("cupy")
    x = cupy.ones(1 << 20, cupy.float32)
    na.gelu(x)
    code = 'extern "C" __global__ void spin(long long n) { long long t = clock64(); while (clock64() - t < n); }'
    spin = cupy.RawKernel(code, "spin")
    spin((1,), (1,), (1,))
    cupy.cuda.Device().synchronize()
    spin((1,), (1,), (2_000_000_000,))
    na.gelu(x)
    done = cupy.cuda.Event()
    done.record()
    assert not done.done
    done.synchronize()


def test_mixed_devices_name_who_lives_where(activation):
    x = host(3, 4)
    with pytest.raises(ValueError, match="grad_output on the CPU, x on GPU"):
        activation.backward(x, cuda.to_device(x))


def test_scalar_in_a_kernel():
    for name in ELEMENTWISE:
        scalar, x = na.registry[name].scalar, host(1000)

        @cuda.jit
        def kernel(x, out):
            i = cuda.grid(1)
            if i < x.size:
                out[i] = scalar(x[i])  # noqa: B023

        out = cuda.to_device(np.zeros_like(x))
        kernel[4, 256](cuda.to_device(x), out)
        np.testing.assert_array_equal(out.copy_to_host(), na.registry[name](x))
