"""CPU kernels for functions of whole rows: each row is gathered into a buffer, worked on there, and scattered back.

So a row function sees contiguous numbers, whatever the axis and the dtype, and may write where it reads.
"""

import hashlib
from functools import cache

import numba
import numpy as np
from numba.extending import overload

from numact.binding import INNER_OPTIONS, JIT_OPTIONS
from numact.primitives import fma, maximum
from numact.targets import common, cpu_width
from numact.targets.cpu_threads import Kernel
from numact.targets.cpu_tiles import TILE, tile_count

LANES = 64  # partial sums of a row; as many on every CPU, so that all give the same bits
PARALLEL_FROM = 16_384  # entries; a row function takes 0.3 to 2 ns for each
GROUPED = 2_048  # entries of the rows that are gathered together: they stay in the core's first cache
COLUMNS, WIDE = 16, 1_048_576  # rows that lie across memory share cache lines: gather 16 of them, up to so many entries
SPREAD = 16  # between a buffer's rows, as 16 rows a multiple of 4 kB apart share one line of the cache each

# Loops stand in functions of their own and index by `at`, and sums run in as many lanes on every CPU, each with its
# rounding errors beside it, for the reasons given in `cpu_row_source`. A row is filled up with -inf to whole vectors.
LANE_SUMS = """
def at(start, i):
    return uint64(start + i)

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def sum_counts(counts):
    result = 0
    for j in range(LANES):
        result += int64(counts[j])
        counts[j] = zero
    return result

def row_maximum(values, place, padded):
    result = values[at(place, 0)]
    for i in range(padded):
        result = maximum(result, values[at(place, i)])
    return result

def fill(values, place, length, value):
    for i in range(length):
        values[at(place, i)] = value
"""

FOLD = """
def fold_{half}(total, low):
    for j in range({half}):
        k, other = at(0, j), at({half}, j)
        total[k], low[k] = add(total[k], low[k] + low[other], total[other])
"""
SUM_LANES = """
def sum_lanes(total, low, length):
    {folds}
    result, rest = add(total[0], zero, low[0] if low[0] == low[0] else zero)  # NaN once the sum is infinite
    fill(total, 0, LANES, zero)
    fill(low, 0, LANES, zero)
    return result, rest
"""
HALVES = [LANES >> power for power in range(1, LANES.bit_length())]
LANE_SUMS += "".join(FOLD.format(half=half) for half in HALVES)
# The lanes from a row's length on hold 0.
LANE_SUMS += SUM_LANES.format(folds="\n    ".join(f"if length > {half}: fold_{half}(total, low)" for half in HALVES))

GATHER = """
def gather_along(x, start, length, values, place):
    for i in range(length):
        values[at(place, i)] = load(x[at(start, i)])

def gather_across(x, start, count, values, place, padded):
    for i in range(count):
        values[at(place, i * padded)] = load(x[at(start, i)])

def gather(x, start, length, step, count, values, padded):
    if step == 1:
        for row in range(count):
            gather_along(x, start + row * length, length, values, row * padded)
    else:
        for k in range(length):
            gather_across(x, start + k * step, count, values, k, padded)
    for row in range(count):
        fill(values, row * padded + length, -length % 16, -infinity)

def scatter_along(values, place, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(values[at(place, i)])

def scatter_across(values, place, padded, out, start, count):
    for i in range(count):
        out[at(start, i)] = store(values[at(place, i * padded)])

def scatter(values, padded, out, start, length, step, count):
    if step == 1:
        for row in range(count):
            scatter_along(values, row * padded, out, start + row * length, length)
    else:
        for k in range(length):
            scatter_across(values, k, padded, out, start + k * step, count)

def stride(length):
    return (length + LANES - 1) // LANES * LANES + SPREAD

def group_of(size, length, inner):
    return max(1, min(size, GROUPED // length)) if inner == 1 else size

def place_of(task, size, length, inner, rows):
    if inner == 1:
        return task * size * length, task * size, min(size, rows - task * size)
    tasks = (inner + size - 1) // size
    outer, low = task // tasks, task % tasks * size
    return outer * length * inner + low, outer * inner + low, min(size, inner - low)
"""

