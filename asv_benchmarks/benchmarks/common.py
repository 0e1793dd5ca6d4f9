"""What the benchmarks share: the activations, the sizes, and calls of them on filled arrays."""

import ast
import os
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

import numact

PACKAGE = Path(__file__).parents[2] / "numact"
# Names between blanks: to try the benchmarks out on these and on few arrays, not for results to keep.
CHOSEN = os.environ.get("NUMACT_ACTIVATIONS", "").split()


def few(values):
    """Return values of a parameter, in a trial but the first."""
    return values[:1] if CHOSEN else values


SIZES = few([1_000, 100_000, 16_000_000])  # elements: in the first cache, in the last or the one before, in memory


def registered():
    """Return the names of the registry's groups, read from the files here and not from the package that is measured.

    Airspeed velocity finds combinations of parameters again by their numbers, so those must not depend on the commit.
    """
    groups = {}
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            names = [item.id for item in node.value.elts]
            groups[node.targets[0].id] = [name for name in names if not CHOSEN or name in CHOSEN]
    return groups


GROUPS = registered()
ROWWISE = GROUPS.pop("_ROWWISE")
ELEMENTWISE = [name for names in GROUPS.values() for name in names]
ALL = ELEMENTWISE + ROWWISE


@lru_cache(maxsize=1)
def values(shape, dtype):
    """Return a filled array; what is never written to is in no page of memory."""
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: F401  NumPy then knows the name
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    x *= 3  # in place: no second array is in the peak of the memory benchmarks
    return x.astype(dtype, copy=False)


def find(name):
    """Return an activation; skip the benchmark for a commit that has none of this name."""
    if name not in numact.registry:
        raise NotImplementedError(f"this commit has no {name}")
    return numact.registry[name]


def shaped(name, size):
    """Return the shape of an input of so many elements; glu halves it."""
    return (size + size % 2,) if name == "glu" else (size,)


def arguments_of(function, x):
    """Return what to call an activation with: its first commits took one array, and had no samples."""
    return function._sample(x) if hasattr(function, "_sample") else (x,)


def forward(name, x, with_out=True, **keywords):
    """Return a call of the value, compiled."""
    function = find(name)
    arguments = arguments_of(function, x)
    y = function(*arguments, **keywords)
    return partial(function, *arguments, **keywords, **({"out": y} if with_out else {}))


def backward(name, x, with_out=True, **keywords):
    """Return a call of the gradient, compiled."""
    function = find(name)
    arguments = arguments_of(function, x)
    gradient = function.backward(y := function(*arguments, **keywords), *arguments, **keywords)
    return partial(function.backward, y, *arguments, **keywords, **({"out": gradient} if with_out else {}))


CALLS = {"forward": forward, "backward": backward}
