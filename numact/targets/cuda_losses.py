"""CUDA kernels of the cross entropy, one block a row: the formulas are those of `cpu_losses`."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from numact import dispatch, dispatch_losses, result_types
from numact.elementary import log1p
from numact.rowwise import weight
from numact.targets import common, cuda
from numact.targets.cuda_projections import build, scope_of

COUNTERS = 32  # blocks at most that count labels; every block of the next kernel adds their counts

# What the host does not read (a label, a count, grad_output) the kernels read, so that no call waits for the GPU. The
# flags in capitals are constants: what one turns off is not compiled, and another array stands in its argument's place.
KERNELS = """
def row_rest(x, i, j, largest, shared, tails, thread, threads):
    total, low = zero, zero
    for k in range(thread, x.shape[1], threads):
        total, low = add(total, low, number(weight(number(load(x[i, k, j])), largest, one)))
    total, low = block_pair(total, low, shared, tails, thread, threads)
    rest = float64(total - one) + float64(low)
    if rest < 0.001:
        total, low = zero, zero
        for k in range(thread, x.shape[1], threads):
            e = number(weight(number(load(x[i, k, j])), largest, one))
            total, low = add(total, low, e if e < one else zero)
        total, low = block_pair(total, low, shared, tails, thread, threads)
        rest = float64(total) + float64(low)
    return rest

def mean_gap(x, i, j, largest, shared, tails, thread, threads):
    total, low = zero, zero
    for k in range(thread, x.shape[1], threads):
        total, low = add(total, low, largest - number(load(x[i, k, j])))
    total, low = block_pair(total, low, shared, tails, thread, threads)
    return (float64(total) + float64(low)) / float64(x.shape[1])

def sum_parts(x, parts, i, j, largest, shared, tails, thread, threads):
    total, low, gaps, low_gaps = zero, zero, zero, zero
    for k in range(thread, x.shape[1], threads):
        p = number(load(parts[i, k, j]))
        total, low = add(total, low, p)
        gap = p * (largest - number(load(x[i, k, j]))) if p != zero else zero
        gaps, low_gaps = add(gaps, low_gaps, gap)
    total, low = block_pair(total, low, shared, tails, thread, threads)
    gaps, low_gaps = block_pair(gaps, low_gaps, shared, tails, thread, threads)
    return float64(total) + float64(low), float64(gaps) + float64(low_gaps)

def fill_row(out, i, j, value, thread, threads):
    for k in range(thread, out.shape[1], threads):
        out[i, k, j] = store(value)

def class_row(x, labels, gradient, i, j, row, smoothing, scale, shared, tails, thread, threads):
    label = int64(labels.flat[row])
    largest = row_largest(x, i, j, shared, thread, threads)
    if not (is_finite(largest) and label >= 0 and label < x.shape[1]):
        if GRADIENT:
            fill_row(gradient, i, j, nan, thread, threads)
        return float64(nan)
    gaps = mean_gap(x, i, j, largest, shared, tails, thread, threads) if smoothing != 0.0 else 0.0
    rest = row_rest(x, i, j, largest, shared, tails, thread, threads)
    right = number(load(x[i, label, j]))
    gap = float64(largest) - float64(right)
    cuda.syncthreads()
    if GRADIENT:
        others = smoothing / float64(x.shape[1])
        missing = (smoothing - others) - rest / (1.0 + rest)
        if right < largest:
            missing = float64(weight(right, largest, one)) / (1.0 + rest) - (1.0 - smoothing + others)
        factor, below = number(scale / (1.0 + rest)), number(scale * others)
        for k in range(thread, x.shape[1], threads):
            e = number(weight(number(load(x[i, k, j])), largest, one))
            value = number(fma(factor, e, -below))
            gradient[i, k, j] = store(number(scale * missing) if k == label else value)
    loss = float64(log1p(rest))
    return loss + gap if smoothing == 0.0 else fma(smoothing, gaps, fma(1.0 - smoothing, gap, loss))

