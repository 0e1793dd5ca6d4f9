"""CUDA kernels of elementwise functions; those of gradients that are summed where an array repeats: `cuda_sums`."""

import math
from functools import cache

import numba
import numpy as np
from numba import cuda

from numact import result_types
from numact.binding import JIT_OPTIONS, Formula
from numact.half_types import HALF_CONVERSIONS
from numact.targets import common
from numact.targets.cuda_launch import (
    View,
    blocks,
    check_driver,
    launch,
    merged,
    most_blocks,
    overlaps,
    start,
    start_on,
    view,
    view_to_write,
)
from numact.targets.cuda_memory import VECTOR, access, conversions, kind_of

__all__ = [
    "View",
    "blocks",
    "check_driver",
    "elementwise",
    "launch",
    "most_blocks",
    "overlaps",
    "prepare",
    "start",
    "start_on",
    "view",
    "view_to_write",
]
THREADS = 256  # of a block

# For arrays whose elements lie one after the other, of the result's dtype, from an address that is a multiple of 16:
# each thread reads 16 bytes of each at once. A block has one tile, and the last one what is left: on an H200 relu moves
# as much as a copy so, and 0.95 of it where fewer blocks go round a loop. Where there is much to compute a tile is of
# several vectors for each thread, all read before the first is used: gelu 0.75, and 0.68 with one vector.
VECTORS = """
def vectors({inputs}, {outs}, size{parameters}):
    count, thread = size // LANES, int64(cuda.threadIdx.x)
    index = int64(cuda.blockIdx.x) * TILE + thread
    if index - thread + TILE <= count:
        {tile}
    else:
        while index < count:
            {vector}
            index += THREADS
        if int64(cuda.blockIdx.x) == count // TILE and count * LANES + thread < size:
            offset = (count * LANES + thread) * ITEM
            {values} = core({loaded})
            {stored}
"""
FEW = 20  # operations: formulas of fewer wait for the memory
# For all others: of a shape of so many axes and strides in bytes. Division is the dearest part, so that indices have
# 32 bits where those do; unsigned ones, which divide in fewer instructions.
STRIDED = """
def strided({inputs}, {outs}, size{steps}{parameters}):
    index, step = unsigned(cuda.grid(1)), unsigned(cuda.gridsize(1))
    while index < unsigned(size):
        rest = index
        {places}
        {offsets}
        {values} = core({loaded})
        {stored}
        index = unsigned(index + step)
"""
NARROW = 2**31  # elements; with fewer, an index and the step behind the last one fit into 32 bits


