"""CUDA kernels: the same bound formulas in grid-stride loops."""

import itertools
import math
import warnings
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numba import config, cuda
from numba.core.errors import NumbaPerformanceWarning

from numact import dispatch
from numact.binding import JIT_OPTIONS, Formula
from numact.primitives import HALF_CONVERSIONS
from numact.targets import common

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", False))
THREADS = 256  # of a block
BLOCKS_PER_MULTIPROCESSOR = 32  # the grid of a large array; more elements go round the loop

ELEMENTWISE = """
def elementwise({inputs}, {outs}{parameters}):
    index, step, size = uint64(cuda.grid(1)), uint64(cuda.gridsize(1)), uint64(out0.size)
    while index < size:
        {values} = core({loaded})
        {stored}
        index += step
"""

# What stands at (i, k, j) of arrays seen as three axes, computed and, where a result is to be summed, added up over the
# k of each segment, by a block for as many j as it has columns. Results that are not summed are stored meanwhile.
SUMS = """
def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def sum_lanes(shared, thread, lanes, columns):
    total, low = number(0), number(0)
    for lane in range(lanes):
        total, low = add(total, low, shared[lane * columns + thread])
    return total + low

def sums({inputs}, {outs}, length, columns{parameters}):
    {shared}
    thread, lanes = cuda.threadIdx.x, cuda.blockDim.x // columns
    segments, after = {summed}.shape[1], {summed}.shape[2]
    groups, share = (after + columns - 1) // columns, (length + segments - 1) // segments
    block = cuda.blockIdx.x
    while block < {summed}.shape[0] * segments * groups:
        i, segment = block // groups // segments, block // groups % segments
        j = block % groups * columns + thread % columns
        {zeroed}
        if j < after:
            for k in range(segment * share + thread // columns, min((segment + 1) * share, length), lanes):
                index = uint64((i * length + k) * after + j)
                {values} = core({loaded})
                {stored}
        {shared_stored}
        cuda.syncthreads()
        if thread < columns and j < after:
            {finished}
        cuda.syncthreads()
        block += cuda.gridDim.x
"""
ADDITIONS = 256  # of a thread; a longer sum is split into segments, which are summed by themselves


def check_driver():
    """Raise if no CUDA driver or GPU can be used."""
    if not cuda.is_available():
        raise RuntimeError("this array is on a GPU, but Numba finds no CUDA driver or no device: see `numba -s`")


