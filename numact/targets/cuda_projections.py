"""CUDA kernels for functions of whole rows, one block a row; `cuda_losses` builds on their sums."""

from functools import cache

import numpy as np
from numba import cuda

from numact.primitives import fma
from numact.targets import common
from numact.targets import cuda as target
from numact.targets.cuda_memory import conversions
from numact.targets.cuda_rows import along_rows

# What a block's threads find together. A NaN is the largest of all: `row_largest` returns it, where `cuda`'s maximum
# may pass it over. number() matters in the simulator alone, as in `cuda`.
BLOCK = """
def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def block_largest(value, shared, thread, threads):
    shared[thread] = value
    cuda.syncthreads()
    half = threads // 2
    while half > 0:
        if thread < half:
            other = shared[thread + half]
            if other > shared[thread] or other != other:
                shared[thread] = other
        cuda.syncthreads()
        half //= 2
    result = shared[0]
    cuda.syncthreads()
    return result

def row_largest(x, i, j, shared, thread, threads):
    largest = -infinity
    for k in range(thread, x.shape[1], threads):
        value = number(load(x[i, k, j]))
        if value > largest or value != value:
            largest = value
    return block_largest(largest, shared, thread, threads)

def block_pair(total, low, shared, tails, thread, threads):
    shared[thread], tails[thread] = total, low
    cuda.syncthreads()
    half = threads // 2
    while half > 0:
        if thread < half:
            tail = tails[thread] + tails[thread + half]
            shared[thread], tails[thread] = add(shared[thread], tail, shared[thread + half])
        cuda.syncthreads()
        half //= 2
    result, rest = shared[0], tails[0]
    cuda.syncthreads()
    return add(result, zero, rest if rest == rest else zero)

def is_finite(value):
    return value < infinity and value > -infinity
"""

# name -> the source of the kernels `rows` and `rows_backward`; FROM_OUTPUT says whether the latter's x is the output.
ROW_FUNCTIONS = {
    "sparsemax": """
def mean(total, rest, count):
    result = total / count
    return result, (number(fma(-result, count, total)) + rest) / count

def add_support(x, i, j, largest, threshold, rest, shared, tails, thread, threads):
    total, low, count = zero, zero, zero
    for k in range(thread, x.shape[1], threads):
        value = number(load(x[i, k, j]))
        if number(excess(value, largest, threshold, rest)) > zero:
            difference, tail = lead(value, largest)
            total, low = add(total, low + number(tail), number(difference))
            count += one
    total, low = block_pair(total, low, shared, tails, thread, threads)
    count, _ = block_pair(count, zero, shared, tails, thread, threads)
    return total, low, count

def find_threshold(x, i, j, largest, shared, tails, thread, threads):
    threshold, rest, members = -one, zero, infinity
    while True:
        total, low, count = add_support(x, i, j, largest, threshold, rest, shared, tails, thread, threads)
        if count >= members:
            return threshold, rest
        members = count
        total, low = add(total, low, -one)
        threshold, rest = mean(total, low, count)

def rows(x, out):
    shared = cuda.shared.array(THREADS, number)
    tails = cuda.shared.array(THREADS, number)  # the simulator tells arrays apart by their lines
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_largest(x, i, j, shared, thread, threads)
        threshold, rest, outside = zero, zero, nan
        if is_finite(largest):
            outside = zero
            threshold, rest = find_threshold(x, i, j, largest, shared, tails, thread, threads)
        for k in range(thread, x.shape[1], threads):
            y = number(excess(number(load(x[i, k, j])), largest, threshold, rest))
            out[i, k, j] = store(y if outside == zero and y > zero else outside)
        row += cuda.gridDim.x

def rows_backward(grad, x, out):
    shared = cuda.shared.array(THREADS, number)
    tails = cuda.shared.array(THREADS, number)  # the simulator tells arrays apart by their lines
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_largest(x, i, j, shared, thread, threads)
        threshold, rest, valid = zero, zero, is_finite(largest)
        if valid and not FROM_OUTPUT:
            threshold, rest = find_threshold(x, i, j, largest, shared, tails, thread, threads)
        total, low, count = zero, zero, zero
        for k in range(thread, x.shape[1], threads):
            y = number(load(x[i, k, j]))
            y = y if FROM_OUTPUT else number(excess(y, largest, threshold, rest))
            if y > zero:
                total, low = add(total, low, number(load(grad[i, k, j])))
                count += one
        total, low = block_pair(total, low, shared, tails, thread, threads)
        count, _ = block_pair(count, zero, shared, tails, thread, threads)
        average, tail = mean(total, low, count if count > zero else one)
        for k in range(thread, x.shape[1], threads):
            y = number(load(x[i, k, j]))
            y = y if FROM_OUTPUT else number(excess(y, largest, threshold, rest))
            value = number(load(grad[i, k, j]))
            difference, low = lead(value, average)
            inside = number(difference) + (number(low) - tail)
            outside = zero if value == value else value
            out[i, k, j] = store((inside if y > zero else outside) if valid else nan)
        row += cuda.gridDim.x
""",
    "hardmax": """
def rows(x, out):
    shared = cuda.shared.array(THREADS, number)
    places = cuda.shared.array(THREADS, int64)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_largest(x, i, j, shared, thread, threads)
        place = int64(-x.shape[1])  # less the first largest entry's index
        for k in range(thread, x.shape[1], threads):
            if number(load(x[i, k, j])) == largest and place < -k:
                place = int64(-k)
        place = block_largest(place, places, thread, threads)
        for k in range(thread, x.shape[1], threads):
            out[i, k, j] = store((one if k == -place else zero) if largest == largest else nan)
        row += cuda.gridDim.x

def rows_backward(grad, x, out):
    shared = cuda.shared.array(THREADS, number)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_largest(x, i, j, shared, thread, threads)
        for k in range(thread, x.shape[1], threads):
            value = number(load(grad[i, k, j]))
            out[i, k, j] = store((zero if value == value else value) if largest == largest else nan)
        row += cuda.gridDim.x
""",
}


