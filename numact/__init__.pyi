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
    def __call__(
        self, x: Array, axis: int = -1, mask: Array | None = None, scale: float = 1.0, *, out: Array | None = None
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
        out: Array | None = None,
    ) -> Array: ...

class _LogSoftmax(Activation):
    def __call__(
        self, x: Array, axis: int = -1, mask: Array | None = None, scale: float = 1.0, *, out: Array | None = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        axis: int = -1,
        mask: Array | None = None,
        scale: float = 1.0,
        *,
        out: Array | None = None,
    ) -> Array: ...

class _Softmin(Activation):
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

class _Logsumexp(Activation):
    def __call__(
        self,
        x: Array,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
        *,
        out: Array | None = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
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
leaky_relu: _LeakyRelu
log_softmax: _LogSoftmax
logsumexp: _Logsumexp
relu: _Plain
sigmoid: _Plain
softmax: _Softmax
softmin: _Softmin
tanh: _Plain
