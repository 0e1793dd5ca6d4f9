"""CPU kernels for arrays beside one another: some repeat, some lie in rows apart, some results are summed."""

import math
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numba
import numpy as np

from numact.binding import INNER_OPTIONS
from numact.targets import common, cpu, cpu_width
from numact.targets.cpu_threads import Kernel, call, compiled_address
from numact.targets.cpu_tiles import PARTS

TILE = 4_096  # elements computed at a time; beside them the gradients that are summed then stay in the L1 cache
GROUPS = 16  # of tiles that sum by themselves, however many threads there are: so the sums have the same bits
LONG = 1_024  # entries up to which what repeats is written out, so that starting the loops takes no time
RUN = 64  # times in a row that an element repeats for at least, or it is written out, too
WRITTEN_OUT = 65_536  # entries of an array whose elements are written out at the most
LANES = 64  # partial sums of a run; as many on every CPU, so that all give the same bits
SHORTEST = 32  # elements of a row that is worth starting a loop for

# A formula compiles to a loop; the tasks that call it, by its address, are the same for all formulas of such arrays.
LOOP = """
def loop({names}, {outs}):
    for i in range(out0.size):
        {values} = core({loaded})
        {stored}
"""
# A small array is gone through again and again, or where IS_SCALAR each of its elements stands for a run of `inner`.
# Arrays in rows have `length` elements before they skip some; the stride of each is an argument.
TASK = """
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

def task(index, loop, {names}, {outs}, size, period, inner, length, groups{strides}):
    share = (size // groups + 64) // 64 * 64
    {buffers}
    lanes = np.zeros(LANES)
    low, stop = index * share, min((index + 1) * share, size)
    while low < stop:
        place, row, column = low // inner % period, low // length, low % length
        count = min(stop - low, TILE, length - column, inner - low % inner if IS_SCALAR else period - place)
        if {in_place}:
            call(loop, ({copied}, {parts}))
        else:
            call(loop, ({sliced}, {parts}))
        {collects}
        low += count
"""


class Kinds(NamedTuple):
    """How the arrays of a call lie: "whole", in "rows", or "small"; a small result is summed to."""

    inputs: tuple
    outs: tuple
    is_scalar: bool  # whether each element of what is small stands for a run of elements


class ArrayKernel:
    """The loop of one formula, and the tasks that call it for arrays of some kinds."""

    def __init__(self, function, types, tasks):
        self.function, self._types, self._tasks = function, types, tasks

    @cached_property
    def _address(self):
        return compiled_address(self.function, self._types)

    def run(self, pays, groups, *arguments):
        """Run the tasks, as many as there are groups, by many threads where that pays."""
        self._tasks.run(pays, groups, self._address, *arguments)


@cache
def kernel(formula, dtype, kinds):
    """Return the `ArrayKernel` of a formula for the dtype of a name and arrays of these `Kinds`."""
    (inputs, numbers), outs = common.names_in_kernels(formula), [f"out{index}" for index in range(len(kinds.outs))]
    is_sum = {out: lies == "small" for out, lies in zip(outs, kinds.outs, strict=True)}
    is_one = {name: kinds.is_scalar and lies == "small" for name, lies in zip(inputs, kinds.inputs, strict=True)}
    loaded = [f"load({name})" if is_one[name] else f"load({name}[i])" for name in inputs]
    source = LOOP.format(
        names=", ".join([*inputs, *numbers]),
        outs=", ".join(outs),
        loaded=", ".join([*loaded, *(f"number({name})" for name in numbers)]),
        values=", ".join(f"value_{out}" for out in outs),
        stored="; ".join(f"{out}[i] = {f'value_{out}' if is_sum[out] else f'store(value_{out})'}" for out in outs),
    )
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"core": formula.compiled(kind), "load": load, "store": store, "number": kind}
    label = "_".join([common.label(formula, dtype), *kinds.inputs, *kinds.outs, str(int(kinds.is_scalar))])
    (loop,) = cpu_width.define(source, __name__, scope, label, formula.operations(kind))
    scope["loop"] = common.cached(numba.njit, loop, **INNER_OPTIONS)
    element, number = numba.from_dtype(common.storage(dtype)), numba.from_dtype(np.dtype(kind))
    types = [element if is_one[name] else element[::1] for name in inputs] + [numba.float64] * len(numbers)
    types += [number[::1] if is_sum[out] else element[::1] for out in outs]
    return ArrayKernel(scope["loop"], tuple(types), _tasks(dtype, kinds, tuple(inputs), tuple(numbers), tuple(outs)))


@cache
def _tasks(dtype, kinds, inputs, numbers, outs):
    """Return the kernel of the tasks for arrays of these `Kinds`, names and dtype; each group is one."""
    lying = dict(zip([*inputs, *outs], kinds.inputs + kinds.outs, strict=True))
    sums = [out for out in outs if lying[out] == "small"]

    def part(name):
        if name in sums:
            return f"part_{name}[:count]"
        if lying[name] == "small":
            return f"{name}[place]" if kinds.is_scalar else f"{name}[place : place + count]"
        start = "low" if lying[name] == "whole" else f"row * stride_{name} + column"
        return f"{name}[{start} : {start} + count]"

    large = [name for name in inputs if lying[name] != "small"]
    same = [f"{name}.ctypes.data == {out}.ctypes.data" for name in large for out in outs if out not in sums]
    source = TASK.format(
        names=", ".join([*inputs, *numbers]),
        outs=", ".join(outs),
        strides="".join(f", stride_{name}" for name in lying if lying[name] == "rows"),
        buffers="; ".join(f"part_{out} = np.empty(TILE, number)" for out in sums) or "pass",
        in_place=" or ".join(same) or "False",
        copied=", ".join([f"{part(name)}.copy()" if name in large else part(name) for name in inputs] + [*numbers]),
        sliced=", ".join([part(name) for name in inputs] + [*numbers]),
        parts=", ".join(part(out) for out in outs),
        collects="; ".join(f"collect({part(out)}, {out}[index], place, lanes)" for out in sums) or "pass",
    )
    scope = {"call": call, "number": common.number(dtype), "np": np}
    scope |= {"TILE": TILE, "LANES": LANES, "IS_SCALAR": kinds.is_scalar}
    label = "_".join([dtype, *kinds.inputs, *kinds.outs, str(int(kinds.is_scalar)), str(len(numbers)), common.VERSION])
    *helpers, task = common.define(source, __name__, scope, label)
    for helper in helpers:
        scope[helper.__name__] = numba.njit(helper, **INNER_OPTIONS)
    return Kernel(task)


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


