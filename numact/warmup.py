"""Compile kernels before they are needed."""

import importlib.util
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from numact import result_types
from numact.base import Activation, Elementwise

TARGETS = ("cpu", "cuda")
# The arrays for which CPU kernels are compiled, as (shape, axis): rows and columns, long ones and short ones, each
# of as many elements as make a call parallel, and small ones, which NumPy hands to the kernels.
ROWS = [((512, 512), -1), ((512, 512), 0), ((65_536, 4), -1), ((4, 65_536), 0), ((128, 32, 64), 1), ((128, 128, 16), 1)]
ROWS += [((4, 4), -1), ((4, 64), -1), ((4, 128), 0)]


class Job(NamedTuple):
    """One activation to compile for one dtype and one target."""

    function: Activation
    dtype: str
    target: str

    def run(self):
        """Compile every kernel that calls of the activation with such arrays can need."""
        if self.dtype == "bfloat16":
            import ml_dtypes  # noqa: F401  NumPy knows the dtype by name only once this is imported
        if self.target == "cuda":
            from numba import cuda

            self._call(cuda.to_device, [((2, 2), -1)])
            return
        from numact.targets import cpu_threads

        with cpu_threads.only_compiling():
            self._call(np.asarray, ROWS)

    def _call(self, put, cases):
        """Call every method on arrays of these shapes, along these axes."""
        if not isinstance(self.function, Elementwise):
            for shape, axis in cases:
                x = put(np.ones(shape, self.dtype))
                y = self.function(x, axis)
                self.function.backward(y, x, axis)
                if self.function.takes_output:
                    self.function.backward(x, axis=axis, output=x)
            return
        x = put(np.ones(cases[0][0], self.dtype))
        forms = [(form, {}) for form in self.function.variants.values() or [self.function]]
        if self.function.common is not self.function:
            forms.append((self.function, self.function._defaults))
        for form, given in forms:
            value = form(*form._sample(x), **given)
            if form._derivative is not None:
                form.grad(*form._sample(x), **given)
                form.backward(value, *form._sample(x), **given)
            if form._slope is not None:
                form.backward(value, output=value, **given)


def plan(functions=None, dtypes=None, targets=None):
    """Return the jobs of `warmup` with the same arguments."""
    from numact import registry

    functions = _listed(functions, registry)
    _check("activation", [item for item in functions if not isinstance(item, Activation)], registry)
    has_bfloat16 = importlib.util.find_spec("ml_dtypes") is not None
    known = [name for name in result_types.FLOATING if name != "bfloat16" or has_bfloat16]
    dtypes = [item if isinstance(item, str) else np.dtype(item).name for item in _listed(dtypes, known)]
    _check("dtype", dtypes, known, "" if has_bfloat16 else ", and bfloat16 where ml_dtypes is installed")
    targets = _listed(targets, TARGETS if _has_gpu() else ["cpu"])
    _check("target", targets, TARGETS)
    if "cuda" in targets and not _has_gpu():
        raise RuntimeError("cannot compile for the target 'cuda': Numba finds no CUDA driver or no device")
    functions = [item if isinstance(item, Activation) else registry[item] for item in functions]
    return [Job(*job) for job in itertools.product(functions, dtypes, targets)]


def _listed(value, default):
    """Return an argument that may be missing or a single item as a list."""
    if value is None:
        return list(default)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _check(what, names, known, note=""):
    """Raise if a name is not among the known ones."""
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known: {', '.join(known)}{note}")


def _has_gpu():
    """Return whether Numba can run CUDA kernels here."""
    try:
        from numba import cuda
    except ImportError:
        return False
    return cuda.is_available()


def warmup(functions=None, dtypes=None, targets=None):
    """Compile activations ahead, so that their first calls load from the disk cache.

    Kernels for arrays that repeat beside others or lie in rows apart, and those for `bias`, `mask` and `scale`, compile
    at their first use, as there is one for each combination.

    Parameters
    ----------
    functions : str, Activation or iterable of these, optional
        Names in `numact.registry`, or activations of your own. All of the registry by default.
    dtypes : str, dtype or iterable of these, optional
        Of float16, bfloat16, float32 and float64. All by default; bfloat16 only where ml_dtypes is installed.
    targets : str or iterable of str, optional
        "cpu" or "cuda". By default "cpu", and "cuda" where Numba finds a GPU.

    Raises
    ------
    ValueError
        If an activation, dtype or target is unknown; the message lists those that are known.
    RuntimeError
        If "cuda" is named where there is no GPU.

    Examples
    --------
    >>> import numact
    >>> numact.warmup("relu", dtypes=["float32"], targets="cpu")
    """
    for job in plan(functions, dtypes, targets):
        job.run()
