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

class _Elu(Activation):
    def __call__(self, x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array: ...

class _Selu(Activation):
    def __call__(
        self,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        out: Array | None = None,
    ) -> Array: ...
    def grad(
        self,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        out: Array | None = None,
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        alpha: float = 1.6732632423543772,
        scale: float = 1.0507009873554805,
        *,
        out: Array | None = None,
    ) -> Array: ...

class _Silu(Activation):
    def __call__(self, x: Array, beta: float = 1.0, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, beta: float = 1.0, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, beta: float = 1.0, *, out: Array | None = None) -> Array: ...

class _Hardtanh(Activation):
    def __call__(self, x: Array, min_val: float = -1.0, max_val: float = 1.0, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, min_val: float = -1.0, max_val: float = 1.0, *, out: Array | None = None) -> Array: ...
    def backward(
        self, grad_output: Array, x: Array, min_val: float = -1.0, max_val: float = 1.0, *, out: Array | None = None
    ) -> Array: ...

class _Hardsigmoid(Activation):
    def __call__(
        self, x: Array, alpha: float = 0.16666666666666666, beta: float = 0.5, *, out: Array | None = None
    ) -> Array: ...
    def grad(
        self, x: Array, alpha: float = 0.16666666666666666, beta: float = 0.5, *, out: Array | None = None
    ) -> Array: ...
    def backward(
        self,
        grad_output: Array,
        x: Array,
        alpha: float = 0.16666666666666666,
        beta: float = 0.5,
        *,
        out: Array | None = None,
    ) -> Array: ...

class _Shrink(Activation):
    def __call__(self, x: Array, lambd: float = 0.5, *, out: Array | None = None) -> Array: ...
    def grad(self, x: Array, lambd: float = 0.5, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, lambd: float = 0.5, *, out: Array | None = None) -> Array: ...

class _Softmax(Activation):
    def __call__(self, x: Array, axis: int = -1, *, out: Array | None = None) -> Array: ...
    def backward(self, grad_output: Array, x: Array, axis: int = -1, *, out: Array | None = None) -> Array: ...

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
celu: _Elu
elu: _Elu
exponential: _Plain
gelu: _Gelu
hardshrink: _Shrink
hardsigmoid: _Hardsigmoid
hardswish: _Plain
hardtanh: _Hardtanh
leaky_relu: _LeakyRelu
quick_gelu: _Plain
relu: _Plain
relu6: _Plain
selu: _Selu
sigmoid: _Plain
silu: _Silu
softmax: _Softmax
softshrink: _Shrink
softsign: _Plain
sparse_plus: _Plain
sparse_sigmoid: _Plain
squared_relu: _Plain
swish: _Silu
tanh: _Plain
