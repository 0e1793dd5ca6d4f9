"""Calls with Dask arrays: lazy, chunk by chunk, and by a tree of partial results along an axis that is split."""

import itertools
import operator
from functools import partial, reduce

import cloudpickle
import dask.array as da
import numba
import numpy as np

from numact import dispatch, partial_projections, partial_rows, result_types
from numact.base import Elementwise
from numact.dispatch_rows import check_mask, normalize, reduced_shape
from numact.foreign import Call
from numact.gated import Halved
from numact.interop.masked_calls import filled, fills_of
from numact.losses import SoftmaxCrossEntropy
from numact.projections import Projection
from numact.rows import Reduction


def call(call):
    """Return what a call will give, as a Dask array in chunks like those of the arrays."""
    call.refuse_out("a Dask array is computed later")
    call.apply(_checked)
    if isinstance(call.function, SoftmaxCrossEntropy):
        raise TypeError("softmax_cross_entropy takes no Dask arrays: use log_softmax, or compute the logits")
    if isinstance(call.function, Halved) or not isinstance(call.function, Elementwise):
        call = call.named()
    arguments, keywords = call.exchanged({})
    lists = {place: value for place, value in [*enumerate(arguments), *keywords.items()] if isinstance(value, list)}
    lists.pop("axis", None)
    if "mask" not in call.arrays and keywords.get("mask") is not None:
        lists["mask"] = keywords["mask"]  # a truth value stands for an array, too
    plain = {place: np.asarray(value) for place, value in lists.items()}
    call = Call(call.method, *call.exchanged(plain))
    arrays = {place: da.asarray(value) for place, value in call.arrays.items()}
    if isinstance(call.function, Halved):
        return _halved(call, arrays)
    if not isinstance(call.function, Elementwise):
        return _on_rows(call, arrays)
    if call.gives_several():
        return _gradients(call, arrays)
    return _on_chunks(_function(call, arrays), *arrays.values())


def _checked(value):
    """Raise a TypeError for what is of Dask, but no array."""
    if not isinstance(value, da.Array):
        raise TypeError(f"is a Dask {type(value).__name__}, no array; a DataFrame has .to_dask_array(lengths=True)")


def _by_value(function):
    """Return what cloudpickle makes an activation from: one's own of its formulas, as a worker has not the script."""
    is_elsewhere = function.__module__ != "__main__" and "<locals>" not in function.__qualname__
    if is_elsewhere or function.variants or function._at_defaults is not None:
        return function.__qualname__
    formulas = function._value, function._derivative, function._slope
    key = function.__qualname__, *(formula and formula.fingerprint(np.float64) for formula in formulas)
    return _made_again, (key, function.info, *(formula and formula.formula for formula in formulas))


def _made_again(key, info, value, derivative, slope):
    """Return an activation of these formulas, the same one each time: it keeps its kernels."""
    if key not in _own:
        made = Elementwise(value, info)
        if derivative is not None:
            made.derivative(derivative)
        if slope is not None:
            made.derivative_from_output(slope)
        _own[key] = made
    return _own[key]


_own: dict[tuple, Elementwise] = {}
cloudpickle.CloudPickler.dispatch_table[Elementwise] = _by_value


def on_one_thread(function, *arguments, **keywords):
    """Compute a chunk on one thread: the scheduler computes as many at once as it has threads and processes."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **keywords)
    finally:
        numba.set_num_threads(threads)


def _function(call, places, **changed):
    """Return a function of the chunks of a call's arrays, which holds no array itself."""
    arguments, keywords = call.exchanged(dict.fromkeys(places))
    return partial(_call_on_chunks, Call(call.method, arguments, keywords), tuple(places), changed)


def _call_on_chunks(call, places, changed, *chunks):
    return call(dict(zip(places, chunks, strict=True)), **changed)


def _on_chunks(function, *arrays, **options):
    """Return the results of a function of chunks that broadcast, each computed where its chunks are."""
    meta = on_one_thread(function, *(array._meta for array in arrays))
    return da.map_blocks(on_one_thread, function, *_aligned(arrays), dtype=meta.dtype, meta=meta, **options)


