"""Where do the arrays of a row-wise function live, and how are their rows brought to the kernels?"""

import importlib
import math
import operator
from functools import cache, lru_cache

import numpy as np
from numpy import ndarray

from numact import dispatch, memory, result_types
from numact.dispatch import PART, _parts, deliver, find_interop, flattened, may_overlap, split_at

NAMES = {"value": ("x",), "backward": ("grad_output", "x"), "from_output": ("grad_output", "output")}
LONGEST = 65_536  # entries of a row that is reduced by one thread; a longer one is cut, if there is no other


@cache
def cpu_rows_target(formulas):
    """Import the CPU target's module with the kernels of formulas at the first call."""
    return importlib.import_module(f"numact.targets.{formulas.cpu_target}")


@cache
def cuda_rows_target(formulas):
    """Import the CUDA target's module with the kernels of formulas, or say what is missing."""
    dispatch.cuda_target()
    return importlib.import_module(f"numact.targets.{formulas.cuda_target}")


def rowwise(formulas, mode, arrays, axis, mask, scale, out):
    """Apply a row-wise function, by the formulas of its kernels, to a tuple of arrays along an axis."""
    try:
        x, axis = arrays[-1], operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, not {axis!r}") from None
    if mask is None and type(x) is ndarray and x.flags.carray:
        first, dtype, shape = arrays[0], x.dtype, x.shape
        if (
            first is x
            or (type(first) is ndarray and first.dtype is dtype and first.shape == shape and first.flags.carray)
        ) and (
            out is None or (type(out) is ndarray and out.dtype is dtype and out.shape == shape and out.flags.carray)
        ):
            call = _ufunc(formulas, mode, dtype, scale != 1, shape, axis)
            operands = arrays + (out,) if scale == 1 else (*arrays, np.array(scale), out)  # noqa: RUF005 - 30 ns less
            result = call and call(*operands)
            if result is not None:
                return result
    if name := dispatch._plain_dtype(arrays, x, out):
        rows = split_at(x.shape, axis)
        if mask is None or _is_plain_mask(mask, x.shape, rows, out):
            result = memory.empty_like(x) if out is None else out
            flat = map(flattened, arrays)
            mask = None if mask is None else mask.ravel()
            cpu_rows_target(formulas).rowwise(formulas, mode, name, flat, flattened(result), rows, scale, mask)
            return result
    if mask is None and formulas.cuda_target == "cuda_rows" and (library := dispatch.seen.get(type(x))):
        result = cuda_rows_target(formulas).plain(library, formulas, mode, arrays, axis, scale, out)
        if result is not None:
            return result
    named = dict(zip(NAMES[mode], arrays, strict=True))
    interop = find_interop(named if mask is None else {**named, "mask": mask}, out)
    if interop is None:
        return _rowwise_on_cpu(formulas, mode, named, axis, mask, scale, out)
    return cuda_rows_target(formulas).rowwise(interop, formulas, mode, named, axis, mask, scale, out)


@lru_cache(maxsize=4096)
def _ufunc(formulas, mode, dtype, scaled, shape, axis):
    """Return what computes the result of dense arrays, a scale if scaled, and `out` or None; None if nothing does."""
    rows, name = split_at(shape, axis), dispatch.PLAIN.get(dtype)
    if formulas.cpu_target != "cpu_rows" or name in (None, "bfloat16") or 0 in shape:
        return None
    return cpu_rows_target(formulas).ufunc(formulas, mode, name, scaled, rows)


def _rowwise_on_cpu(formulas, mode, arrays, axis, mask, scale, out):
    """Apply a row-wise function to NumPy arrays of any kind, some rows at a time."""
    arrays, dtype, shape = dispatch.prepare(arrays, out)
    split_at(shape, axis)
    if mask is not None:
        mask = np.asarray(mask)
        check_mask(mask.shape, mask.dtype, shape)
        mask = np.moveaxis(np.broadcast_to(mask, shape), axis, -1)
    read = arrays.values() if mask is None else (*arrays.values(), mask)
    overlaps = out is not None and may_overlap(out, read)
    result = memory.empty(shape, dtype) if out is None or overlaps else out
    inputs = [np.moveaxis(np.broadcast_to(value, shape), axis, -1) for value in arrays.values()]
    target = np.moveaxis(result, axis, -1)
    with np.errstate(all="ignore"):
        for part in _parts(target.shape, 1):
            flat = [_flat(value[part], dtype) for value in inputs]
            is_plain = _is_plain(target[part], dtype)
            values = target[part] if is_plain else np.empty(target[part].shape, dtype)
            rows = values.size // max(shape[axis], 1), shape[axis], 1
            hidden = None if mask is None else np.ascontiguousarray(mask[part]).reshape(-1)
            _run(formulas, mode, dtype, flat, values, rows, scale, hidden)
            if not is_plain:
                target[part] = values
    return deliver(result, out)


