"""CUDA kernels of gradients by several arrays, summed in the pass that computes them where an array repeats."""

import itertools
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda

from numact import result_types
from numact.targets import common
from numact.targets import cuda as elements
from numact.targets.cuda import IDENTITY, described, launch_elementwise, lead, prepare
from numact.targets.cuda_launch import launch, overlaps, view, view_to_write

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


def gradients(interop, formula, arrays, parameters, outs, summed):
    """Apply a formula of several results to GPU arrays by name; see `numact.dispatch.gradients`.

    Sums over the same axes are added up in the pass that computes their terms; where results are summed over different
    ones, the terms first go into memory of the whole shape.
    """
    inputs, dtype, shape, _ = prepare(interop, arrays, None)
    x = lead(interop, arrays, None)
    owns = dict(zip(arrays, (item.shape if summed else shape for item in inputs), strict=True))
    targets = {name: view_to_write(interop, out) for name, out in outs.items() if out is not None}
    for name, target in targets.items():
        result_types.check_out(target.shape, target.dtype, target.read_only, owns[name], dtype)
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
            segments = max(1, -(-length // (ADDITIONS * (elements.THREADS // columns))))
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
    launch(
        interop, x, function, grid, elements.THREADS, views, [np.int64(step.length), np.int64(step.columns), *numbers]
    )


def _flat(views, shape):
    """Return views broadcast to a shape, flat where their elements lie one after the other."""
    whole = [item.broadcast(shape) for item in views]
    return [item.reshape((math.prod(shape),)) if item.contiguous else item for item in whole]


@cache
def sums_function(formula, kinds, result, targets):
    """Return the Python function of a kernel whose results are summed where their target is None."""
    words, scope = described(formula, kinds, result, targets)
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
    scope |= {"THREADS": elements.THREADS, "uint64": np.uint64}
    add, sum_lanes, function = common.define(SUMS.format(**words), __name__, scope, label)
    scope |= {"add": cuda.jit(add, device=True), "sum_lanes": cuda.jit(sum_lanes, device=True)}
    return function