def _several_on_chunks(function, *arrays):
    """Return the arrays that a function of chunks gives as a tuple."""
    metas = on_one_thread(function, *(array._meta for array in arrays))
    # Dask passes the tuples on as it passes chunks, without looking into them.
    meta = np.empty((0,) * metas[0].ndim, object)
    tuples = da.map_blocks(on_one_thread, function, *_aligned(arrays), dtype=object, meta=meta)
    return tuple(
        da.map_blocks(operator.itemgetter(index), tuples, dtype=meta.dtype, meta=meta)
        for index, meta in enumerate(metas)
    )


def _aligned(arrays):
    """Return arrays that broadcast, cut at the same places."""
    axes = [tuple(range(array.ndim))[::-1] for array in arrays]
    return da.unify_chunks(*itertools.chain(*zip(arrays, axes, strict=True)))[1]


def _gradients(call, arrays):
    """Return a gradient by each array; of backward, summed over the axes along which that is repeated."""
    first, behind = int(call.method.__name__ == "backward"), call.inputs()
    for place in behind.keys() - arrays.keys():  # numbers, of which a chunk would sum the gradient
        arrays[place] = da.asarray(np.asarray(behind[place], _dtypes({"x": arrays[first]})[0]))
    is_one = len({array.chunks for array in arrays.values()}) == 1  # their sizes may be unknown then
    if not is_one:
        _check_known(arrays[first], range(arrays[first].ndim))
    wide = arrays.values() if is_one else da.broadcast_arrays(*arrays.values())
    results = _several_on_chunks(_function(call, arrays), *wide)
    if call.method.__name__ == "grad":
        return results
    return tuple(_summed(result, np.shape(own)) for result, own in zip(results, behind.values(), strict=True))


def _summed(gradient, shape):
    padded = (1,) * (gradient.ndim - len(shape)) + shape
    axes = tuple(axis for axis, size in enumerate(padded) if size == 1 != gradient.shape[axis])
    summed = gradient.sum(axes, keepdims=True, dtype=np.float64).astype(gradient.dtype) if axes else gradient
    return summed.reshape(shape) if summed.ndim != len(shape) else summed


def _halved(call, arrays):
    function, axis = call.function, call.keywords["axis"]
    *grad_output, x = arrays.values()
    known = [0 if np.isnan(size) else size for size in x.shape]
    function._split(np.broadcast_to(0.0, known), axis)  # which checks the axis and its size
    axis %= x.ndim
    _check_known(x, (axis,))
    before, half = (slice(None),) * axis, x.shape[axis] // 2
    halves = x[(*before, slice(half))], x[(*before, slice(half, None))]
    if call.method.__name__ == "__call__":
        return _on_chunks(partial(_formula_on_chunks, function), *halves)
    parts = _several_on_chunks(partial(_gradients_on_chunks, function, bool(grad_output)), *grad_output, *halves)
    return da.concatenate(parts, axis, allow_unknown_chunksizes=True)  # the sizes of both are x's


def _check_known(x, axes):
    for axis in axes:
        if np.isnan(x.shape[axis]):
            raise ValueError(f"the size of x is not known along axis {axis}; call x.compute_chunk_sizes() first")


def _formula_on_chunks(function, *chunks):
    return dispatch.elementwise(function._value, chunks, (), None)


def _gradients_on_chunks(function, is_backward, *chunks):
    formula = function._product if is_backward else function._derivative
    return dispatch.gradients(formula, chunks, (), None, summed=is_backward)


def _on_rows(call, arrays):
    """Make a call along axes; where x is in one chunk along them, chunk by chunk."""
    is_value, reduces = call.method.__name__ == "__call__", isinstance(call.function, Reduction)
    place = "output" if "output" in arrays else int(not is_value)
    if not isinstance(arrays.get(place), da.Array):
        raise TypeError(f"{call.function.__name__}.{call.method.__name__} needs an array of which to take rows")
    x = arrays[place]
    if "mask" in arrays:
        check_mask((), arrays["mask"].dtype, ())
    axes = normalize(call.keywords["axis"], x.ndim) if reduces else normalize(call.keywords["axis"], x.ndim)[:1]
    if not is_value and 0 not in arrays:  # a number
        arrays[0] = da.asarray(np.asarray(call.exchanged({})[0][0], x.dtype))
    if reduces and not is_value:
        arrays[0] = _expanded(call, arrays[0], x, axes)
    for other in arrays.keys() - {place}:
        arrays[other] = _in_chunks_of(x, arrays[other])
    if any(x.numblocks[axis] > 1 for axis in axes) or (reduces and not is_value):
        return _on_split_rows(call, arrays, place, axes)
    if not reduces:
        return _on_chunks(_function(call, arrays, axis=axes[0]), *arrays.values())
    chunks = tuple((1,) if axis in axes else sizes for axis, sizes in enumerate(x.chunks))
    return _squeezed(call, _on_chunks(_function(call, arrays, axis=axes, keepdims=True), x, chunks=chunks), axes)


