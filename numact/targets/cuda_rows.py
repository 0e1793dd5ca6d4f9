"""Row-wise functions on GPU arrays: how rows are brought to the kernels of `cuda_row_kernels`."""

import math
from functools import lru_cache, partial

from numact import dispatch, dispatch_rows, result_types
from numact.targets import common
from numact.targets import cuda as target
from numact.targets.cuda_launch import MOST_THREADS
from numact.targets.cuda_memory import VECTOR
from numact.targets.cuda_row_kernels import Layout, function

# The length of rows, by the bytes of an entry, from which a thread has 32 entries; then that of gradients.
MANY = {2: (128, 8193), 4: (1024, 4096)}


def plan(rows, dtype, aligned, is_backward):
    """Return the `Layout` for rows (before, along, after), the threads of a block, and those of a row.

    Parameters
    ----------
    aligned : bool
        Whether all arrays begin where 16 bytes can be read at once.
    is_backward : bool
        Whether an entry has a gradient beside it, which takes as many registers.
    """
    _, length, inner = rows
    item = common.storage(dtype).itemsize
    if inner > 1:
        most = 8
        beside = min(32, target.THREADS, 1 << (inner - 1).bit_length())
        parts = min(_power(-(-length // most)), target.THREADS // beside)
        return Layout(1, most, True, length > parts * most), target.THREADS, parts, beside
    lanes = VECTOR // item if aligned and length % (VECTOR // item) == 0 else 1
    few = max(lanes, 4)
    # Rows of 4,096 float32 take 2 % less time with 32 entries a thread (H200), and their gradients 8 %; halves, which
    # take longer to compute than to read, 20 % less, and their gradients 10 % more. Read one by one, 32 are spilled.
    many = 8 if item == 8 else 32 if lanes > 1 and length >= MANY[item][is_backward] else 16
    values = few if length <= 8 * few else many
    parts = _power(-(-length // values))
    is_streamed = parts > MOST_THREADS
    # In the half types a row with a multiprocessor for itself is computed longer than it is read: to read the next
    # one meanwhile takes 0.7 to 0.8 of the time (H100; in float32 it takes 1.0 to 1.3 times as long).
    looks_ahead = item == 2 and length > MOST_THREADS * 16 and not is_streamed
    parts = min(parts, MOST_THREADS)
    if item == 2 and values == 32 and is_streamed:
        # Of halves that are read twice, gradients take 0.89 to 0.95 of the time with fewer entries a thread, and
        # values 0.90 to 0.98 with fewer threads a row, as a multiprocessor then has two rows (H100).
        values, parts = (16, parts) if is_backward else (32, parts // 2)
    # Half a block's threads for short rows: while one block waits for its rows' sums, more others are under way.
    return Layout(lanes, values, False, is_streamed, looks_ahead), max(parts, target.THREADS // 2), parts, 1


def _power(count):
    """Return the least power of two that is as large."""
    return 1 << max(count - 1, 0).bit_length()


@lru_cache(maxsize=4096)
def _plan(rows, dtype, aligned, is_backward):
    """Return the plan and the number of blocks that the rows make."""
    layout, threads, parts, beside = plan(rows, dtype, aligned, is_backward)
    outer, _, inner = rows
    slots = threads // parts
    return layout, threads, parts, beside, outer * -(-inner // slots) if layout.are_columns else -(-outer // slots)


def launch_rows(interop, x, kernel_for, views, rows, dtype, scale):
    """Launch a row kernel on contiguous views (the inputs, the mask, the result) of rows (before, along, after)."""
    aligned = all(item.aligned for item in views if item.dtype == dtype)
    layout, threads, parts, beside, tiles = _plan(rows, dtype, aligned, len(views) > 2)
    integers = [item.pointer for item in views] + [*rows, parts, beside]
    grid = target.blocks(interop, x, tiles, threads, layout.looks_ahead)
    target.start(interop, x, kernel_for(layout), grid, threads, integers, [scale], dtype)


def _copied(interop, x, item, dtype, shape):
    """Return the view of a contiguous copy of a view."""
    copy = target.view(interop, interop.empty(x, shape, dtype))
    _fill(interop, x, item, copy, dtype)
    return copy


def _fill(interop, x, item, written, dtype):
    """Copy one view to another of its shape."""
    kind = "float32" if dtype == "uint8" else dtype
    target.launch_elementwise(interop, x, target.IDENTITY, [item], [written], (), kind)


def _contiguous(interop, x, item, dtype, shape):
    """Return a view with that dtype and shape, contiguous: a copy where it has to be."""
    if (item.dtype, item.shape) == (dtype, shape) and item.contiguous:
        return item
    return _copied(interop, x, item.broadcast(shape), dtype, shape)


def _mask(interop, x, mask, shape):
    """Return the view of a mask as bytes, of the shape of x."""
    item = target.view(interop, mask)
    dispatch_rows.check_mask(item.shape, item.dtype, shape)
    return _contiguous(interop, x, item._replace(dtype="uint8"), "uint8", shape)


def plain(interop, formulas, mode, arrays, axis, scale, out):
    """Apply a row-wise function without a mask to arrays that lie dense; return None where they do not."""
    found = target.plain_arrays(interop, arrays, out)
    if found is None:
        return None
    result, addresses, dtype, size, device = found
    rows = dispatch.split_at(tuple(arrays[-1].shape), axis)
    if size:
        layout, threads, parts, beside, tiles = _plan(rows, dtype, True, len(arrays) > 1)
        kernel = function(formulas, mode, dtype, scale != 1.0, False, layout)
        grid = min(tiles, target.most_blocks(device, threads, layout.looks_ahead))
        integers = *addresses, *rows, parts, beside
        target.start_on(device, interop.stream(result), kernel, grid, threads, integers, (scale,), dtype)
    return result


def rowwise(interop, formulas, mode, arrays, axis, mask, scale, out):
    """Apply a row-wise function to GPU arrays by name; see `numact.dispatch_rows.rowwise`."""

    def start(x, views, rows, dtype):
        kernel_for = partial(function, formulas, mode, dtype, scale != 1.0, mask is not None)
        launch_rows(interop, x, kernel_for, views, rows, dtype, scale)

    return along_rows(interop, start, arrays, axis, mask, out)


def along_rows(interop, start, arrays, axis, mask, out):
    """Bring GPU arrays by name, their mask and the result to rows, and start the kernel with what that makes."""
    inputs, dtype, shape, written = target.prepare(interop, arrays, out)
    rows = dispatch.split_at(shape, axis)
    x = target.lead(interop, arrays, out)
    inputs = [_contiguous(interop, x, item, dtype, shape) for item in inputs]
    masks = [] if mask is None else [_mask(interop, x, mask, shape)]
    direct = written is not None and written.contiguous and written.dtype == dtype
    direct = direct and not target.overlaps(written, [*inputs, *masks])
    result = out if direct else interop.empty(x, shape, dtype)
    views = [*inputs, *masks, target.view(interop, result)]
    if math.prod(shape):
        start(x, views, rows, dtype)
    return _deliver(interop, result, out)


def _deliver(interop, result, out):
    """Return the result, copied to `out` where it was not computed there."""
    if out is not None and result is not out:
        target.elementwise(interop, target.IDENTITY, {"x": result}, (), out)
    return result if out is None else out


def _rows(interop, x, item, axes, dtype):
    """Return a contiguous view of an array as rows over axes, and their sizes (before, along, after)."""
    shape = item.shape
    if rows := dispatch_rows.split_at_axes(shape, axes):
        return _contiguous(interop, x, item, dtype, shape).reshape(rows), rows
    order = [axis for axis in range(len(shape)) if axis not in axes] + list(axes)
    moved = item._replace(shape=tuple(shape[k] for k in order), strides=tuple(item.strides[k] for k in order))
    length = math.prod(shape[axis] for axis in axes)
    rows = math.prod(shape) // max(length, 1), length, 1
    return _copied(interop, x, moved, dtype, moved.shape).reshape(rows), rows


def reduction(interop, formulas, x, axis, keepdims, out):
    """Reduce a GPU array; see `numact.dispatch_rows.reduction`."""
    (item,), dtype, shape, _ = target.prepare(interop, {"x": x}, None)
    x = target.lead(interop, {"x": x}, out)
    axes = dispatch_rows.normalize(axis, len(shape))
    final = dispatch_rows.reduced_shape(shape, axes, keepdims)
    if out is not None:
        written = target.view_to_write(interop, out)
        result_types.check_out(written.shape, written.dtype, written.read_only, final, dtype)
    flat, rows = _rows(interop, x, item, axes, dtype)
    rows = math.prod(dispatch_rows.reduced_shape(shape, axes, False)) // rows[2], *rows[1:]  # of no entries, too
    result = interop.empty(x, final, dtype)
    kernel_for = partial(function, formulas, "value", dtype, False, False)
    launch_rows(interop, x, kernel_for, [flat, target.view(interop, result)], rows, dtype, 1.0)
    return _deliver(interop, result, out)


def reduction_backward(interop, formulas, grad_output, x, axis, keepdims, out):
    """Return the gradient of a reduction on a GPU; see `numact.dispatch_rows.reduction_backward`."""
    grad, item = target.view(interop, grad_output), target.view(interop, x)
    x = target.lead(interop, {"grad_output": grad_output, "x": x}, out)
    dtype = result_types.common_dtype({"grad_output": grad.dtype, "x": item.dtype})
    shape, axes = item.shape, dispatch_rows.normalize(axis, len(item.shape))
    final = dispatch_rows.reduced_shape(shape, axes, keepdims)
    dispatch_rows.check_gradient(grad.shape, final)
    if out is not None:
        written = target.view_to_write(interop, out)
        result_types.check_out(written.shape, written.dtype, written.read_only, shape, dtype)
    result = interop.empty(x, shape, dtype)
    if math.prod(shape) == 0:
        return _deliver(interop, result, out)
    flat, rows = _rows(interop, x, item, axes, dtype)
    grads = _contiguous(interop, x, grad, dtype, final)
    kernel_for = partial(function, formulas, "backward", dtype, False, False)
    if dispatch_rows.split_at_axes(shape, axes):
        launch_rows(interop, x, kernel_for, [grads, flat, target.view(interop, result)], rows, dtype, 1.0)
        return _deliver(interop, result, out)
    order = [axis for axis in range(len(shape)) if axis not in axes] + list(axes)
    moved = target.view(interop, interop.empty(x, tuple(shape[k] for k in order), dtype))
    launch_rows(interop, x, kernel_for, [grads, flat, moved], rows, dtype, 1.0)
    back = [order.index(axis) for axis in range(len(shape))]
    moved = moved._replace(shape=shape, strides=tuple(moved.strides[k] for k in back))
    _fill(interop, x, moved, target.view(interop, result), dtype)
    return _deliver(interop, result, out)
