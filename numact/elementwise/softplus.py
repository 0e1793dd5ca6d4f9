"""The smooth rectifiers around softplus, and what is left of x when its tanh is taken away."""

from numact.base import activation
from numact.binding import Formula
from numact.elementary import (
    LIFT,
    LOG1P_TAIL,
    LOWER,
    LOWEST,
    NEGLIGIBLE_FROM,
    TANH_KNOT,
    exp_parts,
    exp_parts_beside_one,
    exp_sum,
    expm1,
    log1p_fraction,
    one_plus_exp,
    sqrt,
    x_minus_tanh,
)
from numact.primitives import ByType, clamp, copysign, fma

INFINITY = float("inf")


@activation(
    range=(0.0, float("inf")),
    equation=r"\log(1 + e^{\beta x}) / \beta",
    paper="Dugas, Bengio, Bélisle, Nadeau and Garcia, Incorporating Second-Order Functional Knowledge for Better "
    "Option Pricing, NeurIPS 2000",
    use="outputs that must be positive, such as a scale or a rate; a smooth stand-in for relu",
    strengths="smooth and convex; its derivative is the sigmoid, so it never vanishes",
    weaknesses="dearer than relu; not 0 for negative inputs",
    mechanism="Large inputs pass, large negative ones become e^x, nearly 0 but still positive, and 0 becomes log 2. "
    "The rounded corner keeps the derivative, the sigmoid, above 0 everywhere. It makes a positive scale of any "
    "number without the growth of an exponential.",
)
def softplus(x, beta=1.0, threshold=INFINITY):
    """Logarithm of 1 + e^(beta x), over beta: relu with a rounded corner.

    softplus(x) = log(1 + e^(beta x)) / beta, in [0, inf) for beta > 0; x itself where beta x > threshold, which the
    exact function needs nowhere. softplus(-inf) = 0; negative x gives every digit down to the smallest subnormal
    number.

    Examples
    --------
    >>> softplus([-1.0, 0.0, 1.0])
    array([0.31326169, 0.69314718, 1.31326169])
    """
    # max(x, 0) + log(1 + e) / beta with e = e^-|beta x| neither overflows nor cancels.
    slope = -abs(beta)
    high = slope * abs(x)
    low = fma(slope, abs(x), -high) if high > LOWEST else 0.0
    power, s = exp_parts(LOWEST if high < LOWEST else high, low, LIFT)
    # log(1 + e) / beta is power (1 + s) (1 + w) inverse (1 + error), multiplied out, so that where e is a subnormal
    # number only the product is rounded. A loop computes inverse and error once.
    inverse = 1.0 / beta
    error = fma(-inverse, beta, 1.0)
    lowered = LOWER * power
    e = fma(lowered, s, lowered)
    # e (1 + s) from s and not from e, whose rounding error would count twice.
    s = fma(fma(lowered * s, 2.0 + s, lowered), LOG1P_TAIL(e), s)
    # inverse (1 + s) (1 + error) in two parts: rounded to one it would be off by 2.4 ULP in the end.
    scale = fma(inverse, s, inverse)
    rest = fma(scale, error, fma(inverse, s, inverse - scale))
    result = fma(power, LOWER * scale, fma(power, LOWER * rest, x if beta * x > 0.0 else 0.0))
    return x if beta * x > threshold else result


@softplus.derivative
def softplus_grad(x, beta=1.0, threshold=INFINITY):
    """The sigmoid of beta x, and 1 past the threshold."""
    high = -beta * x
    low = fma(-beta, x, -high) if abs(high) < -LOWEST else 0.0
    y = LOWER / one_plus_exp(clamp(high, NEGLIGIBLE_FROM, -LOWEST), low)
    return 1.0 if beta * x > threshold else y


@softplus.derivative_from_output
def softplus_slope(output, beta=1.0, threshold=INFINITY):
    """The derivative from the output y: 1 - e^(-beta y), and 1 past the threshold.

    Outputs from the threshold to log(1 + e^threshold) come from either side of it; they too give 1, which is off by
    e^-threshold.
    """
    slope = -expm1(-beta * output)
    return 1.0 if beta * output > threshold else slope


@activation(
    range=(float("-inf"), 0.0),
    equation=r"-\log(1 + e^{-x})",
    paper="Mikolov, Sutskever, Chen, Corrado and Dean, Distributed Representations of Words and Phrases and their "
    "Compositionality, NeurIPS 2013 (as a loss)",
    use="the loss of binary classification, contrastive learning and preference learning",
    strengths="the logarithm of a probability that has underflown, with all its digits",
    weaknesses="unbounded below; for a loss, not for hidden layers",
    mechanism="Large positive inputs give nearly 0, large negative ones give nearly themselves, and the gradient "
    "there is 1: a wrong answer is pushed back with full strength however sure it was. Losses need the logarithm of a "
    "probability, and taking it after sigmoid would give -inf where that underflows.",
)
def log_sigmoid(x):
    """Logarithm of the sigmoid, -softplus(-x).

    log_sigmoid(x) = -log(1 + e^-x), in (-inf, 0]. log_sigmoid(inf) is -0.0, log_sigmoid(-inf) = -inf.

    Examples
    --------
    >>> log_sigmoid([-1.0, 0.0])
    array([-1.31326169, -0.69314718])
    """
    # min(x, 0) - log(1 + e^-|x|) neither overflows nor cancels.
    return (x if x < 0.0 else -0.0) - log1p_fraction(exp_sum(-abs(x), 0.0))


