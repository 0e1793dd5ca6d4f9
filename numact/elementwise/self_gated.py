"""Self-gated activations: the input times a smooth step of itself."""

from numact.base import activation
from numact.binding import Formula
from numact.elementary import (
    FAR_SCALE,
    LIFT,
    LOWER,
    LOWEST,
    RAISE,
    TAIL_KNOT,
    TAIL_LIMIT,
    exp_parts,
    normal_tail_polynomial,
    one_plus_exp,
)
from numact.primitives import ByType, at_least, clamp, copysign, fma

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
    equation=r"x \, \Phi(x)",
    paper="Hendrycks and Gimpel, Gaussian Error Linear Units, arXiv:1606.08415",
    use="hidden layers of transformers",
    strengths="smooth, and passes a little of negative inputs, so units seldom die",
    weaknesses="dearer than relu; not monotone",
    mechanism="The input times the probability that a standard normal number is below it: large inputs pass, large "
    "negative ones become 0, and those near 0 are halved with a smooth bend; the least value is near -0.17 at -0.75. "
    "Nothing is cut off abruptly, which suits the Adam-trained, normalised layers of transformers. The form with tanh "
    "is what GPT-2 and others were trained with; it is off by up to 0.0005.",
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
    return fma(-tail, power, at_least(x, -0.0))


@gelu.derivative
def gelu_grad(x):
    """Phi(x) + x * phi(x), where phi is the normal density."""
    t = abs(x)
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    high = -0.5 * t * t
    power, s = exp_parts(high, fma(-0.5 * t, t, -high), LIFT)
    p = normal_tail_polynomial(t)
    # scale (1 + p) - DENSITY t, summed in the order in which the first sum is the smaller one and rounds less.
    near = t < TAIL_KNOT
    scale = 0.25 if near else FAR_SCALE / t
    first = fma(-DENSITY if near else scale, t if near else p, scale)
    slope = LOWER * fma(scale if near else -DENSITY, p if near else t, first)
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
    return fma(-t / one_plus_exp(high, low), LOWER, at_least(x, -0.0))


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


LARGEST = ByType(float32=3.4028234663852886e38, float64=1.7976931348623157e308)


@Formula
def self_gated(x, held, high, low):
    """Return x * sigmoid(v) for v of the sign of x, from |v| = high + low.

    held is x where |v| is below -LOWEST, and else what makes x * sigmoid(-|v|) negligible and not infinite.
    """
    # As for gelu: the tail x * sigmoid(-|v|) has its digits.
    tail = held / one_plus_exp(high, low)
    return fma(tail, copysign(LOWER, -x), at_least(x, -0.0))


@Formula
def self_gated_grad(z, high, low):
    """Return sigmoid(v) * (1 + v * sigmoid(-v)), the derivative of v * sigmoid(v), for v of the sign of z."""
    y = 1.0 / one_plus_exp(high, low)  # 2^LIFT times sigmoid(-|v|)
    # As for gelu_tanh: y - |v| y (1 - y) cancels around its root; for positive v it is 1 minus that.
    product = fma(-LOWER * y, y, y)
    tail = fma(-product, high, fma(-product, low, y))
    return fma(-tail, LOWER, 1.0) if z > 0.0 else tail * LOWER


@Formula
def beta_exponent(x, beta):
    """Return z = beta * x, |z| in two parts, held where sigmoid(-|z|) is 0, and whether it was held."""
    bounded = clamp(x, -LARGEST, LARGEST)  # so that beta = 0 makes it 0
    z = beta * bounded
    low = fma(beta, bounded, -z)
    far = abs(z) > -LOWEST
    turned = low if z > 0.0 else -low
    return z, -LOWEST if far else abs(z), 0.0 if far else turned, far


