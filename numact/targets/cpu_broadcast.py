"""CPU kernels where arrays repeat beside others, and sum their gradients: a weight, a bias, one row for all rows."""

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numba
import numpy as np

from numact.binding import JIT_OPTIONS
from numact.targets import common, cpu

TILE = 4_096  # elements computed at a time; beside them the gradients that are summed then stay in the L1 cache
GROUPS = 16  # of tiles that sum by themselves, however many threads there are: so the sums have the same bits
LONG = 1_024  # entries up to which what repeats is written out, so that starting the loops takes no time
RUN = 64  # times in a row that an element repeats for at least, or it is written out, too
WRITTEN_OUT = 65_536  # entries of an array whose elements are written out at the most
LANES = 64  # partial sums of a run; as many on every CPU, so that all give the same bits

# A small array is gone through again and again, or where IS_SCALAR each of its elements stands for a run of `inner`.
KERNELS = """
def element({names}):
    return core({loaded})

def loop({names}, {outs}):
    for i in range(out0.size):
        {values} = element({indexed})
        {stored}

def add(part, total):
    for i in range(part.size):
        total[i] += part[i]

def collect(part, total, place, lanes):
    if IS_SCALAR:
        for first in range(0, part.size, LANES):
            add(part[first : first + LANES], lanes)
        for j in range(LANES):
            total[place] += lanes[j]
            lanes[j] = 0
    else:
        add(part, total[place : place + part.size])

def tiles({names}, {outs}, size, period, inner, groups):
    share = (size // TILE // groups + 1) * TILE
    for group in prange(groups):
        {buffers}
        lanes = np.zeros(LANES)
        low, stop = group * share, min((group + 1) * share, size)
        while low < stop:
            place = low // inner % period
            count = min(stop - low, TILE, inner - low % inner if IS_SCALAR else period - place)
            high = low + count
            if {in_place}:
                loop({copied}, {parts})
            else:
                loop({sliced}, {parts})
            {collects}
            low = high
"""


@cache
def kernels(formula, dtype, small, summed, is_scalar):
    """Return the serial and the parallel kernel of a formula for the dtype of a name.

    Parameters
    ----------
    formula : Formula
        Of one result, or of a tuple.
    dtype : str
        The arrays' dtype.
    small : tuple of bool
        For each input, whether it repeats.
    summed : tuple of bool
        For each result, whether it is summed to where an input that repeats came from.
    is_scalar : bool
        Whether each element of what repeats stands for a run of elements.
    """
    inputs, outs = formula.inputs, [f"out{index}" for index in range(len(summed))]
    full = [name for name, repeats in zip(inputs, small, strict=True) if not repeats]
    sums = [out for out, total in zip(outs, summed, strict=True) if total]
    scalars = [name for name in inputs if is_scalar and name not in full]
    numbers = list(formula.parameters)
    place = "place" if is_scalar else "place : place + count"
    slices = {name: f"{name}[low:high]" if name in full else f"{name}[{place}]" for name in inputs}
    same = [f"{name}.ctypes.data == {out}.ctypes.data" for name in full for out in outs if out not in sums]
    indexed = [name if name in scalars else f"{name}[i]" for name in inputs]
    source = KERNELS.format(
        names=", ".join([*inputs, *numbers]),
        outs=", ".join(outs),
        loaded=", ".join([f"load({name})" for name in inputs] + numbers),
        indexed=", ".join(indexed + [f"number({name})" for name in numbers]),
        values=", ".join(f"value_{out}" for out in outs),
        stored="; ".join(f"{out}[i] = {f'value_{out}' if out in sums else f'store(value_{out})'}" for out in outs),
        buffers="; ".join(f"part_{out} = np.empty(TILE, number)" for out in sums) or "pass",
        in_place=" or ".join(same) or "False",
        copied=", ".join([f"{slices[name]}.copy()" if name in full else slices[name] for name in inputs] + numbers),
        sliced=", ".join([*slices.values(), *numbers]),
        parts=", ".join(f"part_{out}[:count]" if out in sums else f"{out}[low:high]" for out in outs),
        collects="; ".join(f"collect(part_{out}[:count], {out}[group], place, lanes)" for out in sums) or "pass",
    )
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"core": formula.compiled(kind), "load": load, "store": store, "number": kind, "np": np}
    scope |= {"TILE": TILE, "LANES": LANES, "IS_SCALAR": is_scalar, "prange": numba.prange}
    flags = "".join(str(int(flag)) for flag in (*small, *summed, is_scalar))
    *helpers, tiles = common.define(source, __name__, scope, f"{common.label(formula, dtype)}_{flags}")
    for helper in helpers:
        options = JIT_OPTIONS if helper.__name__ == "element" else {"error_model": "numpy"}
        scope[helper.__name__] = numba.njit(helper, **options)
    serial = common.cached(numba.njit, common.renamed(tiles, "serial"), nogil=True, error_model="numpy")
    return serial, common.cached(numba.njit, tiles, nogil=True, parallel=True, error_model="numpy")


