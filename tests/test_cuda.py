"""On a real GPU: every function, dtype and layout against the CPU; streams; CuPy and PyTorch arrays."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ELEMENTWISE, SEVERAL, bit_patterns
from numba import config

import numact as na
from numact.base import Elementwise

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda.is_available(), reason="this machine has no CUDA driver or no GPU"),
]
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # of the small grids of a test's own kernels
RANDOM = np.random.default_rng(21)
# With the axis: rows that a thread, a few, a warp and a block hold; ragged ones; those read twice; rows side by side.
SHAPES = [((500, 1), 1), ((500, 4), 1), ((300, 33), 1), ((100, 128), 1), ((50, 1000), 1), ((30, 1023), 1)]
SHAPES += [((20, 4096), 1), ((20, 8192), 1), ((9, 8193), 1), ((9, 65_536), 1), ((3, 65_537), 1)]
SHAPES += [((700, 60), 0), ((9000, 3), 0), ((3, 50, 70), 1)]


target = pytest.importorskip("numact.targets.cuda", reason="numba-cuda is not installed")


def host(*shape, kind="float32"):
    return np.asarray(RANDOM.normal(size=shape) * 3).astype(kind)


def same(device, expected):
    """Compare bits: of a GPU's array and a CPU's."""
    computed, expected = device.copy_to_host(), np.asarray(expected)
    assert (computed.dtype, computed.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(computed, expected)
    finite = ~np.isnan(expected)  # the sign of a NaN means nothing
    np.testing.assert_array_equal(np.signbit(computed[finite]), np.signbit(expected[finite]))


def tolerance(function, kind):
    """Return how far a result may lie from the CPU's: not at all, or a few roundings of a sum in another order."""
    unit = {"bfloat16": 2.0**-7}.get(kind) or np.finfo(kind).eps
    return 0 if isinstance(function, Elementwise) else 4 * unit


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_equals_the_cpu_to_the_bit(name):
    function, x = na.registry[name], np.append(bit_patterns(4099), np.float32("nan"))
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for values in (x, halves):
        device, gradient = cuda.to_device(values), values[::-1].copy()
        same(function(device), function(values))
        same(function.grad(device), function.grad(values))
        same(function.backward(cuda.to_device(gradient), device), function.backward(gradient, values))
    wide = np.append(np.linspace(-50, 50, 9999), [np.nan, np.inf, -np.inf])
    np.testing.assert_allclose(function(cuda.to_device(wide)).copy_to_host(), function(wide), rtol=4e-16)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_arrays(name):
    function, x, other, grad = na.registry[name], host(300, 70), host(70), host(300, 70)
    inputs = [x if index == 0 else other for index in range(len(function._value.inputs))]
    numbers = [0.5] * (len(function._sample(0.0)) - len(inputs))
    same(function(*map(cuda.to_device, inputs), *numbers), function(*inputs, *numbers))
    computed = function.backward(cuda.to_device(grad), *map(cuda.to_device, inputs), *numbers)
    expected = function.backward(grad, *inputs, *numbers)
    if len(inputs) == 1:
        computed, expected = (computed,), (expected,)
    for one, truth in zip(computed, expected, strict=True):
        np.testing.assert_allclose(one.copy_to_host(), truth, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_layouts(activation, kind):
    x, grad = host(60, 84, kind=kind), host(84, kind=kind)
    device = cuda.to_device(x)
    close = {"rtol": tolerance(activation, kind)}
    for view in (np.s_[:], np.s_[:, ::2], np.s_[1:, 3:], np.s_[::-1], np.s_[0, :0]):
        np.testing.assert_allclose(activation(device[view]).copy_to_host(), activation(x[view]), **close)
    np.testing.assert_allclose(activation(device.T).copy_to_host(), activation(x.T), **close)
    computed = activation.backward(cuda.to_device(grad), device).copy_to_host()
    scale = 4 * tolerance(activation, kind) * np.abs(grad).max()
    np.testing.assert_allclose(computed, activation.backward(grad, x), rtol=0, atol=scale)


def test_sizes_around_whole_vectors():
    for kind in ("float16", "float32", "float64"):
        for size in (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 1023, 100_003):
            x = host(size, kind=kind)
            same(na.relu(cuda.to_device(x)), na.relu(x))
    same(na.relu(cuda.to_device(np.float32(-2.0).reshape(()))), np.array(0.0, np.float32))
    assert na.relu(cuda.to_device(host(3, 0, 2))).shape == (3, 0, 2)


def test_out_in_place_and_overlap():
    x, wide = host(1000), cuda.to_device(np.zeros(1000))
    assert na.gelu(cuda.to_device(x), out=wide) is wide
    np.testing.assert_array_equal(wide.copy_to_host(), na.gelu(x).astype(np.float64))
    device = cuda.to_device(x)
    assert na.gelu(device, out=device) is device
    same(device, na.gelu(x))
    for target, source in ((np.s_[8:], np.s_[:-8]), (np.s_[:-3], np.s_[3:]), (np.s_[::-1], np.s_[:])):
        device, expected = cuda.to_device(x), x.copy()
        na.gelu(device[source], out=device[target])
        expected[target] = na.gelu(x[source])
        same(device, expected)
    rows = host(50, 20)
    device = cuda.to_device(rows)
    assert na.softmax(device, out=device) is device
    np.testing.assert_allclose(device.copy_to_host(), na.softmax(rows), rtol=1e-6)


def test_more_than_a_32_bit_index():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    size = 2**31 + 9
    free, _ = cupy.cuda.runtime.memGetInfo()
    if free < 3 * 2 * size:
        pytest.skip("the GPU has too little free memory")
    x = cupy.full(size, -1, cupy.float16)
    x[-5:] = cupy.arange(5)
    expected = cupy.concatenate([cupy.zeros(4, cupy.float16), cupy.arange(5, dtype=cupy.float16)])
    na.relu(x, out=x)
    assert int(x[:-5].any()) == 0
    assert (x[-9:] == expected).all()
    x[:] = -1
    x[0], x[-1] = 3, 4
    na.relu(x[::-1], out=x[::-1])  # as a strided kernel, the same places
    na.relu(x[:: size - 1], out=x[:: size - 1])
    assert (float(x[0]), float(x[-1]), float(x[size // 2])) == (3, 4, 0)
    x.fill(1)
    rows = x[: 2**31].reshape(2**15, 2**16)
    na.softmax(rows, out=rows)
    assert float(rows[-1, -1]) == 2.0**-16 == float(rows[0, 0])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_rows(name, shape, axis):
    x, grad = host(*shape), host(*shape)
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    share = powers / powers.sum(axis=axis, keepdims=True)
    exact = share if name == "softmax" else wide - wide.max(axis=axis, keepdims=True)
    if name == "log_softmax":
        exact = exact - np.log(powers.sum(axis=axis, keepdims=True))
    function = na.registry[name]
    computed = function(cuda.to_device(x), axis).copy_to_host()
    unit = np.spacing(np.abs(exact).astype(np.float32))
    assert (np.abs(computed - exact) / unit).max() <= 4.0
    computed = function.backward(cuda.to_device(grad), cuda.to_device(x), axis).copy_to_host()
    size = np.abs(grad * (share if name == "softmax" else 1)).sum(axis=axis, keepdims=True) * share + np.abs(grad)
    assert (np.abs(computed - function.backward(grad, x, axis)) <= 1e-6 * size).all()


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_rows_of_other_dtypes(kind):
    for shape, axis in SHAPES:
        x = host(*shape, kind=kind)
        computed = na.softmax(cuda.to_device(x), axis).copy_to_host()
        np.testing.assert_allclose(computed, na.softmax(x, axis), rtol=2 * np.finfo(kind).eps, atol=2.0**-24)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("length", [3, 40, 3000, 40_000])
def test_masks_scales_and_special_rows(name, length):
    x, mask = host(6, length), RANDOM.random((6, length)) < 0.5
    x[0, 1], x[1, 1], x[2], mask[3] = np.nan, np.inf, -np.inf, False
    for options in ({}, {"scale": -1.3}, {"mask": mask}, {"mask": mask, "scale": 0.7}):
        on_gpu = {key: cuda.to_device(v) if key == "mask" else v for key, v in options.items()}
        computed = na.registry[name](cuda.to_device(x), **on_gpu).copy_to_host()
        np.testing.assert_allclose(computed, na.registry[name](x, **options), rtol=2e-6, atol=1e-37)


def test_other_functions_of_special_rows():
    for length in (3, 40, 3000, 40_000):
        x = host(6, length)
        x[0, 1], x[1, 1], x[2] = np.nan, np.inf, -np.inf
        np.testing.assert_allclose(na.logsumexp(cuda.to_device(x)).copy_to_host(), na.logsumexp(x), rtol=1e-6)
        for function in (na.sparsemax, na.hardmax):
            np.testing.assert_allclose(function(cuda.to_device(x)).copy_to_host(), function(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "sparsemax", "gelu"])
def test_the_sanitizer_finds_nothing(name, tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer, a part of the CUDA toolkit, is not installed")
    script = Path(__file__).with_name("sanitized.py")
    # CUDA's own libraries ask the driver for what it may not have: that is no error of numact's.
    options = ["--tool", tool, "--error-exitcode", "1", "--report-api-errors", "no"]
    command = [sanitizer, *options, sys.executable, str(script), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert f"done {name}" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, done.stdout[:6000]


def test_parameters_beyond_float32():
    x = host(100)
    same(na.leaky_relu(cuda.to_device(x), 1e300), na.leaky_relu(x, 1e300))
    same(na.softplus(cuda.to_device(x), threshold=np.inf), na.softplus(x))


def test_a_refused_launch_names_the_kernel():
    function, _ = target.vectors_function(na.relu._value, "float32", 1)
    with pytest.raises(RuntimeError, match=r"vectors_relu.* on GPU 0: .*CUDA_ERROR"):
        target.start_on(0, 0, function, 1, 4096, (0, 0, 0), (), "float32")  # no GPU has blocks of so many threads


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
