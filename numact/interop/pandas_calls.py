"""Calls with pandas Series and DataFrames, whose index and columns are kept."""

import numpy as np
import pandas as pd

from numact import dispatch
from numact.base import Elementwise
from numact.gated import Halved
from numact.losses import SoftmaxCrossEntropy

LABELLED = pd.Series, pd.DataFrame


def call(call):
    """Make a call on the values, and label what it gives."""
    call.refuse_out("pandas makes the results itself")
    if isinstance(call.function, Elementwise) and not isinstance(call.function, Halved):
        return _elementwise(call)
    is_loss = isinstance(call.function, SoftmaxCrossEntropy)
    axis = -1 if is_loss else call.options()["axis"]
    x = call.arrays.get(int(call.method.__name__ == "backward"), call.keywords.get("output"))
    if not isinstance(call.function, Halved):
        _check_labels(call, x)
    result = call(call.apply(_values))
    if isinstance(result, tuple):
        return tuple(_labelled(np.asarray(item), x, axis) for item in result)
    return _labelled(np.asarray(result), x, axis)


def _elementwise(call):
    """Let pandas align the arrays and label the result, as it does for NumPy's ufuncs."""
    x = next(value for value in call.arrays.values() if not isinstance(value, np.ndarray))
    result = x.__array_ufunc__(AsUfunc(call), "__call__", *call.arrays.values())
    if result is NotImplemented:
        raise TypeError(f"pandas does not apply functions to {type(x).__name__}; pass .to_numpy()")
    return result


class AsUfunc:
    """A call with the face of a ufunc: all that pandas asks for."""

    def __init__(self, call):
        self._call = call
        self.__name__ = call.function.__name__
        self.nin = len(call.arrays)
        self.nout = self.nin - (call.method.__name__ == "backward") if call.gives_several() else 1

    def __repr__(self):
        return repr(self.__name__)

    def __call__(self, *arrays):
        """Make the call with what pandas has taken out of its own arrays."""
        return self._call(dict(zip(self._call.arrays, arrays, strict=True)))


def _values(x):
    """Return the values of a Series or a DataFrame; where pandas would give objects, in the dtype of the result.

    That is the case of columns of several dtypes and of pandas' own, in which an absent value becomes NaN.
    """
    values = x.to_numpy()
    if values.dtype != object:
        return values
    kinds = list(x.dtypes) if isinstance(x, pd.DataFrame) else [x.dtype]
    if all(map(pd.api.types.is_bool_dtype, kinds)):
        return x.to_numpy(dtype=bool)
    if not all(map(pd.api.types.is_numeric_dtype, kinds)):
        return values
    names = {f"column {place}": getattr(kind, "numpy_dtype", kind).name for place, kind in enumerate(kinds)}
    return x.to_numpy(dtype=dispatch.common_dtype(names), na_value=np.nan)


def _check_labels(call, x):
    """Raise unless what goes along with x has labels of its axes: rows are not aligned, and must not be mixed up."""
    for place, value in call.arrays.items():
        if not (isinstance(x, LABELLED) and isinstance(value, LABELLED)):
            continue
        if not all(any(labels.equals(own) for own in x.axes) for labels in value.axes):
            raise ValueError(f"{call.name(place)} has other labels than the rows it goes along with; align them first")


def _labelled(result, x, axis):
    """Return a result with the labels of x along the axes that it still has."""
    if result.ndim == 0 or not isinstance(x, LABELLED):
        return result[()]
    if isinstance(x, pd.Series):
        return pd.Series(result, x.index[: len(result)], name=x.name).__finalize__(x)
    if result.ndim == 1:
        return pd.Series(result, x.columns if axis % 2 == 0 else x.index)
    return pd.DataFrame(result, x.index[: len(result)], x.columns[: result.shape[1]]).__finalize__(x)