class Plan(NamedTuple):
    """How arrays repeat in a larger one."""

    small: tuple  # the shape that they broadcast to, of as many axes as the larger one
    copies: int  # how many times that is written out
    runs: int  # how many times in a row each of its elements is
    is_scalar: bool  # whether each of its elements stands for a run instead
    inner: int  # of that many elements


@lru_cache(maxsize=1024)
def plan(shapes, shape):
    """Return the `Plan` of arrays of these shapes in one of `shape`, or None where they do not repeat alike."""
    small = np.broadcast_shapes((1,) * len(shape), *[item for item in shapes if item != shape])
    varying = [axis for axis, size in enumerate(small) if size > 1]
    first, last = (varying[0], varying[-1] + 1) if varying else (0, 0)
    if small[first:last] != shape[first:last] or shape not in shapes:
        return None
    size, entries, inner = math.prod(shape), math.prod(small), math.prod(shape[last:])
    if any(item != shape for item in shapes) and (inner >= RUN or (inner > 1 and entries * inner > WRITTEN_OUT)):
        return Plan(small, 1, 1, True, inner)
    return Plan(small, -(-min(LONG, size) // (entries * inner or 1)), inner, False, 1)


def broadcast(formula, dtype, arrays, parameters, outs, shape):
    """Fill `outs` with the results of a formula, summed where they have fewer elements than the arrays together.

    Parameters
    ----------
    formula : Formula
        As many results as there are in `outs`.
    dtype : str
        The dtype's name.
    arrays, outs : list of array
        All dense, aligned, of that dtype or its bits. An array of another shape than `shape` repeats, an `out` of
        another shape is summed to and is float64.
    parameters : tuple of float
        The formula's parameters.
    shape : tuple of int
        What the arrays broadcast to, and of at least one of them.

    Returns
    -------
    bool
        False, and nothing is done, where arrays repeat in different ways.
    """
    found = plan(tuple(array.shape for array in arrays), shape)
    if found is None:
        return False
    size = math.prod(shape)
    if not size:
        return True
    repeats = tuple(array.shape != shape for array in arrays)
    summed = tuple(out.shape != shape for out in outs)
    period = math.prod(found.small) * found.runs * found.copies if any(repeats) else size
    given = [
        _written_out(array, found) if repeating else array.reshape(-1)
        for array, repeating in zip(arrays, repeats, strict=True)
    ]
    # The partial sums of all groups together take at most a fourth of the arrays.
    groups = max(1, min(GROUPS, size // (32 * period)) if any(summed) else -(-size // TILE))
    written = [
        np.zeros((groups, period)) if total else out.reshape(-1) for out, total in zip(outs, summed, strict=True)
    ]
    serial, tiles = kernels(formula, dtype, repeats, summed, found.is_scalar)
    pays = size >= cpu.parallel_from(formula, dtype)
    cpu.run(serial, tiles, pays, *given, *parameters, *written, size, period, found.inner, groups)
    for out, total, part in zip(outs, summed, written, strict=True):
        if total:
            sums = part.sum(axis=0).reshape(found.copies, *found.small, found.runs).sum(axis=(0, -1))
            out[...] = sum_to(sums, out.shape)
    return True


def _written_out(array, plan):
    """Return a small array as a flat one, with its elements and the whole as often as planned."""
    array = np.ascontiguousarray(np.broadcast_to(array, plan.small)).reshape(-1)
    return np.tile(np.repeat(array, plan.runs), plan.copies) if plan.runs * plan.copies > 1 else array


def sum_to(array, shape):
    """Return an array summed over the axes along which one of `shape` would repeat."""
    leading = array.ndim - len(shape)
    axes = [axis for axis in range(array.ndim) if axis < leading or shape[axis - leading] < array.shape[axis]]
    return array.sum(axis=tuple(axes)).reshape(shape)