class View(NamedTuple):
    """An array in GPU memory, as kernels need it: the library's array, its dtype's name, and where its elements are."""

    array: object
    dtype: str
    shape: tuple
    strides: tuple
    pointer: int
    read_only: bool

    @property
    def contiguous(self):
        """Whether the elements lie one after the other, the last axis fastest."""
        return self.strides == _contiguous_strides(self.shape, common.storage(self.dtype).itemsize)

    @property
    def extent(self):
        """The first address and the one behind the last."""
        reach = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        low, high = sum(min(step, 0) for step in reach), sum(max(step, 0) for step in reach)
        return self.pointer + low, self.pointer + high + common.storage(self.dtype).itemsize

    def broadcast(self, shape):
        """Return the view with that shape, stretched axes with stride 0."""
        if self.shape == tuple(shape):
            return self
        missing = len(shape) - len(self.shape)
        own = [0 if size == 1 else stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return self._replace(shape=shape, strides=(0,) * missing + tuple(own))

    def reshape(self, shape):
        """Return a contiguous view with another shape of the same size."""
        return self._replace(shape=shape, strides=_contiguous_strides(shape, common.storage(self.dtype).itemsize))

    def argument(self):
        """Return the array that a kernel is launched with."""
        kind = common.storage(self.dtype)
        if SIMULATED:
            from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

            return FakeCUDAArray(np.lib.stride_tricks.as_strided(self.array._ary.view(kind), self.shape, self.strides))
        described = {"shape": self.shape, "strides": self.strides, "typestr": kind.str, "version": 3}
        described["data"] = (self.pointer, False)
        return cuda.from_cuda_array_interface(described, owner=self.array, sync=False)


def _contiguous_strides(shape, itemsize):
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def view(interop, array):
    """Return the `View` of an array of that library."""
    dtype = interop.dtype(array)
    if SIMULATED:
        host = array._ary
        return View(array, dtype, host.shape, host.strides, host.ctypes.data, not host.flags.writeable)
    described = interop.interface(array)
    shape = tuple(described["shape"])
    itemsize = np.dtype(described["typestr"]).itemsize
    strides = described.get("strides") or _contiguous_strides(shape, itemsize)
    pointer, read_only = described["data"]
    return View(array, dtype, shape, tuple(strides), pointer, read_only)


def elementwise(interop, formula, arrays, parameters, out):
    """Apply a formula to GPU arrays by name, on the caller's stream; see `numact.dispatch.elementwise`."""
    inputs, dtype, shape, target = prepare(interop, arrays, out)
    *_, x = arrays.values()
    temporary = target is None or overlaps(target, inputs)
    result = interop.empty(x, shape, dtype) if temporary else out
    written = view(interop, result) if temporary else target
    launch_elementwise(interop, x, formula, inputs, [written], parameters, dtype)
    if temporary and out is not None:
        elementwise(interop, IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def launch_elementwise(interop, x, formula, inputs, outs, parameters, dtype):
    """Launch a formula's kernel on views, of which the outs have the whole shape."""
    shape = outs[0].shape
    views = _flat([*inputs, *outs], shape)
    kinds, targets = (tuple(item.dtype for item in items) for items in (inputs, outs))
    function = elementwise_function(formula, kinds, dtype, targets)
    grid = blocks(interop, x, -(-math.prod(shape) // THREADS))
    launch(interop, x, function, grid, THREADS, views, [common.number(dtype)(value) for value in parameters])


def _flat(views, shape):
    """Return views broadcast to a shape, flat where their elements lie one after the other."""
    whole = [item.broadcast(shape) for item in views]
    return [item.reshape((math.prod(shape),)) if item.contiguous else item for item in whole]


def gradients(interop, formula, arrays, parameters, outs, summed):
    """Apply a formula of several results to GPU arrays by name; see `numact.dispatch.gradients`.

    Sums over the same axes are added up in the pass that computes their terms; where results are summed over different
    ones, the terms first go into memory of the whole shape.
    """
    inputs, dtype, shape, _ = prepare(interop, arrays, None)
    *_, x = arrays.values()
    owns = dict(zip(arrays, (item.shape if summed else shape for item in inputs), strict=True))
    targets = {name: view(interop, out) for name, out in outs.items() if out is not None}
    for name, target in targets.items():
        dispatch.check_out(target.shape, target.dtype, target.read_only, owns[name], dtype)
    repeating = {owns[name] for name in outs if owns[name] != shape}
    passes = _passes(shape, *repeating) if len(repeating) == 1 else []
    partial = (passes[0].before, passes[0].segments, passes[0].after) if passes else shape
    wide, computed = np.dtype(common.number(dtype)).name, {}
    for name, out in outs.items():
        if owns[name] != shape:
            computed[name] = interop.empty(x, partial, wide)
        else:
            direct = name in targets and not overlaps(targets[name], inputs)
            computed[name] = out if direct else interop.empty(x, shape, dtype)
    views = [view(interop, array) for array in computed.values()]
    if passes:
        sums = [owns[name] != shape for name in outs]
        _launch_sums(interop, x, formula, inputs, views, sums, parameters, dtype, passes[0], shape)
    else:
        launch_elementwise(interop, x, formula, inputs, views, parameters, dtype)
    results = []
    for name, out in outs.items():
        result = computed[name]
        if owns[name] != shape or (out is not None and out is not result):
            source = view(interop, result)
            if owns[name] != shape:
                rest = passes[1:] if passes else _passes(shape, owns[name])
                source = _summed(interop, x, source, rest).reshape(owns[name])
            result = interop.empty(x, owns[name], dtype) if out is None else out
            launch_elementwise(interop, x, IDENTITY, [source], [view(interop, result)], (), dtype)
        results.append(result)
    return tuple(results)


class Pass(NamedTuple):
    """A sum along the second of three axes, to so many segments, by blocks for so many columns of the third."""

    before: int
    length: int
    after: int
    segments: int
    columns: int


def _passes(shape, own):
    """Return the passes that sum an array of a shape over the axes along which one of shape `own` would repeat."""
    own = (1,) * (len(shape) - len(own)) + tuple(own)
    axes = itertools.groupby(zip(own, shape, strict=True), key=lambda sizes: sizes[0] == 1)
    runs = [(is_summed, math.prod(size for _, size in sizes)) for is_summed, sizes in axes]
    before, passes = 1, []
    for place, (is_summed, length) in enumerate(runs):
        after = math.prod(size for _, size in runs[place + 1 :])
        before *= 1 if is_summed else length
        while is_summed and length != 1:
            columns = 1 << min(5, (after - 1).bit_length())
            segments = max(1, -(-length // (ADDITIONS * (THREADS // columns))))
            passes.append(Pass(before, length, after, segments, columns))
            length = segments
    return passes


def _summed(interop, x, source, passes):
    """Return a contiguous view of sums of what a contiguous view shows."""
    for step in passes:
        size = step.before * step.length * step.after
        target = view(interop, interop.empty(x, (step.before, step.segments, step.after), source.dtype))
        _launch_sums(interop, x, IDENTITY, [source.reshape((size,))], [target], [True], (), source.dtype, step, (size,))
        source = target
    return source


def _launch_sums(interop, x, formula, inputs, outs, sums, parameters, dtype, step, shape):
    """Launch the kernel that computes a formula on views of a shape, some of its results summed in a `Pass`."""
    kinds = tuple(item.dtype for item in inputs)
    targets = tuple(None if is_sum else item.dtype for item, is_sum in zip(outs, sums, strict=True))
    function = sums_function(formula, kinds, dtype, targets)
    views = _flat(inputs, shape)
    views += [item if is_sum else _flat([item], shape)[0] for item, is_sum in zip(outs, sums, strict=True)]
    numbers = [common.number(dtype)(value) for value in parameters]
    grid = step.before * step.segments * -(-step.after // step.columns)
    launch(interop, x, function, grid, THREADS, views, [np.int64(step.length), np.int64(step.columns), *numbers])


def launch(interop, x, function, blocks, threads, views, parameters=()):
    """Launch a kernel on the stream and the device of x, and return at once; no blocks, no launch."""
    if not blocks:
        return
    with nullcontext() if SIMULATED else cuda.gpus[interop.device(x)]:
        stream = 0 if SIMULATED else interop.stream(x)
        _configured(function, blocks, threads, stream)(*(item.argument() for item in views), *parameters)


def prepare(interop, arrays, out):
    """Check GPU arguments; return their views, the result's dtype and shape, and the view of `out`."""
    views = {name: view(interop, array) for name, array in arrays.items()}
    dtype = dispatch.common_dtype({name: item.dtype for name, item in views.items()})
    shape = dispatch.broadcast_shape({name: item.shape for name, item in views.items()})
    target = None if out is None else view(interop, out)
    if target is not None:
        dispatch.check_out(target.shape, target.dtype, target.read_only, shape, dtype)
    return list(views.values()), dtype, shape, target


def overlaps(target, inputs):
    """Return whether writing the target could change an input that another thread has still to read."""
    low, high = target.extent
    for item in inputs:
        same = (item.pointer, item.shape, item.strides) == (target.pointer, target.shape, target.strides)
        start, stop = item.extent
        if start < high and low < stop and not same:
            return True
    return False


@cache
def elementwise_function(formula, kinds, result, targets):
    """Return the kernel's Python function for a formula and the dtypes of its inputs, its result and the outs."""
    words, scope = _described(formula, kinds, result, targets)
    label = "_".join([common.label(formula, result), *kinds, *targets])
    (function,) = common.define(ELEMENTWISE.format(**words), __name__, scope, label)
    return function


@cache
def sums_function(formula, kinds, result, targets):
    """Return the Python function of a kernel whose results are summed where their target is None."""
    words, scope = _described(formula, kinds, result, targets)
    sums = [f"out{index}" for index, target in enumerate(targets) if target is None]

    def each(text, separator="; "):
        return separator.join(text.replace("OUT", out) for out in sums)

    words |= {
        "summed": sums[0],
        "shared": each(
            "shared_OUT = cuda.shared.array(THREADS, number)", "\n    "
        ),  # the simulator tells them by lines
        "zeroed": each("total_OUT, low_OUT = number(0), number(0)"),
        "shared_stored": each("shared_OUT[thread] = total_OUT + low_OUT"),
        "finished": each("OUT[i, segment, j] = sum_lanes(shared_OUT, thread, lanes, columns)"),
    }
    label = "_".join([common.label(formula, result), *kinds, *(target or "sum" for target in targets)])
    scope |= {"THREADS": THREADS}
    add, sum_lanes, function = common.define(SUMS.format(**words), __name__, scope, label)
    scope |= {"add": cuda.jit(add, device=True), "sum_lanes": cuda.jit(sum_lanes, device=True)}
    return function


def _described(formula, kinds, result, targets):
    """Return the words that a kernel's source is made of, and what the names in it mean."""
    inputs, numbers = common.names_in_kernels(formula)
    outs = {f"out{index}": target for index, target in enumerate(targets)}
    save = {out: f"{out}.flat[index] = save_{out}(value_{out})" for out in outs}
    add = {out: f"total_{out}, low_{out} = add(total_{out}, low_{out}, number(value_{out}))" for out in outs}
    words = {
        "inputs": ", ".join(inputs),
        "outs": ", ".join(outs),
        "parameters": "".join(f", {name}" for name in numbers),
        "loaded": ", ".join([f"number(load_{name}({name}.flat[index]))" for name in inputs] + numbers),
        "values": ", ".join(f"value_{out}" for out in outs),
        "stored": "; ".join(save[out] if target else add[out] for out, target in outs.items()),
    }
    kind = common.number(result)
    scope = {"cuda": cuda, "uint64": np.uint64, "number": kind, "core": formula.compiled(kind)}
    for name, dtype in zip(inputs, kinds, strict=True):
        scope[f"load_{name}"] = HALF_CONVERSIONS[dtype][0] if dtype in HALF_CONVERSIONS else kind
    return words, scope | {f"save_{out}": _save(result, target) for out, target in outs.items() if target}


def _save(result, target):
    """Return the function that rounds a number to the result's dtype and makes it an element of the target's."""
    load, store = common.conversions(result)
    if result == target:
        return store
    _, write = common.conversions(target)
    narrow = common.number(target)
    return numba.njit(lambda value: write(narrow(load(store(value)))), **JIT_OPTIONS)


@cache
def _kernel(function):
    return cuda.jit(function) if SIMULATED else common.cached(cuda.jit, function)


@lru_cache(maxsize=256)
def _configured(function, blocks, threads, stream):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small arrays make small grids
        return _kernel(function)[blocks, threads, cuda.external_stream(stream) if stream else 0]


def blocks(interop, x, wanted):
    """Return how many blocks a grid on the device of x has, where so many are wanted."""
    count = 1 if SIMULATED else cuda.gpus[interop.device(x)].MULTIPROCESSOR_COUNT
    return min(wanted, BLOCKS_PER_MULTIPROCESSOR * count)


IDENTITY = Formula(lambda x: x)  # copies, with a change of dtype, what lies in the way of a kernel
