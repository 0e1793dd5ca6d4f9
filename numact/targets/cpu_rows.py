"""CPU kernels for row-wise functions: along contiguous rows, or down columns in strips."""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from numact.binding import JIT_OPTIONS, Formula
from numact.primitives import maximum
from numact.targets import common, cpu

PASSES = 2  # a row costs about twice its weights
LANES = 64  # partial sums of a row; as many on every CPU, so that all give the same bits
SHORT = 40  # rows up to this length are turned into columns: rows of 16 take a third of the time
TURNED = 8_192  # entries turned at a time
GROUPED = 1_024  # entries of the rows that take each step together: a short row's steps wait for one another
NARROW = 32  # fewer columns than this are turned into rows, up to FEW entries
FEW = 524_288
STRIP = 65_536  # entries of a strip of columns: it is read three times, and then from a core's caches
NARROWEST = 256  # columns of a strip, however long: below, starting the loops costs more than the caches bring
LEAST = 128  # columns, where a wider strip would leave threads without one

# Loops over arrays stand in functions of their own: in one with others LLVM leaves them scalar. They take whole arrays
# and where to begin, since a slice costs 10 ns (its reference is counted atomically); `at` makes an index unsigned, as
# one that may be negative is looked at twice. Where a loop would write what it reads, it reads from a copy: LLVM runs
# one whose arrays overlap as scalar code.
KERNELS = """
def at(start, i):
    return uint64(start + i)

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def load_row(x, start, length, values, place, padded):
    result = load(x[at(start, 0)])
    for i in range(length):
        value = load(x[at(start, i)])
        values[at(place, i)] = value
        result = maximum(result, value)
    for i in range(length, padded):
        values[at(place, i)] = -np.inf
    return result

def add_weights(values, place, padded, largest, total, low, lanes):
    for first in range(0, padded, LANES):
        for j in range(LANES):
            e = weight(values[at(place + first, j)], largest)
            values[at(place + first, j)] = e
            total[at(lanes, j)], low[at(lanes, j)] = add(total[at(lanes, j)], low[at(lanes, j)], e)

def add_products(grad, start, length, values, place, total, low, lanes):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            product = load(grad[at(start + first, j)]) * values[at(place + first, j)]
            total[at(lanes, j)], low[at(lanes, j)] = add(total[at(lanes, j)], low[at(lanes, j)], product)

def sum_lanes(total, low, lanes):
    for j in range(16):
        for k in range(16, LANES, 16):
            i, other = at(lanes, j), at(lanes + k, j)
            total[i], low[i] = add(total[i], low[i] + low[other], total[other])
    result, rest = total[at(lanes, 0)], low[at(lanes, 0)]
    for j in range(1, 16):
        result, rest = add(result, rest + low[at(lanes, j)], total[at(lanes, j)])
    for j in range(LANES):
        total[at(lanes, j)], low[at(lanes, j)] = 0, 0
    return result + rest

def divide(values, place, total, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(values[at(place, i)] / total)

def row_gradient(grad, begin, values, place, total, dot, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(values[at(place, i)] / total * (load(grad[at(begin, i)]) - dot))

def is_same(array, out):
    return array.ctypes.data == out.ctypes.data

def long_rows(x, out, length):
    padded = (length + LANES - 1) // LANES * LANES
    group = max(1, GROUPED // padded)
    values, largest = np.empty(group * padded, number), np.empty(group, number)
    total, low = np.zeros(group * LANES, number), np.zeros(group * LANES, number)
    for start in range(0, x.size, group * length):
        count = min(group, (x.size - start) // length)
        for k in range(count):
            largest[k] = load_row(x, start + k * length, length, values, k * padded, padded)
        for k in range(count):
            add_weights(values, k * padded, padded, largest[k], total, low, k * LANES)
        for k in range(count):
            divide(values, k * padded, sum_lanes(total, low, k * LANES), out, start + k * length, length)

def long_rows_backward(grad, x, out, length):
    padded = (length + LANES - 1) // LANES * LANES
    group = max(1, GROUPED // padded)
    values, largest = np.empty(group * padded, number), np.empty(group, number)
    total, low = np.zeros(group * LANES, number), np.zeros(group * LANES, number)
    for start in range(0, x.size, group * length):
        count = min(group, (x.size - start) // length)
        for k in range(count):
            largest[k] = load_row(x, start + k * length, length, values, k * padded, padded)
        for k in range(count):
            add_weights(values, k * padded, padded, largest[k], total, low, k * LANES)
        for k in range(count):
            norm, begin = sum_lanes(total, low, k * LANES), start + k * length
            add_products(grad, begin, length, values, k * padded, total, low, k * LANES)
            dot = sum_lanes(total, low, k * LANES) / norm
            if is_same(grad, out):
                row_gradient(grad[begin : begin + length].copy(), 0, values, k * padded, norm, dot, out, begin, length)
            else:
                row_gradient(grad, begin, values, k * padded, norm, dot, out, begin, length)

def strip_maximum(x, start, width, largest):
    for j in range(width):
        largest[j] = maximum(largest[j], load(x[at(start, j)]))

def strip_weights(x, start, width, largest, total, low):
    for j in range(width):
        total[j], low[j] = add(total[j], low[j], weight(load(x[at(start, j)]), largest[j]))

def strip_kept(x, start, width, largest, total, low, out):
    for j in range(width):
        e = weight(load(x[at(start, j)]), largest[j])
        out[at(start, j)] = e
        total[j], low[j] = add(total[j], low[j], e)

def strip_divide(total, out, start, width):
    for j in range(width):
        out[at(start, j)] /= total[j]

def strip_values(x, begin, largest, total, out, start, width):
    for j in range(width):
        out[at(start, j)] = store(weight(load(x[at(begin, j)]), largest[j]) / total[j])

def strip_products(grad, x, start, width, largest, norm, total, low):
    for j in range(width):
        y = weight(load(x[at(start, j)]), largest[j]) / norm[j]
        total[j], low[j] = add(total[j], low[j], load(grad[at(start, j)]) * y)

def strip_gradients(grad, x, begin, largest, total, dot, out, start, width):
    for j in range(width):
        y = weight(load(x[at(begin, j)]), largest[j]) / total[j]
        out[at(start, j)] = store(y * (load(grad[at(begin, j)]) - dot[j]))

def strip_largest(x, start, stop, step, width):
    largest = np.full(width, -np.inf, number)
    for k in range(start, stop, step):
        strip_maximum(x, k, width, largest)
    return largest

def strip_total(x, largest, start, stop, step, width):
    total, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_weights(x, k, width, largest, total, low)
    return total + low

def strip(x, out, start, stop, step, width):
    largest = strip_largest(x, start, stop, step, width)
    if KEEPS and not is_same(x, out):  # the weights wait in out
        total, low = np.zeros(width, number), np.zeros(width, number)
        for k in range(start, stop, step):
            strip_kept(x, k, width, largest, total, low, out)
        total = total + low
        for k in range(start, stop, step):
            strip_divide(total, out, k, width)
    else:
        total = strip_total(x, largest, start, stop, step, width)
        for k in range(start, stop, step):
            if is_same(x, out):
                strip_values(x[k : k + width].copy(), 0, largest, total, out, k, width)
            else:
                strip_values(x, k, largest, total, out, k, width)

def strip_backward(grad, x, out, start, stop, step, width):
    largest = strip_largest(x, start, stop, step, width)
    total = strip_total(x, largest, start, stop, step, width)
    dot, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_products(grad, x, k, width, largest, total, dot, low)
    dot = dot + low
    for k in range(start, stop, step):
        if is_same(grad, out) or is_same(x, out):
            grads, part = grad[k : k + width].copy(), x[k : k + width].copy()
            strip_gradients(grads, part, 0, largest, total, dot, out, k, width)
        else:
            strip_gradients(grad, x, k, largest, total, dot, out, k, width)

def move(source, target):
    for i in range(target.size):
        target[i] = source[i]

def turn(x, columns, length, step):
    for k in range(length):
        move(x[k::length], columns[k * step : k * step + x.size // length])

def turn_back(columns, out, length, step):
    for k in range(length):
        move(columns[k * step : k * step + out.size // length], out[k::length])

def whole_vectors(count):
    return (count + 15) // 16 * 16

def short_rows(x, out, length):
    block = min(TURNED // length // 16 * 16, whole_vectors(x.size // length))
    columns, values = np.zeros(block * length, x.dtype), np.empty(block * length, x.dtype)
    for start in range(0, x.size, block * length):
        part = x[start : start + block * length]
        count = whole_vectors(part.size // length)
        turn(part, columns, length, count)
        strip(columns, values, 0, count * length, count, count)
        turn_back(values, out[start : start + block * length], length, count)

def short_rows_backward(grad, x, out, length):
    block = min(TURNED // length // 16 * 16, whole_vectors(x.size // length))
    size = block * length
    grads, columns, values = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.empty(size, x.dtype)
    for start in range(0, x.size, size):
        part = x[start : start + size]
        count = whole_vectors(part.size // length)
        turn(part, columns, length, count)
        turn(grad[start : start + size], grads, length, count)
        strip_backward(grads, columns, values, 0, count * length, count, count)
        turn_back(values, out[start : start + size], length, count)

def rows(x, out, length):
    if length <= SHORT:
        short_rows(x, out, length)
    else:
        long_rows(x, out, length)

def rows_backward(grad, x, out, length):
    if length <= SHORT:
        short_rows_backward(grad, x, out, length)
    else:
        long_rows_backward(grad, x, out, length)

def few_columns(x, out, length, inner):
    turned, values = np.empty(x.size, x.dtype), np.empty(x.size, x.dtype)
    turn(x, turned, inner, length)
    rows(turned, values, length)
    turn_back(values, out, inner, length)

def few_columns_backward(grad, x, out, length, inner):
    grads, turned, values = np.empty(x.size, x.dtype), np.empty(x.size, x.dtype), np.empty(x.size, x.dtype)
    turn(grad, grads, inner, length)
    turn(x, turned, inner, length)
    rows_backward(grads, turned, values, length)
    turn_back(values, out, inner, length)

def tiles({grad}x, out, length, tile):
    for low in prange((x.size + tile - 1) // tile):
        start, stop = low * tile, min(low * tile + tile, x.size)
        rows{backward}({grad_part}x[start:stop], out[start:stop], length)

def slabs({grad}x, out, length, inner):
    size = length * inner
    for index in prange(x.size // size):
        start, stop = index * size, (index + 1) * size
        few_columns{backward}({grad_part}x[start:stop], out[start:stop], length, inner)

def strips({grad}x, out, length, inner, width):
    count = (inner + width - 1) // width
    for task in prange(x.size // (length * inner) * count):
        low = task % count * width
        start = task // count * length * inner + low
        stop = (task // count + 1) * length * inner
        strip{backward}({grad}x, out, start, stop, inner, min(width, inner - low))
"""


