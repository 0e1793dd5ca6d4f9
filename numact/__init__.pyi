from collections.abc import Callable, Iterable, Mapping
from typing import Any

Array = Any

class FormulaError(TypeError): ...

class Activation:
    __name__: str
    formula: Callable[..., float]
    info: Any
    @property
    def scalar(self) -> Callable[..., float]: ...
    @property
    def ufunc(self) -> Callable[..., Array]: ...

class _Plain(Activation):
    def __call__(self, x: Array, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, *, out: Array | None = None) -> Array: ...

class _LeakyRelu(Activation):
    def __call__(self, x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, negative_slope: float = 0.01, *, out: Array | None = None) -> Array: ...
    def backward(
        self, grad_output: Array, x: Array, negative_slope: float = 0.01, *, out: Array | None = None
    ) -> Array: ...

class _Gelu(Activation):
    variants: Mapping[str, Activation]
    def __call__(self, x: Array, approximate: str = "none", *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, approximate: str = "none", *, out: Array | None = None) -> Array: ...
    def backward(
        self, grad_output: Array, x: Array, approximate: str = "none", *, out: Array | None = None
    ) -> Array: ...

class _Softmax(Activation):
    def __call__(self, x: Array, axis: int = -1, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, axis: int = -1, *, out: Array | None = None) -> Array: ...

class _Projection(Activation):
    def __call__(self, x: Array, axis: int = -1, *, out: Array | None = None) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array | None = None,
        axis: int = -1,
        *,
        output: Array | None = None,
        out: Array | None = None,
    ) -> Array: ...

class _Loss:
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
    ) -> Array: ...

class _User(Activation):
    variants: Mapping[str, Activation]
    def __call__(self, x: Array, /, *arguments: Any, out: Array | None = None, **keywords: Any) -> Array: ...
    def grad(self, x: Array, /, *arguments: Any, out: Array | None = None, **keywords: Any) -> Array: ...
    def backward(
        self, grad_output: Array, x: Array, /, *arguments: Any, out: Array | None = None, **keywords: Any
    ) -> Array: ...
    def derivative(self, function: Callable[..., Any]) -> Callable[..., Any]: ...
    def variant(self, **choice: str) -> Callable[[Callable[..., Any]], _User]: ...

def activation(function: Callable[..., Any] | None = None, **info: Any) -> Any: ...
def warmup(
    functions: str | Activation | Iterable[str | Activation] | None = None,
    dtypes: Any = None,
    targets: str | Iterable[str] | None = None,
) -> None: ...

__version__: str
registry: Mapping[str, Activation]
gelu: _Gelu
hardmax: _Projection
leaky_relu: _LeakyRelu
relu: _Plain
sigmoid: _Plain
softmax: _Softmax
softmax_cross_entropy: _Loss
sparsemax: _Projection
tanh: _Plain