@log_sigmoid.derivative
def log_sigmoid_grad(x):
    """The sigmoid of -x."""
    return LOWER / one_plus_exp(clamp(x, NEGLIGIBLE_FROM, -LOWEST), 0.0)


@log_sigmoid.derivative_from_output
def log_sigmoid_slope(output):
    """The derivative from the output y: 1 - e^y."""
    return -expm1(output)


@Formula
def mish_terms(x):
    """Return t = |x|, power and s with e^-t = LOWER * power * (1 + s), and what mish is made of.

    tanh(log(1 + w)) = w (w + 2) / (w (w + 2) + 2) needs neither function. In e = e^-t, where nothing overflows, that is
    1 - ratio for positive x, and e - e^2 (1 - ratio) / 2, which keeps its digits down to 0, for negative x, with
    ratio = square / (square + linear). square is 2 e^2 and linear 2 e + 1 for positive x, and e^2 and 2 e + 2 else.

    Returns
    -------
    t, power, s, reduced, square, linear : float
        reduced is e^2 / (LOWER * power). From s and not from e = 1 + s, whose rounding would count up to 2 times.
    """
    t = abs(x)
    t = -LOWEST if t > -LOWEST else t
    power, s = exp_parts(-t, 0.0, LIFT)
    lowered = LOWER * power
    doubled = lowered + lowered
    reduced = fma(lowered * s, 2.0 + s, lowered)
    linear = fma(doubled, s, doubled + (1.0 if x > 0.0 else 2.0))
    return t, power, s, reduced, (doubled if x > 0.0 else lowered) * reduced, linear


@activation(
    range=(-0.30884342, float("inf")),
    equation=r"x \tanh(\log(1 + e^x))",
    paper="Misra, Mish: A Self Regularized Non-Monotonic Activation Function, arXiv:1908.08681",
    use="hidden layers of convolutional networks, object detectors above all",
    strengths="smooth, and passes a little of negative inputs, so units seldom die",
    weaknesses="dearer than relu; not monotone",
    mechanism="The input times the tanh of its softplus: large inputs pass, large negative ones become 0, those near "
    "0 are multiplied by 0.6. The dip to -0.31 near -1.19 keeps a gradient below 0. Detectors of the YOLO family use "
    "it, where a little more arithmetic in each unit is cheap beside the convolutions.",
)
def mish(x):
    """x times the tanh of its softplus.

    mish(x) = x * tanh(log(1 + e^x)), in [-0.30884, inf). mish(-inf) is -0.0.

    Examples
    --------
    >>> mish([-1.0, 1.0])
    array([-0.30340146,  0.86509839])
    """
    t, power, s, reduced, square, linear = mish_terms(x)
    ratio = square / (square + linear)
    # e - e^2 (1 - ratio) / 2 = LOWER power (1 + s - reduced (1 - ratio) / 2): only the last sum rounds at full size.
    tail = fma(t, fma(-0.5, fma(-reduced, ratio, reduced), s), t) * power
    return fma(-t, ratio, x) if x >= 0.0 else -LOWER * tail


@mish.derivative
def mish_grad(x):
    """y + x y' with y = tanh(softplus(x))."""
    t, power, s, _, square, linear = mish_terms(x)
    divisor = square + linear
    inverse = 1.0 / divisor
    ratio = square * inverse
    # For positive x it is 1 + ratio (2 t (1 + e) / divisor - 1).
    positive = fma(ratio, fma(t * (linear + 1.0), inverse, -1.0), 1.0)
    # For negative x it is e (2 - 2 t + e + 2 t ratio) / divisor, whose bracket has the root, and where no digits are
    # lost next to it: 2 - 2 t is exact there. The divisor's and inverse's rounding errors join s: else it is 4.2 ULP.
    e = fma(LOWER * power, s, LOWER * power)
    scale = LOWER * inverse * fma(2.0, 1.0 - t, fma(2.0 * t, ratio, e))
    s += fma((divisor - linear) - square, inverse, fma(-divisor, inverse, 1.0))
    return positive if x > 0.0 else fma(scale, s, scale) * power


