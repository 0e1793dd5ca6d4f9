"""On a real GPU: CuPy's and PyTorch's arrays, other producers, streams and CUDA graphs."""

import importlib

import numpy as np
import pytest
from conftest import DTYPES, bit_patterns

import numact as na
from numact.base import Elementwise

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install cupy-cuda13x")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda.is_available(), reason="this machine has no CUDA driver or no GPU"),
]
on_stream = importlib.import_module("numact.interop.cupy_arrays").on_stream  # makes a stream CuPy's current one
RANDOM = np.random.default_rng(22)
SPIN = """
extern "C" __global__ void spin(long long clocks) {
    long long begin = clock64();
    while (clock64() - begin < clocks);
}
"""
LONG = 1_000_000_000  # clocks: about half a second


class Bare:
    """An array of a library of its own, which says no more than a protocol demands."""

    def __init__(self, array, dlpack):
        self.array = array
        if dlpack:
            self.__class__ = type("Bare", (Bare,), {"__dlpack__": lambda self, **k: array.__dlpack__(**k)})
            self.__class__.__dlpack_device__ = lambda self: array.__dlpack_device__()
        else:
            described = {"version": 3, **array.__cuda_array_interface__}
            self.__class__ = type("Bare", (Bare,), {"__cuda_array_interface__": described})


def host(*shape, kind="float32"):
    return np.asarray(RANDOM.normal(size=shape) * 3).astype(kind)


def close(activation, computed, expected):
    """Compare bits, or rows whose sum has another order."""
    unit = 0 if isinstance(activation, Elementwise) else 8 * np.finfo(expected.dtype).eps
    assert computed.dtype == expected.dtype
    np.testing.assert_allclose(computed, expected, rtol=unit, atol=unit and 2.0**-24)


@pytest.fixture(scope="module")
def spin():
    """A kernel that lasts, on CuPy's current stream."""
    kernel = cupy.RawKernel(SPIN, "spin")
    kernel((1,), (1,), (1,))
    return lambda: kernel((1,), (1,), (LONG,))


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_cupy(activation, kind):
    x = host(50, 72, kind=kind)
    with cupy.cuda.Stream(non_blocking=True):
        device = cupy.asarray(x)
        result, out = activation(device), cupy.empty_like(device)
        assert activation(device, out=out) is out
        assert isinstance(result, cupy.ndarray)
        close(activation, cupy.asnumpy(result), activation(x))
        close(activation, cupy.asnumpy(out), activation(x))


@pytest.mark.parametrize("kind", DTYPES)
def test_torch(activation, kind):
    x = torch.randn(50, 72, dtype=getattr(torch, kind))
    with torch.cuda.stream(torch.cuda.Stream()):
        device = x.to("cuda")
        result, out = activation(device), torch.empty_like(device)
        assert activation(device, out=out) is out
        assert (result.dtype, result.device) == (x.dtype, device.device)
        assert torch.equal(result.nan_to_num(), out.nan_to_num())
        computed = result.cpu().double().numpy()
    expected = x.to(torch.float32 if kind == "bfloat16" else x.dtype).numpy()
    expected = torch.from_numpy(np.asarray(activation(expected))).to(x.dtype).double().numpy()
    unit = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}[kind]
    rounds = 0 if isinstance(activation, Elementwise) else 8
    np.testing.assert_allclose(computed, expected, rtol=rounds * unit, atol=rounds and 2.0**-24)


def test_torch_bfloat16_to_the_bit():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    bits = np.arange(2**16, dtype=np.uint16)
    device = torch.from_numpy(bits.view(np.int16)).cuda().view(torch.bfloat16)
    for name in ("gelu", "relu", "tanh"):
        computed = na.registry[name](device).view(torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)
        expected = na.registry[name](bits.view(ml_dtypes.bfloat16))
        np.testing.assert_array_equal(computed.astype(np.float32), expected.astype(np.float32))


def test_torch_layouts_and_errors():
    x = torch.randn(8, 6, 5, 4, device="cuda").to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(na.gelu(x).cpu().numpy(), na.gelu(x.cpu().numpy()))
    parameter = torch.nn.Parameter(torch.randn(5, device="cuda"))
    assert torch.equal(na.relu(parameter[::2]), torch.relu(parameter[::2]))
    with pytest.raises(TypeError, match="complex64"):
        na.relu(torch.zeros(3, dtype=torch.complex64, device="cuda"))
    with pytest.raises(TypeError, match="different libraries"):
        na.relu(x, out=cupy.empty(x.shape, cupy.float32))
    with pytest.raises(ValueError, match="x on GPU 0, out on the CPU"):
        na.relu(x, out=torch.empty(x.shape).numpy())


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "prelu", "swiglu", "softmax", "log_softmax", "logsumexp", "sparsemax"]
)
def test_torch_gradients_are_those_of_the_cpu(name):
    function = na.registry[name]
    points = torch.linspace(-3.0, 3.0, 30, dtype=torch.float64).reshape(5, 6)
    found = []
    for device in ("cuda", "cpu"):
        arrays = [item.clone().requires_grad_() for item in function._sample(points.to(device))]
        result = function(*arrays)
        assert result.device.type == device
        result.square().sum().backward()
        found.append([item.grad.cpu().numpy() for item in arrays])
    for computed, expected in zip(*found, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=1e-13, atol=1e-15)


