"""Activation functions for NumPy and GPU arrays, written once and compiled by Numba for CPU and CUDA."""

from numact._version import __version__
from numact.base import Activation, activation, registry
from numact.elementwise import gelu, leaky_relu, relu, sigmoid, tanh
from numact.rowwise import softmax

__all__ = [
    "Activation",
    "__version__",
    "activation",
    "gelu",
    "leaky_relu",
    "registry",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