@activation(
    range=(float("-inf"), float("inf")),
    equation=r"x - \tanh(x)",
    paper="none; first in Torch (Collobert, Kavukcuoglu and Farabet, Torch7, 2011)",
    use="sparse coding, where small codes are to shrink to 0",
    strengths="smooth; shrinks small inputs to their cube and moves large ones by 1",
    weaknesses="the gradient vanishes at 0",
    mechanism="Small inputs shrink to a third of their cube, nearly 0; large ones are moved towards 0 by 1. It is a "
    "soft threshold without a kink, for codes in which small entries are noise.",
)
def tanhshrink(x):
    """x less its hyperbolic tangent.

    tanhshrink(x) = x - tanh(x), in (-inf, inf). An odd function: tanhshrink(-0.0) is -0.0.

    Examples
    --------
    >>> tanhshrink([0.1, 1.0])
    array([0.00033201, 0.23840584])
    """
    # (t - 1) + 2 e^-2t / (1 + e^-2t): two positive numbers past TANH_KNOT, and the first has no error near it.
    t = abs(x)
    power, s = exp_parts_beside_one(-2.0 * t)
    double = 2.0 * power
    far = fma(double, s, double) / fma(power, s, power + 1.0) + (t - 1.0)
    near = x_minus_tanh(t)
    return copysign(near if t < TANH_KNOT else far, x)


@tanhshrink.derivative
def tanhshrink_grad(x):
    """tanh(x)^2."""
    power, s = exp_parts_beside_one(-2.0 * abs(x))
    # The square doubles each rounding error of the tanh, to 4.9 ULP: those of the quotient y, of its denominator and of
    # its numerator go along, and over the denominator, since 1 / denominator is (1 + y) / 2.
    numerator, denominator = fma(power, s, power - 1.0), fma(power, s, power + 1.0)
    y = numerator / denominator
    error = fma(-y, denominator, numerator)
    error = fma(-y, fma(power, s, (power + 1.0) - denominator), error)
    error += fma(power, s, (power - 1.0) - numerator)
    return fma(y, y, error * fma(y, y, y))


# Its square is the first power of two past the largest number.
ROOT_LIMIT = ByType(float32=2.0**64, float64=2.0**512)
# Past SLOPE_LIMIT the derivative is 0 or 1.
SLOPE_LIMIT = ByType(float32=2.0**100, float64=2.0**1000)
LARGEST = ByType(float32=3.4028234663852886e38, float64=1.7976931348623157e308)
SMALLEST_NORMAL = ByType(float32=2.0**-126, float64=2.0**-1022)
SMALLEST = ByType(float32=2.0**-149, float64=2.0**-1074)


@Formula
def squareplus_parts(x, b):
    """Return squareplus(x) and sqrt(x**2 + b), where x**2 may overflow or underflow."""
    t = abs(x)
    square = fma(t, t, b)
    root = sqrt(square)
    # Where t^2 overflows, a root below t leaves a difference of 0; where it underflows, b is 0.
    root = ROOT_LIMIT if root > ROOT_LIMIT else root
    root = t if square < SMALLEST_NORMAL else root
    difference = root - t
    difference = difference if difference > 0.0 else 0.0
    # y = t + (root - t) / 2 for positive x, which does not overflow. For negative x (root - t) / 2 alone, where it has
    # lost no digit, and else v = b / 4 / y and one Newton step of v^2 + t v = b / 4: the quotient is off by 2.2 ULP.
    far = x + x < -root
    y = fma(0.5, difference, t if far else (0.0 if x < 0.0 else x))
    quarter = 0.25 * b
    inverse = 1.0 / y
    inverse = LARGEST if inverse > LARGEST else inverse
    v = quarter * inverse
    rest = fma(-v, LARGEST if t > LARGEST else t, fma(-v, v, quarter))
    return fma(rest, inverse, v) if far else y, t if root < t else root


@activation(
    range=(0.0, float("inf")),
    equation=r"(x + \sqrt{x^2 + b}) / 2",
    paper="Barron, Squareplus: A Softplus-Like Algebraic Rectifier, arXiv:2112.11687",
    use="softplus where exponentials are dear",
    strengths="smooth and monotone, from one square root; b sets how round the corner is",
    weaknesses="nears 0 slowly, as -b / (4 x)",
    mechanism="Large inputs pass, large negative ones become about b / (4 |x|), and 0 becomes sqrt(b) / 2. It bends "
    "like softplus, but only arithmetic and a square root are needed, which is cheap on every chip.",
)
def squareplus(x, b=4.0):
    """Half of x plus the square root of x^2 + b: a smooth rectifier without exponentials.

    squareplus(x) = (x + sqrt(x^2 + b)) / 2, in [0, inf). b = 0 gives relu. squareplus(-inf) = 0.

    Examples
    --------
    >>> squareplus([-1.5, 0.0, 1.5])
    array([0.5, 1. , 2. ])
    """
    y, _ = squareplus_parts(x, b)
    return y


@squareplus.derivative
def squareplus_grad(x, b=4.0):
    """squareplus(x) / sqrt(x^2 + b), and 0 at 0 for b = 0."""
    x = SLOPE_LIMIT if x > SLOPE_LIMIT else x
    x = -SLOPE_LIMIT if x < -SLOPE_LIMIT else x
    y, root = squareplus_parts(x, b)
    return y / (SMALLEST if root < SMALLEST else root)
