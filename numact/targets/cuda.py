"""CUDA kernels of elementwise functions, and of their gradients summed where an array repeats."""

import itertools
import math
from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from numba import cuda

from numact import dispatch
from numact.binding import JIT_OPTIONS, Formula
from numact.primitives import HALF_CONVERSIONS
from numact.targets import common
from numact.targets.cuda_launch import (
    View,
    blocks,
    check_driver,
    kept_launcher,
    launch,
    merged,
    most_blocks,
    overlaps,
    start,
    view,
)
from numact.targets.cuda_memory import VECTOR, access, conversions, kind_of

__all__ = [
    "View",
    "blocks",
    "check_driver",
    "elementwise",
    "gradients",
    "kept_launcher",
    "launch",
    "most_blocks",
    "overlaps",
    "prepare",
    "start",
    "view",
]
THREADS = 256  # of a block

# For arrays whose elements lie one after the other, of the result's dtype, from an address that is a multiple of 16:
# each thread reads 16 bytes of each at once. A block has one tile, and the last one what is left: on an H200 relu moves
# as much as a copy so, and 0.95 of it where fewer blocks go round a loop. Where there is much to compute a tile is of
# several vectors for each thread, all read before the first is used: gelu 0.79, and 0.68 with one vector.
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
        stream, counts = interop.stream(result), (len(addresses) + 1, len(parameters))
        kernel = kept_launcher(function, *counts, common.number(dtype), device, stream)
        kernel(size // tile + 1, THREADS, stream, *addresses, size, *parameters)
    return result


def plain_arrays(interop, arrays, out):
    """Return the result, all addresses, the dtype, the size and the device of arrays that lie dense and apart, or None.

    It takes some microseconds, where the way for arrays of all kinds takes some tens.
    """
    given = arrays if out is None else (*arrays, out)
    kind, pointers, first = type(arrays[0]), [], None
    for array in given:
        described = interop.plain(array) if type(array) is kind else None
        if described is None:
            return None
        pointer, *rest = described
        if first is None:
            first = rest
        if rest != first or pointer % VECTOR:
            return None
        pointers.append(pointer)
    dtype, shape, device = first
    if dtype not in dispatch.FLOATING:
        return None
    interop.follow(given[-1], given)
    size = math.prod(shape)
    if out is None:
        out = interop.empty(arrays[-1], shape, dtype)
        pointers.append(interop.plain(out)[0] if size else 0)
    else:
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
        start(interop, x, function, grid, THREADS, [*addresses, size], parameters, common.number(dtype))
        return
    kinds, targets = (tuple(item.dtype for item in items) for items in (inputs, outs))
    function = strided_function(formula, kinds, dtype, targets, len(sizes), size >= NARROW)
    grid = blocks(interop, x, -(-size // THREADS), THREADS)
    integers = [*addresses, size, *sizes[1:], *strides]
    start(interop, x, function, grid, THREADS, integers, parameters, common.number(dtype))


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
    x = lead(interop, arrays, None)
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


def prepare(interop, arrays, out):
    """Check GPU arguments; return their views, the result's dtype and shape, and the view of `out`."""
    views = {name: view(interop, array) for name, array in arrays.items()}
    dtype = dispatch.common_dtype({name: item.dtype for name, item in views.items()})
    shape = dispatch.broadcast_shape({name: item.shape for name, item in views.items()})
    target = None if out is None else view(interop, out)
    if target is not None:
        dispatch.check_out(target.shape, target.dtype, target.read_only, shape, dtype)
    return list(views.values()), dtype, shape, target


def lead(interop, arrays, out):
    """Return the array on whose stream and device a call does its work: out, else the last of the arrays."""
    given = list(arrays.values()) if out is None else [*arrays.values(), out]
    interop.follow(given[-1], given)
    return given[-1]


@cache
def vectors_function(formula, dtype, results):
    """Return the Python function of the kernel for contiguous arrays of one dtype, and the elements of a block."""
    words, scope = _described(formula, (dtype,) * len(formula.inputs), dtype, (dtype,) * results)
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
    words, scope = _described(formula, kinds, result, targets)
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


@cache
def sums_function(formula, kinds, result, targets):
    """Return the Python function of a kernel whose results are summed where their target is None."""
    words, scope = _described(formula, kinds, result, targets)
    inputs, numbers = common.names_in_kernels(formula)
    outs = {f"out{index}": target for index, target in enumerate(targets)}
    sums = [out for out, target in outs.items() if target is None]

    def each(text, separator="; "):
        return separator.join(text.replace("OUT", out) for out in sums)

    save = {out: f"{out}.flat[index] = encode_{out}(value_{out})" for out in outs}
    add = {out: f"total_{out}, low_{out} = add(total_{out}, low_{out}, number(value_{out}))" for out in sums}
    words |= {
        "loaded": ", ".join([f"number(decode_{name}({name}.flat[index]))" for name in inputs] + numbers),
        "stored": "; ".join((save | add).values()),
        "summed": sums[0],
        # The simulator tells shared arrays apart by their lines.
        "shared": each("shared_OUT = cuda.shared.array(THREADS, number)", "\n    "),
        "zeroed": each("total_OUT, low_OUT = number(0), number(0)"),
        "shared_stored": each("shared_OUT[thread] = total_OUT + low_OUT"),
        "finished": each("OUT[i, segment, j] = sum_lanes(shared_OUT, thread, lanes, columns)"),
    }
    label = "_".join([common.label(formula, result), *kinds, *(target or "sum" for target in targets)])
    scope |= {"THREADS": THREADS, "uint64": np.uint64}
    add, sum_lanes, function = common.define(SUMS.format(**words), __name__, scope, label)
    scope |= {"add": cuda.jit(add, device=True), "sum_lanes": cuda.jit(sum_lanes, device=True)}
    return function


def _described(formula, kinds, result, targets):
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
    if target not in dispatch.FLOATING:  # a mask
        integer = np.dtype(target).type
        return numba.njit(lambda value: integer(value), **JIT_OPTIONS)
    (load, store), (_, write), narrow = common.conversions(result), common.conversions(target), common.number(target)
    return numba.njit(lambda value: write(narrow(load(store(value)))), **JIT_OPTIONS)


IDENTITY = Formula(lambda x: x)  # copies, with a change of dtype, what lies in the way of a kernel
