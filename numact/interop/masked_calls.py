"""Calls with NumPy's masked arrays: masks are kept, and masked entries take no part in their rows."""

import numpy as np

from numact import result_types
from numact.base import Elementwise
from numact.foreign import through_numpy
from numact.gated import Halved
from numact.losses import SoftmaxCrossEntropy
from numact.rows import Reduction


def call(call):
    """Make a call on the arrays' data, and mask what was masked in any of them."""
    if isinstance(call.function, SoftmaxCrossEntropy):
        return _loss(call)
    masks = {place: np.ma.getmaskarray(value) for place, value in call.arrays.items() if place != "mask"}
    if isinstance(call.function, Halved):
        return _masked(_computed(call), _mask_of_halves(call.named(), masks))
    if isinstance(call.function, Elementwise):
        return _elementwise(call, masks)
    return _on_rows(call.named(), masks)


def _computed(call, data=None, **changed):
    return through_numpy(call, np.ma.getdata, lambda result: result[()], data, **changed)


def _masked(result, mask):
    """Return a result as a masked array, or one of no axes as a scalar; an `out` that is one gets the mask."""
    if isinstance(result, np.ma.MaskedArray):
        result.mask = mask
        return result
    if np.ndim(mask) == 0:
        return np.ma.masked if mask else result
    return np.ma.MaskedArray(result, mask.copy()) if type(result) is np.ndarray else result


def _elementwise(call, masks):
    mask = np.logical_or.reduce(np.broadcast_arrays(*masks.values()))
    data = call.apply(np.ma.getdata)
    if call.method.__name__ == "backward":
        # Gradients are summed to the shapes of their arrays: what is masked must add nothing.
        data = {place: np.where(masks[place], value.dtype.type(0), value) for place, value in data.items()}
        data[0] = np.where(mask, data[0].dtype.type(0), data[0])
    result = _computed(call, data)
    if not isinstance(result, tuple):
        return _masked(result, mask)
    behind = [masks.get(place, False) for place in call.inputs()]
    own = [mask if np.shape(item) == mask.shape else one for one, item in zip(behind, result, strict=True)]
    return tuple(map(_masked, result, own))


def _mask_of_halves(call, masks):
    axis = call.keywords["axis"]
    if call.method.__name__ == "backward":
        half = np.logical_or(*call.function._split(masks[1], axis)) | masks[0]
        return np.concatenate([half, half], axis)
    half = np.logical_or(*call.function._split(masks[0], axis))
    return half if call.method.__name__ == "__call__" else np.concatenate([half, half], axis)


def _on_rows(call, masks):
    is_value, reduces = call.method.__name__ == "__call__", isinstance(call.function, Reduction)
    if reduces and not is_value:
        masks = {1: masks[1]}  # grad_output has the shape of the rows
    mask = np.logical_or.reduce(np.broadcast_arrays(*masks.values()))
    data, changed = call.apply(np.ma.getdata), {}
    if "mask" in call.keywords:
        given = data.pop("mask", None)
        changed["mask"] = ~mask & (True if given is None else np.ma.filled(call.keywords["mask"], False))
    else:
        fills = fills_of(call)
        data = {place: filled(value, mask, fills[place]) if place in masks else value for place, value in data.items()}
    result = _computed(call, data, **changed)
    if reduces and is_value:
        mask = mask.all(axis=call.keywords["axis"], keepdims=bool(call.keywords["keepdims"]))
    return _masked(result, mask)


def fills_of(call):
    """Return what masked entries are filled with, by place, to have no weight in their rows and no gradient."""
    weightless = np.inf if call.function.__name__ == "softmin" else -np.inf
    return {0: weightless} if call.method.__name__ == "__call__" else {0: 0, 1: weightless, "output": 0}


def filled(data, mask, value):
    """Return a copy of an array, of a floating dtype, with a value where the mask is True."""
    name = result_types.compute_dtype("x", data.dtype.name)
    dtype = data.dtype if data.dtype.name == name else np.dtype(name)
    return np.where(mask, np.asarray(value, dtype), data.astype(dtype, copy=False))


def _loss(call):
    """Call the loss with no class where a logit is masked."""
    first = call.method.__name__ == "backward"
    logits, *others = (value for place, value in call.arrays.items() if place != 0 or not first)
    if any(isinstance(value, np.ma.MaskedArray) for value in others):
        raise TypeError("labels is a masked array; fill it with a label that ignore_index names")
    data = call.apply(np.ma.getdata)
    data[int(first)] = filled(data[int(first)], np.ma.getmaskarray(logits), -np.inf)
    result = _computed(call, data)
    if call.method.__name__ == "value_and_grad":
        return result[0], _masked(result[1], np.ma.getmaskarray(logits))
    return _masked(result, np.ma.getmaskarray(logits)) if first else result
