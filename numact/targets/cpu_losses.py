"""CPU kernel of the cross entropy: each row of logits is read once, for the loss and for its gradient."""

from functools import cache

import numpy as np

from numact._version import __version__
from numact.elementary import log1p
from numact.rowwise import weight
from numact.targets import common, cpu_width
from numact.targets.cpu_gathered import build, divided
from numact.targets.cpu_threads import Kernel

PARALLEL_FROM = 16_384  # entries

# The loss of a row is P log(S) + sum of p_j (m - x_j), with the largest entry m, S = sum of e^(x_j - m) and P = sum of
# p_j: no term is negative and nothing cancels. S is 1 + rest, and where the rest is small it is summed without the 1,
# so that a confident right answer keeps its digits. Each term is summed in the row's own type, its rounding errors
# beside it; what is done once a row is done in float64.
KERNELS = """
def add_weights(values, place, padded, largest, total, low):
    for first in range(0, padded, 16):
        lane = first % LANES
        for j in range(16):
            i, k = at(place + first, j), at(lane, j)
            e = weight(values[i], largest, one)
            values[i] = e
            total[k], low[k] = add(total[k], low[k], e)

def add_smaller(values, place, padded, total, low):
    for first in range(0, padded, 16):
        lane = first % LANES
        for j in range(16):
            k = at(lane, j)
            e = values[at(place + first, j)]
            total[k], low[k] = add(total[k], low[k], e if e < one else zero)

def add_gaps(values, place, length, largest, total, low):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            k = at(0, j)
            total[k], low[k] = add(total[k], low[k], largest - values[at(place + first, j)])

def add_weighted_gaps(parts, values, place, length, largest, total, low):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            k = at(0, j)
            p = parts[at(place + first, j)]
            gap = p * (largest - values[at(place + first, j)])
            total[k], low[k] = add(total[k], low[k], gap if p != zero else zero)

def add_parts(parts, place, length, total, low):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            k = at(0, j)
            total[k], low[k] = add(total[k], low[k], parts[at(place + first, j)])

def double_sum(total, low, length):
    result, rest = sum_lanes(total, low, length)
    return float64(result) + float64(rest) if result - result == zero else float64(result)

def row_rest(values, place, length, padded, largest, total, low):
    add_weights(values, place, padded, largest, total, low)
    sum, tail = sum_lanes(total, low, length)
    rest = float64(sum - one) + float64(tail)
    if rest < 0.001:
        add_smaller(values, place, padded, total, low)
        rest = double_sum(total, low, length)
    return rest

def all_gaps(values, place, length, largest, total, low, smoothing):
    if smoothing == 0.0:
        return 0.0
    add_gaps(values, place, length, largest, total, low)
    return double_sum(total, low, length) / float64(length)

def shift(values, place, length, factor, below):
    for i in range(length):
        values[at(place, i)] = fma(factor, values[at(place, i)], -below)

def shift_parts(parts, values, place, length, factor, slope, below):
    for i in range(length):
        values[at(place, i)] = fma(factor, values[at(place, i)], -fma(slope, parts[at(place, i)], below))

def class_row(label, values, place, length, padded, total, low, smoothing, scale, wants_gradient):
    largest = row_maximum(values, place, length)
    if not largest - largest == zero:
        fill(values, place, length, nan)
        return float64(nan)
    right = values[at(place, label)]
    gaps = all_gaps(values, place, length, largest, total, low, smoothing)
    rest = row_rest(values, place, length, padded, largest, total, low)
    gap = float64(largest) - float64(right)
    loss = log1p(rest) + gap if smoothing == 0.0 else fma(smoothing, gaps, fma(1.0 - smoothing, gap, log1p(rest)))
    if wants_gradient:
        others = smoothing / float64(length)  # what the target gives the other classes
        e = float64(values[at(place, label)])
        missing = (smoothing - others) - rest / (1.0 + rest)  # of the softmax less the target, where that is near 1
        if right < largest:
            missing = e / (1.0 + rest) - (1.0 - smoothing + others)
        shift(values, place, length, number(scale / (1.0 + rest)), number(scale * others))
        values[at(place, label)] = number(scale * missing)
    return loss

def parts_row(parts, values, place, length, padded, total, low, smoothing, scale, wants_gradient):
    largest = row_maximum(values, place, length)
    if not largest - largest == zero:
        fill(values, place, length, nan)
        return float64(nan)
    add_parts(parts, place, length, total, low)
    norm = double_sum(total, low, length)
    add_weighted_gaps(parts, values, place, length, largest, total, low)
    gap = double_sum(total, low, length)
    gaps = all_gaps(values, place, length, largest, total, low, smoothing)
    rest = row_rest(values, place, length, padded, largest, total, low)
    norm = fma(1.0 - smoothing, norm, smoothing)
    loss = fma(norm, log1p(rest), fma(1.0 - smoothing, gap, smoothing * gaps) if smoothing != 0.0 else gap)
    if wants_gradient:
        others = number(scale * (smoothing / float64(length)))
        factor = number(scale * norm / (1.0 + rest))
        shift_parts(parts, values, place, length, factor, number(scale * (1.0 - smoothing)), others)
    return loss

def part(task, x, labels, grad, out_losses, out_sums, out_gradient, length, inner, size, ignored, smoothing, factor):
    padded, step, group = (length + 15) // 16 * 16, stride(length), group_of(size, length, inner)
    values, total, low = np.empty(group * step, number), np.zeros(LANES, number), np.zeros(LANES, number)
    {make_parts}
    start, first_row, count = place_of(task, size, length, inner, x.size // length)
    sum, tail = 0.0, 0.0
    for first in range(0, count, group):
        some, begin = min(group, count - first), start + first * length
        gather(x, begin, length, inner, some, values, step)
        {gather_parts}
        for k in range(some):
            place, row = k * step, first_row + first + k
            scale = factor * float64(load(grad[row])) if grad.size else factor
            {loss}
            if out_losses.size:
                out_losses[row] = store(number(loss))
            sum, tail = add(sum, tail, loss)
        if out_gradient.size:
            scatter(values, step, out_gradient, begin, length, inner, some)
    out_sums[2 * task], out_sums[2 * task + 1] = sum, tail
"""
WORDS = {
    "classes": {
        "make_parts": "",
        "gather_parts": "",
        "loss": """label = int64(labels[row])
            if label == ignored:
                loss = 0.0
                fill(values, place, length, zero)
            else:
                loss = class_row(
                    label, values, place, length, padded, total, low, smoothing, scale, out_gradient.size > 0
                )
""",
    },
    "parts": {
        "make_parts": "parts = np.empty(group * step, number)",
        "gather_parts": "gather(labels, begin, length, inner, some, parts, step)",
        "loss": """loss = parts_row(
                parts, values, place, length, padded, total, low, smoothing, scale, out_gradient.size > 0
            )
""",
    },
}
CHECK = """
def check(task, labels, classes, ignored, out_found):
    out_found[0], out_found[1] = -1, 0
    for i in range(labels.size):
        label = int64(labels[i])
        if label != ignored:
            if label < 0 or label >= classes:
                out_found[0] = i
                return
            out_found[1] += 1
"""


