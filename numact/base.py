"""The callable face of every activation, built from its formulas."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType

import numpy as np

from numact import derived, dispatch, documentation, foreign
from numact.arguments import as_numbers, remembered
from numact.binding import Formula, FormulaError

EMPTY = inspect.Parameter.empty
UNCOMPILED = "numact runs machine code of its own, which is no part of a graph: compile without fullgraph=True"
RESERVED = {"bias", "out", "stream", "output", "grad_output"}


@dataclass(frozen=True)
class Info:
    """What is known of an activation.

    Attributes
    ----------
    range : tuple of float
        The least and the largest value.
    kinks : tuple of float
        Where the derivative jumps.
    equation : str
        The value in LaTeX.
    paper, use, strengths, weaknesses, mechanism : str
        Where it comes from, where it is used, why or why not, and what it does to small and large inputs.
    """

    range: tuple[float, float]
    equation: str
    paper: str
    use: str
    strengths: str
    weaknesses: str
    mechanism: str = ""
    kinks: tuple[float, ...] = ()


class Activation:
    """A callable on arrays; see `activation`, which makes one from a formula."""

    _keywords: tuple[str, ...] = ("out", "stream")
    _required: tuple[str, ...] = ()  # of the parameters
    _declared: object = None  # differs whenever arguments may mean something else

    def __init_subclass__(cls):
        for method in vars(cls).values():
            if isinstance(method, FunctionType):  # what torch.compile says where it may break no graph
                method._torchdynamo_disable, method._torchdynamo_disable_msg = True, UNCOMPILED

    def __init__(self, function, info):
        self._value = Formula(function)
        self.formula, self.info = function, info
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__ = function.__module__
        if taken := RESERVED & self._value.__signature__.parameters.keys():
            raise FormulaError(f"{self.__name__}: the name {min(taken)!r} has a meaning of its own in every call")
        self._set_signature(self._value.__signature__)

    def _set_signature(self, signature):
        self._shown = signature
        x, *rest = signature.parameters.values()
        keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in self._keywords]
        self._defaults = {item.name: item.default for item in rest}
        self._required = tuple(item.name for item in rest if item.default is EMPTY)
        self.__signature__ = inspect.Signature([x, *rest, *keywords])
        self.__doc__ = documentation.of_activation(self, x.name, rest)

    def __repr__(self):
        return f"<activation {self.__name__}{self.__signature__}>"

    def __get__(self, instance, owner=None):
        return self  # help() and inspect take it for a function; stored in a class it does not bind

    def __reduce__(self):
        return self.__qualname__

    @property
    def takes_output(self):
        """Whether `.backward` takes the output in the place of the input."""
        return False

    def gives_several(self, keywords):
        """Return whether a call with these keywords has a gradient by each of several arrays."""
        return False

    def _sample(self, x):
        """Return arguments to try a call with: x for each array, 1 for each number that has no default."""
        return (x,)

    @property
    def scalar(self):
        """The scalar function, callable in `numba.njit` and `numba.cuda.jit` code."""
        return self._value.scalar

    def _resolve(self, arguments, keywords):
        """Return the values of all arguments but the first in their order."""
        given = dict(zip(self._defaults, arguments, strict=False)) if arguments else {}
        values = {**self._defaults, **given, **keywords}
        if len(given) < len(arguments):
            raise TypeError(f"{self.__name__}{self.__signature__} got {len(arguments) + 1} positional arguments")
        if len(values) > len(self._defaults):
            unknown = next(name for name in keywords if name not in self._defaults)
            raise TypeError(f"{self.__name__}{self.__signature__} has no parameter {unknown!r}")
        if given and keywords and (twice := given.keys() & keywords):
            raise TypeError(f"{self.__name__}{self.__signature__} got two values for {min(twice)!r}")
        if self._required and (missing := [name for name in self._required if values[name] is EMPTY]):
            raise TypeError(f"{self.__name__}{self.__signature__} needs {' and '.join(missing)}")
        return tuple(values.values())


class Elementwise(Activation):
    """An activation of each element by itself: the value, `.grad` and `.backward`."""

    _keywords: tuple[str, ...] = ("bias", "out", "stream")
    _derivative: Formula | None = None
    _slope: Formula | None = None
    _product: Formula | None = None
    _choice: str | None = None
    _at_defaults: "Elementwise | None" = None

    def __init__(self, function, info):
        super().__init__(function, info)
        self.variants = {}

    def derivative(self, function):
        """Declare the formula of the derivative; a decorator.

        It has the arguments of the value's formula. Of several arrays it returns a tuple: the derivative by each.
        """
        self._derivative = self._checked(Formula(function), self._value.inputs)
        self._product = derived.product(self._derivative, len(self._value.inputs))
        self._forget("_biased_product", "common", "_plain")
        return self._derivative

    def derivative_from_output(self, function):
        """Declare the formula that gives the derivative from the value; a decorator.

        It has one argument in the place of the input, and the parameters of the value's formula.
        """
        self._slope = self._checked(Formula(function), ("output",))
        self._slope_product = derived.product(self._slope, 1)
        self._forget("common", "_plain")
        self._set_signature(self._shown)
        return self._slope

    def _forget(self, *names):
        """Drop what was made of what had been declared before."""
        for name in names:
            self.__dict__.pop(name, None)

    def _checked(self, formula, inputs):
        """Return the formula if it has these inputs and the value's parameters."""
        if formula.inputs + formula.parameters != inputs + self._value.parameters:
            wanted = ", ".join(inputs + self._value.parameters)
            raise FormulaError(f"{formula.__name__}: the arguments must be those of {self.__name__}: {wanted}")
        return formula

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
            self._declared = object()
            return form

        return declare

    def at_defaults(self, function):
        """Declare the form for calls that give no parameter, faster and of the same bits; a decorator.

        Its formula has the arrays of the value's formula and no parameters; it has a derivative of its own.
        """
        form = Elementwise(function, self.info)
        if form._value.inputs != self._value.inputs or form._value.parameters:
            wanted = ", ".join(self._value.inputs)
            raise FormulaError(f"{function.__name__}: the arguments must be the arrays of {self.__name__}: {wanted}")
        self._at_defaults = form
        self._forget("common", "_plain")
        return form

    @cached_property
    def common(self):
        """The form for calls that give no parameter.

        It is the one that `at_defaults` declares, or these formulas with the defaults in their place: NumPy takes 0.13
        us for each parameter. Without parameters, or where one has no default, it is the activation itself.
        """
        if self._at_defaults or not self._value.parameters or self._required or len(self._value.inputs) > 1:
            return self._at_defaults or self
        given = as_numbers(self, [self._defaults[name] for name in self._value.parameters])
        form = Elementwise(derived.plain(self._value, given), self.info)
        form._differentiable = self._differentiable  # its error names this activation
        if self._derivative:
            form.derivative(derived.plain(self._derivative, given))
        if self._slope:
            form.derivative_from_output(derived.plain(self._slope, given))
        return form

    @remembered
    def _select(self, arguments, keywords):
        """Return the form that the arguments choose, the arrays among them, and the numbers."""
        values = self._resolve(arguments, keywords)
        form = self
        if self._choice is not None:
            *values, choice = values
            if not isinstance(choice, str) or choice not in self.variants:
                names = " or ".join(map(repr, self.variants))
                raise ValueError(f"{self.__name__}: {self._choice} must be {names}, not {choice!r}")
            form = self.variants[choice]
        arrays = len(self._value.inputs) - 1
        return form, tuple(values[:arrays]), as_numbers(self, values[arrays:])

    @cached_property
    def _plain(self):
        """What `_select` returns without arguments: calls do not wait for them to be sorted out."""
        return self._select((), {}) if self.common is self else (self.common, (), ())

    def __call__(self, x, /, *arguments, bias=None, out=None, stream=None, **keywords):
        """Return the value at each element of x; see the activation's own documentation."""
        if stream is not None:
            return dispatch.on_stream(stream, self, x, *arguments, bias=bias, out=out, **keywords)
        try:
            form, arrays, numbers = self._select(arguments, keywords) if arguments or keywords else self._plain
            if bias is not None:
                return dispatch.elementwise(form._biased_value, (x, *arrays, bias), numbers, out)
            if not arrays:
                return dispatch.one_or_two(form._value, None, x, numbers, out)
            if len(arrays) == 1:
                return dispatch.one_or_two(form._value, x, arrays[0], numbers, out)
            return dispatch.elementwise(form._value, (x, *arrays), numbers, out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, x, *arguments, bias=bias, out=out, **keywords)

    def grad(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the derivative at each element of x.

        Parameters, results and errors are those of the value. An activation of several arrays has a tuple of
        derivatives, one by each; `out` is then a tuple, too.
        """
        if stream is not None:
            return dispatch.on_stream(stream, self.grad, x, *arguments, out=out, **keywords)
        try:
            form, arrays, numbers = self._select(arguments, keywords) if arguments or keywords else self._plain
            if arrays:
                return dispatch.gradients(form._differentiable(), (x, *arrays), numbers, out, summed=False)
            return dispatch.one_or_two(form._derivative or form._differentiable(), None, x, numbers, out)
        except TypeError as error:
            return foreign.hand_over(error, self.grad, x, *arguments, out=out, **keywords)

    def backward(self, grad_output, x=None, /, *arguments, output=None, bias=None, out=None, stream=None, **keywords):
        """Return grad_output times the derivative at x, in one pass.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output; broadcasts against `x`.
        x : array_like
            The activation's input.
        output : array_like, optional
            The activation's output, in the place of `x`, where the derivative can be had from it at full accuracy.
        bias : array_like, optional
            What was added to `x`.
        *arguments, out, stream, **keywords
            As for the value.

        Returns
        -------
        array or tuple of array
            The gradient of the loss by `x`. Of an activation of several arrays, or with a bias, a tuple of the
            gradients by each, the bias last, each summed to the shape of its array; `out` is then a tuple, too.

        Raises
        ------
        TypeError
            If both `x` and `output` are given, or neither, or the derivative cannot be had from the output.
        """
        if stream is not None:
            given = {"output": output, "bias": bias, "out": out, **keywords}
            return dispatch.on_stream(stream, self.backward, grad_output, x, *arguments, **given)
        try:
            if output is not None:
                return self._from_output(grad_output, x, arguments, output, bias, out, keywords)
            if x is None:
                raise TypeError(f"{self.__name__}.backward needs x, or output= in its place")
            form, arrays, numbers = self._select(arguments, keywords) if arguments or keywords else self._plain
            product = form._product or form._differentiable()
            if bias is not None:
                return dispatch.gradients(form._biased_product, (grad_output, x, *arrays, bias), numbers, out)
            if arrays:
                return dispatch.gradients(product, (grad_output, x, *arrays), numbers, out)
            return dispatch.one_or_two(product, grad_output, x, numbers, out)
        except TypeError as error:
            keywords |= {"output": output, "bias": bias, "out": out}
            return foreign.hand_over(error, self.backward, grad_output, x, *arguments, **keywords)

    def _from_output(self, grad_output, x, arguments, output, bias, out, keywords):
        if x is not None or bias is not None:
            raise TypeError(f"{self.__name__}.backward takes output= in the place of x and bias, not beside them")
        form, _, numbers = self._select(arguments, keywords) if arguments or keywords else self._plain
        if form._slope is None:
            raise TypeError(f"{self.__name__}.backward needs x: {documentation.LOST}")
        return dispatch.one_or_two(form._slope_product, grad_output, output, numbers, out)

    @property
    def takes_output(self):
        """Whether `.backward` takes `output=`: whether a formula for it was declared."""
        return self._slope is not None

    def _sample(self, x):
        parameters = [self._defaults[name] for name in self._value.parameters]
        return (x,) * len(self._value.inputs) + (1.0,) * parameters.count(EMPTY)

    def gives_several(self, keywords):
        """Return whether a call with these keywords has a gradient by each of several arrays."""
        return len(self._value.inputs) > 1 or keywords.get("bias") is not None

    def _differentiable(self):
        if self._derivative is None:
            arguments = ", ".join(self._value.inputs + self._value.parameters)
            raise TypeError(
                f"{self.__name__} has no derivative; declare one with @{self.__name__}.derivative above a formula of "
                f"({arguments})"
            )
        return self._derivative

    @cached_property
    def _biased_value(self):
        return derived.biased(self._value)

    @cached_property
    def _biased_product(self):
        return derived.biased_product(self._product, len(self._value.inputs))

    @cached_property
    def ufunc(self):
        """The CPU kernel as a NumPy-style ufunc with loops for float32 and float64 (single-threaded)."""
        from numact.targets import cpu

        return cpu.public_ufunc(self._value)


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
    unknown = {"range": (-np.inf, np.inf), "equation": "", "paper": "", "use": "", "strengths": "", "weaknesses": ""}
    return Elementwise(function, Info(**(unknown | info)))
