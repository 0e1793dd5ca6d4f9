"""Rectifiers: linear where the input is positive."""

from numact.base import activation


@activation(
    range=(0.0, float("inf")),
    kinks=(0.0,),
    equation="",
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
    equation="",
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
