"""What editors and type checkers see; written by tools/stub.py."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Array = Any
__version__: str
registry: Mapping[str, Activation]

class FormulaError(TypeError): ...

def activation(function: Callable[..., Any] | None = None, **info: Any) -> Any: ...
def empty_cache() -> None: ...
def table(format: str = "text") -> str: ...
def warmup(
    functions: str | Activation | Iterable[str | Activation] | None = None,
    dtypes: Any = None,
    targets: str | Iterable[str] | None = None,
) -> None: ...

class Activation:
    __name__: str
    formula: Callable[..., float]
    info: Any
    @property
    def scalar(self) -> Callable[..., float]: ...
    @property
    def ufunc(self) -> Callable[..., Array]: ...

class _CrossEntropy:
    def __call__(
        self,
        logits: Array,
        labels: Array,
        axis: int = -1,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def value_and_grad(
        self,
        logits: Array,
        labels: Array,
        axis: int = -1,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> tuple[Array, Array]: ...
    def backward(
        self,
        grad_output: Array,
        logits: Array,
        labels: Array,
        axis: int = -1,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

softmax_cross_entropy: _CrossEntropy

class _Celu(Activation):
    def __call__(
        self, x: Array, alpha: float = 1.0, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, alpha: float = 1.0, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        alpha: float = 1.0,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Exponential(Activation):
    def __call__(
        self, x: Array, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Geglu(Activation):
    def __call__(
        self, gate: Array, up: Array, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(
        self, gate: Array, up: Array, *, out: tuple[Array | None, ...] | None = None, stream: Any = None
    ) -> tuple[Array, ...]: ...
    def backward(
        self,
        grad_output: Array,
        gate: Array,
        up: Array,
        *,
        bias: Array | None = None,
        out: tuple[Array | None, ...] | None = None,
        stream: Any = None,
    ) -> tuple[Array, ...]: ...

class _Gelu(Activation):
    variants: Mapping[str, Activation]
    def __call__(
        self,
        x: Array,
        approximate: str = "none",
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(self, x: Array, approximate: str = "none", *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        approximate: str = "none",
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Glu(Activation):
    def __call__(
        self, x: Array, axis: int = -1, *, dim: Any = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, axis: int = -1, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        axis: int = -1,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Hardmax(Activation):
    def __call__(
        self, x: Array, axis: int = -1, *, dim: Any = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        axis: int = -1,
        *,
        output: Array | None = None,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Hardshrink(Activation):
    def __call__(
        self, x: Array, lambd: float = 0.5, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, lambd: float = 0.5, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        lambd: float = 0.5,
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Hardsigmoid(Activation):
    def __call__(
        self,
        x: Array,
        alpha: float = 0.16666666666666666,
        beta: float = 0.5,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self,
        x: Array,
        alpha: float = 0.16666666666666666,
        beta: float = 0.5,
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        alpha: float = 0.16666666666666666,
        beta: float = 0.5,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Hardswish(Activation):
    def __call__(
        self, x: Array, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self, grad_output: Array, x: Array, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...

class _Hardtanh(Activation):
    def __call__(
        self,
        x: Array,
        min_val: float = -1.0,
        max_val: float = 1.0,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self, x: Array, min_val: float = -1.0, max_val: float = 1.0, *, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        min_val: float = -1.0,
        max_val: float = 1.0,
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _LeakyRelu(Activation):
    def __call__(
        self,
        x: Array,
        negative_slope: float = 0.01,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self, x: Array, negative_slope: float = 0.01, *, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        negative_slope: float = 0.01,
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _LogSoftmax(Activation):
    def __call__(
        self,
        x: Array,
        axis: int = -1,
        mask: Array | None = None,
        scale: float = 1.0,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        axis: int = -1,
        mask: Array | None = None,
        scale: float = 1.0,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Logsumexp(Activation):
    def __call__(
        self,
        x: Array,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Prelu(Activation):
    def __call__(
        self, x: Array, weight: Array, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(
        self, x: Array, weight: Array, *, out: tuple[Array | None, ...] | None = None, stream: Any = None
    ) -> tuple[Array, ...]: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        weight: Array,
        *,
        bias: Array | None = None,
        out: tuple[Array | None, ...] | None = None,
        stream: Any = None,
    ) -> tuple[Array, ...]: ...

class _Selu(Activation):
    def __call__(
        self,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Silu(Activation):
    def __call__(
        self, x: Array, beta: float = 1.0, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, beta: float = 1.0, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        beta: float = 1.0,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Softmax(Activation):
    def __call__(
        self,
        x: Array,
        axis: int = -1,
        mask: Array | None = None,
        scale: float = 1.0,
        *,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        axis: int = -1,
        mask: Array | None = None,
        scale: float = 1.0,
        *,
        output: Array | None = None,
        dim: Any = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Softplus(Activation):
    def __call__(
        self,
        x: Array,
        beta: float = 1.0,
        threshold: float = float("inf"),
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self,
        x: Array,
        beta: float = 1.0,
        threshold: float = float("inf"),
        *,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        beta: float = 1.0,
        threshold: float = float("inf"),
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Squareplus(Activation):
    def __call__(
        self, x: Array, b: float = 4.0, *, bias: Array | None = None, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def grad(self, x: Array, b: float = 4.0, *, out: Array | None = None, stream: Any = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        b: float = 4.0,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

class _Threshold(Activation):
    def __call__(
        self,
        x: Array,
        threshold: float,
        value: float,
        *,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...
    def grad(
        self, x: Array, threshold: float, value: float, *, out: Array | None = None, stream: Any = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        threshold: float | None = None,
        value: float | None = None,
        *,
        output: Array | None = None,
        bias: Array | None = None,
        out: Array | None = None,
        stream: Any = None,
    ) -> Array: ...

celu: _Celu
elu: _Celu
exponential: _Exponential
geglu: _Geglu
gelu: _Gelu
glu: _Glu
hardmax: _Hardmax
hardshrink: _Hardshrink
hardsigmoid: _Hardsigmoid
hardswish: _Hardswish
hardtanh: _Hardtanh
leaky_relu: _LeakyRelu
log_sigmoid: _Exponential
log_softmax: _LogSoftmax
logsumexp: _Logsumexp
mish: _Hardswish
prelu: _Prelu
quick_gelu: _Hardswish
reglu: _Geglu
relu: _Exponential
relu6: _Exponential
selu: _Selu
sigmoid: _Hardswish
silu: _Silu
softmax: _Softmax
softmin: _Hardmax
softplus: _Softplus
softshrink: _Hardshrink
softsign: _Hardswish
sparse_plus: _Exponential
sparse_sigmoid: _Hardswish
sparsemax: _Hardmax
squared_relu: _Hardswish
squareplus: _Squareplus
swiglu: _Geglu
swish: _Silu
tanh: _Hardswish
tanhshrink: _Hardswish
threshold: _Threshold
