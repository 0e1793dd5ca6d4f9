"""The diagnostics on arrays of several libraries, against counts by hand."""

import array_api_strict
import numpy as np
import pytest
from conftest import DTYPES, dtype_of
from numba import cuda

import numact as na
from numact.diagnostics import dead_share, gradient_norm, saturated_share

RANDOM = np.random.default_rng(5)


def pre_activations():
    """200 samples of 12 units: 3 never positive, 2 far out on either side."""
    x = RANDOM.normal(size=(200, 12))
    x[:, :3] = -abs(x[:, :3])
    x[:, 3] += 12
    x[:, 4] -= 12
    return x


@pytest.mark.parametrize("kind", DTYPES)
def test_shares(kind):
    x = pre_activations().astype(dtype_of(kind))
    assert dead_share(na.relu.grad(x)) == pytest.approx(4 / 12)
    assert dead_share(na.relu(x)) == pytest.approx(4 / 12)
    assert dead_share(na.leaky_relu.grad(x)) == 0
    assert saturated_share(na.sigmoid.grad(x)) == pytest.approx(2 / 12)
    assert saturated_share(na.tanh.grad(x)) == pytest.approx(2 / 12)
    assert saturated_share(na.leaky_relu.grad(x), tolerance=0.011) == pytest.approx(4 / 12)
    assert saturated_share(na.leaky_relu.grad(x), tolerance=0.009) == 0


def test_axes():
    slopes = np.ones((4, 3, 5, 5))
    slopes[:, 1] = 0.0
    slopes[0, 2] = 0.0
    assert dead_share(slopes, axis=(0, 2, 3)) == pytest.approx(1 / 3)
    assert dead_share(slopes) == pytest.approx(1 / 3)
    assert dead_share(slopes, axis=1) == 0
    assert dead_share(slopes[:, 1], axis=None) == 1
    assert dead_share([[0.0, 1.0], [0.0, np.nan]]) == 0.5


@pytest.mark.parametrize("kind", DTYPES)
def test_norm_of_large_gradients(kind):
    large = np.full((50, 80), 200.0).astype(dtype_of(kind))  # the squares overflow in float16
    assert gradient_norm(large) == pytest.approx(200 * 4000**0.5)
    assert gradient_norm(large, -large[0]) == pytest.approx(200 * 4080**0.5)
    assert gradient_norm(np.float32([3e30, -4e30])) == pytest.approx(5e30, rel=1e-6)
    assert np.isnan(gradient_norm(np.float32([1.0, np.nan])))


def test_arrays_stay_where_they_are():
    """The strict library's other devices refuse to become NumPy arrays."""
    device = array_api_strict.Device("device1")
    x = array_api_strict.asarray([[0.0, 3.0], [0.0, -4.0]], dtype=array_api_strict.float32, device=device)
    with pytest.raises(RuntimeError):
        np.asarray(x)
    results = [(gradient_norm(x, x), 50**0.5), (dead_share(x), 0.5), (saturated_share(x, tolerance=4.0), 1.0)]
    for result, expected in results:
        assert result.device == device
        assert float(result) == pytest.approx(expected)


def test_tensors():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.tensor([[0.0, 3.0], [0.0, -4.0]], dtype=torch.bfloat16, device=device)
    for result, expected in [(gradient_norm(x, x), 50**0.5), (dead_share(x), 0.5), (dead_share(x, (0, 1)), 0.0)]:
        assert isinstance(result, torch.Tensor)
        assert result.device == x.device
        assert float(result) == pytest.approx(expected)


@pytest.mark.cuda
@pytest.mark.skipif(not cuda.is_available(), reason="this machine has no CUDA driver or no GPU")
def test_arrays_on_a_gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    x = cupy.asarray(pre_activations())
    slopes = na.relu.grad(x)
    assert isinstance(dead_share(slopes), cupy.ndarray)
    assert float(dead_share(slopes)) == pytest.approx(4 / 12)
    assert float(gradient_norm(x)) == pytest.approx(float(np.linalg.norm(x.get())))


def test_what_cannot_be_measured():
    class Strange:
        """Neither an array nor a list."""

    with pytest.raises(TypeError, match=r"cannot sum a .*Strange; pass it as an array of a library"):
        dead_share(Strange())
    with pytest.raises(TypeError, match="at least one"):
        gradient_norm()