def _is_plain_mask(mask, shape, rows, out):
    """Return whether a mask can be read in place: an array of the shape of x, apart from out, of contiguous rows."""
    fits = type(mask) is np.ndarray and mask.dtype == bool and mask.shape == shape and rows[2] == 1
    return fits and mask.flags.c_contiguous and (out is None or not np.may_share_memory(out, mask))


def check_mask(mask_shape, mask_dtype, shape):
    """Raise unless a mask of that shape and dtype can tell which entries of an array of `shape` take part."""
    if str(mask_dtype) != "bool":
        raise TypeError(f"mask has dtype {mask_dtype}; it must be bool, True where an entry takes part")
    try:
        fits = np.broadcast_shapes(mask_shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"mask of shape {mask_shape} does not broadcast to the shape {shape}")


def _run(formulas, mode, dtype, flat, values, rows, scale=1.0, mask=None):
    """Fill `values`, a plain array, from flat arrays of `dtype` or its bits."""
    target = cpu_rows_target(formulas)
    target.rowwise(formulas, mode, dispatch.dtype_name(dtype), flat, flattened(values), rows, scale, mask)


def _is_plain(array, dtype):
    return array.dtype == dtype and array.flags.carray


def _flat(array, dtype):
    """Return an array as a flat one of the dtype's bits, copied only where it is not plain."""
    plain = array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned
    array = array if plain else np.array(array, dtype, order="C")
    return flattened(array)


def reduction(formulas, x, axis, keepdims, out):
    """Reduce an array over one axis, several or all to one value for each row."""
    if axis is not None:
        axis = tuple(map(operator.index, axis)) if isinstance(axis, tuple) else operator.index(axis)
    if out is None and dispatch._plain_dtype((x,), x, None) and x.size:
        rows, final = _reduced(x.shape, axis, keepdims)
        if rows and not (x.itemsize == 2 and _pieces(rows)):
            result = np.empty(final, x.dtype)
            _reduce(formulas, x.dtype, flattened(x), result, rows)
            return deliver(result, None)
    interop = find_interop({"x": x}, out)
    if interop is not None:
        return cuda_rows_target(formulas).reduction(interop, formulas, x, axis, keepdims, out)
    arrays, dtype, shape = dispatch.prepare({"x": x}, None)
    x, axes = arrays["x"], normalize(axis, len(shape))
    final = reduced_shape(shape, axes, keepdims)
    if out is not None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a NumPy array, as the input is, not {type(out).__name__}")
        result_types.check_out(out.shape, out.dtype.name, not out.flags.writeable, final, dtype.name)
    rows = split_at_axes(shape, axes)
    with np.errstate(all="ignore"):
        if x.size == 0:
            result = np.full(final, -np.inf, dtype)
        elif rows and _is_readable(x, dtype) and not (dtype.itemsize == 2 and _pieces(rows)):
            result = np.empty(final, dtype)
            _reduce(formulas, dtype, _flat(x, dtype), result, rows)
        else:
            result = _reduce_parts(formulas, x, axes, dtype).reshape(final).astype(dtype, copy=False)
    return deliver(result, out)


