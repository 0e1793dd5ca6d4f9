"""The callable face of every activation, built from its formulas."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from numact import dispatch
from numact.binding import Formula

NOTES = """

Parameters
----------
x : array_like
    Any shape, strides and real dtype.{parameters}
out : array, optional
    Where to write: the shape of the result, and a dtype that the result casts to under "same_kind". May be `x`.

Returns
-------
array
    Of the type, shape and device of `x`. Floating dtypes are kept; integers promote as in `numpy.tanh`.

Raises
------
TypeError
    If a dtype is complex, object, longdouble or a string, or a parameter is unknown.
ValueError
    If `out` has another shape or is read-only, a parameter or axis is out of range, or the arrays live on different
    devices. Nothing is written.

References
----------
{paper}

"""


@dataclass(frozen=True)
class Info:
    """What is known of an activation.

    Attributes
    ----------
    range : tuple of float
        The least and the largest value.
    kinks : tuple of float
        Where the derivative jumps.
    paper, use, strengths, weaknesses : str
        Where it comes from, where it is used, and why or why not.
    """

    range: tuple[float, float]
    paper: str
    use: str
    strengths: str
    weaknesses: str
    kinks: tuple[float, ...] = ()


class Activation:
    """A callable on arrays; see `activation`, which makes one from a formula."""

    def __init__(self, function, info):
        self._value = Formula(function)
        self.formula, self.info = function, info
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__ = function.__module__
        self._set_signature(self._value.__signature__)

    def _set_signature(self, signature):
        x, *rest = signature.parameters.values()
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        self._defaults = {item.name: item.default for item in rest}
        self.__signature__ = inspect.Signature([x, *rest, out])
        document = inspect.cleandoc(self.formula.__doc__ or self.__name__)
        names = [f"{name} : {type(value).__name__}, default {value!r}" for name, value in self._defaults.items()]
        document, heading, example = document.partition("\n\nExamples\n")
        notes = NOTES.format(parameters="\n".join(["", *names]), paper=self.info.paper)
        self.__doc__ = document + notes + heading.lstrip("\n") + example

    def __repr__(self):
        return f"<activation {self.__name__}{self.__signature__}>"

    def __get__(self, instance, owner=None):
        return self  # help() and inspect take it for a function; stored in a class it does not bind

    def __reduce__(self):
        return self.__qualname__

    @property
    def scalar(self):
        """The scalar function, callable in `numba.njit` and `numba.cuda.jit` code."""
        return self._value.scalar

    def _resolve(self, arguments, keywords):
        """Return the parameters' values in their order."""
        if len(arguments) > len(self._defaults):
            raise TypeError(f"{self.__name__}{self.__signature__} got {len(arguments) + 1} positional arguments")
        values = dict(zip(self._defaults, arguments, strict=False))
        for name, value in keywords.items():
            if name not in self._defaults:
                raise TypeError(f"{self.__name__}{self.__signature__} has no parameter {name!r}")
            if name in values:
                raise TypeError(f"{self.__name__}{self.__signature__} got two values for {name!r}")
            values[name] = value
        return tuple((self._defaults | values).values())


