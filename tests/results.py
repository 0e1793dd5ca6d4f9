"""Compute every activation at fixed inputs, and save the results and the machine code; for processes of a given CPU."""

import json
import sys
from pathlib import Path

import numpy as np
from conftest import DTYPES, ELEMENTWISE, SAMPLE, SEVERAL, SHAPED, dtype_of
from numba import types

import numact as na
from numact.targets import common, cpu, cpu_gathered, cpu_losses, cpu_rows

NAMES = [*SHAPED, *SEVERAL]
CASES = [(name, kind) for kind in DTYPES for name in NAMES if kind == "float32" or name in (*SAMPLE, "softmax")]

# The loops of a row that hold its arithmetic; those of the other functions are the same.
ROWS = {"softmax": ("weigh", "map_rows"), "log_softmax": ("weigh_rests", "subtract")}
LOOPS = {
    "sparsemax": ("add_support", "clip", "subtract_mean"),
    "hardmax": ("mark", "keep_nan"),
    "softmax_cross_entropy": ("add_weights", "add_gaps", "shift"),
}


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


def text_of(functions):
    """Return the assembly of compiled functions."""
    return "".join(text for function in functions for text in function.inspect_asm().values())


def float64_loop(formula):
    """Return the loop of a formula's kernel for float64, compiled."""
    loop = cpu.kernel(formula, "float64").function.py_func.__globals__["loop"]
    array, numbers = types.float64[::1], (types.float64,) * len(formula.parameters)
    loop.compile((*(array,) * len(formula.inputs), *numbers, array))
    return loop


def assembly():
    """Return the assembly of the float32 kernels that `results` compiled, by name; in "_large" lines are asked for.

    In "_float64" there is the loop for that.
    """
    found = {}
    for name in (*ELEMENTWISE, *SEVERAL):
        function = na.registry[name].common
        formulas = {name: function._value}
        if name in ELEMENTWISE:  # the gradients by several arrays come from kernels of several results
            formulas[f"{name}_backward"] = function._product
        for label, formula in formulas.items():
            kernel = cpu.kernel(formula, "float32").function
            found[label] = text_of([kernel])
            found[f"{label}_large"] = text_of([kernel.py_func.__globals__["loop_asking"]])
            found[f"{label}_float64"] = text_of([float64_loop(formula)])
    for name, parts in ROWS.items():
        kernels = cpu_rows.kernels(na.registry[name]._formulas, "value", "float32", False)
        scope = kernels.long.function.py_func.__globals__
        found[name] = text_of(scope[part] for part in parts)
    na.softmax_cross_entropy.value_and_grad(np.ones((2, 100), np.float32), [0, 1])
    for name, parts in LOOPS.items():
        if name == "softmax_cross_entropy":
            kernels = [cpu_losses.kernel("float32", "int64")]
        else:
            formulas = na.registry[name]._formulas
            kernels = [cpu_gathered.kernel(formulas, mode, "float32") for mode in ("value", "backward")]
        scopes = [kernel.function.py_func.__globals__ for kernel in kernels]
        found[name] = text_of(scope[part] for part in parts for scope in scopes if part in scope)
    return found


if __name__ == "__main__":
    path, wanted = Path(sys.argv[1]), sys.argv[2:]
    if "assembly" in wanted:
        # Functions with the same gradient share a cache entry, and what is loaded keeps no assembly.
        common.cached = lambda jit, function, **options: jit(function, **options)
    np.savez(path, **results())
    path.with_suffix(".json").write_text(json.dumps(assembly() if "assembly" in wanted else {}))
