"""Exponentials, and units that are linear above 0 and exponential below."""

from numact.base import activation
from numact.binding import Formula
from numact.elementary import LIFT, LOWER, LOWEST, exp, exp_parts, exp_parts_beside_one
from numact.primitives import fma

# Above this alpha * (e^(x / alpha) - 1) rounds to x, and x / alpha may lose digits below the smallest normal number.
LINEAR_FROM = -(2.0**-100)


@Formula
def expm1_negative(x):
    """Return exp(x) - 1 for x <= 0."""
    power, s = exp_parts_beside_one(x)
    return fma(power, s, power - 1.0)


@Formula
def scaled_exp(factor, high, low):
    """Return factor * exp(high + low) for high <= 0, rounded about once: the factor comes in before the sum rounds."""
    power, s = exp_parts(LOWEST if high < LOWEST else high, low, LIFT)
    scale = LOWER * factor
    return fma(scale, s, scale) * power


@activation(
    range=(0.0, float("inf")),
    equation=r"e^x",
    paper="Keras, keras.activations.exponential; ONNX operator Exp",
    use="outputs that are positive: rates, variances, scales",
    strengths="positive and smooth; its derivative is itself",
    weaknesses="overflows soon, above 88.7 in float32; large gradients",
    mechanism="Every input becomes positive: small inputs change it by about as much as themselves around 1, large "
    "negative ones tend to 0, and large positive ones multiply by e for each step of 1. Adding to the input "
    "multiplies the output, which suits rates and scales that range over orders of magnitude.",
)
def exponential(x):
    """Exponential function.

    exponential(x) = e^x, in [0, inf]. exponential(-inf) = 0.

    Examples
    --------
    >>> exponential([-1.0, 0.0])
    array([0.36787944, 1.        ])
    """
    return exp(x)


@exponential.derivative
def exponential_grad(x):
    """e^x."""
    return exp(x)


@exponential.derivative_from_output
def exponential_slope(output):
    """The derivative of exponential from its output: the output."""
    return output


@activation(
    range=(-1.0, float("inf")),
    equation=r"\max(x, 0) + \min(\alpha (e^x - 1), 0)",
    paper="Clevert, Unterthiner and Hochreiter, Fast and Accurate Deep Network Learning by Exponential Linear Units, "
    "ICLR 2016",
    use="hidden layers where the mean of the outputs should stay near 0",
    strengths="negative inputs still learn, and saturate at -alpha",
    weaknesses="an exponential; a kink at 0 unless alpha is 1",
    mechanism="Positive inputs pass; negative ones bend smoothly to -alpha and stay there. Outputs below 0 pull "
    "their mean towards 0, which spares the next layer a shift, while inputs far below 0 saturate and add no noise.",
)
def elu(x, alpha=1.0):
    """Exponential linear unit: x where x is positive, else alpha * (e^x - 1).

    elu(x) = max(x, 0) + min(alpha (e^x - 1), 0), in [-alpha, inf). elu(-inf) = -alpha. The derivative at x = 0, a kink
    unless alpha is 1, is alpha.

    Examples
    --------
    >>> elu([-1.0, 2.0])
    array([-0.63212056,  2.        ])
    """
    return x if x >= 0.0 else alpha * expm1_negative(x)


@elu.derivative
def elu_grad(x, alpha=1.0):
    """1 where x is positive, else alpha * e^x."""
    return 1.0 if x > 0.0 else scaled_exp(alpha, x, 0.0)


@Formula
def quotient(x, alpha):
    """Return x / alpha, rounded, and what remains of x, since exp magnifies the error."""
    high = x * (1.0 / alpha)  # alpha is one number for all x
    # Where the exponential is 0 the remainder may be inf - inf.
    return high, fma(-high, alpha, x) if high > LOWEST else 0.0


@activation(
    range=(-1.0, float("inf")),
    equation=r"\max(x, 0) + \min(\alpha (e^{x / \alpha} - 1), 0)",
    paper="Barron, Continuously Differentiable Exponential Linear Units, arXiv:1704.07483",
    use="where elu is used with an alpha other than 1",
    strengths="elu without its kink: the derivative at 0 is 1 for every alpha",
    weaknesses="an exponential",
    mechanism="As elu, but the input below 0 is divided by alpha first, so that the slope at 0 is 1 from both sides. "
    "A larger alpha lets negative inputs go further down before they saturate at -alpha.",
)
def celu(x, alpha=1.0):
    """Continuously differentiable exponential linear unit: x where x is positive, else alpha * (e^(x / alpha) - 1).

    celu(x) = max(x, 0) + min(alpha (e^(x / alpha) - 1), 0), in [-alpha, inf) for alpha > 0. celu(-inf) = -alpha. It has
    no kink.

    Examples
    --------
    >>> celu([-1.0, 2.0], alpha=0.5)
    array([-0.43233236,  2.        ])
    """
    # The remainder comes in last, as remainder * e^(x / alpha): in a sum with the quotient it would be rounded away.
    high, remainder = quotient(x, alpha)
    y = expm1_negative(high)
    return x if x > LINEAR_FROM else fma(alpha, y, fma(remainder, y, remainder))


@celu.derivative
def celu_grad(x, alpha=1.0):
    """1 where x is positive, else e^(x / alpha)."""
    high, remainder = quotient(x, alpha)
    return 1.0 if x > 0.0 else scaled_exp(1.0, high, remainder * (1.0 / alpha))


@activation(
    range=(-1.7580993408473766, float("inf")),
    kinks=(0.0,),
    equation=r"s \, (\max(x, 0) + \min(\alpha (e^x - 1), 0))",
    paper="Klambauer, Unterthiner, Mayr and Hochreiter, Self-Normalizing Neural Networks, NeurIPS 2017",
    use="deep fully connected networks without normalisation layers",
    strengths="keeps mean 0 and variance 1 from layer to layer",
    weaknesses="only with LeCun's initialisation and alpha dropout; an exponential",
    mechanism="An elu with two constants chosen so that inputs of mean 0 and variance 1 leave with mean 0 and "
    "variance 1, layer after layer: small deviations are drawn back, since inputs above 0 are stretched by 1.05 and "
    "those far below saturate at -1.758. It stands in for normalisation in deep fully connected networks.",
)
def selu(x, alpha=1.6732632423543772, scale=1.0507009873554805):
    """Scaled exponential linear unit: scale * elu(x, alpha).

    selu(x) = scale (max(x, 0) + min(alpha (e^x - 1), 0)), in [-scale alpha, inf). selu(-inf) = -scale alpha. The
    derivative at the kink x = 0 is scale alpha.

    Examples
    --------
    >>> selu([-1.0, 1.0])
    array([-1.11133074,  1.05070099])
    """
    # The product of the parameters with its rounding error, which would count up to 0.6 ULP.
    product = scale * alpha
    error = fma(scale, alpha, -product)
    y = expm1_negative(x)
    return scale * x if x >= 0.0 else fma(product, y, error * y)


@selu.derivative
def selu_grad(x, alpha=1.6732632423543772, scale=1.0507009873554805):
    """scale where x is positive, else scale * alpha * e^x."""
    return scale if x > 0.0 else scaled_exp(scale * alpha, x, 0.0)
