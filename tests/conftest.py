"""What the tests share: bit patterns, references in mpmath and SciPy, and the error in units in the last place."""

from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

import numact as na
from numact.base import Elementwise
from numact.references import REFERENCES
from numact.rows import Reduction

ELEMENTWISE = [name for name, function in na.registry.items() if isinstance(function, Elementwise)]
SHAPED = [name for name, function in na.registry.items() if not isinstance(function, Reduction)]
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


@pytest.fixture(params=SHAPED)
def activation(request):
    """Each activation whose result has the shape of its input in turn."""
    return na.registry[request.param]


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Each floating dtype in turn."""
    return dtype_of(request.param)


def bit_patterns(stride, start=0):
    """Return every stride-th float32 by bit pattern, NaN left out."""
    patterns = np.arange(start, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return read_only(patterns[~np.isnan(patterns)])


def exact(name, which, x, number):
    """Return the value or the derivative at x in mpmath, with parameters rounded to a number type."""
    reference = REFERENCES[name]
    return getattr(reference, which)(mpmath.mpf(x), *reference.defaults(number), namespace=MPMATH)


# What the references call, in as many digits as mpmath's precision says.
MPMATH = SimpleNamespace(
    abs=abs,
    cosh=mpmath.cosh,
    exp=mpmath.exp,
    expit=lambda x: 1 / (1 + mpmath.exp(-x)),
    expm1=mpmath.expm1,
    log=mpmath.log,
    log1p=mpmath.log1p,
    maximum=max,
    minimum=min,
    ndtr=lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    pi=mpmath.pi,
    sqrt=mpmath.sqrt,
    tanh=mpmath.tanh,
    where=lambda condition, first, second: first if condition else second,
)
