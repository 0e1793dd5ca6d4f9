"""The callable face of row-wise activations, built from their formulas."""

import inspect
import operator
import textwrap
from dataclasses import dataclass
from functools import cached_property

from numact import dispatch, dispatch_rows, foreign
from numact.base import Activation, Info
from numact.binding import Formula

NOTES = """

Parameters
----------
x : array_like
    Any shape with at least one axis, any strides and real dtype.{parameters}
out : array, optional
    Where to write: the shape of the result, and a dtype that the result casts to under "same_kind".{in_place}
{stream}

Returns
-------
array
    Of the type{shape} and device of `x`. Floating dtypes are kept; integers promote as in `numpy.tanh`.

Raises
------
TypeError
    If a dtype is complex, object, longdouble or a string, or a parameter is unknown or of the wrong type.
ValueError
    If `out` has another shape or is read-only, an axis is out of range, or the arrays do not broadcast or live on
    different devices. Nothing is written.

Notes
-----
{mechanism}

References
----------
{paper}

"""
EXPLAINED = {
    "axis": "axis : int, default -1\n    Along which the rows lie; negative from the end. For xarray's arrays "
    "`dim=` names\n    the dimension in its place.",
    "axes": "axis : int, tuple of int or None, default -1\n    What is summed over; None stands for all axes. "
    "For xarray's arrays\n    `dim=` names the dimensions in its place.",
    "mask": "mask : array_like of bool, optional\n    True where an entry takes part; broadcasts to the shape of `x`.",
    "scale": "scale : float, default 1.0\n    Multiplies x first, 1 over the temperature; may be negative.",
    "keepdims": "keepdims : bool, default False\n    Whether the axes summed over stay, with size 1.",
}


@dataclass(frozen=True, eq=False)  # kernels are looked up by it: a hash of all formulas would take 0.3 us
class Formulas:
    """What the row kernels of one activation are made of.

    Attributes
    ----------
    weight : tuple of Formula
        The weight of an entry in its row's sum, from (x, maximum, scale): without a scale, and with one.
    half_weight : tuple of Formula
        The same for entries of a half type.
    output : Formula, optional
        Stands for the weight where the gradient is had from the output; None where that would lose digits.
    logarithm : tuple of Formula, optional
        The logarithm of the row's sum in two parts, from (maximum, rest), where rest is the sum of the weights but for
        one of those that are exactly 1: without a scale, and with one. None where the values are the weights over their
        sum.
    entry : tuple of Formula
        The value from (x, maximum, *logarithm, scale): without a scale, and with one.
    half_entry : tuple of Formula, optional
        The same for entries of a half type.
    reduced : Formula, optional
        A row's one value from (maximum, *logarithm); None where each entry has its own.
    term, shares, gradient : Formula
        What the gradient sums along a row, from (weight, grad_output); two numbers that a row shares, from (sum of
        weights, sum of terms, scale); an entry's gradient, from (weight, grad_output, *shares). Of one value a row,
        (weight, grad_output / sum of weights) give the gradient.
    """

    weight: tuple[Formula, Formula]
    half_weight: tuple[Formula, Formula]
    gradient: Formula
    output: Formula | None = None
    logarithm: tuple[Formula, Formula] | None = None
    entry: tuple[Formula, Formula] | None = None
    half_entry: tuple[Formula, Formula] | None = None
    reduced: Formula | None = None
    term: Formula | None = None
    shares: Formula | None = None
    cpu_target = "cpu_rows"  # the modules that have the kernels
    cuda_target = "cuda_rows"

    def kind(self, mode):
        """Return which kernel computes a "value", goes "backward", or does so "from_output"."""
        if mode == "value" and self.logarithm:
            return "log" if self.reduced is None else "reduced"
        return "reduced_backward" if self.reduced else mode


class _OnRows(Activation):
    """What is common to activations of rows: parameters that are explained, and no `.grad`."""

    _reduces = False

    def __init__(self, function, info, formulas, parameters):
        self._formulas, self._parameters = formulas, parameters
        super().__init__(function, info)

    def _set_signature(self, signature):
        kinds = inspect.Parameter
        positional = [kinds("x", kinds.POSITIONAL_OR_KEYWORD)]
        positional += [
            kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=self._parameters[name]) for name in self._parameters
        ]
        keywords = [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in self._keywords]
        self._defaults = dict(self._parameters)
        self.__signature__ = inspect.Signature([*positional, *keywords])
        explained = [EXPLAINED["axes" if self._reduces and name == "axis" else name] for name in self._parameters]
        document, heading, example = inspect.cleandoc(self.formula.__doc__).partition("\n\nExamples\n")
        notes = NOTES.format(
            parameters="\n".join(["", *explained]),
            paper=self.info.paper,
            stream=dispatch.STREAM,
            mechanism=textwrap.fill(self.info.mechanism, 116),
            in_place="" if self._reduces else " May be `x`.",
            shape="" if self._reduces else ", shape",
        )
        self.__doc__ = document + notes + heading.lstrip("\n") + example


