"""What the targets share: how elements are stored and computed, and how kernel source becomes functions."""

import sys

import numpy as np

from numact._version import __version__
from numact.primitives import HALF_CONVERSIONS


def storage(dtype):
    """Return the NumPy dtype that kernels see for the dtype of a name: half types as the integer of their bits."""
    return np.dtype(np.uint16 if dtype in HALF_CONVERSIONS else dtype)


def number(dtype):
    """Return the NumPy scalar type that the dtype of a name is computed in."""
    return np.float64 if dtype == "float64" else np.float32


def conversions(dtype):
    """Return the functions that load an element as a number and store a number as an element."""
    return HALF_CONVERSIONS.get(dtype, (number(dtype), number(dtype)))


def label(formula, dtype):
    """Return a name for a formula's kernels that no other formula, constant or version shares."""
    version = __version__.replace(".", "_")
    return f"{formula.__name__}_{dtype}_{formula.fingerprint(number(dtype))}_{version}"


def define(source, module, scope, label):
    """Run a module's source text and return its functions, named so that no two share a cache entry."""
    scope["__name__"] = module  # Numba's cache finds a function by its module, and drops it with the module's file
    exec(compile(source, sys.modules[module].__file__, "exec"), scope)
    names = [line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def ")]
    for name in names:
        scope[name].__qualname__ = f"{name}_{label}"
    return [scope[name] for name in names]


def cached(compiler, function, **options):
    """Compile with a disk cache, or without one where no cache folder can be written."""
    try:
        return compiler(cache=True, **options)(function)
    except RuntimeError:  # Numba found no folder for its cache
        return compiler(**options)(function)
