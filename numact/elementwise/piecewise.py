"""Activations pieced together from straight lines and parabolas."""

from numact.base import activation
from numact.elementary import sqrt
from numact.primitives import clamp, copysign, fma

MOBILE = "Howard et al., Searching for MobileNetV3, ICCV 2019"


@activation(
    range=(-1.0, 1.0),
    kinks=(-1.0, 1.0),
    equation=r"\min(\max(x, l), h)",
    paper="Collobert, Large Scale Machine Learning, doctoral thesis, 2004",
    use="in place of tanh where arithmetic is dear; clipping",
    strengths="two instructions",
    weaknesses="no gradient outside its bounds",
    mechanism="Inputs between the bounds pass as they are; beyond, the output stays at the bound and the derivative "
    "is 0. It is the tanh of arithmetic that has no exponential, and it clips whatever must not grow.",
)
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """Piecewise linear tanh: x, held between min_val and max_val.

    hardtanh(x) = min(max(x, min_val), max_val), in [min_val, max_val]. The derivative at the kinks, which are the two
    bounds, is 0.

    Examples
    --------
    >>> hardtanh([-3.0, 0.5, 3.0])
    array([-1. ,  0.5,  1. ])
    """
    return clamp(x, min_val, max_val)


@hardtanh.derivative
def hardtanh_grad(x, min_val=-1.0, max_val=1.0):
    """1 between min_val and max_val, else 0."""
    return x if x != x else (1.0 if x > min_val and x < max_val else 0.0)


@hardtanh.derivative_from_output
def hardtanh_slope(output, min_val=-1.0, max_val=1.0):
    """The derivative of hardtanh from its output, which is the input between the bounds."""
    return hardtanh_grad(output, min_val, max_val)


@activation(
    range=(0.0, 1.0),
    kinks=(-3.0, 3.0),
    equation=r"\min(\max(\alpha x + \beta, 0), 1)",
    paper=MOBILE + " (with slope 1/6); ONNX operator HardSigmoid (with slope 0.2)",
    use="gates of networks that run on small devices",
    strengths="a sigmoid without an exponential, exactly 0 and 1 in the end",
    weaknesses="no gradient where it is 0 or 1",
    mechanism="A straight line through 1/2, cut off at 0 and 1: within -3 and 3 the slope is 1/6, beyond them the "
    "gate is wholly closed or open. Small devices compute it in fixed-point numbers without a table.",
)
def hardsigmoid(x, alpha=1 / 6, beta=0.5):
    """Piecewise linear sigmoid: alpha * x + beta, held between 0 and 1.

    hardsigmoid(x) = min(max(alpha x + beta, 0), 1), in [0, 1], for alpha > 0. The kinks are -beta / alpha and
    (1 - beta) / alpha as they round, by default -3 and 3; the value there is 0 and 1, the derivative 0.

    Examples
    --------
    >>> hardsigmoid([-3.0, 1.5, 3.0])
    array([0.  , 0.75, 1.  ])
    """
    # 1/6 itself is no binary number: 1/6 * -3 + 1/2 would be 3e-17.
    return 0.0 if x <= -beta / alpha else clamp(fma(alpha, x, beta), 0.0, 1.0)


@hardsigmoid.derivative
def hardsigmoid_grad(x, alpha=1 / 6, beta=0.5):
    """alpha between the kinks, else 0."""
    return x if x != x else (alpha if x > -beta / alpha and x < (1.0 - beta) / alpha else 0.0)


@activation(
    range=(-0.375, float("inf")),
    kinks=(-3.0, 3.0),
    equation=r"x \min(\max(x + 3, 0), 6) / 6",
    paper=MOBILE,
    use="convolutional networks on small devices, in place of silu",
    strengths="the shape of silu without an exponential",
    weaknesses="no gradient below -3; not monotone",
    mechanism="0 up to -3, the input itself from 3 on, and a parabola between that dips to -0.375. MobileNetV3 "
    "replaced silu with it, since it fits silu's shape with a multiplication and two comparisons.",
)
def hardswish(x):
    """Piecewise quadratic silu: x * hardsigmoid(x).

    hardswish(x) = x min(max(x + 3, 0), 6) / 6, in [-0.375, inf). It is 0 at -inf. The derivative at the kinks is 0 at
    x = -3 and 1 at x = 3.

    Examples
    --------
    >>> hardswish([-4.0, -1.5, 4.0])
    array([ 0.   , -0.375,  4.   ])
    """
    return 0.0 if x <= -3.0 else x * (clamp(x + 3.0, 0.0, 6.0) / 6.0)


@hardswish.derivative
def hardswish_grad(x):
    """(2 x + 3) / 6 between -3 and 3, where the sum is exact near its root; else 0 or 1."""
    return (0.0 if x <= -3.0 else (6.0 if x >= 3.0 else fma(2.0, x, 3.0))) / 6.0  # one division for all: by vectors


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(-0.5, 0.5),
    equation=r"x \text{ if } |x| > \lambda \text{ else } 0",
    paper="Donoho and Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, Biometrika 1994",
    use="sparse coding; denoising",
    strengths="exact zeros, and what remains is not biased",
    weaknesses="jumps at -lambd and lambd; no gradient between them",
    mechanism="Inputs of a magnitude up to lambd become 0, all others pass as they are. Noise below the threshold "
    "vanishes, and what stands above it is left unchanged.",
)
def hardshrink(x, lambd=0.5):
    """Hard shrinkage: x where |x| is above lambd, else 0.

    hardshrink(x) = x if |x| > lambd else 0. The derivative at x = -lambd and x = lambd, where the function jumps, is 0.

    Examples
    --------
    >>> hardshrink([-2.0, 0.5, 1.0])
    array([-2.,  0.,  1.])
    """
    return 0.0 if abs(x) <= lambd else x


