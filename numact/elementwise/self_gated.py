"""Self-gated activations: the input times a smooth step of itself."""

from numact.base import activation
from numact.binding import Formula
from numact.elementary import (
    FAR_SCALE,
    LIFT,
    LOWER,
    TAIL_KNOT,
    TAIL_LIMIT,
    exp_parts,
    normal_tail_polynomial,
    one_plus_exp,
)
from numact.primitives import ByType, fma

DENSITY = 0.3989422804014327  # of the normal distribution at 0, 1 / sqrt(2 pi)
# sqrt(8 / pi), in a part of 13 bits and the rest, and 0.044715 sqrt(8 / pi), with the rest that its type leaves.
LINEAR_HIGH = 1.595703125
LINEAR_LOW = 6.599660573071176e-05
CUBIC_HIGH = ByType(float32=0.07135481387376785, float64=0.07135481627260025)
CUBIC_LOW = ByType(float32=2.3988323959931355e-09, float64=-6.175149918155315e-19)
# Past this the tail of gelu's tanh form is 0 in this type.
TANH_LIMIT = ByType(float32=10.9, float64=21.8)


@activation(
    range=(-0.17004076, float("inf")),
    equation="",
    paper="Hendrycks and Gimpel, Gaussian Error Linear Units, arXiv:1606.08415",
    use="hidden layers of transformers",
    strengths="smooth, and passes a little of negative inputs, so units seldom die",
    weaknesses="dearer than relu; not monotone",
)
def gelu(x):
    """Gaussian error linear unit: x times the probability that a standard normal variable is below x.

    gelu(x) = x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))), in [-0.16997, inf). With approximate="tanh" it is
    x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), in [-0.17004, inf). gelu(-inf) is -0.0.

    Examples
    --------
    >>> gelu([-1.0, 1.0])
    array([-0.15865525,  0.84134475])
    """
    # x - x Q(x) or x Q(-x), where Q of the upper tail has its digits and 1 + erf would have cancelled.
    t = abs(x)
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    near = t < TAIL_KNOT
    high = -0.5 * t * t
    power, s = exp_parts(high, fma(-0.5 * t, t, -high), -2.0 if near else LIFT)
    p = normal_tail_polynomial(t)
    # scale (1 + p)(1 + s), multiplied out so that only the last sum rounds at full size.
    scale = t if near else FAR_SCALE * LOWER
    tail = fma(scale, fma(p, s, p) + s, scale)
    return fma(-tail, power, x if x >= 0.0 else -0.0)


@gelu.derivative
def gelu_grad(x):
    """Phi(x) + x * phi(x), where phi is the normal density."""
    t = abs(x)
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    high = -0.5 * t * t
    power, s = exp_parts(high, fma(-0.5 * t, t, -high), LIFT)
    p = normal_tail_polynomial(t)
    scale = 0.25 if t < TAIL_KNOT else FAR_SCALE / t
    slope = LOWER * fma(-DENSITY, t, fma(scale, p, scale))
    tail = fma(slope, s, slope)
    return fma(-tail, power, 1.0) if x >= 0.0 else tail * power


@Formula
def gelu_tanh_exponent(t):
    """Return sqrt(8 / pi) * (t + 0.044715 t**3) for t >= 0, and its rounding error."""
    # exp magnifies the error of the exponent, which reaches 100 and more.
    square = t * t
    factor = fma(CUBIC_HIGH, square, LINEAR_HIGH)
    rest = fma(CUBIC_HIGH, square, LINEAR_HIGH - factor)
    rest += fma(CUBIC_HIGH, fma(t, t, -square), fma(CUBIC_LOW, square, LINEAR_LOW))
    high = t * factor
    return high, fma(t, rest, fma(t, factor, -high))


@gelu.variant(approximate="tanh")
def gelu_tanh(x):
    """Gaussian error linear unit in its tanh form: x times the sigmoid of sqrt(8 / pi) * (x + 0.044715 x^3).

    Examples
    --------
    >>> gelu_tanh([-1.0, 1.0])
    array([-0.15880801,  0.84119199])
    """
    t = abs(x)
    t = TANH_LIMIT if t > TANH_LIMIT else t
    high, low = gelu_tanh_exponent(t)
    # As for gelu: the tail t * (1 - sigmoid) has its digits where 1 + tanh would have cancelled.
    return fma(-t / one_plus_exp(high, low), LOWER, x if x >= 0.0 else -0.0)


@gelu_tanh.derivative
def gelu_tanh_grad(x):
    """With y = sigmoid(-v(|x|)): y - |x| v'(x) y (1 - y) for negative x, and 1 minus that for positive x."""
    t = abs(x)
    t = TANH_LIMIT if t > TANH_LIMIT else t
    high, low = gelu_tanh_exponent(t)
    y = 1.0 / one_plus_exp(high, low)  # 2^LIFT times what it stands for
    # The difference changes sign and cancels around its root, so t v'(t) keeps its rounding error.
    third = 3.0 * CUBIC_HIGH
    factor = fma(third, t * t, LINEAR_HIGH)
    rest = fma(third, t * t, LINEAR_HIGH - factor) + fma(3.0 * CUBIC_LOW, t * t, LINEAR_LOW)
    slope = t * factor
    slope_low = fma(t, rest, fma(t, factor, -slope))
    product = fma(-LOWER * y, y, y)
    tail = fma(-product, slope, fma(-product, slope_low, y))
    return fma(-tail, LOWER, 1.0) if x >= 0.0 else tail * LOWER
