"""Calls with arrays of libraries that have no kernels here: the module that knows the library makes the call."""

import importlib
import inspect
import sys
from functools import cache
from typing import Any

import numpy as np

from numact import dispatch

# Where to look for a module, by the package that an array's class is from. The first of several decides: xarray holds
# Dask arrays, and Dask arrays have chunks of every kind.
MODULES = {"xarray": "xarray_calls", "dask": "dask_calls", "pandas": "pandas_calls", "torch": "torch_calls"}
MODULES |= {"jax": "jax_calls", "jaxlib": "jax_calls", "numpy.ma": "masked_calls"}
ANY = "dlpack_calls"
HOLDING = ("xarray_calls", "dask_calls")
ORDER = [*dict.fromkeys(MODULES.values()), ANY]


def hand_over(error, method, /, *arguments, **keywords):
    """Make a call that failed with a TypeError by the module for its foreign arrays; without any, raise the error."""
    call = Call(method, arguments, keywords)
    values = call.arrays if call.out is None else call.arrays | {"out": call.out}
    found = {place: name for place, value in values.items() if (name := module_for(type(value))) and _is_foreign(value)}
    if not found:
        raise error
    module = min(found.values(), key=ORDER.index)
    if len(set(found.values())) > 1 and module not in HOLDING:
        kinds = sorted({f"{type(values[place]).__module__}.{type(values[place]).__qualname__}" for place in found})
        raise TypeError(f"the arrays are of different libraries: {', '.join(kinds)}; convert them to one") from None
    module = _load(module)
    try:
        return module.call(call)
    except Exception as raised:
        raise raised from None  # that numact has no kernels for the array is no news


def _is_foreign(value):
    """Return whether an array is no GPU array as `dispatch` knows them: what it says of those is final."""
    return getattr(value, "requires_grad", False) or not dispatch.is_cuda(value)


@cache
def module_for(kind):
    """Return the name of the module for the arrays of a class, or None for those that are not foreign."""
    if issubclass(kind, (np.ndarray, np.generic)) and not issubclass(kind, np.ma.MaskedArray):
        return None
    for base in kind.__mro__:
        package = "numpy.ma" if base is np.ma.MaskedArray else base.__module__.partition(".")[0]
        if package in MODULES:
            return MODULES[package]
    return ANY if hasattr(kind, "__dlpack__") else None


@cache
def _load(module):
    return importlib.import_module(f"numact.interop.{module}")


def loaded(package):
    """Return a package that an array of its own has brought."""
    return sys.modules[package]


class Call:
    """A call of an activation's method, and the arrays among its arguments.

    Attributes
    ----------
    method : bound method
    arrays : dict
        By place: the index of a positional argument, or the name of a keyword.
    keywords : dict
        The arguments given by name, `out` aside.
    out : object
        Where to write, or None.
    """

    def __init__(self, method, arguments, keywords):
        self.method, self.function = method, method.__self__
        self._arguments, self.keywords = arguments, keywords
        self.out = keywords.pop("out", None)
        places = [*enumerate(arguments), *keywords.items()]
        self.arrays = {place: value for place, value in places if is_array(value)}

    def exchanged(self, arrays):
        """Return the positional arguments and the keywords with other arrays in their places."""
        arguments, keywords = list(self._arguments), dict(self.keywords)
        for place, value in arrays.items():
            (keywords if isinstance(place, str) else arguments)[place] = value
        return arguments, keywords

    def __call__(self, arrays, out: Any = None, **changed):
        """Make the call with other arrays in their places, and with keywords changed."""
        arguments, keywords = self.exchanged(arrays)
        return self.method(*arguments, out=out, **(keywords | changed))

    def apply(self, function):
        """Return the arrays by place, foreign ones as a function of one; what it says of one follows its name."""
        return {place: self._applied(function, place, value) for place, value in self.arrays.items()}

    def apply_to_outs(self, function):
        """Return `out`, one array or a tuple, in the same way."""
        if isinstance(self.out, tuple):
            return tuple(None if out is None else self._applied(function, "out", out) for out in self.out)
        return None if self.out is None else self._applied(function, "out", self.out)

    def _applied(self, function, place, value):
        try:
            return value if module_for(type(value)) is None else function(value)
        except TypeError as error:
            raise TypeError(f"{self.name(place)} {error}") from None

    def name(self, place):
        """Return the name of the argument at a place."""
        first = ["grad_output"] if self.method.__name__ == "backward" else []
        signature = getattr(self.function, "__signature__", None) or inspect.signature(self.function.__call__)
        names = [*first, *signature.parameters]
        return place if isinstance(place, str) else names[place]

    def refuse_out(self, why):
        """Raise if there is an `out`."""
        if self.out is not None:
            raise TypeError(f"{self.function.__name__}: {why}; leave out= away")

    def gives_several(self):
        """Return whether the result is a tuple, a gradient by each of several arrays."""
        return self.method.__name__ != "__call__" and self.function.gives_several(self.keywords)

    def inputs(self):
        """Return by place, in order, what an elementwise function has gradients by: numbers may be among them."""
        names = enumerate(self.function._value.inputs, self._leading - 1)
        places = [name if name in self.keywords else index for index, name in names]
        values = {place: self.keywords[place] if place in self.keywords else self._arguments[place] for place in places}
        bias = self.keywords.get("bias")
        return values if bias is None else values | {"bias": bias}

    def options(self):
        """Return the values of the parameters behind x by name, arrays among them."""
        named = {name: value for name, value in self.keywords.items() if name not in ("bias", "output")}
        rest = self._arguments[self._leading :]
        return dict(zip(self.function._defaults, self.function._resolve(rest, named), strict=True))

    @property
    def _leading(self):
        return 2 if self.method.__name__ == "backward" else 1

    def named(self):
        """Return the same call with all parameters behind x by name."""
        kept = {name: self.keywords[name] for name in ("bias", "output") if name in self.keywords}
        return Call(self.method, self._arguments[: self._leading], self.options() | kept | {"out": self.out})


def is_array(value):
    """Return whether an argument is an array of whatever library, and no number."""
    if isinstance(value, (type(None), int, float, str, tuple, np.generic)):
        return False
    return hasattr(value, "shape") or module_for(type(value)) is not None


def through_numpy(call, view, wrap, arrays=None, **changed):
    """Make a call on NumPy views of its foreign arrays, and return what it gives in the library's own type.

    Parameters
    ----------
    view : callable
        Returns a NumPy array in the memory of a foreign array.
    wrap : callable
        Returns an array of the library in the memory of a NumPy array.
    arrays : dict, optional
        What to take for the views, by place.
    **changed
        Keywords of the call that change.
    """
    views = call.apply_to_outs(view)
    result = call(call.apply(view) if arrays is None else arrays, views, **changed)
    results, outs, views = (item if isinstance(item, tuple) else (item,) for item in (result, call.out, views))
    written = {id(made): out for made, out in zip(views, outs, strict=True) if out is not None}
    found = tuple(written[id(item)] if id(item) in written else wrap(np.asarray(item)) for item in results)
    return found if isinstance(result, tuple) else found[0]
