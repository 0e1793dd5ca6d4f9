"""Sparsemax and hardmax of rows whose entries lie in several arrays.

Sparsemax hangs on its support alone, and what a part leaves out by itself the whole row leaves out, too: its threshold
is no lower. So a part gives the entries of its own support, and parts merge by those of their supports together.
"""

import numpy as np

from numact import dispatch
from numact.binding import Formula
from numact.dispatch_rows import reduced_shape
from numact.primitives import fma
from numact.projections import excess, sparsemax
from numact.rowwise import lead


@Formula
def quotient(total, rest, count):
    """Return (total + rest) / count, but for what `remainder` returns."""
    return total / count


@Formula
def remainder(total, rest, count):
    """Return what total / count leaves of (total + rest) / count."""
    return (fma(-(total / count), count, total) + rest) / count


@Formula
def sparsemax_entry(x, maximum, threshold, rest):
    """Return an entry of sparsemax from what its row shares; NaN where the row's largest entry is not finite."""
    y = excess(x, maximum, threshold, rest)
    return y if y > 0.0 else maximum - maximum


def _apply(formula, *arrays):
    return dispatch.elementwise(formula, arrays, (), None)


def support(x, axis, keepdims=True):
    """Return the entries of sparsemax's support along an axis, filled up with -inf to as many in each row."""
    (axis,) = axis
    if not x.shape[axis]:
        return np.full_like(x, -np.inf, shape=reduced_shape(x.shape, (axis,), True))
    # An entry by which the whole row is NaN stays, whatever sparsemax makes of it.
    is_kept = (sparsemax(x, axis) > 0) | np.isnan(x) | (x == np.inf)
    counts = is_kept.sum(axis=axis)
    most = max(1, int(counts.max())) if counts.size else 1
    kept = np.moveaxis(np.where(is_kept, x, x.dtype.type(-np.inf)), axis, -1)
    kept = np.partition(kept, kept.shape[-1] - most, axis=-1)[..., kept.shape[-1] - most :]
    return np.moveaxis(kept, -1, axis)


def threshold(x, axis, keepdims=True):
    """Return the thresholds below the largest entry along an axis: a complex number of two parts, to be added."""
    (axis,) = axis
    x = np.moveaxis(support(x, (axis,)), axis, -1)
    is_inside = sparsemax(x) > 0
    high, low = (np.where(is_inside, part, 0) for part in lead.formula(x, x.max(axis=-1, keepdims=True)))
    one = -np.ones_like(high[..., :1])
    high, low = _sum(np.concatenate([high, one], -1), np.concatenate([low, np.zeros_like(one)], -1))
    count = is_inside.sum(axis=-1, keepdims=True).astype(x.dtype)
    shared = np.empty_like(high, dtype=np.complex128)
    shared.real, shared.imag = _apply(quotient, high, low, count), _apply(remainder, high, low, count)
    return np.moveaxis(shared, -1, axis)


def _sum(high, low):
    """Return the sums along the last axis, in two parts, of numbers in two parts; pairs by pairs."""
    while high.shape[-1] > 1:
        if high.shape[-1] % 2:
            high, low = (np.concatenate([part, np.zeros_like(part[..., :1])], -1) for part in (high, low))
        total, error = lead.formula(high[..., ::2], -high[..., 1::2])
        high, low = total, low[..., ::2] + low[..., 1::2] + error
    return high, low


def value(x, maximum, shared):
    """Return sparsemax of the entries x from their rows' largest and the thresholds below it."""
    return _apply(sparsemax_entry, x, maximum, shared.real.astype(x.dtype), shared.imag.astype(x.dtype))


def gradient(y, grad_output, maximum, total, count):
    """Return the gradient of sparsemax where it is y, from its rows' largest, and sum and count over the support."""
    inside = grad_output - total / count
    return np.where(y > 0, inside, no_gradient(grad_output, maximum)).astype(y.dtype)


def no_gradient(grad_output, maximum):
    """Return 0, or NaN where the gradient by the output or the row's largest entry is."""
    return np.where(np.isnan(maximum), maximum, np.where(np.isnan(grad_output), grad_output, 0)).astype(maximum.dtype)


def places_of_largest(x, maximum, places):
    """Return the places of the entries that equal their row's largest, and of the others one behind all."""
    return np.where(x == maximum, places, np.iinfo(np.int64).max)


def least(places, axis, keepdims=True):
    """Return the least of some places along an axis, which is kept with size 1."""
    (axis,) = axis
    if places.shape[axis]:
        return places.min(axis=axis, keepdims=True)
    return np.full_like(places, np.iinfo(np.int64).max, shape=reduced_shape(places.shape, (axis,), True))


def first_largest(is_first, maximum):
    """Return hardmax from the rows' largest entries and where those are for the first time."""
    return np.where(np.isnan(maximum), maximum, is_first).astype(maximum.dtype)