class Elementwise(Activation):
    """An activation of each element by itself: the value, `.grad` and `.backward`."""

    _derivative: Formula | None = None
    _choice: str | None = None

    def __init__(self, function, info):
        super().__init__(function, info)
        self.variants = {}

    def derivative(self, function):
        """Declare the formula of the derivative; a decorator, with the same parameters as the value's formula."""
        self._derivative = Formula(function)
        self._product = _product(self._derivative)
        return self._derivative

    def variant(self, **choice):
        """Declare another form of this activation, chosen by the value of a keyword; a decorator."""
        ((keyword, value),) = choice.items()

        def declare(function):
            form = Elementwise(function, self.info)
            if not self.variants:
                self.variants["none"] = self
            self.variants[value] = form
            self._choice = keyword
            parameter = inspect.Parameter(keyword, inspect.Parameter.POSITIONAL_OR_KEYWORD, default="none")
            shown = self._value.__signature__
            self._set_signature(shown.replace(parameters=[*shown.parameters.values(), parameter]))
            return form

        return declare

    def _select(self, arguments, keywords):
        """Return the form that the arguments choose, and the values of its numeric parameters."""
        values = self._resolve(arguments, keywords)
        if self._choice is None:
            return self, _numbers(self, values)
        *values, choice = values
        if not isinstance(choice, str) or choice not in self.variants:
            names = " or ".join(map(repr, self.variants))
            raise ValueError(f"{self.__name__}: {self._choice} must be {names}, not {choice!r}")
        return self.variants[choice], _numbers(self, values)

    @cached_property
    def _default_numbers(self):
        return _numbers(self, [value for name, value in self._defaults.items() if name != self._choice])

    def __call__(self, x, /, *arguments, out=None, **keywords):
        """Return the value at each element of x; see the activation's own documentation."""
        given = arguments or keywords  # a call without parameters is not to wait for them to be sorted out
        form, parameters = self._select(arguments, keywords) if given else (self, self._default_numbers)
        return dispatch.elementwise(form._value, (x,), parameters, out)

    def grad(self, x, /, *arguments, out=None, **keywords):
        """Return the derivative at each element of x.

        Parameters, results and errors are those of the value.
        """
        given = arguments or keywords
        form, parameters = self._select(arguments, keywords) if given else (self, self._default_numbers)
        return dispatch.elementwise(form._differentiable(), (x,), parameters, out)

    def backward(self, grad_output, x, /, *arguments, out=None, **keywords):
        """Return grad_output times the derivative at x, in one pass.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output; broadcasts against `x`.
        x : array_like
            The activation's input.
        *arguments, out, **keywords
            As for the value.

        Returns
        -------
        array
            The gradient of the loss by `x`.
        """
        given = arguments or keywords
        form, parameters = self._select(arguments, keywords) if given else (self, self._default_numbers)
        form._differentiable()
        return dispatch.elementwise(form._product, (grad_output, x), parameters, out)

    def _differentiable(self):
        if self._derivative is None:
            raise TypeError(f"{self.__name__} has no derivative; declare one with @{self.__name__}.derivative")
        return self._derivative

    @cached_property
    def ufunc(self):
        """The CPU kernel as a NumPy-style ufunc with loops for float32 and float64 (single-threaded)."""
        from numact.targets import cpu

        return cpu.public_ufunc(self._value)


def _product(derivative):
    """Return the formula grad_output * derivative(x, ...)."""
    names = list(derivative.__signature__.parameters)
    function = derivative.formula
    arguments = ", ".join(names)
    scope = {"derivative": function}
    exec(f"def backward(grad_output, {arguments}):\n    return grad_output * derivative({arguments})", scope)
    return Formula(scope["backward"])


def _numbers(activation, values):
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(activation._defaults, values, strict=False))
        raise TypeError(f"{activation.__name__}: parameters must be real numbers, not {shown}") from None


def activation(function: Callable | None = None, **info):
    """Make an activation of a scalar formula; a decorator with or without arguments.

    Parameters
    ----------
    function : callable
        A plain Python function of one scalar and of parameters with defaults: straight-line code of numbers,
        arithmetic, comparisons, conditional expressions, `abs`, functions of `numact.elementary` and other formulas.
    **info
        Fields of `Info`.

    Returns
    -------
    Elementwise

    Raises
    ------
    FormulaError
        If the function cannot be compiled for every target; the message shows the line.

    Examples
    --------
    >>> import numpy as np
    >>> from numact.elementary import exp
    >>> @activation
    ... def bump(x, width=1.0):
    ...     return exp(-x * x / width)
    >>> float(bump(np.float32(0.0)))
    1.0
    """
    if function is None:
        return functools.partial(activation, **info)
    unknown = {"range": (-np.inf, np.inf), "paper": "", "use": "", "strengths": "", "weaknesses": ""}
    return Elementwise(function, Info(**(unknown | info)))
