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
    names |= {"softplus": lambda x: np.logaddexp(0, x), "x_minus_tanh": _x_minus_tanh}
    names |= {"log_softmax": special.log_softmax, "logsumexp": special.logsumexp}
    return SimpleNamespace(**names)


def _x_minus_tanh(x):
    """Return x - tanh(x), near 0 as (x cosh(x) - sinh(x)) / cosh(x), whose numerator is a series of positive terms."""
    series = [2 * k / math.factorial(2 * k + 1) for k in range(1, 14)]
    near = x**3 * np.polynomial.polynomial.polyval(x * x, series) / np.cosh(x)
    return np.where(abs(x) < 1, near, x - np.tanh(x))


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

    def defaults(self, number=float):
        """Return the parameters' defaults, rounded as they are for arrays of a number type."""
        values = [item.default for item in self.parameters if item.default is not item.empty]
        return tuple(value if isinstance(value, int) else float(number(value)) for value in values)


def _gelu_tanh_exponent(m, x):
    return m.sqrt(8 / m.pi) * (x + 44715 * x**3 / 10**6)  # 0.044715 itself is no binary number


def _gelu_tanh_derivative(m, x):
    v, slope = _gelu_tanh_exponent(m, x), m.sqrt(8 / m.pi) * (1 + 3 * 44715 * x**2 / 10**6)
    return m.expit(v) * (1 + x * slope * m.expit(-v))


def _squareplus(m, x, b=4.0):
    root = m.sqrt(x * x + b)
    return m.where(x > 0, (abs(x) + root) / 2, b / 2 / (abs(x) + root))


def _masked(m, x, mask):
    return x if mask is None else m.where(mask, x, -math.inf)


def _sparsemax(m, x, axis=-1):
    x = m.moveaxis(x, axis, -1)
    descending = -m.sort(-x, axis=-1)
    thresholds = (m.cumsum(descending, axis=-1) - 1) / m.arange(1, x.shape[-1] + 1)
    y = m.maximum(x - thresholds.max(axis=-1, keepdims=True), 0)  # the largest is that of the support
    return m.moveaxis(y, -1, axis)


def _hardmax(m, x, axis=-1):
    first = m.arange(x.shape[axis]) == m.expand_dims(m.moveaxis(x, axis, -1).argmax(axis=-1), -1)
    return m.moveaxis(first, -1, axis).astype(x.dtype)