def _on_split_rows(call, arrays, place, axes):
    """Make a call along axes of which one is split into chunks; what is masked there has no weight and no gradient."""
    reduces = isinstance(call.function, Reduction)
    is_projection = isinstance(call.function, Projection)
    split = _split_projection if is_projection else _split_reduction if reduces else _split_rows
    masks = {key: da.ma.getmaskarray(value) for key, value in arrays.items() if _is_masked(value) and key != "mask"}
    if not masks and not _is_masked(arrays.get("mask")):
        return split(call, arrays, place, axes)
    is_value = call.method.__name__ == "__call__"
    if reduces and not is_value:
        masks = {key: mask for key, mask in masks.items() if key == place}
    hidden = reduce(operator.or_, masks.values(), da.zeros_like(arrays[place], dtype=bool, shape=arrays[place].shape))
    fills = fills_of(call)
    plain = {key: da.ma.getdata(value) for key, value in arrays.items()}
    for key in arrays.keys() & fills.keys():
        plain[key] = _on_chunks(partial(filled, value=fills[key]), plain[key], hidden)
    if "mask" in call.keywords:
        plain["mask"] = ~hidden & da.ma.filled(arrays.get("mask", True), False)
    result = split(call, plain, place, axes)
    if reduces and is_value:
        hidden = hidden.all(axis=axes, keepdims=bool(call.keywords["keepdims"]))
    return da.ma.masked_array(result, hidden)


def _is_masked(array):
    return isinstance(getattr(array, "_meta", None), np.ma.MaskedArray)


def _expanded(call, grad_output, x, axes):
    """Return the gradient by a reduction's output with the axes that were summed over."""
    shape = reduced_shape(x.shape, axes, bool(call.keywords["keepdims"]))
    is_known = not np.isnan(grad_output.shape).any()
    wide = da.broadcast_to(grad_output, shape) if is_known else grad_output
    if call.keywords["keepdims"]:
        return wide
    return wide[tuple(None if axis in axes else slice(None) for axis in range(x.ndim))]


def _squeezed(call, result, axes):
    return result if call.keywords["keepdims"] else da.squeeze(result, axes)


def _in_chunks_of(x, other):
    """Return an array of as many dimensions as x, cut where x is; axes of size 1 stay, to be repeated."""
    other = other[(None,) * (x.ndim - other.ndim)] if other.ndim < x.ndim else other
    return other.rechunk({axis: x.chunks[axis] for axis in range(x.ndim) if other.shape[axis] != 1})


def _split_rows(call, arrays, place, axes):
    """Return softmax, log_softmax or softmin, or the gradient, along an axis that is split into chunks."""
    function, options, mask = call.function, call.keywords, arrays.get("mask")
    result_dtype, dtype = _dtypes(arrays)
    scale = float(options.get("scale", function._scale))
    is_logarithm = function._formulas.logarithm is not None
    x = _in_dtype(arrays[place], dtype)
    if place != "output":
        x = -x if scale < 0 else x
        x = x if mask is None else da.where(mask, x, dtype(-np.inf))
        pairs = _pairs(x, abs(scale), axes)
    if call.method.__name__ == "__call__":
        result = _on_chunks(partial(partial_rows.value, is_logarithm=is_logarithm, scale=abs(scale)), x, pairs)
        result = result if mask is None else da.where(mask, result, dtype(-np.inf if is_logarithm else 0))
        return result.astype(result_dtype)
    grad_output = _in_dtype(arrays[0], dtype)
    grad_output = grad_output if mask is None else da.where(mask, grad_output, dtype(0))
    if place == "output":
        weights, totals = x, da.ones_like(x, shape=reduced_shape(x.shape, axes, True), dtype=np.float64)
        totals = totals.rechunk({axis: sizes for axis, sizes in enumerate(x.chunks) if axis not in axes})
    else:
        weights, totals = _on_chunks(partial(partial_rows.weights, scale=abs(scale)), x, pairs), 1 + pairs.imag
    terms = _on_chunks(partial(partial_rows.term, function._formulas), weights, grad_output)
    dots = terms.sum(axes, keepdims=True, dtype=np.float64)
    compute = partial(partial_rows.gradient, function._formulas, scale=scale)
    result = _on_chunks(compute, weights, grad_output, totals, dots)
    return (result if mask is None else da.where(mask, result, dtype(0))).astype(result_dtype)


