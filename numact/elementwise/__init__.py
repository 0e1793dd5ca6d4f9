"""The elementwise activations and their derivatives, as formulas of one scalar, by family."""

from numact.elementwise.exponentials import celu, elu, exponential, selu
from numact.elementwise.piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    softshrink,
    sparse_plus,
    sparse_sigmoid,
)
from numact.elementwise.rectifiers import leaky_relu, prelu, relu, relu6, squared_relu, threshold
from numact.elementwise.self_gated import gelu, gelu_tanh, quick_gelu, silu, swish
from numact.elementwise.sigmoids import sigmoid, softsign, tanh
from numact.elementwise.softplus import log_sigmoid, mish, softplus, squareplus, tanhshrink

__all__ = [
    "celu",
    "elu",
    "exponential",
    "gelu",
    "gelu_tanh",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_sigmoid",
    "mish",
    "prelu",
    "quick_gelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squared_relu",
    "squareplus",
    "swish",
    "tanh",
    "tanhshrink",
    "threshold",
]