@activation(
    range=(-0.2784645427610738, float("inf")),
    equation=r"\frac{x}{1 + e^{-\beta x}}",
    paper="Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units for Neural Network Function Approximation in "
    "Reinforcement Learning, Neural Networks 2018; Ramachandran, Zoph and Le, Searching for Activation Functions, "
    "arXiv:1710.05941 (with beta)",
    use="hidden layers of convolutional networks and, gated, of language models",
    strengths="smooth, and passes a little of negative inputs, so units seldom die",
    weaknesses="an exponential and a division; not monotone",
    mechanism="The input times its own sigmoid: large inputs pass, large negative ones become 0, and those near 0 "
    "are halved. The dip to -0.28 near -1.28 keeps a gradient for inputs below 0. It resembles gelu and needs one "
    "exponential, so it took relu's place in newer convolutional networks and became the gate of language models.",
)
def silu(x, beta=1.0):
    """Sigmoid linear unit, also called swish: x times the sigmoid of beta * x.

    silu(x) = x / (1 + e^(-beta x)), in [-0.27846 / beta, inf) for beta > 0. silu(-inf) is -0.0. It has no kink;
    beta = 0 gives x / 2.

    Examples
    --------
    >>> silu([-1.0, 1.0])
    array([-0.26894142,  0.73105858])
    """
    # `self_gated` for x of any size and of another sign than beta * x. Large x are made small before the division,
    # which would overflow.
    z, high, low, far = beta_exponent(x, beta)
    large = abs(x) > RAISE
    tail = (copysign(0.0, x) if far else x) * (LOWER if large else 1.0) / one_plus_exp(high, low)
    back = 1.0 if large else LOWER
    return fma(tail, back if z <= 0.0 else -back, -0.0 if z <= 0.0 else x)


@silu.derivative
def silu_grad(x, beta=1.0):
    """With y = sigmoid(beta * x): y + beta * x * y * (1 - y)."""
    z, high, low, _ = beta_exponent(x, beta)
    return self_gated_grad(z, high, low)


@silu.at_defaults
def plain_silu(x):
    """silu with beta = 1, where the exponent has no rounding error."""
    held = clamp(x, LOWEST, -LOWEST)
    return self_gated(x, held, abs(held), 0.0)


@plain_silu.derivative
def plain_silu_grad(x):
    """The derivative of silu with beta = 1."""
    # From a comparison of abs(x) alone LLVM can make a case of its own for large x, 1 or -0.0, of which NVIDIA's
    # assembler (13.0) makes 1 or 0.
    held = clamp(x, LOWEST, -LOWEST)
    return self_gated_grad(held, abs(held), 0.0)


swish = silu

# 1.702 in two parts: exp magnifies the rounding error of the product
QUICK_HIGH = ByType(float32=1.7020000219345093, float64=1.702)
QUICK_LOW = ByType(float32=-2.193450927734375e-08, float64=4.263256414560601e-17)
QUICK_LIMIT = ByType(float32=76.0, float64=622.0)  # past which the sigmoid of -1.702 x is 0 in this type


@Formula
def quick_exponent(t):
    """Return 1.702 * t and its rounding error."""
    high = QUICK_HIGH * t
    return high, fma(QUICK_LOW, t, fma(QUICK_HIGH, t, -high))


@activation(
    range=(-0.1636101896363536, float("inf")),
    equation=r"\frac{x}{1 + e^{-1.702 x}}",
    paper="Hendrycks and Gimpel, Gaussian Error Linear Units, arXiv:1606.08415; named as in CLIP (Radford et al., "
    "ICML 2021)",
    use="transformers that were trained with it, such as CLIP",
    strengths="within 0.021 of gelu, for the price of silu",
    weaknesses="no probability stands behind it; not monotone",
    mechanism="silu with its inputs steepened 1.702 times, so that its step resembles the normal distribution's: "
    "large inputs pass, large negative ones become 0, the dip is at -0.16. It is used because the weights of models "
    "such as CLIP were trained with it.",
)
def quick_gelu(x):
    """Sigmoid approximation of gelu: x times the sigmoid of 1.702 * x.

    quick_gelu(x) = x / (1 + e^(-1.702 x)), in [-0.16361, inf). quick_gelu(-inf) is -0.0. It has no kink.

    Examples
    --------
    >>> quick_gelu([-1.0, 1.0])
    array([-0.15420423,  0.84579577])
    """
    held = clamp(x, -QUICK_LIMIT, QUICK_LIMIT)
    high, low = quick_exponent(abs(held))
    return self_gated(x, held, high, low)


@quick_gelu.derivative
def quick_gelu_grad(x):
    """With y = sigmoid(1.702 * x): y + 1.702 * x * y * (1 - y)."""
    t = abs(x)
    high, low = quick_exponent(QUICK_LIMIT if t > QUICK_LIMIT else t)
    return self_gated_grad(x, high, low)
