"""Activations of two arrays, of which one gates the other."""

from numact.base import activation
from numact.elementwise import relu
from numact.elementwise.rectifiers import relu_grad


@activation(
    range=(float("-inf"), float("inf")),
    paper="Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202",
    use="feed-forward layers of transformers",
    strengths="as reglu",
    weaknesses="two",
)
def reglu(gate, up):
    """ReLU-gated linear unit: relu(gate) * up.

    Examples
    --------
    >>> reglu([-1.0, 2.0], [3.0, 3.0])
    array([-0.,  6.])
    """
    return relu(gate) * up


@reglu.derivative
def reglu_grad(gate, up):
    """relu'(gate) * up and relu(gate)."""
    return relu_grad(gate) * up, relu(gate)