def scope_of(dtype):
    """Return what every kernel's source refers to, for the dtype of a name."""
    kind = common.number(dtype)
    load, store = conversions(dtype)
    scope = {"cuda": cuda, "number": kind, "load": load, "store": store, "fma": fma, "THREADS": target.THREADS}
    scope |= {"int64": np.int64, "zero": kind(0), "one": kind(1), "infinity": kind(np.inf), "nan": kind(np.nan)}
    return scope


def build(source, scope, label, kernels):
    """Return the last functions of the source, as many as there are kernels, its others compiled for the device."""
    functions = common.define(BLOCK + source, __name__, scope, label)
    for helper in functions[:-kernels]:
        scope[helper.__name__] = cuda.jit(helper, device=True)
    return functions[-kernels:]


@cache
def kernel(function, mode, dtype):
    """Return the Python function of a `RowFunction`'s kernel; mode and dtype are as in `cpu_rows.RowKernels`."""
    is_output = mode == "from_output"
    scope = scope_of(dtype) | {"FROM_OUTPUT": is_output}
    scope |= {formula.__name__: formula.compiled(common.number(dtype)) for formula in function.formulas}
    label = f"{common.label(function.formulas[0], dtype)}_{is_output}"
    forward, backward = build(ROW_FUNCTIONS[function.name], scope, label, 2)
    return forward if mode == "value" else backward


def rowwise(interop, function, mode, arrays, axis, mask, scale, out):
    """Apply a `RowFunction`, which has neither mask nor scale, to GPU arrays; see `numact.dispatch_rows.rowwise`."""

    def start(x, views, rows, dtype):
        outer, length, inner = rows
        threads = min(target.THREADS, max(32, 1 << max(length - 1, 0).bit_length()))
        grid = target.blocks(interop, x, outer * inner, threads)
        target.launch(interop, x, kernel(function, mode, dtype), grid, threads, [item.reshape(rows) for item in views])

    return along_rows(interop, start, arrays, axis, mask, out)
