"""Activations of two arrays, of which one gates the other."""

from numact.base import activation
from numact.elementwise import gelu, gelu_grad, relu, relu_grad, sigmoid, sigmoid_grad
