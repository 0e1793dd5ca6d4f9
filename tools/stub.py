"""Print numact/__init__.pyi, from which editors and type checkers take the signatures; a test compares the two.

python tools/stub.py > numact/__init__.pyi
"""

import inspect
import subprocess

import numact
from numact.base import Elementwise

HEAD = '''"""What editors and type checkers see; written by tools/stub.py."""

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
        self, logits: Array, labels: Array, axis: int = -1, reduction: str = "mean", ignore_index: int | None = None,
        label_smoothing: float = 0.0, *, out: Array | None = None, stream: Any = None,
    ) -> Array: ...
    def value_and_grad(
        self, logits: Array, labels: Array, axis: int = -1, reduction: str = "mean", ignore_index: int | None = None,
        label_smoothing: float = 0.0, *, out: Array | None = None, stream: Any = None,
    ) -> tuple[Array, Array]: ...
    def backward(
        self, grad_output: Array, logits: Array, labels: Array, axis: int = -1, reduction: str = "mean",
        ignore_index: int | None = None, label_smoothing: float = 0.0, *, out: Array | None = None, stream: Any = None,
    ) -> Array: ...

softmax_cross_entropy: _CrossEntropy
'''
AXIS = {"logsumexp": "int | tuple[int, ...] | None"}


def written(function, parameter):
    """Return a parameter with its type and default."""
    name, default = parameter.name, parameter.default
    if default is parameter.empty:
        arrays = function._value.inputs if isinstance(function, Elementwise) else ()
        return f"{name}: {'Array' if name in ('x', *arrays) else 'float'}"
    if name == "stream":
        return "stream: Any = None"
    if default is None:
        return f"{name}: Array | None = None"
    kind = AXIS.get(function.__name__, "int") if name == "axis" else type(default).__name__
    return f"{name}: {kind} = {default!r}".replace("= inf", '= float("inf")')


def methods(function):
    """Return the body of an activation's class."""
    first, *rest = inspect.signature(function).parameters.values()
    named = [written(function, item) for item in rest if item.kind is not item.KEYWORD_ONLY]
    keywords = [written(function, item) for item in rest if item.kind is item.KEYWORD_ONLY]
    if "axis" in inspect.signature(function).parameters:
        keywords.insert(0, "dim: Any = None")
    x, elementwise = f"{first.name}: Array", isinstance(function, Elementwise)
    several = elementwise and len(function._sample(0.0)) > 1 and len(function._value.inputs) > 1
    results, outs = ("tuple[Array, ...]", "tuple[Array | None, ...]") if several else ("Array", "Array")
    listed = [("__call__", [x, *named, "*", *keywords], "Array")]
    if elementwise:
        listed.append(("grad", [x, *named, "*", f"out: {outs} | None = None", keywords[-1]], results))
    given, output = [x, *named], []
    if function.takes_output:
        given = [item if "=" in item else f"{item} | None = None" for item in given]
        output = ["output: Array | None = None"]
    keywords[-2] = f"out: {outs} | None = None"
    listed.append(("backward", ["grad_output: Array", *given, "*", *output, *keywords], results))
    lines = [f"    def {method}({', '.join(['self', *items])}) -> {kind}: ..." for method, items, kind in listed]
    return "\n".join(
        (["    variants: Mapping[str, Activation]"] if getattr(function, "variants", None) else []) + lines
    )


def stub():
    """Return the stub's text, formatted; activations of one signature share a class."""
    public = {name: getattr(numact, name) for name in numact.__all__}
    bodies = {name: methods(value) for name, value in public.items() if isinstance(value, numact.Activation)}
    first = {body: name for name, body in reversed(bodies.items())}
    titles = {body: f"_{name.title().replace('_', '')}" for body, name in first.items()}
    classes = [f"class {titles[body]}(Activation):\n{body}\n" for body in dict.fromkeys(bodies.values())]
    names = [f"{name}: {titles[body]}" for name, body in bodies.items()]
    command = ["ruff", "format", "--stdin-filename", "numact/__init__.pyi", "-"]
    text = "\n".join([HEAD, *classes, *names])
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(stub(), end="")