class RowKernels(NamedTuple):
    """What one row-wise function compiles to for one dtype: (serial, parallel) pairs, cached on disk."""

    tiles: tuple
    slabs: tuple
    strips: tuple
    parallel_from: int


@cache
def kernels(formula, dtype, backward):
    """Return the `RowKernels` for the formula of a row's weights and the dtype of a name, or those of its backward."""
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"load": load, "store": store, "number": kind, "weight": formula.compiled(kind)}
    scope |= {"maximum": maximum, "np": np, "uint64": np.uint64, "prange": numba.prange}
    scope |= {
        "KEEPS": common.storage(dtype) == kind,
        "LANES": LANES,
        "GROUPED": GROUPED,
        "SHORT": SHORT,
        "TURNED": TURNED,
    }
    words = {"grad": "", "grad_part": "", "backward": ""}
    if backward:
        words = {"grad": "grad, ", "grad_part": "grad[start:stop], ", "backward": "_backward"}
    pairs = []
    label = common.label(formula, dtype) + words["backward"]
    for function in common.define(KERNELS.format(**words), __name__, scope, label):
        name = function.__name__
        if name in ("tiles", "slabs", "strips"):
            parallel = common.cached(numba.njit, function, nogil=True, parallel=True, error_model="numpy")
            serial = common.cached(numba.njit, _renamed(function, "serial"), nogil=True, error_model="numpy")
            pairs.append((serial, parallel))
        else:
            options = JIT_OPTIONS if name in ("at", "add") else {"error_model": "numpy"}
            scope[name] = numba.njit(function, **options)
    return RowKernels(*pairs, cpu.parallel_from(formula, dtype) // PASSES)


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
    if not isinstance(formula, Formula):  # a function of whole rows
        from numact.targets import cpu_gathered

        cpu_gathered.rowwise(formula, dtype, arrays, out, shape)
        return
    if out.size == 0:
        return
    compiled = kernels(formula, dtype, len(arrays) > 1)
    outer, length, inner = shape
    pays = out.size >= compiled.parallel_from
    if inner == 1:
        kernel = compiled.tiles
        tile = min(cpu.TILE, out.size // cpu.PARTS) if pays else out.size
        sizes = length, max(1, tile // length) * length
    elif inner < NARROW and SHORT < length <= FEW // inner:
        kernel, sizes = compiled.slabs, (length, inner)
    else:
        kernel, width = compiled.strips, max(NARROWEST, STRIP // length // LANES * LANES)
        if pays:
            width = min(width, max(LEAST, outer * inner // cpu.PARTS))
        sizes = length, inner, min(inner, width)
    cpu.run(*kernel, pays, *arrays, out, *sizes)


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