class Rowwise(_OnRows):
    """An activation of whole rows along an axis: the value and `.backward`.

    Its formula, and `.scalar`, give one entry from the entry itself, its row's largest entry (of softmin, the smallest)
    and its row's sum of weights.
    """

    takes_output = property(lambda self: self._formulas.output is not None, doc="Whether `.backward` takes `output=`.")

    def __init__(self, function, info, formulas, fixed_scale=None):
        parameters = {"axis": -1} if fixed_scale else {"axis": -1, "mask": None, "scale": 1.0}
        super().__init__(function, info, formulas, parameters)
        self._scale = fixed_scale or 1.0

    def _options(self, arguments, keywords):
        """Return the axis, the mask and the scale."""
        if len(arguments) == 1 and not keywords:
            return arguments[0], None, self._scale
        if len(keywords) == 1 and "axis" in keywords and not arguments:  # sorting out any takes 1.5 us
            return keywords["axis"], None, self._scale
        axis, *rest = self._resolve(arguments, keywords)
        mask, scale = rest or (None, self._scale)
        try:
            return axis, mask, float(scale)
        except (TypeError, ValueError):
            raise TypeError(f"{self.__name__}: scale must be a real number, not {scale!r}") from None

    def __call__(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the value of each row along an axis; see the activation's own documentation."""
        if stream is not None:
            return dispatch.on_stream(stream, self, x, *arguments, out=out, **keywords)
        axis, mask, scale = -1, None, self._scale
        try:
            if arguments or keywords:
                axis, mask, scale = self._options(arguments, keywords)
            return dispatch_rows.rowwise(self._formulas, "value", (x,), axis, mask, scale, out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, x, *arguments, out=out, **keywords)

    def backward(self, grad_output, x=None, /, *arguments, output=None, out=None, stream=None, **keywords):
        """Return the gradient of a loss by x, given its gradient by the output, and either x or the output.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output, of the shape of `x`.
        x : array_like
            The activation's input. Left out where the output is given.
        *arguments, out, stream, **keywords
            As for the value, and with the same values.
        output : array_like, optional
            The activation's output for the same input and parameters. From it the gradient of softmax and softmin takes
            no exponential; it is that at the output as given, whose rounding errors come on top. log_softmax does not
            take it: in float32, exp of an output that was rounded at -20 may be 16 units in the last place off, and at
            -100 it may be 64.

        Returns
        -------
        array
            Of softmax y * (grad_output - sum(grad_output * y)) * scale, where y is the output and the sum runs along
            the axis; of log_softmax (grad_output - exp(y) * sum(grad_output)) * scale; of softmin that of softmax, with
            a scale of -1. 0 where an entry is masked out, whose grad_output counts for nothing.

        Raises
        ------
        TypeError
            If neither or both of `x` and `output` are given, or the activation takes no `output`; and as for the value.
        ValueError
            As for the value.
        """
        if stream is not None:
            given = {"output": output, "out": out, **keywords}
            return dispatch.on_stream(stream, self.backward, grad_output, x, *arguments, **given)
        axis, mask, scale = -1, None, self._scale
        try:
            if arguments or keywords:
                axis, mask, scale = self._options(arguments, keywords)
            if output is None and x is not None:
                return dispatch_rows.rowwise(self._formulas, "backward", (grad_output, x), axis, mask, scale, out)
            if output is None or x is not None:
                raise TypeError(f"{self.__name__}.backward takes either x or output=, exactly one of them")
            if self._formulas.output is None:
                raise TypeError(
                    f"{self.__name__}.backward takes x, not output=: exp magnifies the output's rounding error by the "
                    "size of the output, and the gradient would lose digits"
                )
            arrays = grad_output, output
            return dispatch_rows.rowwise(self._formulas, "from_output", arrays, axis, mask, scale, out)
        except TypeError as error:
            keywords |= {"output": output, "out": out}
            return foreign.hand_over(error, self.backward, grad_output, x, *arguments, **keywords)

    @cached_property
    def ufunc(self):
        """The value as a NumPy-style generalised ufunc, (n)->(n), for float32 and float64 (single-threaded)."""
        from numact.targets import cpu_rows

        return cpu_rows.public_ufunc(self._formulas, self._scale)


class Reduction(_OnRows):
    """One value for each row over an axis or several: the value and `.backward`.

    Its formula, and `.scalar`, give that value from a row's largest entry and its sum of weights.
    """

    _reduces = True

    def __init__(self, function, info, formulas):
        super().__init__(function, info, formulas, {"axis": -1, "keepdims": False})

    def __call__(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the value of each row; see the function's own documentation."""
        if stream is not None:
            return dispatch.on_stream(stream, self, x, *arguments, out=out, **keywords)
        try:
            axis, keepdims = self._resolve(arguments, keywords)
            return dispatch_rows.reduction(self._formulas, x, axis, operator.index(keepdims), out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, x, *arguments, out=out, **keywords)

    def backward(self, grad_output, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the gradient of a loss by x, given its gradient by the output.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by the output; broadcasts to the output's shape.
        x : array_like
            The function's input.
        *arguments, out, stream, **keywords
            As for the value; `out` has the shape of `x`.

        Returns
        -------
        array
            grad_output * softmax(x), of the shape of `x`.
        """
        if stream is not None:
            return dispatch.on_stream(stream, self.backward, grad_output, x, *arguments, out=out, **keywords)
        try:
            axis, keepdims = self._resolve(arguments, keywords)
            return dispatch_rows.reduction_backward(self._formulas, grad_output, x, axis, operator.index(keepdims), out)
        except TypeError as error:
            return foreign.hand_over(error, self.backward, grad_output, x, *arguments, out=out, **keywords)

    @cached_property
    def ufunc(self):
        """The value as a NumPy-style generalised ufunc, (n)->(), for float32 and float64 (single-threaded)."""
        from numact.targets import cpu_rows

        return cpu_rows.public_ufunc(self._formulas, 1.0)


def rowwise(formulas, fixed_scale=None, **info):
    """Make a row-wise activation of the formula of an entry and those of its kernels; a decorator."""
    return lambda function: Rowwise(function, Info(**info), formulas, fixed_scale)


def reduction(formulas, **info):
    """Make a reduction of rows of the formula of its value and those of its kernels; a decorator."""
    return lambda function: Reduction(function, Info(**info), formulas)
