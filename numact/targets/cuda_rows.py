"""CUDA kernels for row-wise functions: one block a row, its threads' parts reduced in shared memory."""

import math
from functools import cache

import numpy as np
from numba import cuda

from numact import dispatch, dispatch_rows
from numact.targets import common
from numact.targets import cuda as target

# Indices are unsigned: one that may be negative is looked at twice, and takes registers for it.
# number() around what a compiled function returns matters in the simulator alone, where that is a Python float.
REDUCTIONS = """
def block_maximum(value, shared, thread, threads):
    shared[thread] = value
    cuda.syncthreads()
    half = threads // 2
    while half > 0:
        if thread < half and not shared[thread] >= shared[thread + half]:
            shared[thread] = shared[thread + half]
        cuda.syncthreads()
        half //= 2
    result = shared[0]
    cuda.syncthreads()
    return result

def block_sum(value, shared, thread, threads):
    shared[thread] = value
    cuda.syncthreads()
    half = threads // 2
    while half > 0:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2
    result = shared[0]
    cuda.syncthreads()
    return result

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))
"""
# An entry is {x}, and its gradient {grad}: those of an array, or what stands for one that is masked out.
STEPS = """
def row_maximum(x, {mask}scale, i, j, shared, thread, threads):
    largest = number(-inf)
    for k in range(thread, x.shape[1], threads):
        value = {x}
        if not largest >= value:
            largest = value
    return block_maximum(largest, shared, thread, threads)

def row_sum(x, {mask}scale, i, j, largest, shared, thread, threads):
    total, low = number(0), number(0)
    for k in range(thread, x.shape[1], threads):
        total, low = add(total, low, number(weight({x}, largest, scale)))
    return block_sum(total + low, shared, thread, threads)

def row_rest(x, {mask}scale, i, j, largest, shared, thread, threads):
    total, low, count = number(0), number(0), number(0)
    for k in range(thread, x.shape[1], threads):
        value = {x}
        if value == largest:
            count += number(1)
        else:
            total, low = add(total, low, number(weight(value, largest, scale)))
    count = block_sum(count, shared, thread, threads) - number(1)
    return count + block_sum(total + low, shared, thread, threads)

def row_terms(grad, x, {mask}scale, i, j, largest, shared, thread, threads):
    total, low = number(0), number(0)
    for k in range(thread, x.shape[1], threads):
        e = number(weight({x}, largest, scale))
        total, low = add(total, low, number(term(e, {grad})))
    return block_sum(total + low, shared, thread, threads)
"""
KERNEL = """
def {mode}({arguments}, {mask}out, scale):
    shared = cuda.shared.array(THREADS, number)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = uint64(row // inner), uint64(row % inner)
{body}
        row += cuda.gridDim.x
"""
LARGEST = """
        largest = row_maximum(x, {mask}scale, i, j, shared, thread, threads)
"""
TOTAL = """
        total = row_sum(x, {mask}scale, i, j, largest, shared, thread, threads)
"""
LOGARITHM = """
        rest = row_rest(x, {mask}scale, i, j, largest, shared, thread, threads)
        high, low = logarithm(largest, rest)
        high, low = number(high), number(low)
"""
SHARES = """
        dot = row_terms(grad, x, {mask}scale, i, j, largest, shared, thread, threads)
        first, second = shares(total, dot, scale)
        first, second = number(first), number(second)
"""
ENTRIES = """
        for k in range(thread, x.shape[1], threads):
            out[i, uint64(k), j] = {result}
"""
ONE_A_ROW = """
        if thread == 0:
            out[i, j] = {result}
"""
WEIGHT = "number(weight({x}, largest, scale))"
GRADIENT = f"store(number(gradient({WEIGHT}, {{grad}}, first, second)))"
KERNELS = {  # what computes it -> (the steps, the result)
    "value": (LARGEST + TOTAL + ENTRIES, f"store({WEIGHT} / total)"),
    "log": (LARGEST + LOGARITHM + ENTRIES, "store(number(entry({x}, largest, high, low, scale)))"),
    "reduced": (LARGEST + LOGARITHM + ONE_A_ROW, "store(number(reduced(largest, high, low)))"),
    "backward": (LARGEST + TOTAL + SHARES + ENTRIES, GRADIENT),
    "from_output": ("\n        largest, total = number(0), number(1)\n" + SHARES + ENTRIES, GRADIENT),
    "reduced_backward": (
        LARGEST + TOTAL + ENTRIES,
        f"store(number(gradient({WEIGHT}, number(load(grad[i, j])) / total)))",
    ),
}