KERNELS = """
def part(task, {grad}x, out, length, inner, size):
    padded, group = stride(length), group_of(size, length, inner)
    values, total = np.empty(group * padded, number), np.zeros(LANES, number)
    low, counts = np.zeros(LANES, number), np.zeros(LANES, number)
    {make_grads}
    start, _, count = place_of(task, size, length, inner, x.size // length)
    for first in range(0, count, group):
        some, place = min(group, count - first), start + first * length
        gather(x, place, length, inner, some, values, padded)
        {gather_grads}
        for k in range(some):
            row{backward}({grads}values, k * padded, length, total, low, counts)
        scatter(values, padded, out, place, length, inner, some)
"""


# name -> the source of `row`, which puts the result in the row's place; of `row_backward`, which puts the gradient in
# it, given that by the output; and of `row_output`, which does so where the output stands in the row's place. They
# refer to the formulas of the name's `RowFunction`. total, low and counts are lanes of 0, and so they are left.
# Sparsemax is found by Michelot's filtering: from a threshold too low, the entries above it give the next one, until
# their number stays. Each step is a pass of vector arithmetic, where a sort would be none: normal rows of 1,000 take 3
# to 9 steps, whatever their spread, rows of a million up to 16.
ROW_FUNCTIONS = {
    "sparsemax": """
def add_support(values, place, length, largest, threshold, rest, total, low, counts):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            value = values[at(place + first, j)]
            inside = excess(value, largest, threshold, rest) > zero
            difference, tail = lead(value, largest)
            k = at(0, j)
            total[k], low[k] = add(total[k], low[k] + (tail if inside else zero), difference if inside else zero)
            counts[k] += one if inside else zero

def mean(total, rest, count):
    result = total / number(count)
    return result, (fma(-result, number(count), total) + rest) / number(count)

def find_threshold(values, place, length, largest, total, low, counts):
    threshold, rest, members = -one, zero, length + 1
    while True:
        add_support(values, place, length, largest, threshold, rest, total, low, counts)
        (sum, tail), count = sum_lanes(total, low, length), sum_counts(counts)
        if count >= members:
            return threshold, rest
        members = count
        sum, tail = add(sum, tail, -one)
        threshold, rest = mean(sum, tail, count)

def clip(values, place, length, largest, threshold, rest):
    for i in range(length):
        k = at(place, i)
        y = excess(values[k], largest, threshold, rest)
        values[k] = y if y > zero else zero

def row(values, place, length, total, low, counts):
    largest = row_maximum(values, place, length)
    if largest - largest == zero:
        threshold, rest = find_threshold(values, place, length, largest, total, low, counts)
        clip(values, place, length, largest, threshold, rest)
    else:
        fill(values, place, length, nan)

def add_grads(grads, values, place, length, total, low, counts):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            inside = values[at(place + first, j)] > zero
            k = at(0, j)
            total[k], low[k] = add(total[k], low[k], grads[at(place + first, j)] if inside else zero)
            counts[k] += one if inside else zero

def subtract_mean(grads, values, place, length, average, rest):
    for i in range(length):
        k = at(place, i)
        grad = grads[k]
        difference, low = lead(grad, average)
        inside = difference + (low - rest)
        values[k] = inside if values[k] > zero else (zero if grad == grad else grad)

def row_output(grads, values, place, length, total, low, counts):
    largest = row_maximum(values, place, length)
    if largest == largest:
        add_grads(grads, values, place, length, total, low, counts)
        (sum, tail), count = sum_lanes(total, low, length), sum_counts(counts)
        average, rest = mean(sum, tail, count)
        subtract_mean(grads, values, place, length, average, rest)
    else:
        fill(values, place, length, nan)

def row_backward(grads, values, place, length, total, low, counts):
    row(values, place, length, total, low, counts)
    row_output(grads, values, place, length, total, low, counts)
""",
    "hardmax": """
def mark(values, place, length, largest):
    count = 0
    for i in range(length):
        k = at(place, i)
        count += values[k] == largest
        values[k] = one if values[k] == largest else zero
    return count

def keep_first(values, place, length):
    found = False
    for i in range(length):
        if found:
            values[at(place, i)] = zero
        found = found or values[at(place, i)] == one

def row(values, place, length, total, low, counts):
    largest = row_maximum(values, place, length)
    if largest == largest:
        if mark(values, place, length, largest) > 1:
            keep_first(values, place, length)
    else:
        fill(values, place, length, nan)

def keep_nan(grads, values, place, length):
    for i in range(length):
        grad = grads[at(place, i)]
        values[at(place, i)] = zero if grad == grad else grad

def row_output(grads, values, place, length, total, low, counts):
    largest = row_maximum(values, place, length)
    if largest == largest:
        keep_nan(grads, values, place, length)
    else:
        fill(values, place, length, nan)

def row_backward(grads, values, place, length, total, low, counts):
    row_output(grads, values, place, length, total, low, counts)
""",
}


