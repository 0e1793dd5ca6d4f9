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
    log_sigmoid,
    mish,
    prelu,
    quick_gelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
    softshrink,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    squared_relu,
    squareplus,
    swish,
    tanh,
    tanhshrink,
    threshold,
)
from numact.gated import geglu, glu, reglu, swiglu
from numact.losses import softmax_cross_entropy
from numact.memory import empty_cache
from numact.projections import hardmax, sparsemax
from numact.rowwise import log_softmax, logsumexp, softmax, softmin
from numact.tables import table
from numact.warmup import warmup

__all__ = [
    "Activation",
    "FormulaError",
    "__version__",
    "activation",
    "celu",
    "elu",
    "empty_cache",
    "exponential",
    "geglu",
    "gelu",
    "glu",
    "hardmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mish",
    "prelu",
    "quick_gelu",
    "registry",
    "reglu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squared_relu",
    "squareplus",
    "swiglu",
    "swish",
    "table",
    "tanh",
    "tanhshrink",
    "threshold",
    "warmup",
]

# name -> activation: what the tests, the benchmarks and the documentation go through
_RECTIFIERS = relu, leaky_relu, relu6, squared_relu, threshold, prelu
_EXPONENTIALS = exponential, elu, celu, selu
_SIGMOIDS = sigmoid, log_sigmoid, tanh, tanhshrink, softsign
_SELF_GATED = gelu, gelu_tanh, silu, quick_gelu, mish
_SMOOTH = softplus, squareplus
_PIECEWISE = hardtanh, hardsigmoid, hardswish, hardshrink, softshrink, sparse_sigmoid, sparse_plus
_GATED = glu, swiglu, geglu, reglu
_ELEMENTWISE = _RECTIFIERS + _EXPONENTIALS + _SIGMOIDS + _SELF_GATED + _SMOOTH + _PIECEWISE + _GATED
_ROWWISE = softmax, log_softmax, softmin, logsumexp, sparsemax, hardmax
registry = MappingProxyType({f.__name__: f for f in _ELEMENTWISE + _ROWWISE})
del MappingProxyType, gelu_tanh  # the registry alone names it: users write gelu(approximate="tanh")
