"""CUDA kernels: the same bound formulas in grid-stride loops, and one block a row for row-wise functions."""

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
THREADS = 256  # of a block; row kernels reduce over as many in shared memory
BLOCKS_PER_MULTIPROCESSOR = 32  # the grid of a large array; more elements go round the loop

ELEMENTWISE = """
def elementwise({inputs}, out{parameters}):
    index, step, size = uint64(cuda.grid(1)), uint64(cuda.gridsize(1)), uint64(out.size)
    while index < size:
        out.flat[index] = save(core({loaded}))
        index += step
"""

# number() around load() matters in the simulator alone, where a compiled function returns a Python float.
ROWS = """
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

def row_maximum(x, i, j, shared, thread, threads):
    largest = number(-inf)
    for k in range(thread, x.shape[1], threads):
        value = number(load(x[i, k, j]))
        if not largest >= value:
            largest = value
    return block_maximum(largest, shared, thread, threads)

def row_sum(x, i, j, largest, shared, thread, threads):
    total, low = number(0), number(0)
    for k in range(thread, x.shape[1], threads):
        total, low = add(total, low, weight(number(load(x[i, k, j])), largest))
    return block_sum(total + low, shared, thread, threads)

def rows(x, out):
    shared = cuda.shared.array(THREADS, number)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_maximum(x, i, j, shared, thread, threads)
        total = row_sum(x, i, j, largest, shared, thread, threads)
        for k in range(thread, x.shape[1], threads):
            out[i, k, j] = store(weight(number(load(x[i, k, j])), largest) / total)
        row += cuda.gridDim.x

def rows_backward(grad, x, out):
    shared = cuda.shared.array(THREADS, number)
    thread, threads, inner = cuda.threadIdx.x, cuda.blockDim.x, x.shape[2]
    row = cuda.blockIdx.x
    while row < x.shape[0] * inner:
        i, j = row // inner, row % inner
        largest = row_maximum(x, i, j, shared, thread, threads)
        total = row_sum(x, i, j, largest, shared, thread, threads)
        dot, low = number(0), number(0)
        for k in range(thread, x.shape[1], threads):
            y = weight(number(load(x[i, k, j])), largest) / total
            dot, low = add(dot, low, number(load(grad[i, k, j])) * y)
        dot = block_sum(dot + low, shared, thread, threads)
        for k in range(thread, x.shape[1], threads):
            y = weight(number(load(x[i, k, j])), largest) / total
            out[i, k, j] = store(y * (number(load(grad[i, k, j])) - dot))
        row += cuda.gridDim.x
"""


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

            host = self.array._ary.view(kind)
            if host.shape != self.shape:
                host = host.reshape(self.shape) if self.contiguous else np.broadcast_to(host, self.shape)
            return FakeCUDAArray(host)
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
    inputs, dtype, shape, target = _prepare(interop, arrays, out)
    *_, x = arrays.values()
    temporary = target is None or _overlaps(target, inputs)
    result = interop.empty(x, shape, dtype) if temporary else out
    written = view(interop, result) if temporary else target
    inputs = [item.broadcast(shape) for item in inputs]
    if all(item.contiguous and item.shape == shape for item in [*inputs, written]):
        size = (math.prod(shape),)
        inputs, written = [item.reshape(size) for item in inputs], written.reshape(size)
    function = elementwise_function(formula, tuple(item.dtype for item in inputs), dtype, written.dtype)
    blocks = min(-(-math.prod(shape) // THREADS), BLOCKS_PER_MULTIPROCESSOR * _multiprocessors(interop, x))
    numbers = [common.number(dtype)(value) for value in parameters]
    launch(interop, x, function, blocks, THREADS, [*inputs, written], numbers)
    if temporary and out is not None:
        elementwise(interop, IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def rowwise(interop, weight, arrays, axis, out):
    """Apply a row-wise function to GPU arrays by name; see `numact.dispatch.rowwise`."""
    inputs, dtype, shape, target = _prepare(interop, arrays, out)
    rows = dispatch.split_at(shape, axis)
    *_, x = arrays.values()
    for index, item in enumerate(inputs):
        if item.dtype != dtype or item.shape != shape or not item.contiguous:
            copy = interop.empty(x, shape, dtype)
            elementwise(interop, IDENTITY, {"x": item.array}, (), copy)
            inputs[index] = view(interop, copy)
    direct = target is not None and target.contiguous and target.dtype == dtype
    direct = direct and not _overlaps(target, inputs)
    result = out if direct else interop.empty(x, shape, dtype)
    forward, backward = row_functions(weight, dtype)
    views = [item.reshape(rows) for item in [*inputs, view(interop, result)]]
    outer, length, inner = rows
    threads = min(THREADS, max(32, 1 << max(length - 1, 0).bit_length()))
    blocks = min(outer * inner, BLOCKS_PER_MULTIPROCESSOR * _multiprocessors(interop, x))
    launch(interop, x, backward if len(inputs) > 1 else forward, blocks if length else 0, threads, views)
    if out is not None and not direct:
        elementwise(interop, IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def launch(interop, x, function, blocks, threads, views, parameters=()):
    """Launch a kernel on the stream and the device of x, and return at once; no blocks, no launch."""
    if not blocks:
        return
    with nullcontext() if SIMULATED else cuda.gpus[interop.device(x)]:
        stream = 0 if SIMULATED else interop.stream(x)
        _configured(function, blocks, threads, stream)(*(item.argument() for item in views), *parameters)


def _prepare(interop, arrays, out):
    """Check GPU arguments; return their views, the result's dtype and shape, and the view of `out`."""
    views = {name: view(interop, array) for name, array in arrays.items()}
    dtype = dispatch.common_dtype({name: item.dtype for name, item in views.items()})
    shape = dispatch.broadcast_shape({name: item.shape for name, item in views.items()})
    target = None if out is None else view(interop, out)
    if target is not None:
        dispatch.check_out(target.shape, target.dtype, target.read_only, shape, dtype)
    return list(views.values()), dtype, shape, target


def _overlaps(target, inputs):
    """Return whether writing the target could change an input that another thread has still to read."""
    low, high = target.extent
    for item in inputs:
        same = (item.pointer, item.shape, item.strides) == (target.pointer, target.shape, target.strides)
        start, stop = item.extent
        if start < high and low < stop and not same:
            return True
    return False


@cache
def elementwise_function(formula, kinds, result, target):
    """Return the kernel's Python function for a formula, input dtypes, the result's dtype and the dtype of `out`."""
    names = list(formula.__signature__.parameters)
    inputs, parameters = names[: len(kinds)], names[len(kinds) :]
    loaded = [f"number(load_{name}({name}.flat[index]))" for name in inputs]
    loaded += parameters
    listed = "".join(f", {name}" for name in parameters)
    source = ELEMENTWISE.format(inputs=", ".join(inputs), parameters=listed, loaded=", ".join(loaded))
    kind = common.number(result)
    scope = {"cuda": cuda, "uint64": np.uint64, "number": kind, "core": formula.compiled(kind)}
    for name, dtype in zip(inputs, kinds, strict=True):
        scope[f"load_{name}"] = HALF_CONVERSIONS[dtype][0] if dtype in HALF_CONVERSIONS else kind
    scope["save"] = _save(result, target)
    (function,) = common.define(source, __name__, scope, "_".join([common.label(formula, result), *kinds, target]))
    return function


def _save(result, target):
    """Return the function that rounds a number to the result's dtype and makes it an element of the target's."""
    load, store = common.conversions(result)
    if result == target:
        return store
    _, write = common.conversions(target)
    narrow = common.number(target)
    return numba.njit(lambda value: write(narrow(load(store(value)))), **JIT_OPTIONS)


@cache
def row_functions(weight, dtype):
    """Return the Python functions of the row kernels, forward and backward, for a formula of the rows' weights."""
    if not isinstance(weight, Formula):  # a function of whole rows
        from numact.targets import cuda_projections

        return cuda_projections.row_functions(weight, dtype)
    kind = common.number(dtype)
    load, store = common.conversions(dtype)
    scope = {"cuda": cuda, "number": kind, "weight": weight.compiled(kind), "load": load, "store": store}
    scope |= {"inf": math.inf, "THREADS": THREADS}
    *helpers, forward, backward = common.define(ROWS, __name__, scope, common.label(weight, dtype))
    for helper in helpers:
        scope[helper.__name__] = cuda.jit(helper, device=True)
    return forward, backward


@cache
def _kernel(function):
    return cuda.jit(function) if SIMULATED else common.cached(cuda.jit, function)


@lru_cache(maxsize=256)
def _configured(function, blocks, threads, stream):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small arrays make small grids
        return _kernel(function)[blocks, threads, cuda.external_stream(stream) if stream else 0]


def _multiprocessors(interop, x):
    return 1 if SIMULATED else cuda.gpus[interop.device(x)].MULTIPROCESSOR_COUNT


IDENTITY = Formula(lambda x: x)  # copies, with a change of dtype, what lies in the way of a kernel
