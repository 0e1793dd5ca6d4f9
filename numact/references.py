"""Who is right? The textbook expressions that errors are measured against, and speed is compared with."""

import inspect
import math
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from scipy import special

Array = Any


@cache
def numpy_functions(dtype):
    """Return what the expressions call on arrays of a dtype; the tests have the same names in many digits."""

    def where(condition, first, second):
        return np.where(condition, np.asarray(first, dtype), np.asarray(second, dtype))

    names = {**vars(np), "where": where, "expit": special.expit, "ndtr": special.ndtr, "softmax": special.softmax}
    names |= {"log_softmax": special.log_softmax, "logsumexp": special.logsumexp}
    return SimpleNamespace(**names)


class Reference:
    """What one would write without numact.

    Parameters
    ----------
    value, derivative : callable
        Expressions of a namespace of functions, of a point, and of the activation's parameters with their defaults.
        By NumPy, of float64 arrays, they are right to about 1e-15 of the result, tails included.
    """

    def __init__(self, value: Callable[..., Array], derivative: Callable[..., Array] | None = None):
        self.value: Callable[..., Array] = partial(self._evaluate, value)
        self.derivative = derivative and partial(self._evaluate, derivative)
        _, _, *self.parameters = inspect.signature(value).parameters.values()

    @staticmethod
    def _evaluate(expression, x, *parameters, namespace=None):
        with np.errstate(all="ignore"):  # both branches of `where` are evaluated
            return expression(namespace or numpy_functions(x.dtype), x, *parameters)

    def defaults(self, number):
        """Return the parameters' defaults, rounded as they are for arrays of a number type."""
        values = [item.default for item in self.parameters]
        return tuple(value if isinstance(value, int) else float(number(value)) for value in values)


def _gelu_tanh_exponent(m, x):
    return m.sqrt(8 / m.pi) * (x + 44715 * x**3 / 10**6)  # 0.044715 itself is no binary number


def _gelu_tanh_derivative(m, x):
    v, slope = _gelu_tanh_exponent(m, x), m.sqrt(8 / m.pi) * (1 + 3 * 44715 * x**2 / 10**6)
    return m.expit(v) * (1 + x * slope * m.expit(-v))


def _masked(m, x, mask):
    return x if mask is None else m.where(mask, x, -math.inf)


REFERENCES = {
    "relu": Reference(lambda m, x: m.maximum(x, 0), lambda m, x: m.where(x > 0, 1, 0)),
    "leaky_relu": Reference(
        lambda m, x, negative_slope=0.01: m.where(x > 0, x, negative_slope * x),
        lambda m, x, negative_slope=0.01: m.where(x > 0, 1, negative_slope),
    ),
    "sigmoid": Reference(lambda m, x: m.expit(x), lambda m, x: m.expit(x) * m.expit(-x)),
    "tanh": Reference(lambda m, x: m.tanh(x), lambda m, x: 1 / m.cosh(x) ** 2),
    "gelu": Reference(lambda m, x: x * m.ndtr(x), lambda m, x: m.ndtr(x) + x * m.exp(-x * x / 2) / m.sqrt(2 * m.pi)),
    "gelu_tanh": Reference(lambda m, x: x * m.expit(_gelu_tanh_exponent(m, x)), _gelu_tanh_derivative),
    "softmax": Reference(
        lambda m, x, axis=-1, mask=None, scale=1.0: m.softmax(_masked(m, scale * x, mask), axis=axis),
    ),
    "log_softmax": Reference(
        lambda m, x, axis=-1, mask=None, scale=1.0: m.log_softmax(_masked(m, scale * x, mask), axis=axis),
    ),
    "softmin": Reference(lambda m, x, axis=-1: m.softmax(-x, axis=axis)),
    "logsumexp": Reference(lambda m, x, axis=-1, keepdims=False: m.logsumexp(x, axis=axis, keepdims=keepdims)),
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
