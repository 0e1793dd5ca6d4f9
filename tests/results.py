"""Compute every activation at fixed inputs and save the results; a script, for processes of a given CPU."""

import sys

import numpy as np
from conftest import DTYPES, ELEMENTWISE, SAMPLE, dtype_of

import numact as na

CASES = [(name, kind) for kind in DTYPES for name in na.registry if kind == "float32" or name in (*SAMPLE, "softmax")]


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
        cases = [(inputs(kind), ())] if name in ELEMENTWISE else [(table, (1,)), (table, (0,)), (table.T.copy(), (1,))]
        values = [function(x, *axis) for x, axis in cases]
        gradients = [function.backward(np.roll(x, 1), x, *axis) for x, axis in cases]
        found[f"{name} value {kind}"] = np.concatenate([value.ravel() for value in values])
        found[f"{name} backward {kind}"] = np.concatenate([gradient.ravel() for gradient in gradients])
    return {key: value.view(f"u{value.itemsize}") for key, value in found.items()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **results())