def rows_axis(arrays):
    """Return the axis from which on all arrays are contiguous, or None where the rows of one have no common stride."""
    split = max(map(_contiguous_from, arrays), default=0)
    for array in arrays:
        strides, shape = array.strides, array.shape
        if any(strides[axis] != strides[axis + 1] * shape[axis + 1] for axis in range(split - 1)):
            return None
        if strides[split - 1] < math.prod(shape[split:]) * array.itemsize:
            return None
    return split


def _contiguous_from(array):
    axis, expected = array.ndim, array.itemsize
    while array.strides[axis - 1] == expected:
        axis -= 1
        expected *= array.shape[axis]
    return axis


def run(formula, dtype, arrays, parameters, outs, shape):
    """Fill `outs` with the results of a formula, summed where they have fewer elements than the arrays together.

    Parameters
    ----------
    formula : Formula
        As many results as there are in `outs`.
    dtype : str
        The dtype's name.
    arrays, outs : list of array
        All aligned, of that dtype or its bits. An array of another shape than `shape` repeats, an `out` of another
        shape is summed to and is float64. Where an `out` overlaps an array, both are the same.
    parameters : tuple of float
        The formula's parameters.
    shape : tuple of int
        What the arrays broadcast to, and of at least one of them.

    Returns
    -------
    bool
        False, and nothing is done, where arrays repeat in different ways or lie in other ways than in long rows.
    """
    found = plan(tuple(array.shape for array in arrays), shape)
    apart = [array for array in (*arrays, *outs) if array.shape == shape and not array.flags.c_contiguous]
    split, size = rows_axis(apart), math.prod(shape)
    if found is None or split is None:
        return False
    length = math.prod(shape[split:])
    if not size:
        return True
    if length < min(SHORTEST, size):
        return False
    kinds = Kinds(*(tuple(_kind(item, shape) for item in some) for some in (arrays, outs)), found.is_scalar)
    if len(outs) == 1 and {*kinds.inputs, *kinds.outs} == {"whole"}:
        cpu.kernel(formula, dtype).fill([item.reshape(-1) for item in arrays], parameters, outs[0].reshape(-1))
        return True
    repeated = "small" in kinds.inputs
    period = math.prod(found.small) * found.runs * found.copies if repeated else size
    # The partial sums of all groups together take at most a fourth of the arrays.
    groups = max(1, min(GROUPS, size // (32 * period)) if "small" in kinds.outs else -(-size // (PARTS * TILE)) * PARTS)
    given, written, strides = [], [], []
    for array, kind in zip(arrays, kinds.inputs, strict=True):
        given.append(_written_out(array, found) if kind == "small" else _flat(array, split, length, strides))
    for out, kind in zip(outs, kinds.outs, strict=True):
        written.append(np.zeros((groups, period)) if kind == "small" else _flat(out, split, length, strides))
    pays, sizes = size >= cpu.parallel_from(formula, dtype), (size, period, found.inner, length, groups)
    kernel(formula, dtype, kinds).run(pays, groups, *given, *parameters, *written, *sizes, *strides)
    for out, part in zip(outs, written, strict=True):
        if out.shape != shape:
            sums = part.sum(axis=0).reshape(found.copies, *found.small, found.runs).sum(axis=(0, -1))
            out[...] = sum_to(sums, out.shape)
    return True


def _kind(array, shape):
    if array.shape != shape:
        return "small"
    return "whole" if array.flags.c_contiguous else "rows"


def _written_out(array, plan):
    """Return a small array as a flat one, with its elements and the whole as often as planned."""
    shape = (plan.copies, *plan.small, plan.runs)
    if array.size == math.prod(shape) and array.flags.c_contiguous:
        return array.reshape(-1)
    written = np.empty(shape, array.dtype)
    written[...] = array[..., np.newaxis]  # NumPy's tile and repeat take 15 us
    return written.reshape(-1)


def _flat(array, split, length, strides):
    """Return an array, with what lies between its rows, as a flat one; append the stride of its rows."""
    if array.flags.c_contiguous:
        return array.reshape(-1)
    stride = array.strides[split - 1] // array.itemsize
    strides.append(stride)
    reach = (array.size // length - 1) * stride + length
    return np.lib.stride_tricks.as_strided(array, (reach,), (array.itemsize,))


def sum_to(array, shape):
    """Return an array summed over the axes along which one of `shape` would repeat."""
    leading = array.ndim - len(shape)
    axes = [axis for axis in range(array.ndim) if axis < leading or shape[axis - leading] != array.shape[axis]]
    return array.sum(axis=tuple(axes)).reshape(shape)