def _split_reduction(call, arrays, place, axes):
    """Return logsumexp, or its gradient, along axes of which one is split into chunks."""
    result_dtype, dtype = _dtypes(arrays)
    x = _in_dtype(arrays[place], dtype)
    pairs = _pairs(x, 1.0, axes)
    if call.method.__name__ == "__call__":
        result = _on_chunks(partial(partial_rows.reduced_value, dtype=dtype), pairs)
        return _squeezed(call, result.astype(result_dtype), axes)
    compute = partial(partial_rows.reduced_gradient, call.function._formulas)
    return _on_chunks(compute, x, _in_dtype(arrays[0], dtype), pairs).astype(result_dtype)


def _split_projection(call, arrays, place, axes):
    """Return sparsemax or hardmax, or the gradient, along an axis that is split into chunks."""
    result_dtype, dtype = _dtypes(arrays)
    (axis,), x, is_sparsemax = axes, _in_dtype(arrays[place], dtype), call.function.__name__ == "sparsemax"
    maximum = _reduced(x, partial_rows.largest, partial_rows.largest, axes, dtype=x.dtype)
    if call.method.__name__ == "__call__":
        result = _sparsemax(x, maximum, axis) if is_sparsemax else _hardmax(x, maximum, axis)
        return result.astype(result_dtype)
    grad_output = _in_dtype(arrays[0], dtype)
    if not is_sparsemax:
        wide = da.broadcast_to(grad_output, x.shape, x.chunks) if 1 in grad_output.shape else grad_output
        return _on_chunks(partial_projections.no_gradient, wide, maximum).astype(result_dtype)
    y = x if place == "output" else _sparsemax(x, maximum, axis)
    is_inside = y > 0
    total = da.where(is_inside, grad_output, dtype(0)).sum(axis, keepdims=True, dtype=np.float64)
    shared = y.max(axis, keepdims=True), total, is_inside.sum(axis, keepdims=True)
    return _on_chunks(partial_projections.gradient, y, grad_output, *shared).astype(result_dtype)


def _sparsemax(x, maximum, axis):
    thresholds = _reduced(x, partial_projections.support, partial_projections.threshold, (axis,))
    return _on_chunks(partial_projections.value, x, maximum, thresholds)


def _hardmax(x, maximum, axis):
    _check_known(x, (axis,))
    shape = tuple(-1 if other == axis else 1 for other in range(x.ndim))
    places = da.arange(x.shape[axis], chunks=(x.chunks[axis],), like=x._meta).reshape(shape)
    found = _on_chunks(partial_projections.places_of_largest, x, maximum, places)
    first = _reduced(found, partial_projections.least, partial_projections.least, (axis,), dtype=np.int64)
    return _on_chunks(partial_projections.first_largest, places == first, maximum)


def _dtypes(arrays):
    """Return the dtype of the result and the one to compute in."""
    names = {str(place): array.dtype.name for place, array in arrays.items() if place != "mask"}
    name = result_types.common_dtype(names)
    return np.dtype(name), np.float64 if name == "float64" else np.float32


def _in_dtype(x, dtype):
    return x if x.dtype == dtype else x.astype(dtype)


def _pairs(x, scale, axes):
    """Return the pairs of rows that are split into chunks."""
    merge = partial(partial_rows.pair_of_pairs, scale=scale)
    return _reduced(x, partial(partial_rows.pair_of_entries, scale=scale), merge, axes, merge)


def _reduced(x, chunk, aggregate, axes, combine=None, dtype=np.complex128):
    """Return what the parts of split rows give together: few at a time merge, on whichever worker has them."""
    return da.reduction(
        x,
        chunk=partial(on_one_thread, chunk),
        combine=partial(on_one_thread, combine or chunk),
        aggregate=partial(on_one_thread, aggregate),
        axis=axes,
        keepdims=True,
        dtype=dtype,
        meta=np.empty_like(x._meta, dtype=dtype),
    )
