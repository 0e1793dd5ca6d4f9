"""The largest errors of every activation, in units in the last place: what the tests enforce and the README prints."""

from typing import NamedTuple


class Accuracy(NamedTuple):
    """Largest errors against the exact result, in ULP.

    Attributes
    ----------
    value, derivative : float
        In float32, over all inputs.
    value64, derivative64 : float
        In float64, over a set of hard and random inputs.
    root : tuple of float, optional
        Where the derivative changes sign: there its error is counted in ULP of 0.125.
    """

    value: float
    derivative: float
    value64: float
    derivative64: float
    root: tuple[float, float] | None = None


# Over all 2^32 float32 (`pytest -m exhaustive`, 2026-11-25; hardswish 2026-11-28, elu, celu, selu, log_sigmoid, tanh,
# tanhshrink, gelu and softplus 2026-11-29) the largest errors were, value and derivative: exponential 1.013, 1.013; elu
# and celu 0.907, 1.011; selu 1.757, 1.114; sigmoid 1.999, 1.990; log_sigmoid 1.751, 1.999; tanh 1.969, 1.990;
# tanhshrink 1.619, 3.786; softsign 1.499, 2.976; gelu 1.791, 2.530; gelu_tanh 1.987, 3.827; silu 1.998, 3.106;
# quick_gelu 1.996, 3.333; mish 1.981, 3.380; softplus 1.474, 1.999; squareplus 2.000, 3.360; hardswish 1.871, 1.000;
# sparse_plus 1.914, 0.5; the others 0.5 or 0. Near the root of the derivative, in ULP of 0.125: gelu 2.073, gelu_tanh
# 3.100, silu 2.252, quick_gelu 2.713, mish 2.722.
ACCURACY = {
    "relu": Accuracy(0.0, 0.0, 0.0, 0.0),
    "leaky_relu": Accuracy(0.5, 0.0, 0.5, 0.0),
    "relu6": Accuracy(0.0, 0.0, 0.0, 0.0),
    "squared_relu": Accuracy(0.5, 0.0, 0.5, 0.0),
    "threshold": Accuracy(0.0, 0.0, 0.0, 0.0),
    "prelu": Accuracy(0.5, 0.0, 0.5, 0.0),
    "exponential": Accuracy(1.1, 1.1, 1.1, 1.1),
    "elu": Accuracy(1.0, 1.1, 2.0, 2.0),
    "celu": Accuracy(1.0, 1.1, 2.0, 2.0),
    "selu": Accuracy(1.8, 1.2, 2.0, 2.0),
    "sigmoid": Accuracy(2.0, 2.0, 2.0, 2.0),
    "log_sigmoid": Accuracy(1.8, 2.0, 2.0, 2.0),
    "tanh": Accuracy(2.0, 2.0, 2.0, 2.0),
    "tanhshrink": Accuracy(1.7, 3.8, 2.0, 4.0),
    "softsign": Accuracy(1.5, 3.0, 2.0, 4.0),
    "gelu": Accuracy(1.8, 2.6, 2.0, 4.0, root=(-1.35, -0.5)),
    "gelu_tanh": Accuracy(2.0, 3.9, 2.0, 4.0, root=(-1.35, -0.5)),
    "silu": Accuracy(2.0, 3.2, 2.0, 4.0, root=(-2.2, -0.8)),
    "quick_gelu": Accuracy(2.0, 3.4, 2.0, 4.0, root=(-1.3, -0.46)),
    "mish": Accuracy(2.0, 3.4, 2.0, 4.0, root=(-2.2, -0.6)),
    "softplus": Accuracy(1.5, 2.0, 2.0, 2.0),
    "squareplus": Accuracy(2.0, 3.4, 2.0, 4.0),
    "hardtanh": Accuracy(0.0, 0.0, 0.0, 0.0),
    "hardsigmoid": Accuracy(0.5, 0.0, 0.5, 0.0),
    "hardswish": Accuracy(2.0, 1.0, 2.0, 1.0),
    "hardshrink": Accuracy(0.0, 0.0, 0.0, 0.0),
    "softshrink": Accuracy(0.5, 0.0, 0.5, 0.0),
    "sparse_sigmoid": Accuracy(0.5, 0.0, 0.5, 0.0),
    "sparse_plus": Accuracy(2.0, 0.5, 2.0, 0.5),
    "glu": Accuracy(1.5, 3.0, 1.5, 3.0),
    "swiglu": Accuracy(1.5, 4.0, 1.5, 4.0, root=(-2.2, -0.8)),
    "geglu": Accuracy(1.9, 4.0, 1.9, 4.0, root=(-1.35, -0.5)),
    "reglu": Accuracy(0.5, 0.0, 0.5, 0.0),
    # Of rows of up to 65,536 entries; gradients, and the value of logsumexp, in ULP of the terms that cancel.
    "softmax": Accuracy(4.0, 8.0, 4.0, 8.0),
    "log_softmax": Accuracy(4.0, 8.0, 4.0, 8.0),
    "softmin": Accuracy(4.0, 8.0, 4.0, 8.0),
    "logsumexp": Accuracy(4.0, 8.0, 4.0, 8.0),
    # Of numbers from 2^-22 (float32) or 2^-50 (float64) up; below, of those.
    "sparsemax": Accuracy(1.0, 1.0, 1.0, 1.0),
    "hardmax": Accuracy(0.0, 0.0, 0.0, 0.0),
}
