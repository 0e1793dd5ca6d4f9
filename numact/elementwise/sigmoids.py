"""Smooth steps between two bounds."""

from numact.base import activation
from numact.elementary import LOWER, LOWEST, NEGLIGIBLE_FROM, exp_parts_beside_one, one_plus_exp
from numact.primitives import clamp, copysign, fma


@activation(
    range=(0.0, 1.0),
    equation=r"\frac{1}{1 + e^{-x}}",
    paper="Verhulst, Notice sur la loi que la population suit dans son accroissement, 1838",
    use="binary outputs; gates of recurrent networks",
    strengths="a probability: smooth, monotone, bounded",
    weaknesses="saturates on both sides, where the gradient vanishes; not centred on 0",
    mechanism="Inputs near 0 are mapped to 1/2 plus a quarter of themselves; large ones approach 0 or 1 without "
    "reaching them in exact arithmetic. The derivative is at most 1/4 and fades like e^-|x|, which is why stacks of "
    "it stop learning, and why it remains where a probability or a gate is wanted.",
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
    return LOWER / one_plus_exp(-clamp(x, LOWEST, -NEGLIGIBLE_FROM), 0.0)


@sigmoid.derivative
def sigmoid_grad(x):
    """y * (1 - y) with y = sigmoid(-|x|), which does not cancel where sigmoid is near 1."""
    t = abs(x)
    y = LOWER / one_plus_exp(-LOWEST if t > -LOWEST else t, 0.0)
    return fma(-y, y, y)


@activation(
    range=(-1.0, 1.0),
    equation=r"\frac{e^x - e^{-x}}{e^x + e^{-x}}",
    paper="LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998",
    use="recurrent networks; outputs between -1 and 1",
    strengths="bounded, odd, and steep at 0",
    weaknesses="saturates on both sides, where the gradient vanishes",
    mechanism="Small inputs pass nearly unchanged, since the slope at 0 is 1; large ones approach -1 or 1. Outputs "
    "are centred on 0 and bounded, so that a recurrent network can feed them back for many steps without growth. The "
    "derivative fades like 4 e^-2|x|.",
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
    power, s = exp_parts_beside_one(-2.0 * abs(x))
    return copysign(fma(power, s, power - 1.0) / fma(power, s, power + 1.0), x)


@tanh.derivative
def tanh_grad(x):
    """1 - tanh(x)^2 = y - y^2 / 4 with y = 4 sigmoid(-2|x|), which does not cancel where tanh is near 1."""
    t = 2.0 * abs(x)
    y = 4.0 * LOWER / one_plus_exp(-LOWEST if t > -LOWEST else t, 0.0)
    return fma(-0.25 * y, y, y)


FAR = 2.0**60  # from here on x / (1 + x) rounds to 1; below inf, which would give inf / inf


@activation(
    range=(-1.0, 1.0),
    equation=r"\frac{x}{1 + |x|}",
    paper="Turian, Bergstra and Bengio, Quadratic Features and Deep Architectures for Chunking, NAACL 2009",
    use="where tanh saturates too early",
    strengths="no exponential; its gradient fades like 1 / x^2, not like e^-2x",
    weaknesses="approaches its bounds slowly",
    mechanism="Small inputs pass nearly unchanged; large ones approach -1 or 1, but slowly, with a rest of 1 / |x|. "
    "A unit that is far out keeps a derivative of 1 / (1 + |x|)^2 and so keeps learning where tanh would have "
    "stopped.",
)
def softsign(x):
    """Softsign, x / (1 + |x|).

    softsign(x) = x / (1 + |x|), in [-1, 1]. softsign(-inf) = -1, softsign(inf) = 1. An odd function with the derivative
    1 at 0.

    Examples
    --------
    >>> softsign([-1.0, 3.0])
    array([-0.5 ,  0.75])
    """
    t = FAR if abs(x) > FAR else abs(x)
    return copysign(t / (1.0 + t), x)


@softsign.derivative
def softsign_grad(x):
    """1 / (1 + |x|)^2, divided twice, since the square overflows where its inverse does not vanish."""
    d = 1.0 + abs(x)
    return 1.0 / d / d