def parts_row(x, labels, gradient, i, j, row, smoothing, scale, shared, tails, thread, threads):
    largest = row_largest(x, i, j, shared, thread, threads)
    if not is_finite(largest):
        if GRADIENT:
            fill_row(gradient, i, j, nan, thread, threads)
        return float64(nan)
    norm, gap = sum_parts(x, labels, i, j, largest, shared, tails, thread, threads)
    gaps = mean_gap(x, i, j, largest, shared, tails, thread, threads) if smoothing != 0.0 else 0.0
    rest = row_rest(x, i, j, largest, shared, tails, thread, threads)
    norm = fma(1.0 - smoothing, norm, smoothing)
    if GRADIENT:
        factor, slope = number(scale * norm / (1.0 + rest)), number(scale * (1.0 - smoothing))
        below = number(scale * (smoothing / float64(x.shape[1])))
        for k in range(thread, x.shape[1], threads):
            e = number(weight(number(load(x[i, k, j])), largest, one))
            p = number(load(labels[i, k, j]))
            gradient[i, k, j] = store(number(fma(factor, e, -number(fma(slope, p, below)))))
    loss = fma(1.0 - smoothing, gap, smoothing * gaps) if smoothing != 0.0 else gap
    return fma(norm, log1p(rest), loss)

def is_counted(labels, row, ignored):
    return {is_counted}

def divisor_of(counts, divisor):
    if COUNTED:
        divisor = 0.0
        for k in range(counts.shape[0]):
            divisor += float64(counts[k])
    return divisor

def count(labels, counts, ignored):
    shared = cuda.shared.array(THREADS, float64)
    tails = cuda.shared.array(THREADS, float64)
    found = 0.0
    for k in range(cuda.grid(1), labels.size, cuda.gridsize(1)):
        found += 0.0 if int64(labels.flat[k]) == ignored else 1.0
    found, _ = block_pair(found, 0.0, shared, tails, cuda.threadIdx.x, cuda.blockDim.x)
    if cuda.threadIdx.x == 0:
        counts[cuda.blockIdx.x] = found

def rows(x, labels, grad, counts, losses, sums, gradient, ignored, smoothing, factor, divisor):
    shared = cuda.shared.array(THREADS, number)
    tails = cuda.shared.array(THREADS, number)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    counted = divisor_of(counts, divisor)
    factor = factor / counted if counted > 0.0 else 0.0
    row, total, low = cuda.blockIdx.x, 0.0, 0.0
    while row < x.shape[0] * inner:
        i, j, scale, loss = row // inner, row % inner, factor, 0.0
        if HAS_GRAD:
            scale = factor * float64(load_grad(grad.flat[row if GRAD_OF_ROWS else 0]))
        if is_counted(labels, row, ignored):
            loss = {kind}_row(x, labels, gradient, i, j, row, smoothing, scale, shared, tails, thread, threads)
        elif GRADIENT:
            fill_row(gradient, i, j, zero, thread, threads)
        if LOSSES and thread == 0:
            losses[row] = store(number(loss))
        total, low = add(total, low, loss)
        row += cuda.gridDim.x
    if thread == 0:
        sums[2 * cuda.blockIdx.x] = total
        sums[2 * cuda.blockIdx.x + 1] = low

