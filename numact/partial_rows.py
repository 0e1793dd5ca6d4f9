"""Rows whose entries lie in several arrays: what each part gives, how parts merge, and the values from the whole.

A part gives its largest entry and its rest: the sum of its entries' weights relative to that, less the 1 of one largest
entry, so that what is far smaller keeps its digits. A pair is kept as one complex number, the maximum and i times the
rest. So pairs lie in arrays that are cut, moved and joined like any other.
"""

import numpy as np

from numact import dispatch
from numact.binding import Formula
from numact.dispatch_rows import reduced_shape
from numact.rowwise import (
    difference,
    logarithm,
    logarithm_of_sum,
    scaled_difference,
    scaled_logarithm,
    scaled_weight,
)


@Formula
def entry_weight(x, maximum, /, scale):
    """Return the weight of an entry relative to the largest; the scale is one number for a whole call."""
    return scaled_weight(x, maximum, scale)


@Formula
def softmax_entry(x, maximum, total, /, scale):
    """Return an entry of softmax from what its row shares."""
    return scaled_weight(x, maximum, scale) / total


@Formula
def log_softmax_entry(x, maximum, rest, /, scale):
    """Return an entry of log_softmax from what its row shares."""
    high, low = scaled_logarithm(maximum, rest)
    return scaled_difference(x, maximum, high, low, scale)


@Formula
def log_softmax_entry_of_scale_1(x, maximum, rest, /, scale):
    """Return an entry of log_softmax, the maximum within its logarithm."""
    high, low = logarithm(maximum, rest)
    return difference(x, maximum, high, low, scale)


@Formula
def logsumexp_of_pair(maximum, rest):
    """Return logsumexp from a row's pair."""
    high, low = logarithm(maximum, rest)
    return logarithm_of_sum(maximum, high, low)


def pair_of_entries(x, scale, axis, keepdims=True):
    """Return the pairs of the entries along some axes, which are kept with size 1."""
    maximum = largest(x, axis)
    weights = _apply(entry_weight, x, maximum, scale=scale)
    is_leading = weights == 1
    others = np.where(is_leading, 0, weights)
    return _pair(maximum, others, is_leading, axis)


def pair_of_pairs(pairs, scale, axis, keepdims=True):
    """Return the pairs of rows that are made of the pairs along some axes, which are kept with size 1."""
    maximum = largest(pairs.real, axis)
    weights = _apply(entry_weight, pairs.real, maximum, scale=scale)
    is_leading = weights == 1
    others = np.where(is_leading, pairs.imag, weights * (1 + pairs.imag))
    return _pair(maximum, others, is_leading, axis)


def largest(x, axis, keepdims=True):
    """Return the largest entries along some axes, which are kept with size 1; -inf of none."""
    if all(x.shape[one] for one in axis):
        return x.max(axis=axis, keepdims=True)
    return np.full_like(x, -np.inf, shape=reduced_shape(x.shape, axis, True))


def _pair(maximum, others, is_leading, axis):
    pairs = np.empty_like(maximum, dtype=np.complex128)
    pairs.real = maximum
    # Of no entry but -inf the weight is 0, and the rest -1.
    pairs.imag = others.sum(axis=axis, dtype=np.float64, keepdims=True) + (is_leading.sum(axis=axis, keepdims=True) - 1)
    return pairs


def _apply(formula, *arrays, **numbers):
    return dispatch.elementwise(formula, arrays, tuple(numbers.values()), None)


def value(x, pairs, is_logarithm, scale):
    """Return softmax or log_softmax of the entries x from their rows' pairs."""
    maximum = pairs.real.astype(x.dtype)
    if not is_logarithm:
        return _apply(softmax_entry, x, maximum, (1 + pairs.imag).astype(x.dtype), scale=scale)
    formula = log_softmax_entry_of_scale_1 if scale == 1 else log_softmax_entry
    return _apply(formula, x, maximum, pairs.imag.astype(x.dtype), scale=scale)


def reduced_value(pairs, dtype):
    """Return logsumexp from rows' pairs."""
    return _apply(logsumexp_of_pair, pairs.real.astype(dtype), pairs.imag.astype(dtype))


def weights(x, pairs, scale):
    """Return the entries' weights relative to their rows' largest."""
    return _apply(entry_weight, x, pairs.real.astype(x.dtype), scale=scale)


def term(formulas, weights, grad_output):
    """Return what a gradient sums along a row."""
    return _apply(formulas.term, weights, grad_output)


def gradient(formulas, weights, grad_output, totals, dots, scale):
    """Return the entries' gradients; totals and dots are the sums of weights and of terms along their rows."""
    shares = formulas.shares.formula(totals, dots, np.full_like(totals, scale))
    cast = [share.astype(weights.dtype) for share in shares]
    return _apply(formulas.gradient, weights, grad_output, *cast)


def reduced_gradient(formulas, x, grad_output, pairs):
    """Return the entries' gradients of logsumexp."""
    factor = grad_output / (1 + pairs.imag)
    return _apply(formulas.gradient, weights(x, pairs, 1.0), factor.astype(x.dtype))
