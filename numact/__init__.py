"""Activation functions for NumPy and GPU arrays, written once and compiled by Numba for CPU and CUDA."""

from types import MappingProxyType

from numact._version import __version__
from numact.base import Activation, activation
from numact.binding import FormulaError
from numact.elementwise import gelu, gelu_tanh, leaky_relu, relu, sigmoid, tanh
from numact.losses import softmax_cross_entropy
from numact.projections import hardmax, sparsemax
from numact.rowwise import softmax
from numact.warmup import warmup

__all__ = [
    "Activation",
    "FormulaError",
    "__version__",
    "activation",
    "gelu",
    "hardmax",
    "leaky_relu",
    "registry",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "sparsemax",
    "tanh",
    "warmup",
]

# name -> activation: what the tests, the benchmarks and the documentation go through
registry = MappingProxyType(
    {f.__name__: f for f in (relu, leaky_relu, sigmoid, tanh, gelu, gelu_tanh, softmax, sparsemax, hardmax)}
)
del MappingProxyType, gelu_tanh  # the registry alone names it: users write gelu(approximate="tanh")
