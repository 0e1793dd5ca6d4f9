"""CPU kernels for row-wise functions: rows in tiles over threads, columns in strips."""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from numact.binding import JIT_OPTIONS
from numact.primitives import maximum
from numact.targets import common, cpu

# Entries summed in float64 vector lanes before the row takes the sum, with its rounding error. What does not fill the
# lanes is summed one by one: in float64, blocks of 256 gave 5.5 ULP.
BLOCK = {np.float32: 256, np.float64: 8}
STRIP = 65_536  # entries of a strip of columns, which stays in a core's L2 cache

KERNELS = """
def row_maximum(x):
    result = load(x[0])
    for i in range(x.size):
        result = maximum(result, load(x[i]))
    return result

def row_weights(x, largest, weights):
    total = wide(0)
    for i in range(x.size):
        e = weight(load(x[i]), largest)
        weights[i] = e
        total += wide(e)
    return total

def row_product(grad, weights):
    total = wide(0)
    for i in range(weights.size):
        total += wide(load(grad[i])) * wide(weights[i])
    return total

def row_sum(x, largest, weights):
    total, low = wide(0), wide(0)
    for start in range(0, x.size, BLOCK):
        part = row_weights(x[start : start + BLOCK], largest, weights[start : start + BLOCK])
        total, low = add(total, low, part)
    return number(total + low)

def row_dot(grad, weights):
    total, low = wide(0), wide(0)
    for start in range(0, weights.size, BLOCK):
        part = row_product(grad[start : start + BLOCK], weights[start : start + BLOCK])
        total, low = add(total, low, part)
    return number(total + low)

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def divide(weights, total, out):
    for i in range(out.size):
        out[i] = store(weights[i] / total)

def normalize(weights, total):
    for i in range(weights.size):
        weights[i] = weights[i] / total

def row_gradient(grad, weights, dot, out):
    for i in range(out.size):
        out[i] = store(weights[i] * (load(grad[i]) - dot))

def rows(x, out, start, stop):
    weights = np.empty(x.shape[1], number)
    for row in range(start, stop):
        divide(weights, row_sum(x[row], row_maximum(x[row]), weights), out[row])

def rows_backward(grad, x, out, start, stop):
    weights = np.empty(x.shape[1], number)
    for row in range(start, stop):
        normalize(weights, row_sum(x[row], row_maximum(x[row]), weights))
        row_gradient(grad[row], weights, row_dot(grad[row], weights), out[row])

def tiles(x, out, size):
    for tile in prange((x.shape[0] + size - 1) // size):
        rows(x, out, tile * size, min(tile * size + size, x.shape[0]))

def tiles_backward(grad, x, out, size):
    for tile in prange((x.shape[0] + size - 1) // size):
        rows_backward(grad, x, out, tile * size, min(tile * size + size, x.shape[0]))

def column_maximum(x, largest):
    for j in range(x.size):
        largest[j] = maximum(largest[j], load(x[j]))

def column_weights(x, largest, weights, total, low):
    for j in range(x.size):
        e = weight(load(x[j]), largest[j])
        weights[j] = e
        total[j], low[j] = add(total[j], low[j], e)

def column_divide(weights, total, out):
    for j in range(out.size):
        out[j] = store(weights[j] / total[j])

def column_product(grad, weights, norm, total, low):
    for j in range(weights.size):
        y = weights[j] / norm[j]
        weights[j] = y
        total[j], low[j] = add(total[j], low[j], load(grad[j]) * y)

def column_gradient(grad, weights, dot, out):
    for j in range(out.size):
        out[j] = store(weights[j] * (load(grad[j]) - dot[j]))

def strip_weights(x, weights):
    largest = np.full(x.shape[1], -np.inf, number)
    total, low = np.zeros_like(largest), np.zeros_like(largest)
    for k in range(x.shape[0]):
        column_maximum(x[k], largest)
    for k in range(x.shape[0]):
        column_weights(x[k], largest, weights[k], total, low)
    return total + low

def strip(x, out):
    weights = np.empty(x.shape, number)
    total = strip_weights(x, weights)
    for k in range(x.shape[0]):
        column_divide(weights[k], total, out[k])

def strip_backward(grad, x, out):
    weights = np.empty(x.shape, number)
    norm = strip_weights(x, weights)
    total, low = np.zeros_like(norm), np.zeros_like(norm)
    for k in range(x.shape[0]):
        column_product(grad[k], weights[k], norm, total, low)
    for k in range(x.shape[0]):
        column_gradient(grad[k], weights[k], total + low, out[k])

def strips(x, out, width):
    count = (x.shape[2] + width - 1) // width
    for task in prange(x.shape[0] * count):
        low = task % count * width
        strip(x[task // count, :, low : low + width], out[task // count, :, low : low + width])

def strips_backward(grad, x, out, width):
    count = (x.shape[2] + width - 1) // width
    for task in prange(x.shape[0] * count):
        i, low = task // count, task % count * width
        high = low + width
        strip_backward(grad[i, :, low:high], x[i, :, low:high], out[i, :, low:high])
"""
SUMS = ("row_weights", "row_product")  # the only code in which the order of additions is left to LLVM


