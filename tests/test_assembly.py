"""The machine code: vector arithmetic at the full width, and no call into libm."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ELEMENTWISE, SEVERAL

SCRIPT = """
import json
import numpy as np
import numact as na
from numact.base import Elementwise
from numact.targets import common, cpu, cpu_gathered, cpu_losses, cpu_rows
# Functions with the same gradient share a cache entry, and what is loaded keeps no assembly.
common.cached = lambda jit, function, **options: jit(function, **options)
ROWS, LOOPS = {rows}, {loops}
assembly = {}
x = np.ones(64, np.float32)
for name, function in na.registry.items():
    if not isinstance(function, Elementwise):
        if name in ROWS:
            kernel = cpu_rows.kernels(function._formulas, "value", "float32", False).long.function
            row = np.ones(100, np.float32)
            kernel(0, row, row.copy(), 100, 100, 1.0)
            parts = [kernel.py_func.__globals__[part] for part in ROWS[name]]
            assembly[name] = "".join(text for part in parts for text in part.inspect_asm().values())
            rows = kernel.py_func.__globals__["long_rows"]
            assembly[name + "_large"] = "".join(rows.inspect_asm().values())
        if name in LOOPS:
            row, gradient = np.ones(100, np.float32), np.ones(100, np.float32)
            function(row), function.backward(gradient, row)
            kernels = [cpu_gathered.kernel(function._formulas, mode, "float32") for mode in ("value", "backward")]
            scopes = [kernel.function.py_func.__globals__ for kernel in kernels]
            parts = [scope[part] for part in LOOPS[name] for scope in scopes if part in scope]
            assembly[name] = "".join(text for part in parts for text in part.inspect_asm().values())
        continue
    numbers = function._value.formula.__defaults__ or (1.0,) * len(function._value.parameters)
    formulas = {name: function._value}
    if len(function._value.inputs) == 1:  # the gradients by several arrays come from kernels of several results
        formulas[name + "_backward"] = function._product
    for label, formula in formulas.items():
        kernel = cpu.kernel(formula, "float32").kernel.function
        kernel(*[x] * len(formula.inputs), *numbers, x.copy())
        assembly[label] = "".join(kernel.inspect_asm().values())
        asking = kernel.py_func.__globals__["loop_asking"]
        assembly[label + "_large"] = "".join(asking.inspect_asm().values())
na.softmax_cross_entropy.value_and_grad(np.ones((2, 100), np.float32), [0, 1])
scope = cpu_losses.kernel("float32", "int64").function.py_func.__globals__
parts = [scope[part] for part in LOOPS["softmax_cross_entropy"]]
assembly["softmax_cross_entropy"] = "".join(text for part in parts for text in part.inspect_asm().values())
print(json.dumps(assembly))
"""
# The loops of a row that hold its arithmetic; those of the other functions are the same.
ROWS = {"softmax": ("weigh", "divide"), "log_softmax": ("weigh_rests", "subtract")}
LOOPS = {
    "sparsemax": ("add_support", "clip", "subtract_mean"),
    "hardmax": ("mark", "keep_nan"),
    "softmax_cross_entropy": ("add_weights", "add_gaps", "shift"),
}
TARGETS = {  # Numba's name of the CPU -> the width of a register of float32 there
    "x86-64-v3": "ymm",
    "znver4": "zmm",
    "sapphirerapids": "[yz]mm",  # LLVM by itself keeps to ymm
}
# Functions that were measured faster on Sapphire Rapids at its full width.
FULL_WIDTH = ["sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", *ROWS]
NEEDS = {"znver4": "avx512f", "sapphirerapids": "avx512fp16"}  # the kernels are run once to be compiled


@pytest.fixture(scope="module", params=TARGETS)
def compiled(request, tmp_path_factory):
    """The assembly of every float32 kernel for one CPU, and that CPU's vector register."""
    import llvmlite.binding

    if not llvmlite.binding.get_default_triple().startswith("x86_64"):
        pytest.skip("the assembly checked here is x86-64's")
    needed = NEEDS.get(request.param)
    if needed and not llvmlite.binding.get_host_cpu_features().get(needed):
        pytest.skip(f"the kernels are run once to be compiled, and this CPU has no {needed}")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": request.param,
        "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
    }
    if request.param == "sapphirerapids":
        environment["NUMBA_CPU_FEATURES"] = "+avx512fp16"
    if request.param == "x86-64-v3":
        environment["NUMBA_CPU_FEATURES"] = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,+popcnt,+sse4.2"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{rows}", repr(ROWS)).replace("{loops}", repr(LOOPS))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), TARGETS[request.param]


ELEMENTS = [name + suffix for name in ELEMENTWISE for suffix in ("", "_backward")] + SEVERAL
KERNELS = [name + suffix for name in ELEMENTS for suffix in ("", "_large")] + [*ROWS, *LOOPS]
SELECTIONS = {
    "hardmax",
    "relu",
    "relu6",
    "threshold",
    "hardtanh",
    "hardshrink",
}  # compare and blend, without arithmetic


@pytest.mark.parametrize("kernel", KERNELS)
def test_vector_arithmetic(compiled, kernel):
    assembly, register = compiled
    arithmetic = r"v(f[n]?m(add|sub)\d+|mul|add|sub|div)ps"
    if kernel.removesuffix("_large") in SELECTIONS:
        arithmetic = r"v(max|min|cmp|blend|and|mov|xor)\w*"
    if register == "[yz]mm" and kernel.removesuffix("_large") in FULL_WIDTH:
        register = "zmm"
    assert re.search(rf"\b{arithmetic}\b.*%{register}", assembly[kernel])


@pytest.mark.parametrize("kernel", [*ELEMENTS, *ROWS])
def test_lines_of_large_arrays_are_asked_for(compiled, kernel):
    assembly, _ = compiled
    assert re.search(r"\bprefetch\w*\s+\d*\(%", assembly[kernel + "_large"])


def test_softmax_divides_no_entry(compiled):
    assembly, _ = compiled
    assert not re.search(r"\bvdiv", assembly["softmax"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_call_into_libm(compiled, kernel):
    assembly, _ = compiled
    named = set(re.findall(r"\b(?:exp|log|pow|tanh|erf|fma|ldexp|exp2|expm1)f?\b", assembly[kernel]))
    assert not named


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_float64_arithmetic(compiled, kernel):
    assembly, _ = compiled
    assert not re.search(r"\bv(f[n]?m(add|sub)\d+|mul|add|sub|div)[ps]d\b.*%[yz]mm", assembly[kernel])
