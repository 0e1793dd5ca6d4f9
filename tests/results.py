"""Compute every activation at fixed inputs and save the results; a script, for processes of a given CPU."""

import sys

import numpy as np
from conftest import DTYPES, ELEMENTWISE, SAMPLE, SEVERAL, SHAPED, dtype_of

import numact as na

NAMES = [*SHAPED, *SEVERAL]
CASES = [(name, kind) for kind in DTYPES for name in NAMES if kind == "float32" or name in (*SAMPLE, "softmax")]


def inputs(name):
    """Return every bit pattern of a half type, as many random ones of a wider type, and its special values."""
    dtype = dtype_of(name)
    if dtype.itemsize == 2:
        return np.arange(2**16, dtype=np.uint16).view(dtype)
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2 ** (8 * dtype.itemsize), 2**15, np.uint64).astype(f"u{dtype.itemsize}").view(dtype)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0], dtype)
    # Random patterns are seldom of the size of 1, where most activations bend.
    return np.concatenate([special, patterns, rng.normal(0, 5, 2**15).astype(dtype)])


def results():
    """Return the bits of each value and each gradient, by the name of the function, the method and the dtype.

    Row-wise functions work on long rows, on columns, and on short rows.
    """
    found = {}
    for name, kind in CASES:
        function, table = na.registry[name], np.random.default_rng(1).normal(0, 5, (32, 1030)).astype(dtype_of(kind))
        cases = [(table, 1), (table, 0), (table.T.copy(), 1)]
        if name in (*ELEMENTWISE, *SEVERAL):
            cases = [function._sample(inputs(kind))]
        gradients = [function.backward(np.roll(case[0], 1), *case) for case in cases]
        gradients = [array for item in gradients for array in (item if isinstance(item, tuple) else (item,))]
        found[f"{name} value {kind}"] = np.concatenate([function(*case).ravel() for case in cases])
        found[f"{name} backward {kind}"] = np.concatenate([gradient.ravel() for gradient in gradients])
    return {key: value.view(f"u{value.itemsize}") for key, value in found.items()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **results())
