"""Activation functions for NumPy and GPU arrays, written once and compiled by Numba for CPU and CUDA."""

from types import MappingProxyType

from numact._version import __version__
from numact.base import Activation, activation
from numact.binding import FormulaError
from numact.elementwise import (
    celu,
    elu,
    exponential,
    gelu,
    gelu_tanh,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    quick_gelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softshrink,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    squared_relu,
    swish,
    tanh,
)
from numact.rowwise import softmax
from numact.warmup import warmup

__all__ = [
    "Activation",
    "FormulaError",
    "__version__",
    "activation",
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "quick_gelu",
    "registry",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softshrink",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squared_relu",
    "swish",
    "tanh",
    "warmup",
]

# name -> activation: what the tests, the benchmarks and the documentation go through
_RECTIFIERS = relu, leaky_relu, relu6, squared_relu  # and threshold, once parameters without a default are taken
_EXPONENTIALS = exponential, elu, celu, selu
_SIGMOIDS = sigmoid, tanh, softsign
_SELF_GATED = gelu, gelu_tanh, silu, quick_gelu
_PIECEWISE = hardtanh, hardsigmoid, hardswish, hardshrink, softshrink, sparse_sigmoid, sparse_plus
_ELEMENTWISE = _RECTIFIERS + _EXPONENTIALS + _SIGMOIDS + _SELF_GATED + _PIECEWISE
registry = MappingProxyType({f.__name__: f for f in (*_ELEMENTWISE, softmax)})
del MappingProxyType, gelu_tanh  # the registry alone names it: users write gelu(approximate="tanh")
