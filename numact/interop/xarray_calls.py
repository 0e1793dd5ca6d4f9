"""Calls with xarray DataArrays and Datasets: dimensions by name, coordinates, attributes and laziness kept."""

import numpy as np
import xarray as xr

from numact.base import Elementwise
from numact.gated import Halved
from numact.losses import SoftmaxCrossEntropy
from numact.rows import Reduction


def call(call):
    """Make a call on the arrays inside, along the dimension named by `dim`, and label what it gives."""
    call.refuse_out("xarray makes the results itself")
    if isinstance(call.function, SoftmaxCrossEntropy):
        return _loss(call)
    if isinstance(call.function, Elementwise) and not isinstance(call.function, Halved):
        return _gradients(call) if call.gives_several() else _elementwise(call)
    if any(isinstance(value, xr.Dataset) for value in call.arrays.values()):
        return _by_variable(call)
    dim = call.keywords.pop("dim", None)
    call = call.named()
    x = call.arrays[max(place for place in call.arrays if not isinstance(place, str))]
    dims = _dims(x, dim, call.keywords["axis"])
    if isinstance(call.function, Reduction):
        return _reduced(call, x, dims)
    if isinstance(call.function, Halved):
        return _on_last(call, x, [dims] * len(call.arrays), dims)
    order = list(dict.fromkeys(name for value in call.arrays.values() for name in getattr(value, "dims", ())))
    return _elementwise(call, axis=order.index(dims[0]))


def _elementwise(call, **changed):
    def compute(*values):
        return call(dict(zip(call.arrays, values, strict=True)), **changed)

    return xr.apply_ufunc(compute, *call.arrays.values(), dask="allowed", keep_attrs=True)


def _on_last(call, x, core, out_core, **changed):
    """Make a call along the last axes, to which xarray moves the dimensions `core` of each array."""

    def compute(*values):
        return call(dict(zip(call.arrays, values, strict=True)), **changed)

    result = xr.apply_ufunc(
        compute,
        *call.arrays.values(),
        input_core_dims=core,
        output_core_dims=[out_core],
        exclude_dims=set(out_core) if isinstance(call.function, Halved) else set(),
        dask="allowed",
        keep_attrs=True,
    )
    result = result.transpose(*x.dims)
    return x.copy(data=result.data) if result.shape == x.shape else result


def _reduced(call, x, dims):
    if call.method.__name__ == "backward":
        axes = tuple(range(-len(dims), 0))
        return _on_last(call, x, [(), dims], dims, axis=axes, keepdims=False)

    def compute(values, axis):
        return call({0: values}, axis=axis, keepdims=False)

    return x.reduce(compute, dim=dims, keepdims=bool(call.keywords["keepdims"]), keep_attrs=True)


def _by_variable(call):
    """Make a call for each variable of one Dataset."""
    ((place, dataset),) = call.arrays.items()

    def compute(variable):
        arguments, keywords = call.exchanged({place: variable})
        return call.method(*arguments, **keywords)

    return dataset.map(compute, keep_attrs=True)


def _gradients(call):
    """Return a gradient by each array, summed over the dimensions that it lacks."""
    given = {place: xr.DataArray(value) if np.ndim(value) == 0 else value for place, value in call.arrays.items()}
    wide = xr.broadcast(*xr.align(*given.values(), join="exact"))
    results = call(dict(zip(given, (value.data for value in wide), strict=True)))
    behind = list(given.values())[call.method.__name__ == "backward" :]
    return tuple(_summed(wide[0].copy(data=item), own) for item, own in zip(results, behind, strict=True))


def _summed(gradient, own):
    lacking = [name for name in gradient.dims if name not in own.dims]
    return gradient.sum(lacking, dtype=np.float64).astype(gradient.dtype) if lacking else gradient


def _loss(call):
    """Call the loss on the arrays inside; what has the shape of the logits or of the rows is labelled."""
    logits = call.arrays[int(call.method.__name__ == "backward")]
    result = call(call.apply(lambda value: value.data))
    items = result if isinstance(result, tuple) else (result,)
    axis = dict(enumerate(call.exchanged({})[0]))[2 + (call.method.__name__ == "backward")]
    rows = logits.isel({logits.dims[axis]: 0}, drop=True)
    shapes = {logits.shape: logits, rows.shape: rows}
    made = [shapes[item.shape].copy(data=item) if item.shape in shapes else xr.DataArray(item) for item in items]
    return tuple(made) if isinstance(result, tuple) else made[0]


def _dims(x, dim, axis):
    """Return the names of the dimensions to work along."""
    if dim is None:
        axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
        return tuple(x.dims[index] for index in axes)
    dims = x.dims if dim is ... else (dim,) if dim in x.dims or isinstance(dim, str) else tuple(dim)
    for name in dims:
        if name not in x.dims:
            raise ValueError(f"x has no dimension {name!r}; it has {', '.join(map(repr, x.dims))}")
    return dims