class RowKernels(NamedTuple):
    """What one row-wise function compiles to for one dtype: (parallel, serial) pairs, cached on disk."""

    rows: tuple
    rows_backward: tuple
    strips: tuple
    strips_backward: tuple


@cache
def kernels(formula, dtype):
    """Return the `RowKernels` for the formula of a row's weights and the dtype of a name."""
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"load": load, "store": store, "number": kind, "wide": np.float64, "weight": formula.compiled(kind)}
    scope |= {"maximum": maximum, "np": np, "BLOCK": BLOCK[kind], "prange": numba.prange}
    pairs = {}
    for function in common.define(KERNELS, __name__, scope, common.label(formula, dtype)):
        name = function.__name__
        if name.startswith(("tiles", "strips")):
            parallel = common.cached(numba.njit, function, nogil=True, parallel=True, error_model="numpy")
            pairs[name] = (
                parallel,
                common.cached(numba.njit, _renamed(function, "serial"), nogil=True, error_model="numpy"),
            )
        elif name in SUMS:
            scope[name] = numba.njit(function, error_model="numpy", fastmath={"reassoc"})
        else:
            options = JIT_OPTIONS if name == "add" else {"error_model": "numpy"}
            scope[name] = numba.njit(function, **options)
    return RowKernels(pairs["tiles"], pairs["tiles_backward"], pairs["strips"], pairs["strips_backward"])


def _renamed(function, prefix):
    copy = type(function)(function.__code__, function.__globals__, function.__name__)
    copy.__qualname__ = f"{prefix}_{function.__qualname__}"
    return copy


def rowwise(formula, dtype, arrays, out):
    """Fill `out` from arrays of its shape (outer, row, inner); all are C-contiguous, of `dtype` or its bits."""
    if out.size == 0:
        return
    compiled = kernels(formula, dtype)
    _, length, inner = out.shape
    backward = len(arrays) > 1
    if inner == 1:
        parallel, serial = compiled.rows_backward if backward else compiled.rows
        arrays, out = [array[:, :, 0] for array in arrays], out[:, :, 0]
        size = max(1, cpu.TILE // length)
    else:
        parallel, serial = compiled.strips_backward if backward else compiled.strips
        size = min(inner, max(16, STRIP // length))
    cpu.run(serial, parallel, out.size, *arrays, out, size)


@cache
def public_ufunc(entry, weight):
    """Return a generalised ufunc, (n)->(n), with loops for float32 and float64 (single-threaded)."""
    entry, weight = entry.scalar, weight.scalar

    def row(x, out):
        largest, total, low = x[0], x[0] * 0, x[0] * 0
        for value in x:
            largest = maximum(largest, value)
        for value in x:
            part = weight(value, largest)
            result = total + part
            low += part - (result - total) if total > part else total - (result - part)
            total = result
        for i in range(x.size):
            out[i] = entry(x[i], largest, total + low)

    signatures = [(kind[:], kind[:]) for kind in (numba.float32, numba.float64)]
    return numba.guvectorize(signatures, "(n)->(n)")(row)
