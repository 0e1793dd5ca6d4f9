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
    is_elementwise = isinstance(call.function, Elementwise) and not isinstance(call.function, Halved)
    if is_elementwise and not call.gives_several():
        return _elementwise(call)
    if any(isinstance(value, xr.Dataset) for value in call.arrays.values()):
        return _by_variable(call)
    if is_elementwise:
        return _gradients(call)
    dim = call.keywords.pop("dim", None)
    if dim is not None:
        if "axis" in call.keywords:
            raise TypeError(f"{call.function.__name__} takes either dim= or axis=")
        call.keywords["axis"] = -1  # which a positional axis is in conflict with, too
    call = call.named()
    x = call.arrays[max(place for place in call.arrays if not isinstance(place, str))]
    dims = _dims(x, dim, call.keywords["axis"])
    if isinstance(call.function, Reduction):
        return _reduced(call, x, dims)
    if len(dims) > 1:
        raise ValueError(f"{call.function.__name__} takes one dimension, not {', '.join(map(repr, dims))}")
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
    """Make a call for each variable of a Dataset, with the variable of that name of the others."""
    datasets = {place: value for place, value in call.arrays.items() if isinstance(value, xr.Dataset)}
    first, *others = datasets.values()
    names = list(first.data_vars)
    for other in others:
        if set(other.data_vars) != set(names):
            raise ValueError(f"the Datasets have different variables: {names} and {list(other.data_vars)}")
    results = []
    for name in names:
        arguments, keywords = call.exchanged({place: value[name] for place, value in datasets.items()})
        try:
            results.append(call.method(*arguments, **keywords))
        except Exception as error:
            error.add_note(f"in the variable {name!r} of the Dataset")
            raise

    def joined(arrays):
        return xr.Dataset(dict(zip(names, arrays, strict=True)), attrs=first.attrs)

    return tuple(map(joined, zip(*results, strict=True))) if call.gives_several() else joined(results)


def _gradients(call):
    """Return a gradient by each array or number, of backward summed over the dimensions that it lacks."""
    given = {place: xr.DataArray(value) if np.ndim(value) == 0 else value for place, value in call.arrays.items()}
    wide = xr.broadcast(*xr.align(*given.values(), join="exact"))
    results = call(dict(zip(given, (value.data for value in wide), strict=True)))
    gradients = [wide[0].copy(data=item) if np.ndim(item) else xr.DataArray(item) for item in results]
    if call.method.__name__ == "grad":
        return tuple(gradients)
    return tuple(map(_summed, gradients, (given.get(place) for place in call.inputs())))


def _summed(gradient, own):
    lacking = [name for name in gradient.dims if own is not None and name not in own.dims]
    return gradient.sum(lacking, dtype=np.float64).astype(gradient.dtype) if lacking else gradient


def _loss(call):
    """Call the loss on the arrays inside; what has the shape of the logits or of the rows is labelled."""
    first = int(call.method.__name__ == "backward")
    arguments, _ = call.exchanged({})
    logits, axis = arguments[first], arguments[first + 2]
    if not isinstance(logits, xr.DataArray):
        raise TypeError(f"{call.function.__name__} takes a DataArray as logits, not {type(logits).__name__}")
    rows = logits.isel({logits.dims[axis]: 0}, drop=True)
    for value in call.arrays.values():
        _check_dims(value, rows, logits)
    result = call(call.apply(lambda value: value.data))
    items = result if isinstance(result, tuple) else (result,)
    shapes = {logits.shape: logits, rows.shape: rows}
    made = [shapes[item.shape].copy(data=item) if item.shape in shapes else xr.DataArray(item) for item in items]
    return tuple(made) if isinstance(result, tuple) else made[0]


def _check_dims(value, *models):
    """Raise unless an array has no names, or the dimensions of one of the models in their order, and its labels."""
    if not isinstance(value, xr.DataArray) or not value.dims:
        return
    for model in models:
        if value.dims == model.dims:
            xr.align(value, model, join="exact")
            return
    wanted = " or ".join(str(model.dims) for model in models)
    raise ValueError(f"an array has the dimensions {value.dims}; they must be {wanted}")


def _dims(x, dim, axis):
    """Return the names of the dimensions to work along."""
    if dim is None:
        if isinstance(axis, str):
            raise TypeError(f"axis is a number; a dimension is named by dim={axis!r}")
        axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
        return tuple(x.dims[index] for index in axes)
    dims = x.dims if dim is ... else tuple(dim) if isinstance(dim, list | tuple | set) else (dim,)
    for name in dims:
        if name not in x.dims:
            raise ValueError(f"x has no dimension {name!r}; it has {', '.join(map(repr, x.dims))}")
    return dims
