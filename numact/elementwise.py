"""The elementwise activations and their derivatives, as formulas of one scalar."""

from numact.base import activation
from numact.elementary import (
    TAIL_LIMIT,
    exp_parts,
    expm1,
    normal_tail_ratio,
    quotient,
    scale_down,
    scaled_exp,
    scaled_normal_tail,
)
from numact.primitives import ByType, fma

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
    # e^-|x| never overflows, and for negative x the quotient e / (1 + e) keeps what 1 - 1 / (1 + e) would cancel.
    e = scaled_exp(1.0, -abs(x), 0.0)
    d = 1.0 + e
    return quotient(1.0 if x >= 0.0 else e, d, e - (d - 1.0))


@sigmoid.derivative
def sigmoid_grad(x):
    """sigmoid(x) * (1 - sigmoid(x)) = e^-|x| / (1 + e^-|x|)^2."""
    e = scaled_exp(1.0, -abs(x), 0.0)
    d = 1.0 + e
    square = d * d
    return quotient(e, square, fma(2.0 * d, e - (d - 1.0), fma(d, d, -square)))


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
    # With e = e^(-2|x|) - 1 nothing cancels near 0, and nothing overflows.
    e = expm1(-2.0 * abs(x))
    d = 2.0 + e
    y = quotient(e, d, e - (d - 2.0))
    return x if x == 0.0 else (y if x < 0.0 else -y)


@tanh.derivative
def tanh_grad(x):
    """1 - tanh(x)^2 = 4 e^(-2|x|) / (1 + e^(-2|x|))^2, which does not cancel where tanh is near 1."""
    e = scaled_exp(1.0, -2.0 * abs(x), 0.0)
    d = 1.0 + e
    square = d * d
    return 4.0 * quotient(e, square, fma(2.0 * d, e - (d - 1.0), fma(d, d, -square)))


# --- gated by the normal distribution -----------------------------------------------------------------------------

DENSITY = 0.3989422804014327  # of the normal distribution at 0, 1 / sqrt(2 pi)
# sqrt(8 / pi) and 0.044715, each with the rest that its type leaves of it.
SQRT_8_OVER_PI_HIGH = ByType(float32=1.5957691669464111, float64=1.5957691216057308)
SQRT_8_OVER_PI_LOW = ByType(float32=-4.534068042105272e-08, float64=-9.96930880911092e-17)
CUBIC_HIGH = ByType(float32=0.044714998453855515, float64=0.044715)
CUBIC_LOW = ByType(float32=1.5461444854736329e-09, float64=2.1960211427085595e-18)
# Past this the tail of gelu's tanh form is 0 in this type.
TANH_LIMIT = ByType(float32=12.0, float64=30.0)


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
    # Phi(x) = 1 - Q(x), and Q of the upper tail has its digits where 1 + erf would have cancelled.
    tail = scaled_normal_tail(abs(x))
    return fma(tail, -1.0, x) if x >= 0.0 else -tail  # x - tail, which NVVM would contract with a product inside tail


@gelu.derivative
def gelu_grad(x):
    """Phi(x) + x * phi(x), where phi is the normal density."""
    t = abs(x)
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    high = -0.5 * t * t
    scale = fma(-DENSITY, t, normal_tail_ratio(t))
    tail = scaled_exp(scale, high, fma(-0.5 * t, t, -high))
    return 1.0 - tail if x >= 0.0 else tail


def gelu_tanh_exponent(t):
    """exp of -sqrt(8 / pi) * (t + 0.044715 t^3) for t >= 0, as `exp_parts` gives it."""
    # The exponent reaches 100 and more, so its rounding errors are carried along, product by product.
    square = t * t
    square_low = fma(t, t, -square)
    cubic = fma(CUBIC_HIGH, square, 1.0)
    cubic_low = fma(CUBIC_HIGH, square, 1.0 - cubic) + fma(CUBIC_HIGH, square_low, CUBIC_LOW * square)
    linear = SQRT_8_OVER_PI_HIGH * t
    linear_low = fma(SQRT_8_OVER_PI_LOW, t, fma(SQRT_8_OVER_PI_HIGH, t, -linear))
    v = linear * cubic
    v_low = fma(linear, cubic_low, fma(linear_low, cubic, fma(linear, cubic, -v)))
    return exp_parts(-v, -v_low)


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
    n, r, e = gelu_tanh_exponent(t)
    s = r + e
    power = scale_down(1.0 + s, n)
    d = 1.0 + power
    # As for gelu: the tail t * (1 - sigmoid) has its digits where 1 + tanh would have cancelled.
    tail = scale_down(quotient(fma(t, s, t), d, power - (d - 1.0)), n)
    return x - tail if x >= 0.0 else -tail


@gelu_tanh.derivative
def gelu_tanh_grad(x):
    """With s the sigmoid of v(x): s + x v'(x) s (1 - s)."""
    t = abs(x)
    t = TANH_LIMIT if t > TANH_LIMIT else t
    n, r, e = gelu_tanh_exponent(t)
    s = r + e
    power = scale_down(1.0 + s, n)
    d = 1.0 + power
    square = d * d
    square_low = fma(2.0 * d, power - (d - 1.0), fma(d, d, -square))
    # d - t v'(t) changes sign and cancels around its root, so t v'(t) keeps its rounding errors.
    linear = SQRT_8_OVER_PI_HIGH * t
    linear_low = fma(SQRT_8_OVER_PI_LOW, t, fma(SQRT_8_OVER_PI_HIGH, t, -linear))
    third = 3.0 * CUBIC_HIGH
    cubic = fma(third, t * t, 1.0)
    cubic_low = fma(third, t * t, 1.0 - cubic)
    slope = linear * cubic
    slope_low = fma(linear, cubic_low, fma(linear_low, cubic, fma(linear, cubic, -slope)))
    fall = d - slope
    fall_low = ((d - fall) - slope) - slope_low
    product = fma(fall, s, fall)
    product_low = fma(fall, s, fall - product) + fma(fall_low, s, fall_low)
    negative = scale_down(fma(product_low, 1.0 / square, quotient(product, square, square_low)), n)
    return quotient(fma(slope, power, d), square, square_low) if x >= 0.0 else negative
