"""Gated linear units: one array, or half of it, times an activation of another."""

import inspect
import operator

import numpy as np

from numact import dispatch, foreign
from numact.base import Elementwise, Info, activation
from numact.binding import Formula
from numact.elementary import (
    FAR_SCALE,
    LIFT,
    LOWER,
    LOWEST,
    TAIL_KNOT,
    TAIL_LIMIT,
    exp_parts,
    normal_tail_polynomial,
)
from numact.elementwise import gelu, relu, sigmoid
from numact.elementwise.rectifiers import relu_grad
from numact.elementwise.self_gated import gelu_grad, plain_silu, plain_silu_grad
from numact.elementwise.sigmoids import sigmoid_grad
from numact.primitives import ByType, fma

# Down to here sigmoid is a normal number by itself; below, times RAISE.
FAR = ByType(float32=-60.0, float64=-600.0)
PAPER = "Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202"


class Halved(Elementwise):
    """An activation of two arrays that are the halves of one along an axis; neither is copied."""

    _keywords = ("out", "stream")

    def _set_signature(self, signature):
        x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        axis = inspect.Parameter("axis", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=-1)
        super()._set_signature(inspect.Signature([x, axis]))

    def __call__(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the value of the halves of x; see the activation's own documentation."""
        if stream is not None:
            return dispatch.on_stream(stream, self, x, *arguments, out=out, **keywords)
        try:
            return dispatch.elementwise(self._value, self._split(x, *self._resolve(arguments, keywords)), (), out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, x, *arguments, out=out, **keywords)

    def grad(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the derivative by each element of x, that is, what `.backward` gives for a gradient of ones."""
        if stream is not None:
            return dispatch.on_stream(stream, self.grad, x, *arguments, out=out, **keywords)
        try:
            return self._gradient((), self._derivative, x, self._resolve(arguments, keywords), out)
        except TypeError as error:
            return foreign.hand_over(error, self.grad, x, *arguments, out=out, **keywords)

    def backward(self, grad_output, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the gradient of a loss by x, given its gradient by the output.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output, of that shape.
        x : array_like
            The activation's input.
        *arguments, out, stream, **keywords
            As for the value.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        if stream is not None:
            return dispatch.on_stream(stream, self.backward, grad_output, x, *arguments, out=out, **keywords)
        try:
            return self._gradient((grad_output,), self._product, x, self._resolve(arguments, keywords), out)
        except TypeError as error:
            return foreign.hand_over(error, self.backward, grad_output, x, *arguments, out=out, **keywords)

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
        if type(x) is not np.ndarray:
            dispatch.find_interop({"x": x}, None)  # what is no array here cannot be cut, either
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


@Formula
def sigmoid_parts(x):
    """Return high, low and factor with sigmoid(x) = (high + low) * factor.

    A product scales a relative error by up to 2 units in the last place: sigmoid's own, rounded, would make it 4.5.
    """
    t = abs(x)
    power, s = exp_parts(-LOWEST if t > -LOWEST else t, 0.0, -LIFT)
    # 1 + e^t, with the rounding error of the sum (Knuth's two-sum), and its inverse, with what is left of 1.
    part = fma(power, s, LOWER)
    total = part + power
    back = total - part
    total_low = (part - (total - back)) + (power - back)
    inverse = 1.0 / total
    rest = fma(-inverse, total_low, fma(-inverse, total, 1.0))
    high = inverse if x < FAR else LOWER * inverse
    high = 0.0 if x < LOWEST else high
    low = high * rest
    complement = 1.0 - high
    complement_low = ((1.0 - complement) - high) - low
    return complement if x > 0.0 else high, complement_low if x > 0.0 else low, LOWER if x < FAR else 1.0


@Formula
def gelu_parts(x):
    """Return high, low and factor with gelu(x) = (high + low) * factor; see `gelu`, which rounds them."""
    t = abs(x)
    far = t > TAIL_LIMIT
    t = TAIL_LIMIT if far else t
    near = t < TAIL_KNOT
    exponent = -0.5 * t * t
    power, s = exp_parts(exponent, fma(-0.5 * t, t, -exponent), -2.0 if near else LIFT)
    p = normal_tail_polynomial(t)
    scale = 0.0 if far else (t if near else FAR_SCALE)
    rest = fma(p, s, p) + s
    tail = fma(scale, rest, scale)
    tail_low = fma(scale, rest, scale - tail) * power
    tail *= power
    factor = 1.0 if near else LOWER
    high = fma(-tail, factor, x)
    low = fma(-tail_low, factor, fma(-tail, factor, x - high))
    return high if x >= 0.0 else -tail, low if x >= 0.0 else -tail_low, 1.0 if x >= 0.0 else factor


@Formula
def product(value, high, low, factor):
    """Return value * (high + low) * factor, rounded about once."""
    rounded = value * high
    result = fma(value, high, value * low)
    return (rounded if result != result else result) * factor  # of infinite ones the error is NaN


@halved(
    range=(float("-inf"), float("inf")),
    equation=r"a\,\sigma(b),\quad x = (a, b)",
    paper="Dauphin, Fan, Auli and Grangier, Language Modeling with Gated Convolutional Networks, ICML 2017",
    use="gated convolutions; feed-forward layers",
    strengths="a linear path for the gradient beside the gate",
    weaknesses="half of the preceding layer's outputs serve the gate alone",
    mechanism="One half of the features is multiplied by the sigmoid of the other half: a gate near 0 blocks a "
    "feature, near 1 lets it through. Through an open gate the gradient flows as in a linear layer, which let deep "
    "convolutional language models train.",
)
def glu(value, gate):
    """Gated linear unit: one half of the array times the sigmoid of the other.

    glu(x) = a * sigmoid(b), where a is the first half of x along the axis and b the second.

    Examples
    --------
    >>> glu([1.0, 2.0, 0.0, 0.0])
    array([0.5, 1. ])
    """
    high, low, factor = sigmoid_parts(gate)
    return product(value, high, low, factor)


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
    mechanism="The second array passes, multiplied by the first where that is positive; elsewhere the result is 0. "
    "The gate chooses and scales at once. It is the simplest of the gated feed-forward layers, with exact zeros.",
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
    mechanism="The second array is multiplied by the gelu of the first: a large gate multiplies by itself, one far "
    "below 0 closes, and around 0 there is no corner. The product of two projections lets one layer compute what a "
    "single projection cannot.",
)
def geglu(gate, up):
    """GELU-gated linear unit: gelu(gate) * up, where gelu is the exact form.

    Examples
    --------
    >>> geglu([-1.0, 2.0], [3.0, 3.0])
    array([-0.47596576,  5.86349921])
    """
    high, low, factor = gelu_parts(gate)
    return product(up, high, low, factor)


@geglu.derivative
def geglu_grad(gate, up):
    """By the gate gelu'(gate) * up, by up gelu(gate); the first has no more digits than a subnormal gelu'(gate)."""
    return gelu_grad(gate) * up, gelu(gate)


@activation(
    range=(float("-inf"), float("inf")),
    equation=r"\frac{g}{1 + e^{-g}}\,u",
    paper=PAPER,
    use="feed-forward layers of language models",
    strengths="smooth, and a gate that is nearly closed still passes a gradient; cheaper than geglu",
    weaknesses="two projections for one",
    mechanism="The second array is multiplied by the silu of the first: a large gate multiplies by itself, one far "
    "below 0 closes, and around 0 there is no corner. Language models of the LLaMA family use it in their "
    "feed-forward layers, since it reached a lower loss at equal cost (Shazeer).",
)
def swiglu(gate, up):
    """SiLU-gated linear unit: silu(gate) * up.

    Examples
    --------
    >>> swiglu([-1.0, 2.0], [3.0, 3.0])
    array([-0.80682426,  5.28478247])
    """
    high, low, factor = sigmoid_parts(gate)
    held = LOWEST if gate < LOWEST else gate  # where the sigmoid is 0
    value = held * high
    rest = fma(held, low, fma(held, high, -value))
    return product(up, value, rest, factor)


@swiglu.derivative
def swiglu_grad(gate, up):
    """By the gate silu'(gate) * up, by up silu(gate); the first has no more digits than a subnormal silu'(gate)."""
    return plain_silu_grad(gate) * up, plain_silu(gate)