def _pieces(rows):
    """Return how long the pieces are of a row that has no other beside it, so that all threads have some, or 0."""
    outer, length, inner = rows
    piece = max(1, LONGEST // inner)
    return 0 if outer > 1 or inner >= 32 or length <= piece else piece


def _reduce(formulas, dtype, flat, values, rows):
    """Reduce flat rows, of no half type where they are reduced in pieces: it would round the pieces' values."""
    _, length, inner = rows
    piece = _pieces(rows)
    if not piece:
        _run(formulas, "value", dtype, [flat], values, rows)
        return
    count, rest = divmod(length, piece)
    whole = count * piece
    partial = np.empty((count + (rest > 0)) * inner, dtype)
    _run(formulas, "value", dtype, [flat[: whole * inner]], partial[: count * inner], (count, piece, inner))
    if rest:
        _run(formulas, "value", dtype, [flat[whole * inner :]], partial[count * inner :], (1, rest, inner))
    _run(formulas, "value", dtype, [partial], values, (1, partial.size // inner, inner))


def _reduce_parts(formulas, x, axes, dtype):
    """Reduce any array, some rows or a piece of a row at a time; half types come back in float32."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    moved = x.transpose(*kept, *axes)
    kind = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    result = np.empty(moved.shape[: len(kept)], kind)
    length = math.prod(moved.shape[len(kept) :])
    if length <= PART:
        for part in _parts(moved.shape, len(axes)):
            flat = _flat(moved[part], kind)
            values = np.empty(result[part].shape, kind)
            _reduce(formulas, kind, flat, values, (values.size, length, 1))
            result[part] = values
        return result
    for index in np.ndindex(result.shape):
        row = moved[index]
        parts = list(_parts(row.shape, 0))
        pieces = np.empty(len(parts), kind)
        for place, part in enumerate(parts):
            flat = _flat(row[part], kind)
            _reduce(formulas, kind, flat, pieces[place : place + 1], (1, flat.size, 1))
        values = np.empty(1, kind)
        _reduce(formulas, kind, pieces, values, (1, pieces.size, 1))
        result[index] = values[0]
    return result


def reduction_backward(formulas, grad_output, x, axis, keepdims, out):
    """Return the gradient by x of a reduction, given that by its output."""
    interop = find_interop({"grad_output": grad_output, "x": x}, out)
    if interop is not None:
        return cuda_rows_target(formulas).reduction_backward(interop, formulas, grad_output, x, axis, keepdims, out)
    shape = np.shape(x)
    axes = normalize(axis, len(shape))
    final = reduced_shape(shape, axes, keepdims)
    if not isinstance(grad_output, (bool, int, float)):
        grad_output = np.asarray(grad_output)
        check_gradient(grad_output.shape, final)
        grad_output = np.broadcast_to(grad_output, final).reshape(reduced_shape(shape, axes, True))
    arrays, dtype, _ = dispatch.prepare({"grad_output": grad_output, "x": x}, out)
    grad, x = arrays.values()
    grad = np.broadcast_to(grad, reduced_shape(shape, axes, True))
    overlaps = out is not None and may_overlap(out, arrays.values())
    result = memory.empty(shape, dtype) if out is None or overlaps else out
    rows = split_at_axes(shape, axes)
    with np.errstate(all="ignore"):
        if rows and _is_plain(result, dtype) and _is_readable(x, dtype):
            _run(formulas, "backward", dtype, [_flat(grad, dtype), _flat(x, dtype)], result, rows)
        else:
            _reduction_backward_parts(formulas, grad, x, axes, dtype, result)
    return deliver(result, out)


def _reduction_backward_parts(formulas, grad, x, axes, dtype, result):
    """Fill any array with the gradient, some rows at a time."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    moved, target = x.transpose(*kept, *axes), result.transpose(*kept, *axes)
    grad = grad.transpose(*kept, *axes).reshape(moved.shape[: len(kept)])
    length = math.prod(moved.shape[len(kept) :])
    for part in _parts(moved.shape, len(axes)) if x.size else ():
        values = np.empty(moved[part].shape, dtype)
        flat = [_flat(grad[part], dtype), _flat(moved[part], dtype)]
        _run(formulas, "backward", dtype, flat, values, (values.size // length, length, 1))
        target[part] = values


def _is_readable(x, dtype):
    """Return whether kernels for a dtype can read an array where it is."""
    return x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned


def check_gradient(given, shape):
    """Raise unless a gradient of shape `given` broadcasts to the output's shape."""
    try:
        fits = np.broadcast_shapes(given, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"grad_output of shape {given} does not broadcast to the output's shape {shape}")


def normalize(axis, dimensions):
    """Return the axes that an int, a tuple of int or None stands for, from 0 and in order."""
    if axis is None:
        return tuple(range(dimensions))
    axes = [operator.index(item) for item in (axis if isinstance(axis, tuple) else (axis,))]
    for item in axes:
        if not -dimensions <= item < dimensions:
            raise np.exceptions.AxisError(item, dimensions)
    axes = sorted(item % dimensions for item in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis names an axis twice: {axis}")
    return tuple(axes)


@lru_cache(maxsize=4096, typed=True)
def _reduced(shape, axis, keepdims):
    """Return what `split_at_axes` gives for what `axis` stands for, and the shape of the reduction's result."""
    axes = normalize(axis, len(shape))
    return split_at_axes(shape, axes), reduced_shape(shape, axes, keepdims)


def split_at_axes(shape, axes):
    """Return the sizes (before, along, after) of axes that lie side by side, or None where others lie between."""
    if not axes:
        return math.prod(shape), 1, 1
    first, behind = axes[0], axes[-1] + 1
    if behind - first > len(axes):
        return None
    return math.prod(shape[:first]), math.prod(shape[first:behind]), math.prod(shape[behind:])


def reduced_shape(shape, axes, keepdims):
    """Return the shape of a reduction's result."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
