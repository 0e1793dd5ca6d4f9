"""PyTorch's activation modules with numact's functions: the same names, arguments, state and representation.

Each is a subclass of the module of its name in `torch.nn` and differs in `forward` alone, so that it can take that
module's place in a network and load its state. `Activation` makes a module of any other function of numact.

Examples
--------
>>> from torch import nn
>>> import numact.torch as nt
>>> nn.Sequential(nn.Linear(784, 10), nt.GELU(), nt.LogSoftmax(dim=-1))
Sequential(
  (0): Linear(in_features=784, out_features=10, bias=True)
  (1): GELU(approximate='none')
  (2): LogSoftmax(dim=-1)
)
"""

from typing import Any

from torch import nn

import numact as na

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Activation",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class Activation(nn.Module):
    """A module of any function of numact, or of an activation of one's own.

    Parameters
    ----------
    function : activation
        From `numact`, or made by `numact.activation`.
    **parameters
        What the function takes behind its arrays, by name.

    Examples
    --------
    >>> import numact as na
    >>> from numact.torch import Activation
    >>> Activation(na.squareplus, b=2.0)
    Activation(squareplus, b=2.0)
    """

    def __init__(self, function, **parameters):
        super().__init__()
        self.function, self.options = function, parameters

    def forward(self, *arrays):
        """Return the function's value."""
        return self.function(*arrays, **self.options)

    def extra_repr(self):
        """Return the function's name and the parameters."""
        given = (f"{name}={value!r}" for name, value in self.options.items())
        return ", ".join([self.function.__name__, *given])


class _OneCall:
    """Mixed into a module of `torch.nn`: its `forward` is a call of numact with the module's own options.

    `_options` names the attributes that are the call's parameters.
    """

    _function: Any = None
    _options: tuple[str, ...] = ()

    def forward(self, x):
        """Return the value at each element of a tensor, in place if the module says so."""
        values = (getattr(self, name) for name in self._options)
        return self._function(x, *values, out=x if getattr(self, "inplace", False) else None)


class ReLU(_OneCall, nn.ReLU):
    """`torch.nn.ReLU` by `numact.relu`."""

    _function = na.relu


class ReLU6(_OneCall, nn.ReLU6):
    """`torch.nn.ReLU6` by `numact.relu6`."""

    _function = na.relu6


class LeakyReLU(_OneCall, nn.LeakyReLU):
    """`torch.nn.LeakyReLU` by `numact.leaky_relu`."""

    _function = na.leaky_relu
    _options = ("negative_slope",)


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` by `numact.prelu`; its weights belong to the channels, the second axis."""

    def forward(self, x):
        """Return the value at each element of a tensor."""
        channels = x.shape[1] if x.ndim > 1 else 1
        if self.num_parameters not in (1, channels):
            raise ValueError(f"x has {channels} channels; {self} has another number of weights")
        return na.prelu(x, self.weight.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else self.weight.reshape(()))


class Threshold(_OneCall, nn.Threshold):
    """`torch.nn.Threshold` by `numact.threshold`."""

    _function = na.threshold
    _options = ("threshold", "value")


class ELU(_OneCall, nn.ELU):
    """`torch.nn.ELU` by `numact.elu`."""

    _function = na.elu
    _options = ("alpha",)


class CELU(_OneCall, nn.CELU):
    """`torch.nn.CELU` by `numact.celu`."""

    _function = na.celu
    _options = ("alpha",)


class SELU(_OneCall, nn.SELU):
    """`torch.nn.SELU` by `numact.selu`."""

    _function = na.selu


class GELU(nn.GELU):
    """`torch.nn.GELU` by `numact.gelu`."""

    def forward(self, x):
        """Return the value at each element of a tensor."""
        return na.gelu(x, approximate=self.approximate)


class SiLU(_OneCall, nn.SiLU):
    """`torch.nn.SiLU` by `numact.silu`."""

    _function = na.silu


class Mish(_OneCall, nn.Mish):
    """`torch.nn.Mish` by `numact.mish`."""

    _function = na.mish


class Hardswish(_OneCall, nn.Hardswish):
    """`torch.nn.Hardswish` by `numact.hardswish`."""

    _function = na.hardswish


class Sigmoid(_OneCall, nn.Sigmoid):
    """`torch.nn.Sigmoid` by `numact.sigmoid`."""

    _function = na.sigmoid


class LogSigmoid(_OneCall, nn.LogSigmoid):
    """`torch.nn.LogSigmoid` by `numact.log_sigmoid`."""

    _function = na.log_sigmoid


class Hardsigmoid(_OneCall, nn.Hardsigmoid):
    """`torch.nn.Hardsigmoid` by `numact.hardsigmoid`."""

    _function = na.hardsigmoid


class Tanh(_OneCall, nn.Tanh):
    """`torch.nn.Tanh` by `numact.tanh`."""

    _function = na.tanh


class Tanhshrink(_OneCall, nn.Tanhshrink):
    """`torch.nn.Tanhshrink` by `numact.tanhshrink`."""

    _function = na.tanhshrink


class Hardtanh(_OneCall, nn.Hardtanh):
    """`torch.nn.Hardtanh` by `numact.hardtanh`."""

    _function = na.hardtanh
    _options = ("min_val", "max_val")


class Hardshrink(_OneCall, nn.Hardshrink):
    """`torch.nn.Hardshrink` by `numact.hardshrink`."""

    _function = na.hardshrink
    _options = ("lambd",)


class Softshrink(_OneCall, nn.Softshrink):
    """`torch.nn.Softshrink` by `numact.softshrink`."""

    _function = na.softshrink
    _options = ("lambd",)


class Softsign(_OneCall, nn.Softsign):
    """`torch.nn.Softsign` by `numact.softsign`."""

    _function = na.softsign


class Softplus(_OneCall, nn.Softplus):
    """`torch.nn.Softplus` by `numact.softplus`."""

    _function = na.softplus
    _options = ("beta", "threshold")


class GLU(_OneCall, nn.GLU):
    """`torch.nn.GLU` by `numact.glu`."""

    _function = na.glu
    _options = ("dim",)


class Softmax(_OneCall, nn.Softmax):
    """`torch.nn.Softmax` by `numact.softmax`; `dim` has to be given."""

    _function = na.softmax
    _options = ("dim",)


class Softmax2d(nn.Softmax2d):
    """`torch.nn.Softmax2d` by `numact.softmax`, over the channels: the last axis but two."""

    def forward(self, x):
        """Return the value at each element of a tensor of three or four axes."""
        if x.ndim not in (3, 4):
            raise ValueError(f"x has {x.ndim} axes; Softmax2d takes (channels, rows, columns), or a batch of those")
        return na.softmax(x, -3)


class LogSoftmax(_OneCall, nn.LogSoftmax):
    """`torch.nn.LogSoftmax` by `numact.log_softmax`; `dim` has to be given."""

    _function = na.log_softmax
    _options = ("dim",)


class Softmin(_OneCall, nn.Softmin):
    """`torch.nn.Softmin` by `numact.softmin`; `dim` has to be given."""

    _function = na.softmin
    _options = ("dim",)
