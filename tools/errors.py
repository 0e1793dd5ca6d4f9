"""Measure the errors of numact, PyTorch and JAX in ULP along x: python tools/errors.py writes docs/errors.csv.

Needs PyTorch and JAX, whose versions the first line of the file names. docs/pictures.py draws it.
"""

import functools
import itertools
import os
from importlib.metadata import version
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import torch

import numact as na
from numact.references import REFERENCES, ulp_error

OUTPUT = Path(__file__).parent.parent / "docs" / "errors.csv"
SPANS = {"sigmoid": (-105.0, 20.0), "tanh": (-10.0, 10.0), "gelu": (-15.0, 6.0), "silu": (-110.0, 20.0)}
JAX = {"sigmoid": jax.nn.sigmoid, "tanh": jax.nn.tanh, "silu": jax.nn.silu}
JAX["gelu"] = functools.partial(jax.nn.gelu, approximate=False)
LIBRARIES = {
    "numact": lambda name, x: na.registry[name](x),
    "torch": lambda name, x: getattr(torch.nn.functional, name)(torch.from_numpy(x)).numpy(),
    "jax": lambda name, x: np.asarray(JAX[name](x)),
}
BINS, POINTS = 120, 20_000  # the largest error of so many points in each bin
ROWS, ENTRIES = [2**power for power in range(1, 18)], 2**19  # lengths of softmax's rows, entries at each length


def elementwise(name, random):
    """Yield a bin's middle and the largest errors in it."""
    low, high = SPANS[name]
    edges = np.linspace(low, high, BINS + 1)
    for left, right in itertools.pairwise(edges):
        x = random.uniform(left, right, POINTS).astype(np.float32)
        exact = REFERENCES[name].value(x.astype(np.float64))
        yield (left + right) / 2, [ulp_error(compute(name, x), exact) for compute in LIBRARIES.values()]


def softmax(random):
    """Yield the length of rows and the largest errors in them."""
    for length in ROWS:
        x = (4 * random.standard_normal((ENTRIES // length, length))).astype(np.float32)
        exact = REFERENCES["softmax"].value(x.astype(np.float64))
        results = na.softmax(x), torch.softmax(torch.from_numpy(x), -1).numpy(), np.asarray(jax.nn.softmax(x))
        yield length, [ulp_error(result, exact) for result in results]


def main():
    """Measure and write."""
    random = np.random.default_rng(0)
    lines = ["# " + ", ".join(f"{name} {version(name)}" for name in LIBRARIES), "function,x," + ",".join(LIBRARIES)]
    for name, found in [*((name, elementwise(name, random)) for name in SPANS), ("softmax", softmax(random))]:
        lines += [f"{name},{x:.6g}," + ",".join(f"{error.max():.4g}" for error in errors) for x, errors in found]
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