def _source(kind, is_masked):
    """Return the source of a kernel and of what it calls."""
    body, result = KERNELS[kind]
    words = {
        "result": result,
        "x": "number(read(x[i, uint64(k), j], scale))",
        "grad": "number(load(grad[i, uint64(k), j]))",
        "mask": "mask, " if is_masked else "",
        "mode": f"row_{kind}",
        "arguments": "x" if kind in ("value", "log", "reduced") else "grad, x",
    }
    if is_masked:
        for name, hidden in (("result", "BLANK"), ("x", "HIDDEN"), ("grad", "number(0)")):
            words[name] = f"({words[name]} if mask[i, uint64(k), j] else {hidden})"
    source = REDUCTIONS + STEPS + KERNEL.replace("{body}", body)
    for name, text in words.items():
        source = source.replace(f"{{{name}}}", text)
    return source


@cache
def function(formulas, mode, dtype, scaled, is_masked):
    """Return the Python function of a row kernel; see `numact.targets.cpu_rows.kernels`."""
    kind = formulas.kind(mode)
    scope = common.row_scope(formulas, kind, dtype, scaled)
    scope |= {"cuda": cuda, "uint64": np.uint64, "inf": math.inf, "THREADS": target.THREADS}
    hidden = scope["number"](0 if kind == "from_output" else -np.inf)
    scope |= {"HIDDEN": hidden, "BLANK": scope["store"](scope["number"](-np.inf if kind == "log" else 0))}
    source = _source(kind, is_masked)
    label = common.row_label(formulas, kind, dtype, scaled, source)
    *helpers, kernel = common.define(source, __name__, scope, label)
    for helper in helpers:
        scope[helper.__name__] = cuda.jit(helper, device=True)
    return kernel


def _copied(interop, x, item, dtype, shape):
    """Return the view of a contiguous copy of a view."""
    copy = target.view(interop, interop.empty(x, shape, dtype))
    _fill(interop, x, item, copy, dtype)
    return copy


def _fill(interop, x, item, written, dtype):
    """Copy one view to another of its shape."""
    kind = "float32" if dtype == "uint8" else dtype
    target.launch_elementwise(interop, x, target.IDENTITY, [item], [written], (), kind)


def _contiguous(interop, x, item, dtype, shape):
    """Return a view with that dtype and shape, contiguous: a copy where it has to be."""
    if (item.dtype, item.shape) == (dtype, shape) and item.contiguous:
        return item
    return _copied(interop, x, item.broadcast(shape), dtype, shape)


def _mask(interop, x, mask, shape):
    """Return the view of a mask as bytes, of the shape of x."""
    item = target.view(interop, mask)
    dispatch_rows.check_mask(item.shape, item.dtype, shape)
    return _contiguous(interop, x, item._replace(dtype="uint8"), "uint8", shape)


def _launch(interop, x, kernel, views, rows, numbers):
    outer, length, inner = rows
    threads = min(target.THREADS, max(32, 1 << max(length - 1, 0).bit_length()))
    target.launch(interop, x, kernel, target.blocks(interop, x, outer * inner, threads), threads, views, numbers)


def rowwise(interop, formulas, mode, arrays, axis, mask, scale, out):
    """Apply a row-wise function to GPU arrays by name; see `numact.dispatch_rows.rowwise`."""

    def kernel_for(dtype):
        return function(formulas, mode, dtype, scale != 1.0, mask is not None)

    return along_rows(interop, kernel_for, arrays, axis, mask, [scale], out)


def along_rows(interop, kernel_for, arrays, axis, mask, numbers, out):
    """Launch the kernel for the result's dtype on rows of GPU arrays by name, their mask, the result and numbers."""
    inputs, dtype, shape, written = target.prepare(interop, arrays, out)
    rows = dispatch.split_at(shape, axis)
    *_, x = arrays.values()
    inputs = [_contiguous(interop, x, item, dtype, shape) for item in inputs]
    masks = [] if mask is None else [_mask(interop, x, mask, shape)]
    direct = written is not None and written.contiguous and written.dtype == dtype
    direct = direct and not target.overlaps(written, inputs)
    result = out if direct else interop.empty(x, shape, dtype)
    views = [item.reshape(rows) for item in [*inputs, *masks, target.view(interop, result)]]
    if math.prod(shape):
        _launch(interop, x, kernel_for(dtype), views, rows, [common.number(dtype)(value) for value in numbers])
    return _deliver(interop, result, out)


