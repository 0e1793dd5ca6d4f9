"""Gated linear units: one array, or half of it, times an activation of another."""

import inspect
import operator

import numpy as np

from numact import dispatch
from numact.base import Elementwise, Info, activation
from numact.elementwise import gelu, relu, sigmoid
from numact.elementwise.rectifiers import relu_grad
from numact.elementwise.self_gated import gelu_grad
from numact.elementwise.sigmoids import sigmoid_grad

PAPER = "Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202"


class Halved(Elementwise):
    """An activation of two arrays that are the halves of one along an axis; neither is copied."""

    _keywords = ("out",)

    def _set_signature(self, signature):
        x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        axis = inspect.Parameter("axis", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=-1)
        super()._set_signature(inspect.Signature([x, axis]))

    def __call__(self, x, /, *arguments, out=None, **keywords):
        """Return the value of the halves of x; see the activation's own documentation."""
        return dispatch.elementwise(self._value, self._split(x, *self._resolve(arguments, keywords)), (), out)

    def grad(self, x, /, *arguments, out=None, **keywords):
        """Return the derivative by each element of x, that is, what `.backward` gives for a gradient of ones."""
        return self._gradient((), self._derivative, x, self._resolve(arguments, keywords), out)

    def backward(self, grad_output, x, /, *arguments, out=None, **keywords):
        """Return the gradient of a loss by x, given its gradient by the output.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output, of that shape.
        x : array_like
            The activation's input.
        *arguments, out, **keywords
            As for the value.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._gradient((grad_output,), self._product, x, self._resolve(arguments, keywords), out)

    def _gradient(self, grad_output, formula, x, axis, out):
        result = dispatch.empty_like(x) if out is None else out
        parts = self._split(x, *axis), self._split(result, *axis)
        dispatch.gradients(formula, (*grad_output, *parts[0]), (), parts[1], summed=bool(grad_output))
        return result

    def _sample(self, x):
        return (x,)

    def _split(self, x, axis):
        """Return the halves of an array along an axis as views."""
        x = np.asarray(x) if isinstance(x, dispatch.PYTHON_TYPES) else x
        axis = operator.index(axis)
        if not -len(x.shape) <= axis < len(x.shape):
            raise np.exceptions.AxisError(axis, len(x.shape))
        axis %= len(x.shape)
        half, odd = divmod(x.shape[axis], 2)
        if odd:
            raise ValueError(f"{self.__name__} needs an even size to split; axis {axis} has {x.shape[axis]} elements")
        before = (slice(None),) * axis
        return x[(*before, slice(half))], x[(*before, slice(half, None))]


def halved(**info):
    """Make an activation of the halves of an array from a formula of an element of each; a decorator."""
    return lambda function: Halved(function, Info(**info))


@halved(
    range=(float("-inf"), float("inf")),
    equation=r"a\,\sigma(b),\quad x = (a, b)",
    paper="Dauphin, Fan, Auli and Grangier, Language Modeling with Gated Convolutional Networks, ICML 2017",
    use="gated convolutions; feed-forward layers",
    strengths="a linear path for the gradient beside the gate",
    weaknesses="half of the preceding layer's outputs serve the gate alone",
)
def glu(value, gate):
    """Gated linear unit: one half of the array times the sigmoid of the other.

    glu(x) = a * sigmoid(b), where a is the first half of x along the axis and b the second.

    Examples
    --------
    >>> glu([1.0, 2.0, 0.0, 0.0])
    array([0.5, 1. ])
    """
    return value * sigmoid(gate)


@glu.derivative
def glu_grad(value, gate):
    """By the value sigmoid(gate), by the gate value * sigmoid'(gate)."""
    return sigmoid(gate), value * sigmoid_grad(gate)


@activation(
    range=(float("-inf"), float("inf")),
    kinks=(0.0,),
    equation=r"\max(g, 0)\,u",
    paper=PAPER,
    use="feed-forward layers of transformers",
    strengths="the cheapest of the gated units, and exactly 0 where the gate is closed",
    weaknesses="two projections for one; a closed gate passes no gradient to either",
)
def reglu(gate, up):
    """ReLU-gated linear unit: relu(gate) * up.

    The derivative by the gate at the kink gate = 0 is 0.

    Examples
    --------
    >>> reglu([-1.0, 2.0], [3.0, 3.0])
    array([0., 6.])
    """
    return relu(gate) * up


@reglu.derivative
def reglu_grad(gate, up):
    """By the gate relu'(gate) * up, by up relu(gate)."""
    return relu_grad(gate) * up, relu(gate)


@activation(
    range=(float("-inf"), float("inf")),
    equation=r"g\,\Phi(g)\,u",
    paper=PAPER,
    use="feed-forward layers of transformers",
    strengths="smooth, and a gate that is nearly closed still passes a gradient",
    weaknesses="two projections for one; the dearest gate",
)
def geglu(gate, up):
    """GELU-gated linear unit: gelu(gate) * up, where gelu is the exact form.

    Examples
    --------
    >>> geglu([-1.0, 2.0], [3.0, 3.0])
    array([-0.47596576,  5.86349921])
    """
    return gelu(gate) * up


@geglu.derivative
def geglu_grad(gate, up):
    """By the gate gelu'(gate) * up, by up gelu(gate)."""
    return gelu_grad(gate) * up, gelu(gate)