@hardshrink.derivative
def hardshrink_grad(x, lambd=0.5):
    """1 where |x| is above lambd, else 0."""
    return x if x != x else (1.0 if abs(x) > lambd else 0.0)


@hardshrink.derivative_from_output
def hardshrink_slope(output, lambd=0.5):
    """The derivative of hardshrink from its output, which is 0 where the derivative is."""
    return hardshrink_grad(output, 0.0)


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(-0.5, 0.5),
    equation=r"\operatorname{sign}(x) \max(|x| - \lambda, 0)",
    paper="Donoho, De-noising by Soft-Thresholding, IEEE Transactions on Information Theory 1995",
    use="sparse coding: the proximal operator of the absolute value",
    strengths="exact zeros, and continuous",
    weaknesses="every value is biased by lambd; no gradient between -lambd and lambd",
    mechanism="Inputs of a magnitude up to lambd become 0, all others move towards 0 by lambd. It is what one step "
    "of minimising a penalty lambd |x| does, which is why iterations for sparse codes are made of it.",
)
def softshrink(x, lambd=0.5):
    """Soft shrinkage: x drawn towards 0 by lambd, and 0 where |x| is no more than that.

    softshrink(x) = sign(x) max(|x| - lambd, 0). The derivative at the kinks x = -lambd and x = lambd is 0.

    Examples
    --------
    >>> softshrink([-2.0, 0.25, 1.0])
    array([-1.5,  0. ,  0.5])
    """
    return 0.0 if abs(x) <= lambd else copysign(abs(x) - lambd, x)


@softshrink.derivative
def softshrink_grad(x, lambd=0.5):
    """1 where |x| is above lambd, else 0."""
    return x if x != x else (1.0 if abs(x) > lambd else 0.0)


@softshrink.derivative_from_output
def softshrink_slope(output, lambd=0.5):
    """The derivative of softshrink from its output, which is 0 where the derivative is."""
    return softshrink_grad(output, 0.0)


FENCHEL = "Blondel, Martins and Niculae, Learning with Fenchel-Young Losses, JMLR 2020, section 6.2; named as in JAX"


@activation(
    range=(0.0, 1.0),
    kinks=(-1.0, 1.0),
    equation=r"\min(\max((x + 1) / 2, 0), 1)",
    paper=FENCHEL,
    use="probabilities that may be exactly 0 or 1",
    strengths="sparsemax for two classes: exact zeros; no exponential",
    weaknesses="no gradient where it is 0 or 1",
    mechanism="A straight line through 1/2, cut off at 0 and 1, with the slope 1/2 between -1 and 1. It is the "
    "probability of the first of two classes under sparsemax, so that a clear case gets exactly 0 or 1.",
)
def sparse_sigmoid(x):
    """Sparse sigmoid: (x + 1) / 2, held between 0 and 1.

    sparse_sigmoid(x) = min(max((x + 1) / 2, 0), 1), in [0, 1]. The derivative at the kinks x = -1 and x = 1 is 0.

    Examples
    --------
    >>> sparse_sigmoid([-2.0, 0.0, 2.0])
    array([0. , 0.5, 1. ])
    """
    return 0.0 if x <= -1.0 else (1.0 if x >= 1.0 else fma(0.5, x, 0.5))


@sparse_sigmoid.derivative
def sparse_sigmoid_grad(x):
    """1/2 between -1 and 1, else 0."""
    return x if x != x else (0.5 if abs(x) < 1.0 else 0.0)


@activation(
    range=(0.0, float("inf")),
    equation=r"0 \text{ if } x \le -1, \; x \text{ if } x \ge 1, \text{ else } (x + 1)^2 / 4",
    paper=FENCHEL,
    use="in place of softplus where zeros are wanted",
    strengths="smooth like softplus, and exactly 0 and x in the end; no exponential",
    weaknesses="no gradient below -1",
    mechanism="0 up to -1, the input itself from 1 on, a parabola between: softplus with exact ends. Its derivative "
    "is sparse_sigmoid, as softplus's is sigmoid.",
)
def sparse_plus(x):
    """Sparse softplus: 0 up to -1, x from 1 on, and the parabola (x + 1)^2 / 4 between.

    In [0, inf). It has no kink; its derivative is sparse_sigmoid.

    Examples
    --------
    >>> sparse_plus([-2.0, 0.0, 2.0])
    array([0.  , 0.25, 2.  ])
    """
    half = fma(0.5, x, 0.5)
    return 0.0 if x <= -1.0 else (x if x >= 1.0 else half * half)


@sparse_plus.derivative
def sparse_plus_grad(x):
    """sparse_sigmoid(x)."""
    return sparse_sigmoid(x)


@sparse_plus.derivative_from_output
def sparse_plus_slope(output):
    """The square root of the output, and 1 from 1 on."""
    return 1.0 if output >= 1.0 else sqrt(output)
