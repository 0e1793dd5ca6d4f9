"""CPU kernels for row-wise functions: along contiguous rows, or down columns in strips."""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from numact.binding import JIT_OPTIONS
from numact.primitives import maximum
from numact.targets import common, cpu

BLOCK = 65_536  # entries of a row whose weights are kept in a core's L2 cache; a longer row computes them again
# Entries summed in float64 vector lanes before the row takes the sum, with its rounding error. In float64, blocks of
# 256 gave 5.5 ULP.
SUMMED = {np.float32: BLOCK, np.float64: 32}
SHORT = (
    24  # rows up to this length are turned into columns, for vectors across rows: rows of 4 take a third of the time
)
TURNED = 256  # rows turned at a time
STRIP = 131_072  # entries of a strip of columns: it is read two or three times, and then from a core's L2 cache
NARROWEST = 128  # columns of a strip, however long: below, starting the loops costs more than the cache brings

# Loops over arrays stand in functions of their own: in one with others LLVM leaves them scalar, or takes the vector
# length of the widest type in it, which halves that of the weights where their sum is float64. Where such a loop would
# write what it reads, it reads from a copy of the part: one that may overlap is run as scalar code.
KERNELS = """
def row_maximum(x):
    result = load(x[0])
    for i in range(x.size):
        result = maximum(result, load(x[i]))
    return result

def row_weights(x, largest, weights):
    for i in range(x.size):
        weights[i] = weight(load(x[i]), largest)

def sum_values(weights):
    total = wide(0)
    for i in range(weights.size):
        total += wide(weights[i])
    return total

def sum_products(grad, weights):
    total = wide(0)
    for i in range(weights.size):
        total += wide(load(grad[i])) * wide(weights[i])
    return total

def divide(weights, total, out):
    for i in range(out.size):
        out[i] = store(weights[i] / total)

def normalize(weights, total):
    for i in range(weights.size):
        weights[i] = weights[i] / total

def row_gradient(grad, weights, dot, out):
    for i in range(out.size):
        out[i] = store(weights[i] * (load(grad[i]) - dot))

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def add_values(total, low, weights):
    for start in range(0, weights.size, SUMMED):
        total, low = add(total, low, sum_values(weights[start : start + SUMMED]))
    return total, low

def add_products(total, low, grad, weights):
    for start in range(0, weights.size, SUMMED):
        part = sum_products(grad[start : start + SUMMED], weights[start : start + SUMMED])
        total, low = add(total, low, part)
    return total, low

def row_total(x, largest, weights):
    total, low = wide(0), wide(0)
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        row_weights(part, largest, weights)
        total, low = add_values(total, low, weights[: part.size])
    return number(total + low)

def row(x, out, weights):
    largest = row_maximum(x)
    total = row_total(x, largest, weights)
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        if x.size > BLOCK:
            row_weights(part, largest, weights)
        divide(weights, total, out[start : start + BLOCK])

def row_backward(grad, x, out, weights):
    largest = row_maximum(x)
    total = row_total(x, largest, weights)
    dot, low = wide(0), wide(0)
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        if x.size > BLOCK:
            row_weights(part, largest, weights)
        normalize(weights[: part.size], total)
        dot, low = add_products(dot, low, grad[start : start + BLOCK], weights[: part.size])
    dot = number(dot + low)
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        if x.size > BLOCK:
            row_weights(part, largest, weights)
            normalize(weights[: part.size], total)
        target = out[start : start + BLOCK]
        row_gradient(apart(grad[start : start + BLOCK], target), weights, dot, target)

def strip_maximum(x, largest):
    for j in range(x.size):
        largest[j] = maximum(largest[j], load(x[j]))

def strip_weights(x, largest, total, low):
    for j in range(x.size):
        total[j], low[j] = add(total[j], low[j], weight(load(x[j]), largest[j]))

def strip_values(x, largest, total, out):
    for j in range(out.size):
        out[j] = store(weight(load(x[j]), largest[j]) / total[j])

def strip_products(grad, x, largest, norm, total, low):
    for j in range(x.size):
        y = weight(load(x[j]), largest[j]) / norm[j]
        total[j], low[j] = add(total[j], low[j], load(grad[j]) * y)

def strip_gradients(grad, x, largest, total, dot, out):
    for j in range(out.size):
        y = weight(load(x[j]), largest[j]) / total[j]
        out[j] = store(y * (load(grad[j]) - dot[j]))

def strip_totals(x, start, stop, step, width):
    largest = np.full(width, -np.inf, number)
    total, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_maximum(x[k : k + width], largest)
    for k in range(start, stop, step):
        strip_weights(x[k : k + width], largest, total, low)
    return largest, total + low

def apart(part, out):
    return part.copy() if part.ctypes.data == out.ctypes.data else part

def strip(x, out, start, stop, step, width):
    largest, total = strip_totals(x, start, stop, step, width)
    for k in range(start, stop, step):
        target = out[k : k + width]
        strip_values(apart(x[k : k + width], target), largest, total, target)

def strip_backward(grad, x, out, start, stop, step, width):
    largest, total = strip_totals(x, start, stop, step, width)
    dot, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_products(grad[k : k + width], x[k : k + width], largest, total, dot, low)
    dot = dot + low
    for k in range(start, stop, step):
        end = k + width
        target = out[k:end]
        strip_gradients(apart(grad[k:end], target), apart(x[k:end], target), largest, total, dot, target)

def move(source, target):
    for i in range(target.size):
        target[i] = source[i]

def turn(x, columns, length):
    count = x.size // length
    for k in range(length):
        move(x[k::length], columns[k * count : (k + 1) * count])

def turn_back(columns, out, length):
    count = out.size // length
    for k in range(length):
        move(columns[k * count : (k + 1) * count], out[k::length])

def short_rows(x, out, length):
    block = TURNED * length
    columns, values = np.empty(block, x.dtype), np.empty(block, x.dtype)
    for start in range(0, x.size, block):
        part = x[start : start + block]
        turn(part, columns, length)
        strip(columns, values, 0, part.size, part.size // length, part.size // length)
        turn_back(values, out[start : start + block], length)

def short_rows_backward(grad, x, out, length):
    block = TURNED * length
    grads, columns, values = np.empty(block, x.dtype), np.empty(block, x.dtype), np.empty(block, x.dtype)
    for start in range(0, x.size, block):
        part = x[start : start + block]
        turn(part, columns, length)
        turn(grad[start : start + block], grads, length)
        strip_backward(grads, columns, values, 0, part.size, part.size // length, part.size // length)
        turn_back(values, out[start : start + block], length)

def rows(x, out, length):
    if length <= SHORT:
        short_rows(x, out, length)
        return
    weights = np.empty(min(length, BLOCK), number)
    for start in range(0, x.size, length):
        row(x[start : start + length], out[start : start + length], weights)

def rows_backward(grad, x, out, length):
    if length <= SHORT:
        short_rows_backward(grad, x, out, length)
        return
    weights = np.empty(min(length, BLOCK), number)
    for start in range(0, x.size, length):
        stop = start + length
        row_backward(grad[start:stop], x[start:stop], out[start:stop], weights)

def tiles({grad}x, out, length, tile):
    for low in prange((x.size + tile - 1) // tile):
        start, stop = low * tile, min(low * tile + tile, x.size)
        rows{backward}({grad_part}x[start:stop], out[start:stop], length)

def strips({grad}x, out, length, inner, width):
    count = (inner + width - 1) // width
    for task in prange(x.size // (length * inner) * count):
        low = task % count * width
        start = task // count * length * inner + low
        stop = (task // count + 1) * length * inner
        strip{backward}({grad}x, out, start, stop, inner, min(width, inner - low))
"""
SUMS = ("sum_values", "sum_products")  # the only code in which the order of additions is left to LLVM


