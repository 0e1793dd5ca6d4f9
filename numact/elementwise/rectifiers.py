"""Rectifiers: linear where the input is positive."""

from numact.base import activation
from numact.primitives import clamp

NAN = float("nan")


@activation(
    range=(0.0, float("inf")),
    kinks=(0.0,),
    equation=r"\max(x, 0)",
    paper="Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010",
    use="hidden layers of convolutional networks",
    strengths="one instruction; the gradient of an active unit does not vanish",
    weaknesses="a unit whose input stays negative never learns again",
    mechanism="Negative inputs become 0, positive ones pass as they are, small or large. The derivative of an active "
    "unit is 1, so depth does not shrink the gradient, and the exact zeros make the outputs sparse. Convolutional "
    "networks took to it because it is that cheap.",
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


@relu.derivative_from_output
def relu_slope(output):
    """The derivative of relu from its output, positive where the input is."""
    return relu_grad(output)


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(0.0,),
    equation=r"\max(x, 0) + a \min(x, 0)",
    paper="Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013",
    use="hidden layers where relu units die; discriminators",
    strengths="as cheap as relu, and a unit with negative input still learns",
    weaknesses="the slope is one more number to choose",
    mechanism="Positive inputs pass; negative ones are multiplied by a small slope, so their gradient is that slope "
    "and not 0. A unit that was pushed below 0 can come back. Discriminators use it because they must pass a gradient "
    "to the generator from every input.",
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


@leaky_relu.derivative_from_output
def leaky_relu_slope(output, negative_slope=0.01):
    """The derivative from the output, which has the input's sign; NaN for negative_slope < 0, where it has none."""
    return leaky_relu_grad(output, negative_slope) if negative_slope >= 0.0 else NAN


@activation(
    range=(0.0, 6.0),
    kinks=(0.0, 6.0),
    equation=r"\min(\max(x, 0), 6)",
    paper="Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010",
    use="convolutional networks that run in low precision",
    strengths="as cheap as relu, and bounded, so that its outputs fit few bits",
    weaknesses="no gradient below 0 and none above 6",
    mechanism="As relu up to 6, and 6 beyond. Since every output lies between 0 and 6, the fixed-point numbers of a "
    "phone's chip can spread their few steps over a known interval.",
)
def relu6(x):
    """Rectified linear unit that stops at 6.

    relu6(x) = min(max(x, 0), 6), in [0, 6]. The derivative at the kinks x = 0 and x = 6 is 0.

    Examples
    --------
    >>> relu6([-1.0, 2.0, 8.0])
    array([0., 2., 6.])
    """
    return clamp(x, 0.0, 6.0)


@relu6.derivative
def relu6_grad(x):
    """1 between 0 and 6, else 0."""
    return x if x != x else (1.0 if x > 0.0 and x < 6.0 else 0.0)


@relu6.derivative_from_output
def relu6_slope(output):
    """The derivative of relu6 from its output, which is the input where that is between 0 and 6."""
    return relu6_grad(output)


@activation(
    range=(0.0, float("inf")),
    equation=r"\max(x, 0)^2",
    paper="So et al., Primer: Searching for Efficient Transformers for Language Modeling, NeurIPS 2021",
    use="hidden layers of transformers",
    strengths="as cheap as relu, with a continuous derivative",
    weaknesses="grows fast: large inputs overflow in half precision",
    mechanism="Negative inputs become 0, small positive ones smaller still, and large ones grow as the square. The "
    "derivative 2 x starts from 0 without a jump. In the feed-forward layers of language models this gave a lower "
    "loss than relu or gelu for the same work (So et al.).",
)
def squared_relu(x):
    """Squared rectified linear unit: x^2 where x is positive, else 0.

    squared_relu(x) = max(x, 0)^2, in [0, inf). It has no kink.

    Examples
    --------
    >>> squared_relu([-1.0, 3.0])
    array([0., 9.])
    """
    positive = 0.0 if x < 0.0 else x
    return positive * positive


@squared_relu.derivative
def squared_relu_grad(x):
    """2 x where x is positive, else 0."""
    return 0.0 if x < 0.0 else 2.0 * x


@activation(
    range=(float("-inf"), float("inf")),
    equation=r"x \text{ if } x > \theta \text{ else } v",
    paper="PyTorch, torch.nn.Threshold",
    use="replacing small inputs by a constant",
    strengths="relu with a threshold and a floor of one's own",
    weaknesses="jumps at the threshold unless the value equals it; two numbers to choose",
    mechanism="Inputs above the threshold pass as they are; all others, however small, become one constant. The "
    "gradient passes where the input passed. With both numbers 0 it is relu.",
)
def threshold(x, /, threshold, value):
    """Threshold: x where x is above the threshold, else the value.

    threshold(x) = x if x > threshold else value. The derivative at x = threshold, where the function jumps unless
    value equals it, is 0.

    Examples
    --------
    >>> threshold([-1.0, 0.5, 2.0], 0.5, 0.0)
    array([0., 0., 2.])
    """
    return value if x <= threshold else x


@threshold.derivative
def threshold_grad(x, /, threshold, value):
    """1 where x is above the threshold, else 0."""
    return x if x != x else (1.0 if x > threshold else 0.0)


@threshold.derivative_from_output
def threshold_slope(output, /, threshold, value):
    """The derivative from the output; NaN for value > threshold, where it does not tell."""
    return threshold_grad(output, threshold, value) if value <= threshold else NAN


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(0.0,),
    equation=r"\max(x, 0) + w \min(x, 0)",
    paper="He, Zhang, Ren and Sun, Delving Deep into Rectifiers, ICCV 2015",
    use="hidden layers of convolutional networks, with a weight for each channel",
    strengths="the slope of negative inputs is learnt",
    weaknesses="more to learn; with small data it overfits",
    mechanism="Positive inputs pass; negative ones are multiplied by a weight that is learnt, mostly one for each "
    "channel. The network decides for itself between relu (weight 0), a leaky unit and a straight line (weight 1).",
)
def prelu(x, weight):
    """Parametric rectified linear unit: x where x is positive, else weight * x.

    prelu(x, weight) = max(x, 0) + weight * min(x, 0), in (-inf, inf). The derivative by x at the kink x = 0 is the
    weight. A weight for each channel of an array (batch, channel, height, width) has the shape (channel, 1, 1).

    Examples
    --------
    >>> prelu([-1.0, 2.0], 0.25)
    array([-0.25,  2.  ])
    """
    return x if x > 0.0 else weight * x


@prelu.derivative
def prelu_grad(x, weight):
    """By x 1 where x is positive, else the weight; by the weight min(x, 0)."""
    return x if x != x else (1.0 if x > 0.0 else weight), 0.0 if x > 0.0 else x