@cache
def kernel(dtype, labels):
    """Return the kernel for the dtype of a name and for labels of a dtype, or "parts"."""
    words = WORDS["parts" if labels == "parts" else "classes"]
    scope = {"weight": weight.compiled(common.number(dtype)), "log1p": log1p.compiled(np.float64)}
    scope["float64"] = np.float64
    label = f"{common.label(weight, dtype)}_{log1p.fingerprint(np.float64)}_{labels}"
    return build(KERNELS.format(**words), dtype, scope, label)


@cache
def _checker(labels):
    """Return the kernel that looks for a label out of range, for labels of a dtype."""
    label = f"{labels}_{__version__.replace('.', '_')}"
    (check,) = cpu_width.define(CHECK, __name__, {"int64": np.int64}, label)
    return Kernel(check)


def check(labels, classes, ignored):
    """Return where a label of a flat array is neither a class nor the ignored one, or -1, and how many count."""
    found = np.zeros(2, np.int64)
    _checker(labels.dtype.name).run(False, 1, labels, classes, ignored, found)
    return found


def cross_entropy(dtype, kind, arrays, losses, gradient, shape, ignored, smoothing, factor):
    """Fill losses and the gradient, or one of them where the other is empty; return numbers whose sum is the losses'.

    Parameters
    ----------
    dtype : str
        The name of the dtype of all arrays but integer labels.
    kind : str
        The name of the labels' dtype, or "parts" where they are the probabilities of the classes.
    arrays : tuple of array
        Logits, labels and the losses' gradients, which may be empty; all are flat and dense, half types as their bits.
    losses, gradient : array
        Flat, of one element a row, and of the size of the logits.
    shape : tuple of int
        The entries before, along and after the classes' axis.
    ignored : int
        A label whose rows are 0; no class.
    smoothing : float
        The part of the target that is spread over all classes.
    factor : float
        Of the gradient.

    Returns
    -------
    array of float64
        A sum and its rounding error for each group of rows. The groups depend on the shape alone.
    """
    logits, *_ = arrays
    _, length, inner = shape
    count, size = divided(*shape)
    sums, pays = np.zeros(2 * count), logits.size >= PARALLEL_FROM
    results, numbers = (losses, sums, gradient), (length, inner, size, ignored, smoothing, factor)
    kernel(dtype, kind).run(pays, count, *arrays, *results, *numbers)
    return sums
