"""Elementwise kernels on NumPy arrays of any kind: those that repeat, and those to be made plain part by part."""

import math

import numpy as np

from numact import memory
from numact.dispatch import PART, deliver, dtype_name, may_overlap, prepare
from numact.result_types import check_out
from numact.targets import common, cpu, cpu_arrays


def elementwise(formula, arrays, parameters, out):
    """Apply a formula of one result to arrays by name; see `numact.dispatch.elementwise`."""
    arrays, dtype, shape = prepare(arrays, out)
    name = dtype_name(dtype)
    storage = common.storage(name)
    if out is None or (_is_native(out, dtype) and not may_overlap(out, arrays.values())):
        inputs = _native(arrays, dtype, shape)
        result = memory.empty(shape, dtype) if out is None else out
        if inputs and _run(formula, dtype, inputs, parameters, [result], shape):
            return deliver(result, out)
    takes = ["contig", "aligned", "nbo", "overlap_assume_elementwise"]
    reads, writes = ["readonly", *takes], ["writeonly", "allocate", "no_subtype", "no_broadcast", *takes]
    iterator = np.nditer(
        [*arrays.values(), out],
        ["external_loop", "buffered", "growinner", "zerosize_ok", "copy_if_overlap"],
        [reads] * len(arrays) + [writes],
        [dtype] * (len(arrays) + 1),
        casting="unsafe",
        buffersize=PART,
    )
    with iterator, np.errstate(all="ignore"):
        for *inputs, result in iterator:
            views = [value.view(storage) for value in inputs]
            cpu.kernel(formula, name).fill(views, parameters, result.view(storage))
        result = iterator.operands[-1]
    return deliver(result, out)


def gradients(formula, arrays, parameters, outs, summed):
    """Apply a formula of several results to arrays by name; see `numact.dispatch.gradients`.

    `outs` holds for each result, by the name of its array, where to write it, or None.
    """
    arrays, dtype, shape = prepare(arrays, None)
    results = []
    for name, out in outs.items():
        own = arrays[name].shape if summed else shape
        if out is not None:
            check_out(out.shape, dtype_name(out.dtype), not out.flags.writeable, own, dtype_name(dtype))
        if own != shape:
            results.append(np.zeros(own))  # summed in float64
        elif out is not None and _is_native(out, dtype) and not may_overlap(out, arrays.values()):
            results.append(out)
        else:
            results.append(memory.empty(own, dtype))
    with np.errstate(all="ignore"):
        inputs = _native(arrays, dtype, shape)
        if not (inputs and _run(formula, dtype, inputs, parameters, results, shape)):
            _gradients_in_blocks(formula, arrays, parameters, results, shape, dtype)
        results = [value.astype(dtype, copy=False) for value in results]
    return tuple(deliver(result, out) for result, out in zip(results, outs.values(), strict=True))


def _run(formula, dtype, inputs, parameters, results, shape):
    """Let the kernels work on arrays and results, where they can; return whether they could."""
    name = dtype_name(dtype)
    storage = common.storage(name)
    outs = [value.view(storage) if value.shape == shape else value for value in results]
    return cpu_arrays.run(formula, name, [item.view(storage) for item in inputs], parameters, outs, shape)


def _gradients_in_blocks(formula, arrays, parameters, results, shape, dtype):
    """Compute gradients block by block, each made contiguous; what is summed must be 0."""
    inputs = [np.broadcast_to(value, shape) for value in arrays.values()]
    for block in _blocks(shape):
        parts = [np.array(value[block], dtype, order="C") for value in inputs]
        computed = [np.empty_like(parts[0]) for _ in results]
        _run(formula, dtype, parts, parameters, computed, parts[0].shape)
        for result, part in zip(results, computed, strict=True):
            if result.shape == shape:
                result[block] = part
            else:  # along an axis of size 1 there is one place for all blocks
                own = zip(result.shape, block[len(shape) - result.ndim :], strict=False)
                place = result[*(slice(None) if size == 1 else index for size, index in own), ...]
                place += cpu_arrays.sum_to(part.astype(np.float64), place.shape)


def _blocks(shape):
    """Yield indices of blocks of at most `PART` elements that make up an array of that shape."""
    cut = 0
    while cut < len(shape) - 1 and math.prod(shape[cut + 1 :]) > PART:
        cut += 1
    step = max(1, PART // max(1, math.prod(shape[cut + 1 :])))
    for outer in np.ndindex(*shape[:cut]):
        for low in range(0, shape[cut], step):
            yield *(slice(index, index + 1) for index in outer), slice(low, low + step)


def _is_native(array, dtype):
    """Return whether an array is aligned and of that dtype in this machine's byte order."""
    return array.dtype == dtype and array.dtype.isnative and array.flags.aligned


def _native(arrays, dtype, shape):
    """Return the arrays as native ones where for that only some that repeat are to be copied, else an empty list."""
    made = [
        value if value.shape == shape or _is_native(value, dtype) else np.array(value, dtype)
        for value in arrays.values()
    ]
    return made if all(_is_native(value, dtype) for value in made) else []