def finish(sums, counts, loss, divisor):
    shared = cuda.shared.array(THREADS, float64)
    tails = cuda.shared.array(THREADS, float64)
    total, low = 0.0, 0.0
    for k in range(cuda.threadIdx.x, sums.shape[0] // 2, cuda.blockDim.x):
        total, low = add(total, low + sums[2 * k + 1], sums[2 * k])
    total, low = block_pair(total, low if low == low else 0.0, shared, tails, cuda.threadIdx.x, cuda.blockDim.x)
    counted = divisor_of(counts, divisor)
    if cuda.threadIdx.x == 0:
        loss[0] = store(number(((total + low) if low == low else total) / counted if counted > 0.0 else float64(nan)))
"""


class Flags(NamedTuple):
    """What a kernel is compiled for."""

    parts: bool
    loss: bool
    gradient: bool
    counted: bool
    grad: str | None
    grad_of_rows: bool


@cache
def functions(dtype, flags):
    """Return the Python functions of the kernels `count`, `rows` and `finish` for the dtype of a name."""
    scope = scope_of(dtype) | {"float64": np.float64, "LOSSES": flags.loss, "GRADIENT": flags.gradient}
    scope |= {"COUNTED": flags.counted, "HAS_GRAD": flags.grad is not None, "GRAD_OF_ROWS": flags.grad_of_rows}
    scope["load_grad"] = common.conversions(flags.grad or "float64")[0]
    scope |= {"weight": weight.compiled(common.number(dtype)), "log1p": log1p.compiled(np.float64)}
    words = {"kind": "parts", "is_counted": "True"}
    if not flags.parts:
        words = {"kind": "class", "is_counted": "int64(labels.flat[row]) != ignored"}
    label = "_".join([common.label(weight, dtype), log1p.fingerprint(np.float64), *map(str, flags)])
    return build(KERNELS.format(**words), scope, label, 3)


def cross_entropy(interop, options, logits, labels, grad_output, out, wants_loss, wants_gradient):
    """Return the loss and the gradient of GPU arrays; see `numact.dispatch_losses.cross_entropy`."""
    x, target_labels = cuda.view(interop, logits), cuda.view(interop, labels)
    made = dispatch_losses.plan(options, (x.shape, x.dtype), (target_labels.shape, target_labels.dtype))
    parts, each = made.kind == "parts", options.reduction == "none"
    target = None if out is None else cuda.view_to_write(interop, out)
    if target is not None:
        expected = made.shape if wants_gradient else made.rows if each else ()
        result_types.check_out(target.shape, target.dtype, target.read_only, expected, made.dtype)
    factor, grad = _grad_of(interop, grad_output, made, each)
    x = _plain(interop, logits, x, made.dtype)
    target_labels = _plain(interop, labels, target_labels, made.dtype) if parts else _flat(target_labels)
    counted = options.ignore_index is not None and options.reduction == "mean"
    of_grad = (grad.dtype, grad.shape != (1,)) if grad else (None, False)
    flags = Flags(parts, wants_loss and each, wants_gradient, counted, *of_grad)
    outer, length, inner = shape = dispatch.split_at(made.shape, options.axis)
    threads = min(cuda.THREADS, max(32, 1 << max(length - 1, 0).bit_length()))
    blocks = cuda.blocks(interop, logits, max(outer * inner, 1), threads)
    inputs = [x, target_labels] + ([grad] if grad else [])
    own = target is not None and target.contiguous and target.dtype == made.dtype and not cuda.overlaps(target, inputs)
    gradient = (out if own else interop.empty(logits, made.shape, made.dtype)) if wants_gradient else None
    loss = (
        (out if own and not wants_gradient else interop.empty(logits, made.rows if each else (), made.dtype))
        if wants_loss
        else None
    )

    def flat(array):
        view = cuda.view(interop, array)
        return view.reshape((math.prod(view.shape),))

    sums = flat(interop.empty(logits, (2 * blocks,), "float64"))
    counters = max(1, min(COUNTERS, -(-outer * inner // cuda.THREADS)))
    counts = flat(interop.empty(logits, (counters,), "float64")) if counted else sums
    losses = flat(loss) if flags.loss else sums
    result = cuda.view(interop, gradient).reshape(shape) if wants_gradient else x.reshape(shape)
    target_labels = target_labels.reshape(shape) if parts else target_labels
    ignored = dispatch_losses.NOTHING_IGNORED if options.ignore_index is None else options.ignore_index
    divisor = float(outer * inner) if options.reduction == "mean" else 1.0
    count, rows, finish = functions(made.dtype, flags)
    numbers = [np.int64(ignored), *map(np.float64, (options.label_smoothing, factor, divisor))]
    if counted:
        cuda.launch(interop, logits, count, counters, cuda.THREADS, [target_labels, counts], numbers[:1])
    views = [x.reshape(shape), target_labels, grad or sums, counts, losses, sums, result]
    cuda.launch(interop, logits, rows, blocks, threads, views, numbers)
    if wants_loss and not each:
        cuda.launch(interop, logits, finish, 1, cuda.THREADS, [sums, counts, flat(loss)], numbers[3:])
    return _deliver(interop, loss, out, not wants_gradient), _deliver(interop, gradient, out, True)


def _grad_of(interop, grad_output, made, each):
    """Return a number and None, or 1 and the view of an array: of one element, or of one a row."""
    if isinstance(grad_output, (type(None), bool, int, float)):
        return 1.0 if grad_output is None else float(grad_output), None
    grad = cuda.view(interop, grad_output)
    result_types.compute_dtype("grad_output", grad.dtype)
    dispatch_losses.check_grad(grad.shape, made, each)
    return 1.0, _flat(grad)


def _flat(view):
    """Return a view that kernels index by `flat`: one axis at least."""
    return view if view.shape else view.reshape((1,))


def _plain(interop, array, view, dtype):
    """Return the view of an array, or of a copy where it is not contiguous or of another dtype."""
    if view.dtype == dtype and view.contiguous:
        return view
    copy = interop.empty(array, view.shape, dtype)
    cuda.elementwise(interop, cuda.IDENTITY, {"x": array}, (), copy)
    return cuda.view(interop, copy)


def _deliver(interop, result, out, is_for_out):
    """Return the result, copied to `out` where that is meant for it."""
    if result is None or out is None or out is result or not is_for_out:
        return result
    cuda.elementwise(interop, cuda.IDENTITY, {"x": result}, (), out)
    return out
