"""Who is right? The NumPy and SciPy expressions that errors are measured against, and speed is compared with."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import special

Array = Any


class Reference(NamedTuple):
    """What one would write without numact.

    Attributes
    ----------
    value : callable
        The value by NumPy and SciPy; of a float64 array, right to about 1e-15 of the result, tails included.
    derivative : callable or None
        The derivative of float64 arrays to the same accuracy.
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array] | None


GELU_SCALE, GELU_CUBIC = 1.5957691216057308, 0.044715  # sqrt(8 / pi)


def _gelu_tanh_derivative(x: Array) -> Array:
    x = np.clip(x, -1e3, 1e3)  # past which it is 0 or 1, and inf - inf would not be
    argument = GELU_SCALE * (x + GELU_CUBIC * x**3)
    slope = GELU_SCALE * (1 + 3 * GELU_CUBIC * x**2)
    return special.expit(argument) * (1 + x * slope * special.expit(-argument))


def _gelu_derivative(x: Array) -> Array:
    x = np.clip(x, -1e3, 1e3)
    return special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _leaky_relu(x: Array) -> Array:
    return np.where(x > 0, x, x * SLOPE.astype(x.dtype))


def _sparsemax(x: Array) -> Array:
    descending = -np.sort(-x, axis=-1)
    thresholds = (np.cumsum(descending, axis=-1) - 1) / np.arange(1, x.shape[-1] + 1)
    return np.maximum(x - thresholds.max(axis=-1, keepdims=True), 0)  # the largest is that of the support


def _hardmax(x: Array) -> Array:
    return (np.arange(x.shape[-1]) == x.argmax(axis=-1)[..., np.newaxis]).astype(x.dtype)


SLOPE = np.array(np.float32(0.01))  # as the parameter of a float32 array is rounded

REFERENCES = {
    "relu": Reference(lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0.0)),
    "leaky_relu": Reference(_leaky_relu, lambda x: np.where(x > 0, 1.0, SLOPE)),
    "sigmoid": Reference(special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "tanh": Reference(np.tanh, lambda x: 4 * special.expit(2 * x) * special.expit(-2 * x)),
    "gelu": Reference(lambda x: x * special.ndtr(x), _gelu_derivative),
    "gelu_tanh": Reference(lambda x: x * special.expit(GELU_SCALE * (x + GELU_CUBIC * x**3)), _gelu_tanh_derivative),
    "softmax": Reference(lambda x: special.softmax(x, axis=-1), None),
    "sparsemax": Reference(_sparsemax, None),
    "hardmax": Reference(_hardmax, None),
}


# dtype -> (bits of the mantissa, exponent of the smallest normal number)
FORMATS = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126), "float64": (53, -1022)}


@numba.vectorize(["float64(float64, float64, int64, int64)"])  # compiled now: threads that compile at once clash
def _ulp_error(computed, truth, bits, smallest):
    if computed == truth or (math.isnan(computed) and math.isnan(truth)):
        return 0.0
    if math.isinf(computed):
        largest = math.ldexp(2 - math.ldexp(1.0, 1 - bits), 1 - smallest)
        return 0.0 if abs(truth) > largest and (truth > 0) == (computed > 0) else math.inf
    exponent = max(math.frexp(truth)[1] - 1, smallest) if truth != 0 else smallest
    error = math.ldexp(abs(computed - truth), bits - 1 - exponent)
    return math.inf if math.isnan(error) else error


def ulp_error(computed: Array, truth: Array) -> Array:
    """Return errors in units in the last place of the exact result.

    Parameters
    ----------
    computed : array
        Results in float16, bfloat16, float32 or float64.
    truth : array of float64
        The exact results.

    Returns
    -------
    array
        |computed - truth| over the distance of neighbouring numbers of computed's dtype at truth. 0 where both are NaN
        or where a truth past the largest number became infinite, infinity where only one is NaN or infinite.

    Examples
    --------
    >>> float(ulp_error(np.float32([1.0]), np.float64([1 + 2.0**-24]))[0])
    0.5
    """
    bits, smallest = FORMATS[computed.dtype.name]
    return _ulp_error(computed.astype(np.float64), truth, bits, smallest)