REFERENCES = {
    "relu": Reference(lambda m, x: m.maximum(x, 0), lambda m, x: m.where(x > 0, 1, 0)),
    "leaky_relu": Reference(
        lambda m, x, negative_slope=0.01: m.where(x > 0, x, negative_slope * x),
        lambda m, x, negative_slope=0.01: m.where(x > 0, 1, negative_slope),
    ),
    "relu6": Reference(lambda m, x: m.minimum(m.maximum(x, 0), 6), lambda m, x: m.where((x > 0) & (x < 6), 1, 0)),
    "squared_relu": Reference(lambda m, x: m.maximum(x, 0) ** 2, lambda m, x: 2 * m.maximum(x, 0)),
    "threshold": Reference(
        lambda m, x, threshold, value: m.where(x > threshold, x, value),
        lambda m, x, threshold, value: m.where(x > threshold, 1, 0),
    ),
    "prelu": Reference(
        lambda m, x, weight: m.where(x > 0, x, weight * x),
        lambda m, x, weight: (m.where(x > 0, 1, weight), m.where(x > 0, 0, x)),
    ),
    "exponential": Reference(lambda m, x: m.exp(x), lambda m, x: m.exp(x)),
    "elu": Reference(
        lambda m, x, alpha=1.0: m.where(x > 0, x, alpha * m.expm1(x)),
        lambda m, x, alpha=1.0: m.where(x > 0, 1, alpha * m.exp(x)),
    ),
    "celu": Reference(
        lambda m, x, alpha=1.0: m.where(x > 0, x, alpha * m.expm1(x / alpha)),
        lambda m, x, alpha=1.0: m.where(x > 0, 1, m.exp(x / alpha)),
    ),
    "selu": Reference(
        lambda m, x, alpha=1.6732632423543772, scale=1.0507009873554805: scale * m.where(x > 0, x, alpha * m.expm1(x)),
        lambda m, x, alpha=1.6732632423543772, scale=1.0507009873554805: scale * m.where(x > 0, 1, alpha * m.exp(x)),
    ),
    "sigmoid": Reference(lambda m, x: m.expit(x), lambda m, x: m.expit(x) * m.expit(-x)),
    "log_sigmoid": Reference(lambda m, x: -m.softplus(-x), lambda m, x: m.expit(-x)),
    "tanh": Reference(lambda m, x: m.tanh(x), lambda m, x: 1 / m.cosh(x) ** 2),
    "tanhshrink": Reference(lambda m, x: m.x_minus_tanh(x), lambda m, x: m.tanh(x) ** 2),
    "softsign": Reference(lambda m, x: x / (1 + abs(x)), lambda m, x: 1 / (1 + abs(x)) ** 2),
    "gelu": Reference(lambda m, x: x * m.ndtr(x), lambda m, x: m.ndtr(x) + x * m.exp(-x * x / 2) / m.sqrt(2 * m.pi)),
    "gelu_tanh": Reference(lambda m, x: x * m.expit(_gelu_tanh_exponent(m, x)), _gelu_tanh_derivative),
    "silu": Reference(
        lambda m, x, beta=1.0: x * m.expit(beta * x),
        lambda m, x, beta=1.0: m.expit(beta * x) * (1 + beta * x * m.expit(-beta * x)),
    ),
    "quick_gelu": Reference(
        lambda m, x: x * m.expit(1702 * x / 1000),
        lambda m, x: m.expit(1702 * x / 1000) * (1 + 1702 * x / 1000 * m.expit(-1702 * x / 1000)),
    ),
    "mish": Reference(
        lambda m, x: x * m.tanh(m.softplus(x)),
        lambda m, x: m.tanh(m.softplus(x)) + x * m.expit(x) / m.cosh(m.softplus(x)) ** 2,
    ),
    "softplus": Reference(
        lambda m, x, beta=1.0, threshold=math.inf: m.where(beta * x > threshold, x, m.softplus(beta * x) / beta),
        lambda m, x, beta=1.0, threshold=math.inf: m.where(beta * x > threshold, 1, m.expit(beta * x)),
    ),
    "squareplus": Reference(_squareplus, lambda m, x, b=4.0: _squareplus(m, x, b) / m.sqrt(x * x + b)),
    "hardtanh": Reference(
        lambda m, x, min_val=-1.0, max_val=1.0: m.minimum(m.maximum(x, min_val), max_val),
        lambda m, x, min_val=-1.0, max_val=1.0: m.where((x > min_val) & (x < max_val), 1, 0),
    ),
    "hardsigmoid": Reference(
        lambda m, x, alpha=1 / 6, beta=0.5: m.minimum(m.maximum(alpha * x + beta, 0), 1),
        lambda m, x, alpha=1 / 6, beta=0.5: m.where((x > -beta / alpha) & (x < (1 - beta) / alpha), alpha, 0),
    ),
    "hardswish": Reference(
        lambda m, x: x * m.minimum(m.maximum(x + 3, 0), 6) / 6,
        lambda m, x: m.where(x <= -3, 0, m.where(x >= 3, 1, (2 * x + 3) / 6)),
    ),
    "hardshrink": Reference(
        lambda m, x, lambd=0.5: m.where(abs(x) > lambd, x, 0),
        lambda m, x, lambd=0.5: m.where(abs(x) > lambd, 1, 0),
    ),
    "softshrink": Reference(
        lambda m, x, lambd=0.5: m.where(abs(x) > lambd, x - m.where(x > 0, lambd, -lambd), 0),
        lambda m, x, lambd=0.5: m.where(abs(x) > lambd, 1, 0),
    ),
    "sparse_sigmoid": Reference(
        lambda m, x: m.minimum(m.maximum((x + 1) / 2, 0), 1), lambda m, x: m.where(abs(x) < 1, 0.5, 0)
    ),
    "sparse_plus": Reference(
        lambda m, x: m.where(x >= 1, x, m.maximum(x + 1, 0) ** 2 / 4),
        lambda m, x: m.minimum(m.maximum((x + 1) / 2, 0), 1),
    ),
    "glu": Reference(
        lambda m, value, gate: value * m.expit(gate),
        lambda m, value, gate: (m.expit(gate), value * m.expit(gate) * m.expit(-gate)),
    ),
    "swiglu": Reference(
        lambda m, gate, up: gate * m.expit(gate) * up,
        lambda m, gate, up: (up * m.expit(gate) * (1 + gate * m.expit(-gate)), gate * m.expit(gate)),
    ),
    "geglu": Reference(
        lambda m, gate, up: gate * m.ndtr(gate) * up,
        lambda m, gate, up: (
            up * (m.ndtr(gate) + gate * m.exp(-gate * gate / 2) / m.sqrt(2 * m.pi)),
            gate * m.ndtr(gate),
        ),
    ),
    "reglu": Reference(
        lambda m, gate, up: m.maximum(gate, 0) * up,
        lambda m, gate, up: (m.where(gate > 0, up, 0), m.maximum(gate, 0)),
    ),
    "softmax": Reference(
        lambda m, x, axis=-1, mask=None, scale=1.0: m.softmax(_masked(m, scale * x, mask), axis=axis),
    ),
    "log_softmax": Reference(
        lambda m, x, axis=-1, mask=None, scale=1.0: m.log_softmax(_masked(m, scale * x, mask), axis=axis),
    ),
    "softmin": Reference(lambda m, x, axis=-1: m.softmax(-x, axis=axis)),
    "logsumexp": Reference(lambda m, x, axis=-1, keepdims=False: m.logsumexp(x, axis=axis, keepdims=keepdims)),
    "sparsemax": Reference(_sparsemax),
    "hardmax": Reference(_hardmax),
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
