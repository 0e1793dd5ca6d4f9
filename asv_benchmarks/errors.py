"""Measure the largest errors of activations, and count what `import numact` brings; a process that exact.py starts."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from peer_worker import row_gradient

import numact as na
from numact.accuracy import ACCURACY
from numact.base import Elementwise
from numact.gated import Halved
from numact.references import REFERENCES, ulp_error

SAMPLE = 65_536  # of arrays beside one another
STRIDE = 65_537  # through the bit patterns of float32; odd, so that all endings of the mantissa occur
ROWS = (64, 1_000)
MODULES = "import sys, numba; before = len(sys.modules); import numact; print(len(sys.modules) - before)"


def elementwise_errors(function):
    """Return the largest errors in float32 of the value and of the derivative, by name.

    Near the root of the derivative by the first array they count in units of an eighth, or of an eighth of the second.
    """
    name, count = function.__name__, len(function._value.inputs)
    patterns = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    arrays = [patterns[np.isfinite(patterns)]]
    if count > 1:  # whose product must not overflow
        arrays = [np.random.default_rng(seed).normal(0, 3, SAMPLE).astype(np.float32) for seed in range(count)]
    numbers = function._sample(0.0)[count:]
    value, slopes = results(function, [*arrays, *numbers])
    reference, wide = REFERENCES[name], [array.astype(np.float64) for array in arrays]
    exact = reference.derivative(*wide, *numbers, *reference.defaults(np.float32))
    exact, root = exact if count > 1 else (exact,), ACCURACY[name].root or (0.0, 0.0)
    errors = [ulp_error(slope, truth) for slope, truth in zip(slopes, exact, strict=True)]
    near = (wide[0] > root[0]) & (wide[0] < root[1])
    unit = np.spacing((abs(arrays[1]) if count > 1 else np.float32(1)) / np.float32(8))
    errors[0] = np.where(near, abs(slopes[0] - exact[0]) / unit, errors[0])
    exact = reference.value(*wide, *numbers, *reference.defaults(np.float32))
    return {"value": ulp_error(value, exact).max(), "derivative": np.max(errors)}


def results(function, arguments):
    """Return the value and the tuple of derivatives."""
    if isinstance(function, Halved):
        x = np.concatenate(arguments)
        return function(x), np.split(function.grad(x), 2)
    slopes = function.grad(*arguments)
    return function(*arguments), slopes if isinstance(slopes, tuple) else (slopes,)


def row_errors(function):
    """Return the largest errors in float32 of the value and the gradient, by name; the gradient's in units of its
    row's largest entry, as terms cancel."""
    name = function.__name__
    x, grad = (np.random.default_rng(seed).normal(0, 3, ROWS).astype(np.float32) for seed in range(2))
    wide, exact = x.astype(np.float64), REFERENCES[name].value(x.astype(np.float64))
    grad = grad[:, 0] if exact.ndim == 1 else grad
    truth = np.zeros(ROWS) if name == "hardmax" else row_gradient(name, wide, exact, grad.astype(np.float64), 1)
    unit = np.spacing(abs(truth).max(axis=1, keepdims=True).astype(np.float32))
    gradient = function.backward(grad, x)
    return {"value": ulp_error(function(x), exact).max(), "backward": (abs(gradient - truth) / unit).max()}


def wheel_bytes():
    """Return the size of the package's files as a wheel packs them."""
    packed, package = io.BytesIO(), Path(na.__file__).parent
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                wheel.writestr(str(file.relative_to(package)), file.read_bytes())
    return len(packed.getvalue())


def main(names):
    """Print the figures of the activations of these names, and of the package, as JSON."""
    figures = {"package wheel bytes": wheel_bytes()}
    figures["package modules imported"] = int(subprocess.check_output([sys.executable, "-c", MODULES], text=True))
    for name in filter(na.registry.__contains__, names):  # an older commit has fewer
        function = na.registry[name]
        errors = elementwise_errors(function) if isinstance(function, Elementwise) else row_errors(function)
        figures |= {f"{name} {which} ULP": float(error) for which, error in errors.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main(sys.argv[1:])