class RowKernels(NamedTuple):
    """What one row-wise function compiles to for one dtype: (serial, parallel) pairs, cached on disk."""

    rows: tuple
    strips: tuple


@cache
def kernels(formula, dtype, backward):
    """Return the `RowKernels` for the formula of a row's weights and the dtype of a name, or those of its backward."""
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"load": load, "store": store, "number": kind, "wide": np.float64, "weight": formula.compiled(kind)}
    scope |= {"maximum": maximum, "np": np, "prange": numba.prange, "SUMMED": SUMMED[kind]}
    scope |= {"BLOCK": BLOCK, "SHORT": SHORT, "TURNED": TURNED}
    words = {"grad": "", "grad_part": "", "backward": ""}
    if backward:
        words = {"grad": "grad, ", "grad_part": "grad[start:stop], ", "backward": "_backward"}
    pairs = []
    label = common.label(formula, dtype) + words["backward"]
    for function in common.define(KERNELS.format(**words), __name__, scope, label):
        name = function.__name__
        if name in ("tiles", "strips"):
            parallel = common.cached(numba.njit, function, nogil=True, parallel=True, error_model="numpy")
            serial = common.cached(numba.njit, _renamed(function, "serial"), nogil=True, error_model="numpy")
            pairs.append((serial, parallel))
        elif name in SUMS:
            scope[name] = numba.njit(function, error_model="numpy", fastmath={"reassoc"})
        else:
            options = JIT_OPTIONS if name == "add" else {"error_model": "numpy"}
            scope[name] = numba.njit(function, **options)
    return RowKernels(*pairs)


def _renamed(function, prefix):
    copy = type(function)(function.__code__, function.__globals__, function.__name__)
    copy.__qualname__ = f"{prefix}_{function.__qualname__}"
    return copy


def rowwise(formula, dtype, arrays, out, shape):
    """Fill `out` from arrays of its size; all are flat, dense, of `dtype` or its bits.

    Parameters
    ----------
    formula : Formula
        The weight of an entry in its row.
    dtype : str
        The name of the dtype.
    arrays : list of array
        The input, or the output's gradient and the input.
    out : array
        May be one of them.
    shape : tuple of int
        The entries before, along and after the axis.
    """
    if out.size == 0:
        return
    compiled = kernels(formula, dtype, len(arrays) > 1)
    _, length, inner = shape
    if inner == 1:
        serial, parallel = compiled.rows
        sizes = length, max(1, cpu.TILE // length) * length
    else:
        serial, parallel = compiled.strips
        sizes = length, inner, min(inner, max(NARROWEST, STRIP // length))
    cpu.run(serial, parallel, out.size, *arrays, out, *sizes)


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