def build(source, dtype, scope, label):
    """Return the kernel of source in this module's vocabulary, whose last function does a task."""
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope |= {"load": load, "store": store, "number": kind, "maximum": maximum, "fma": fma, "np": np}
    scope |= {"zero": kind(0), "one": kind(1), "infinity": kind(np.inf), "nan": kind(np.nan)}
    scope |= {"uint64": np.uint64, "int64": np.int64, "LANES": LANES, "SPREAD": SPREAD, "GROUPED": GROUPED}
    source = LANE_SUMS + GATHER + source
    label += "_" + hashlib.sha256(source.encode()).hexdigest()[:8]
    *functions, part = cpu_width.define(source, __name__, scope, label)
    for function in functions:
        inlined = function.__name__ in ("at", "add") or function.__name__.startswith("fold_")
        options = JIT_OPTIONS if inlined else INNER_OPTIONS
        scope[function.__name__] = numba.njit(function, **options)
    return Kernel(part)


@cache
def kernel(function, mode, dtype):
    """Return the kernel of a `RowFunction`; mode and dtype are as in `cpu_rows.RowKernels`."""
    words = {"grad": "", "grads": "", "make_grads": "", "gather_grads": "", "backward": ""}
    if mode != "value":
        words = {"grad": "grad, ", "grads": "grads, ", "make_grads": "grads = np.empty(group * padded, number)"}
        words["gather_grads"] = "gather(grad, place, length, inner, some, grads, padded)"
        words["backward"] = "_output" if mode == "from_output" else "_backward"
    source = ROW_FUNCTIONS[function.name] + KERNELS.format(**words)
    scope = {formula.__name__: formula.compiled(common.number(dtype)) for formula in function.formulas}
    return build(source, dtype, scope, common.label(function.formulas[0], dtype))


def divided(outer, length, inner):
    """Return how many tasks there are, and how many rows a thread gathers for one."""
    padded = -(-length // LANES) * LANES
    if inner == 1:
        size = max(1, -(-outer // tile_count(outer * padded)))
        return -(-outer // size), size
    size = min(inner, max(1, TILE // padded, min(COLUMNS, WIDE // padded)))
    return outer * -(-inner // size), size


def rowwise(function, mode, dtype, arrays, out, shape, scale=1.0, mask=None):
    """Fill `out` by a `RowFunction`, which has neither scale nor mask; see `numact.targets.cpu_rows.rowwise`."""
    if out.size == 0:
        return
    _, length, inner = shape
    count, size = divided(*shape)
    kernel(function, mode, dtype).run(out.size >= PARALLEL_FROM, count, *arrays, out, length, inner, size)


@cache
def public_ufunc(function):
    """Return a generalised ufunc, (n)->(n), with loops for float32 and float64 (single-threaded)."""
    parts = {}
    for kind in (numba.float32, numba.float64):
        parts[kind] = numba.njit(kernel(function, "value", kind.name).function.py_func, **INNER_OPTIONS)

    def call(x, out):
        raise NotImplementedError

    @overload(call)
    def choose(x, out):
        part = parts[x.dtype]
        return lambda x, out: part(0, x, out, x.size, 1, 1)

    signatures = [(kind[:], kind[:]) for kind in (numba.float32, numba.float64)]
    return numba.guvectorize(signatures, "(n)->(n)")(lambda x, out: call(x, out))
