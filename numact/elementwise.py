"""The elementwise activations and their derivatives, as formulas of one scalar."""

from numact.base import activation
from numact.binding import Formula
from numact.elementary import (
    FAR_SCALE,
    LIFT,
    LOWER,
    LOWEST,
    NEGLIGIBLE_FROM,
    TAIL_KNOT,
    TAIL_LIMIT,
    exp_parts,
    normal_tail_polynomial,
    one_plus_exp,
)
from numact.primitives import ByType, copysign, fma

# --- rectifiers ---------------------------------------------------------------------------------------------------


@activation(
    range=(0.0, float("inf")),
    kinks=(0.0,),
    paper="Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010",
    use="hidden layers of convolutional networks",
    strengths="one instruction; the gradient of an active unit does not vanish",
    weaknesses="a unit whose input stays negative never learns again",
)
def relu(x):
    """Rectified linear unit: x where x is positive, else 0.

    relu(x) = max(x, 0), in [0, inf). The derivative at the kink x = 0 is 0.

    Examples
    --------
    >>> relu([-1.0, 2.0])
    array([0., 2.])
    """
    return 0.0 if x < 0.0 else x


@relu.derivative
def relu_grad(x):
    """1 where x is positive, else 0."""
    return x if x != x else (1.0 if x > 0.0 else 0.0)


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(0.0,),
    paper="Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013",
    use="hidden layers where relu units die; discriminators",
    strengths="as cheap as relu, and a unit with negative input still learns",
    weaknesses="the slope is one more number to choose",
)
def leaky_relu(x, negative_slope=0.01):
    """Leaky rectified linear unit: x where x is positive, else negative_slope * x.

    leaky_relu(x) = max(x, 0) + negative_slope * min(x, 0), in (-inf, inf). The derivative at the kink x = 0 is
    negative_slope.

    Examples
    --------
    >>> leaky_relu([-1.0, 2.0], negative_slope=0.1)
    array([-0.1,  2. ])
    """
    return x if x > 0.0 else negative_slope * x


@leaky_relu.derivative
def leaky_relu_grad(x, negative_slope=0.01):
    """1 where x is positive, else negative_slope."""
    return x if x != x else (1.0 if x > 0.0 else negative_slope)


# --- sigmoids -----------------------------------------------------------------------------------------------------


@activation(
    range=(0.0, 1.0),
    paper="Verhulst, Notice sur la loi que la population suit dans son accroissement, 1838",
    use="binary outputs; gates of recurrent networks",
    strengths="a probability: smooth, monotone, bounded",
    weaknesses="saturates on both sides, where the gradient vanishes; not centred on 0",
)
def sigmoid(x):
    """Logistic sigmoid, 1 / (1 + exp(-x)).

    sigmoid(x) = 1 / (1 + e^-x), in [0, 1]. sigmoid(-inf) = 0, sigmoid(inf) = 1; negative x gives every digit down to
    the smallest subnormal number.

    Examples
    --------
    >>> sigmoid([-1.0, 0.0])
    array([0.26894142, 0.5       ])
    """
    # The sum 1 + e^-x is rounded at most twice, and as a multiple of 2^-LIFT it does not overflow.
    high = NEGLIGIBLE_FROM if -x < NEGLIGIBLE_FROM else -x
    return LOWER / one_plus_exp(-LOWEST if high > -LOWEST else high, 0.0)


@sigmoid.derivative
def sigmoid_grad(x):
    """y * (1 - y) with y = sigmoid(-|x|), which does not cancel where sigmoid is near 1."""
    t = abs(x)
    y = LOWER / one_plus_exp(-LOWEST if t > -LOWEST else t, 0.0)
    return fma(-y, y, y)


@activation(
    range=(-1.0, 1.0),
    paper="LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998",
    use="recurrent networks; outputs between -1 and 1",
    strengths="bounded, odd, and steep at 0",
    weaknesses="saturates on both sides, where the gradient vanishes",
)
def tanh(x):
    """Hyperbolic tangent.

    tanh(x) = (e^x - e^-x) / (e^x + e^-x), in [-1, 1]. An odd function: tanh(-0.0) is -0.0.

    Examples
    --------
    >>> tanh([0.0, 1.0])
    array([0.        , 0.76159416])
    """
    # (1 - e^-2t) / (1 + e^-2t) with e^-2t = power (1 + s): near 0 power is 1 and nothing cancels, nothing overflows,
    # and no rounded exponential stands in between.
    high = -2.0 * abs(x)
    power, s = exp_parts(NEGLIGIBLE_FROM if high < NEGLIGIBLE_FROM else high, 0.0, 0.0)
    return copysign(fma(power, s, power - 1.0) / fma(power, s, power + 1.0), x)


@tanh.derivative
def tanh_grad(x):
    """1 - tanh(x)^2 = y - y^2 / 4 with y = 4 sigmoid(-2|x|), which does not cancel where tanh is near 1."""
    t = 2.0 * abs(x)
    y = 4.0 * LOWER / one_plus_exp(-LOWEST if t > -LOWEST else t, 0.0)
    return fma(-0.25 * y, y, y)


# --- gated by the normal distribution -----------------------------------------------------------------------------

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
