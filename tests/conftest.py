"""What the tests share: bit patterns, references in mpmath and SciPy, and the error in units in the last place."""

import mpmath
import numpy as np
import pytest

import numact as na
from numact.base import Elementwise

ELEMENTWISE = [name for name, function in na.registry.items() if isinstance(function, Elementwise)]
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def dtype_of(name):
    """Return the NumPy dtype of a name; bfloat16 comes from ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def read_only(array):
    """Return the array, protected: a kernel that writes to its input fails."""
    array.flags.writeable = False
    return array


@pytest.fixture(params=ELEMENTWISE)
def elementwise(request):
    """Each elementwise activation in turn."""
    return na.registry[request.param]


@pytest.fixture(params=list(na.registry))
def activation(request):
    """Each activation in turn."""
    return na.registry[request.param]


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Each floating dtype in turn."""
    return dtype_of(request.param)


def bit_patterns(stride, start=0):
    """Return every stride-th float32 by bit pattern, NaN left out."""
    patterns = np.arange(start, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return read_only(patterns[~np.isnan(patterns)])


def gelu_tanh_argument(x):
    """Return v with gelu_tanh(x) = x / (1 + e^-v), and its derivative, in mpmath."""
    scale = mpmath.sqrt(8 / mpmath.pi)
    cubic = mpmath.mpf("0.044715")
    return scale * (x + cubic * x**3), scale * (1 + 3 * cubic * x**2)


def logistic(x):
    """1 / (1 + e^-x) in mpmath."""
    return 1 / (1 + mpmath.exp(-x))


def gelu_tanh_derivative(x):
    """The derivative of gelu_tanh in mpmath."""
    v, slope = gelu_tanh_argument(x)
    return logistic(v) + x * slope * logistic(v) * logistic(-v)


def upper_tail(x):
    """The normal distribution's upper tail in mpmath."""
    return mpmath.erfc(x / mpmath.sqrt(2)) / 2


# name -> (value, derivative) at a point of mpmath
EXACT = {
    "relu": (lambda x: max(x, 0), lambda x: mpmath.mpf(x > 0)),
    "leaky_relu": (
        lambda x: x if x > 0 else mpmath.mpf(0.01) * x,
        lambda x: mpmath.mpf(1) if x > 0 else mpmath.mpf(0.01),
    ),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x)),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    "gelu": (lambda x: x * upper_tail(-x), lambda x: upper_tail(-x) + x * mpmath.npdf(x)),
    "gelu_tanh": (lambda x: x * logistic(gelu_tanh_argument(x)[0]), gelu_tanh_derivative),
}