def elementwise(interop, formula, arrays, parameters, out):
    """Apply a formula to GPU arrays by name, on the caller's stream; see `numact.dispatch.elementwise`."""
    inputs, dtype, shape, target = prepare(interop, arrays, out)
    x = lead(interop, arrays, out)
    temporary = target is None or overlaps(target, inputs)
    result = interop.empty(x, shape, dtype) if temporary else out
    written = view(interop, result) if temporary else target
    launch_elementwise(interop, x, formula, inputs, [written], parameters, dtype)
    if temporary and out is not None:
        elementwise(interop, IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def plain(interop, formula, arrays, parameters, out):
    """Apply a formula to arrays that lie dense, of one shape and dtype; return None where they do not."""
    found = plain_arrays(interop, arrays, out)
    if found is None:
        return None
    result, addresses, dtype, size, device = found
    if size:
        function, tile = vectors_function(formula, dtype, 1)
        integers = *addresses, size
        start_on(device, interop.stream(result), function, size // tile + 1, THREADS, integers, parameters, dtype)
    return result


def plain_arrays(interop, arrays, out):
    """Return the result, all addresses, the dtype, the size and the device of arrays that lie dense and apart, or None.

    It takes some microseconds, where the way for arrays of all kinds takes some tens.
    """
    given = arrays if out is None else (*arrays, out)
    kind, pointers, layout = type(arrays[0]), [], None
    for array in given:
        if type(array) is not kind or (described := interop.plain(array)) is None:
            return None
        pointer, own = described
        layout = layout or own
        if own != layout or pointer % VECTOR:
            return None
        pointers.append(pointer)
    dtype, shape, device = layout
    if dtype not in result_types.FLOATING:
        return None
    interop.follow(given[-1], given)
    size = math.prod(shape)
    if out is None:
        out = interop.empty(arrays[-1], shape, dtype)
        pointers.append(interop.plain(out)[0] if size else 0)
    else:
        interop.note_write(out)
        written, nbytes = pointers[-1], size * common.storage(dtype).itemsize
        for pointer in pointers:
            if pointer != written and abs(pointer - written) < nbytes:
                return None
    return out, pointers, dtype, size, device


def launch_elementwise(interop, x, formula, inputs, outs, parameters, dtype):
    """Launch a formula's kernel on views, of which the outs have the whole shape."""
    shape = outs[0].shape
    size, views = math.prod(shape), [*(item.broadcast(shape) for item in inputs), *outs]
    addresses = [item.pointer for item in views]
    sizes, steps = merged(shape, views)
    strides = [stride for step in steps for stride in step]
    is_dense = len(sizes) < 2 and all(stride == common.storage(dtype).itemsize for stride in strides)
    if is_dense and all(item.dtype == dtype and item.aligned for item in views):
        function, tile = vectors_function(formula, dtype, len(outs))
        grid = size // tile + 1 if size else 0
        start(interop, x, function, grid, THREADS, [*addresses, size], parameters, dtype)
        return
    kinds, targets = (tuple(item.dtype for item in items) for items in (inputs, outs))
    function = strided_function(formula, kinds, dtype, targets, len(sizes), size >= NARROW)
    grid = blocks(interop, x, -(-size // THREADS), THREADS)
    integers = [*addresses, size, *sizes[1:], *strides]
    start(interop, x, function, grid, THREADS, integers, parameters, dtype)


def prepare(interop, arrays, out):
    """Check GPU arguments; return their views, the result's dtype and shape, and the view of `out`."""
    views = {name: view(interop, array) for name, array in arrays.items()}
    dtype = result_types.common_dtype({name: item.dtype for name, item in views.items()})
    shape = result_types.broadcast_shape({name: item.shape for name, item in views.items()})
    target = None if out is None else view_to_write(interop, out)
    if target is not None:
        result_types.check_out(target.shape, target.dtype, target.read_only, shape, dtype)
    return list(views.values()), dtype, shape, target


def lead(interop, arrays, out):
    """Return the array on whose stream and device a call does its work: out, else the last of the arrays."""
    given = list(arrays.values()) if out is None else [*arrays.values(), out]
    interop.follow(given[-1], given)
    return given[-1]


@cache
def vectors_function(formula, dtype, results):
    """Return the Python function of the kernel for contiguous arrays of one dtype, and the elements of a block."""
    words, scope = described(formula, (dtype,) * len(formula.inputs), dtype, (dtype,) * results)
    inputs, numbers = common.names_in_kernels(formula)
    item = common.storage(dtype).itemsize
    lanes, outs = VECTOR // item, [f"out{index}" for index in range(results)]
    vectors = 4 if lanes == 4 and results == 1 else 2  # more would not fit into the registers
    vectors = vectors if formula.operations(common.number(dtype)) >= FEW else 1

    def read(place):
        """Return the lines that read a vector of each array, at its place in a thread's part of the tile."""
        step = f" + {place * THREADS}" * bool(place)
        offset = f"offset{place} = (index{step}) * VECTOR"
        return [offset, *(f"{name}_{place} = load_vector({name} + offset{place})" for name in inputs)]

    def write(place):
        """Return the lines that compute and write a vector of each result."""
        lines = []
        for lane in range(lanes):
            values = ", ".join(f"{out}_{lane}" for out in outs)
            loaded = ", ".join([f"number(decode_{name}({name}_{place}[{lane}]))" for name in inputs] + numbers)
            lines.append(f"{values} = core({loaded})")
        stored = {out: ", ".join(f"encode_{out}({out}_{lane})" for lane in range(lanes)) for out in outs}
        return lines + [f"store_vector({out} + offset{place}, ({stored[out]}))" for out in outs]

    places = range(vectors)
    words |= {
        "tile": "\n        ".join([line for part in (read, write) for place in places for line in part(place)]),
        "vector": "\n            ".join(read(0) + write(0)),
        "loaded": ", ".join([f"number(decode_{name}(load_{name}({name} + offset)))" for name in inputs] + numbers),
        "stored": "; ".join(f"store_{out}({out} + offset, encode_{out}(value_{out}))" for out in outs),
    }
    scope["load_vector"], scope["store_vector"] = access(kind_of(dtype), lanes)
    scope |= {"LANES": lanes, "ITEM": item, "VECTOR": VECTOR, "THREADS": THREADS, "TILE": vectors * THREADS}
    label = f"{common.label(formula, dtype)}_{results}"
    (function,) = common.define(VECTORS.format(**words), __name__, scope, label)
    return function, vectors * THREADS * lanes


@cache
def strided_function(formula, kinds, result, targets, dimensions, wide):
    """Return the Python function of the kernel for arrays of any strides, in so many axes."""
    words, scope = described(formula, kinds, result, targets)
    inputs, numbers = common.names_in_kernels(formula)
    arrays = [*inputs, *(f"out{index}" for index in range(len(targets)))]
    axes, newline = range(dimensions), "\n        "
    steps = [f"size{axis}" for axis in axes[1:]] + [f"{name}_{axis}" for axis in axes for name in arrays]
    places = []
    for axis in axes[:0:-1]:
        places.append(f"place{axis}, rest = rest % unsigned(size{axis}), unsigned(rest // unsigned(size{axis}))")
    places.append("place0 = rest")

    def address(name):
        return " + ".join([name, *(f"int64(place{axis}) * {name}_{axis}" for axis in axes)])

    words |= {
        "steps": "".join(f", {name}" for name in steps),
        "places": newline.join(places),
        "offsets": newline.join(f"at_{name} = {address(name)}" for name in arrays),
        "loaded": ", ".join([f"number(decode_{name}(load_{name}(at_{name})))" for name in inputs] + numbers),
        "stored": "; ".join(f"store_{out}(at_{out}, encode_{out}(value_{out}))" for out in arrays[len(inputs) :]),
    }
    label = "_".join([common.label(formula, result), *kinds, *targets, f"{dimensions}{'wide' * wide}"])
    scope["unsigned"] = np.uint64 if wide else np.uint32
    (function,) = common.define(STRIDED.format(**words), __name__, scope, label)
    return function


def described(formula, kinds, result, targets):
    """Return the words that a kernel's source is made of, and what the names in it mean."""
    inputs, numbers = common.names_in_kernels(formula)
    outs = [f"out{index}" for index in range(len(targets))]
    words = {
        "inputs": ", ".join(inputs),
        "outs": ", ".join(outs),
        "parameters": "".join(f", {name}" for name in numbers),
        "values": ", ".join(f"value_{out}" for out in outs),
    }
    kind = common.number(result)
    scope = {"cuda": cuda, "int64": np.int64, "number": kind, "core": formula.compiled(kind)}
    for name, dtype in zip([*inputs, *outs], [*kinds, *targets], strict=True):
        if dtype is not None:
            scope[f"load_{name}"], scope[f"store_{name}"] = access(kind_of(dtype), 1)
            scope[f"decode_{name}"] = conversions(dtype)[0] if dtype in HALF_CONVERSIONS else kind
            scope[f"encode_{name}"] = _encoder(result, dtype)
    return words, scope


def _encoder(result, target):
    """Return the function that rounds a number to the result's dtype and makes it an element of the target's."""
    if result == target:
        return conversions(result)[1]
    if target not in result_types.FLOATING:  # a mask
        integer = np.dtype(target).type
        return numba.njit(lambda value: integer(value), **JIT_OPTIONS)
    (load, store), (_, write), narrow = common.conversions(result), common.conversions(target), common.number(target)
    return numba.njit(lambda value: write(narrow(load(store(value)))), **JIT_OPTIONS)


IDENTITY = Formula(lambda x: x)  # copies, with a change of dtype, what lies in the way of a kernel