def test_torch_refuses_a_gradient_from_what_was_overwritten():
    x = torch.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    kept = torch.exp(x)
    with torch.no_grad():
        na.relu6(kept, out=kept)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_torch_gradients_on_a_stream_of_the_callers():
    x, stream = torch.randn(1 << 20, device="cuda", requires_grad=True), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        (gradient,) = torch.autograd.grad(na.silu(x).sum(), x)
        (expected,) = torch.autograd.grad(torch.nn.functional.silu(x).sum(), x)
    stream.synchronize()
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["gelu", "softmax", "softmin", "log_softmax", "logsumexp", "sparsemax", "hardmax", "swiglu"]
)
def test_dask_computes_chunks_of_cupy_on_the_gpu(name):
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    function, x = na.registry[name], host(40, 60)
    arrays = [x] * (2 if name == "swiglu" else 1)
    expected = [function(*arrays)]
    lazy = [da.from_array(cupy.asarray(item), chunks=(16, 25), asarray=False) for item in arrays]
    results = [function(*lazy)]
    gradient = host(*expected[0].shape)
    lazy_gradient = da.from_array(cupy.asarray(gradient), chunks=(16, 25)[: gradient.ndim], asarray=False)
    for given, found, grad in ((arrays, expected, gradient), (lazy, results, lazy_gradient)):
        made = function.backward(grad, *given)
        found.extend(made if isinstance(made, tuple) else [made])
    for result, truth in zip(results, expected, strict=True):
        assert isinstance(result._meta, cupy.ndarray)
        computed = result.compute(scheduler="threads")
        assert isinstance(computed, cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(computed), truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dlpack", [False, True])
def test_any_producer(dlpack):
    x = bit_patterns(40_009)
    for array in (cupy.asarray(x), cupy.asarray(x).reshape(-1, 2)[:, ::2] if x.size % 2 == 0 else cupy.asarray(x)[::2]):
        result = na.gelu(Bare(array, dlpack))
        assert isinstance(result, type(cuda.to_device(x[:1])))
        np.testing.assert_array_equal(result.copy_to_host(), na.gelu(cupy.asnumpy(array)))
        out = cupy.empty(array.shape, cupy.float32)
        given = Bare(out, dlpack)
        assert na.gelu(Bare(array, dlpack), out=given) is given
        np.testing.assert_array_equal(cupy.asnumpy(out), na.gelu(cupy.asnumpy(array)))
    rows = cupy.asarray(host(20, 30))
    computed = na.softmax(Bare(rows, dlpack)).copy_to_host()
    np.testing.assert_allclose(computed, na.softmax(cupy.asnumpy(rows)), rtol=1e-6)


def test_dlpack_of_bfloat16():
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    x = torch.randn(1000, device="cuda").bfloat16()
    out = torch.empty_like(x)
    na.tanh(Bare(x, True), out=Bare(out, True))
    assert torch.equal(out, na.tanh(x))


def test_numba_arrays_name_their_stream():
    stream = cuda.stream()
    x = host(1000)
    device = cuda.to_device(x, stream=stream)
    result = na.gelu(device)
    assert int(result.stream.handle) == int(stream.handle)
    assert result.__cuda_array_interface__["stream"] == int(stream.handle)
    np.testing.assert_array_equal(result.copy_to_host(), na.gelu(x))


def spinning_streams():
    """Yield a context in which the caller's stream is current, a maker of arrays, and whether all is done."""
    stream = cupy.cuda.Stream(non_blocking=True)
    yield stream, cupy.asarray, lambda: stream.done
    yield cupy.cuda.Stream.ptds, cupy.asarray, lambda: cupy.cuda.Stream.ptds.done
    yield cupy.cuda.Stream.null, cupy.asarray, lambda: cupy.cuda.Stream.null.done


def test_a_call_returns_while_its_stream_is_busy(spin):
    x = host(1 << 16)
    gradient, rows = x[::-1].copy(), x.reshape(256, 256)
    for stream, put, is_done in spinning_streams():
        with stream:
            device, grad = put(x), put(gradient)
            for is_busy in (False, True):  # all is compiled first
                stream.synchronize()
                if is_busy:
                    spin()
                results = na.gelu(device), na.gelu.backward(grad, device), na.softmax(device.reshape(256, 256))
                results += (na.relu(device[::2]),)
                assert not (is_busy and is_done())
            expected = na.gelu(x), na.gelu.backward(gradient, x), na.softmax(rows), na.relu(x[::2])
            for computed, truth in zip(results, expected, strict=True):
                np.testing.assert_allclose(cupy.asnumpy(computed), truth, rtol=1e-6)


def test_torch_call_returns_while_its_stream_is_busy(spin):
    x, stream = torch.randn(1 << 16, device="cuda"), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream), on_stream(None, stream.cuda_stream):
        na.gelu(x)
        stream.synchronize()
        spin()
        result = na.gelu(x)
        assert not stream.query()
        np.testing.assert_array_equal(result.cpu().numpy(), na.gelu(x.cpu().numpy()))


