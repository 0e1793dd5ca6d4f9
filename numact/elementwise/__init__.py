"""The elementwise activations and their derivatives, as formulas of one scalar, by family."""

from numact.elementwise.rectifiers import leaky_relu, relu
from numact.elementwise.self_gated import gelu, gelu_tanh
from numact.elementwise.sigmoids import sigmoid, tanh

__all__ = ["gelu", "gelu_tanh", "leaky_relu", "relu", "sigmoid", "tanh"]
