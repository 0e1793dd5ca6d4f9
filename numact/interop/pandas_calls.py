"""Calls with pandas Series and DataFrames, whose index and columns are kept."""

import numpy as np
import pandas as pd

from numact import result_types
from numact.base import Elementwise
from numact.dispatch_rows import normalize
from numact.gated import Halved
from numact.losses import SoftmaxCrossEntropy
from numact.rows import Reduction

LABELLED = pd.Series, pd.DataFrame
AXES = {"index": 0, "rows": 0, "columns": 1}  # as pandas numbers them


def call(call):
    """Make a call on the values, and label what it gives."""
    call.refuse_out("pandas makes the results itself")
    if isinstance(call.function, Elementwise) and not isinstance(call.function, Halved):
        return _elementwise(call)
    axis = -1
    if not isinstance(call.function, SoftmaxCrossEntropy):
        call = call.named()
        axis = call.keywords["axis"] = AXES.get(call.keywords["axis"], call.keywords["axis"])
    x = call.arrays.get(int(call.method.__name__ == "backward"), call.keywords.get("output"))
    if not isinstance(call.function, Halved):
        _check_labels(call, x)
    result = call(call.apply(_values))
    if not isinstance(x, LABELLED):
        return result
    labels = list(x.axes)
    axes = normalize(axis, x.ndim)
    if isinstance(call.function, Reduction) and call.method.__name__ == "__call__":
        for place in axes:
            labels[place] = pd.RangeIndex(1)  # of an axis that is kept
    if isinstance(result, tuple):
        return tuple(_labelled(np.asarray(item), x, axes, labels) for item in result)
    return _labelled(np.asarray(result), x, axes, labels)


def _elementwise(call):
    """Let pandas align the arrays and label the result, as it does for NumPy's ufuncs."""
    x = next(value for value in call.arrays.values() if not isinstance(value, np.ndarray))
    kinds = {kind for value in call.arrays.values() for kind in LABELLED if isinstance(value, kind)}
    if len(kinds) > 1:
        raise TypeError("pandas applies no function to a DataFrame and a Series at once; pass the Series' .to_numpy()")
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
        self.nout = len(call.inputs()) if call.gives_several() else 1

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
    return x.to_numpy(dtype=result_types.common_dtype(names), na_value=np.nan)


def _check_labels(call, x):
    """Raise unless what goes along with x has labels of its axes: rows are not aligned, and must not be mixed up."""
    for place, value in call.arrays.items():
        if not (isinstance(x, LABELLED) and isinstance(value, LABELLED)):
            continue
        if not all(any(labels.equals(own) for own in x.axes) for labels in value.axes):
            raise ValueError(f"{call.name(place)} has other labels than the rows it goes along with; align them first")


def _labelled(result, x, axes, labels):
    """Return a result of x along axes with its labels: those of the axes that it still has, as many as it needs."""
    if result.ndim == 0:
        return result[()]
    if result.ndim < x.ndim:
        return pd.Series(result, x.columns if axes == (0,) else x.index)
    labels = [own[:size] for own, size in zip(labels, result.shape, strict=True)]
    if isinstance(x, pd.Series):
        return pd.Series(result, *labels, name=x.name).__finalize__(x)
    return pd.DataFrame(result, *labels).__finalize__(x)