def _deliver(interop, result, out):
    """Return the result, copied to `out` where it was not computed there."""
    if out is not None and result is not out:
        target.elementwise(interop, target.IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def _rows(interop, x, item, axes, dtype):
    """Return a contiguous view of an array as rows over axes, and their sizes (before, along, after)."""
    shape = item.shape
    if rows := dispatch_rows.split_at_axes(shape, axes):
        return _contiguous(interop, x, item, dtype, shape).reshape(rows), rows
    order = [axis for axis in range(len(shape)) if axis not in axes] + list(axes)
    moved = item._replace(shape=tuple(shape[k] for k in order), strides=tuple(item.strides[k] for k in order))
    length = math.prod(shape[axis] for axis in axes)
    rows = math.prod(shape) // max(length, 1), length, 1
    return _copied(interop, x, moved, dtype, moved.shape).reshape(rows), rows


def reduction(interop, formulas, x, axis, keepdims, out):
    """Reduce a GPU array; see `numact.dispatch_rows.reduction`."""
    (item,), dtype, shape, _ = target.prepare(interop, {"x": x}, None)
    axes = dispatch_rows.normalize(axis, len(shape))
    final = dispatch_rows.reduced_shape(shape, axes, keepdims)
    if out is not None:
        written = target.view(interop, out)
        dispatch.check_out(written.shape, written.dtype, written.read_only, final, dtype)
    flat, rows = _rows(interop, x, item, axes, dtype)
    rows = math.prod(dispatch_rows.reduced_shape(shape, axes, False)) // rows[2], *rows[1:]  # of no entries, too
    result = interop.empty(x, final, dtype)
    kernel = function(formulas, "value", dtype, False, False)
    _launch(
        interop,
        x,
        kernel,
        [flat, target.view(interop, result).reshape((rows[0], rows[2]))],
        rows,
        [common.number(dtype)(1)],
    )
    return _deliver(interop, result, out)


def reduction_backward(interop, formulas, grad_output, x, axis, keepdims, out):
    """Return the gradient of a reduction on a GPU; see `numact.dispatch_rows.reduction_backward`."""
    grad, item = target.view(interop, grad_output), target.view(interop, x)
    dtype = dispatch.common_dtype({"grad_output": grad.dtype, "x": item.dtype})
    shape, axes = item.shape, dispatch_rows.normalize(axis, len(item.shape))
    final = dispatch_rows.reduced_shape(shape, axes, keepdims)
    dispatch_rows.check_gradient(grad.shape, final)
    if out is not None:
        written = target.view(interop, out)
        dispatch.check_out(written.shape, written.dtype, written.read_only, shape, dtype)
    result = interop.empty(x, shape, dtype)
    if math.prod(shape) == 0:
        return _deliver(interop, result, out)
    flat, rows = _rows(interop, x, item, axes, dtype)
    grads = _contiguous(interop, x, grad, dtype, final).reshape((rows[0], rows[2]))
    kernel, scale = function(formulas, "backward", dtype, False, False), [common.number(dtype)(1)]
    if dispatch_rows.split_at_axes(shape, axes):
        _launch(
            interop,
            x,
            kernel,
            [grads, flat, target.view(interop, result).reshape(rows)],
            rows,
            [common.number(dtype)(1)],
        )
        return _deliver(interop, result, out)
    order = [axis for axis in range(len(shape)) if axis not in axes] + list(axes)
    moved = target.view(interop, interop.empty(x, tuple(shape[k] for k in order), dtype))
    _launch(interop, x, kernel, [grads, flat, moved.reshape(rows)], rows, scale)
    back = [order.index(axis) for axis in range(len(shape))]
    moved = moved._replace(shape=shape, strides=tuple(moved.strides[k] for k in back))
    _fill(interop, x, moved, target.view(interop, result), dtype)
    return _deliver(interop, result, out)