def test_numba_call_returns_while_its_stream_is_busy(spin):
    x, stream = host(1 << 16), cuda.stream()
    device, out = cuda.to_device(x, stream=stream), cuda.device_array(1 << 16, np.float32, stream=stream)
    na.gelu(device, out=out)
    stream.synchronize()
    with on_stream(None, int(stream.handle)) as current:
        spin()
        na.gelu(device, out=out)
        assert not current.done
    np.testing.assert_array_equal(out.copy_to_host(stream=stream), na.gelu(x))


def test_capture_by_cupy():
    x, rows = cupy.asarray(host(1000)), cupy.asarray(host(20, 300))
    out, shares = cupy.empty_like(x), cupy.empty_like(rows)
    stream = cupy.cuda.Stream(non_blocking=True)

    def work():
        na.gelu(x, out=out)
        na.softmax(rows, out=shares)
        na.relu(out[::-1], out=out[::-1])

    with stream:
        work()
        stream.begin_capture()
        work()
        graph = stream.end_capture()
        x[:], rows[:] = x + 1, rows * 2
        graph.launch()
        np.testing.assert_array_equal(cupy.asnumpy(out), na.relu(na.gelu(cupy.asnumpy(x))))
        np.testing.assert_allclose(cupy.asnumpy(shares), na.softmax(cupy.asnumpy(rows)), rtol=1e-6)


def test_capture_by_torch():
    x = torch.randn(1000, device="cuda")
    na.softmax(na.gelu(x))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = na.softmax(na.gelu(x))
    x += 1
    graph.replay()
    np.testing.assert_allclose(result.cpu().numpy(), na.softmax(na.gelu(x.cpu().numpy())), rtol=1e-6)


def test_capture_of_what_is_not_compiled():
    @na.activation
    def new(x):
        return x * 0.3

    x, stream = cupy.ones(100, cupy.float32), cupy.cuda.Stream(non_blocking=True)
    out = cupy.empty_like(x)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="before the capture"):
            new(x, out=out)
        stream.end_capture()
    assert float(new(x)[0]) == np.float32(0.3)


def test_stream_of_the_users_choice(spin):
    x = host(1 << 16)
    for array in (cupy.asarray(x), torch.from_numpy(x).cuda(), cuda.to_device(x)):
        library = type(array).__module__.partition(".")[0]
        torch.cuda.synchronize()
        chosen = cupy.cuda.Stream(non_blocking=True)
        choices = chosen, torch.cuda.ExternalStream(chosen.ptr), cuda.external_stream(chosen.ptr), chosen.ptr
        na.gelu(array, stream=chosen)
        na.softmax.backward(array, array, stream=chosen)
        chosen.synchronize()
        with chosen:
            spin()
        results = [na.gelu(array, stream=stream) for stream in choices]
        results.append(na.softmax.backward(array, array, stream=chosen))
        assert not chosen.done
        chosen.synchronize()
        truth = [na.gelu(x)] * 4 + [na.softmax.backward(x, x)]
        for result, expected in zip(results, truth, strict=True):
            assert type(result).__module__.partition(".")[0] == library
            computed = (
                result.copy_to_host() if library == "numba" else result.get() if library == "cupy" else result.cpu()
            )
            np.testing.assert_allclose(np.asarray(computed), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(TypeError, match="must be a stream"):
        na.gelu(array, stream="fast")


def test_streams_that_arrays_name_are_waited_for(spin):
    x = host(1 << 16)
    slow, own = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    source = cuda.device_array(x.shape, np.float32, stream=cuda.external_stream(slow.ptr))
    grad = cuda.to_device(x, stream=cuda.external_stream(own.ptr))
    na.gelu.backward(grad, grad)
    own.synchronize()
    values, target = cupy.asarray(x), cupy.asarray(source)
    doubled, target[:] = values * 2, values
    cupy.cuda.Device().synchronize()
    with slow:
        spin()
        target[:] = doubled
    result = na.gelu.backward(source, grad)  # on the stream of grad
    assert not slow.done
    np.testing.assert_array_equal(result.copy_to_host(), na.gelu.backward(2 * x, x))
