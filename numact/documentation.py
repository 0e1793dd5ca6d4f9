"""The text that `help` shows of an activation."""

import inspect
import textwrap

from numact import dispatch

NOTES = """

Parameters
----------
{x} : array_like
    Any shape, strides and real dtype.
{parameters}

Returns
-------
array
    Of the type, shape and device of `{x}`. Floating dtypes are kept; integers promote as in `numpy.tanh`.

Raises
------
TypeError
    If a dtype is complex, object, longdouble or a string, or a parameter is unknown.
ValueError
    If `out` has another shape or is read-only, a parameter or axis is out of range, or the arrays live on different
    devices. Nothing is written.

Notes
-----
{mechanism}`.backward` {output}.

References
----------
{paper}

"""


EXTRAS = {
    "bias": """bias : array_like, optional
    Added to `{x}` before all else, in the same pass; broadcasts against it.""",
    "out": """out : array, optional
    Where to write: the shape of the result, and a dtype that the result casts to under "same_kind". May be `{x}`.""",
    "stream": dispatch.STREAM,
}
LOST = "the output does not give the derivative in all its digits"


def of_activation(activation, x, parameters):
    """Return the documentation of an activation of x and these parameters: its formula's, and what all share."""
    document = inspect.cleandoc(activation.formula.__doc__ or activation.__name__)
    document, heading, example = document.partition("\n\nExamples\n")
    described = [_describe(item, activation._value.inputs) for item in parameters]
    described += [EXTRAS[name] for name in activation._keywords]
    output = "takes `output` in the place of `{x}`" if activation.takes_output else "needs `{x}`: {lost}"
    notes = NOTES.replace("{parameters}", "\n".join(described)).replace("{output}", output)
    mechanism = f"{textwrap.fill(activation.info.mechanism, 116)}\n\n" if activation.info.mechanism else ""
    notes = notes.format(x=x, paper=activation.info.paper, lost=LOST, mechanism=mechanism)
    return document + notes + heading[2:] + example


def _describe(parameter, arrays):
    """Return the lines of the documentation on an argument."""
    if parameter.name in arrays:
        return f"{parameter.name} : array_like\n    Broadcasts against `{{x}}`."
    kind = "float" if parameter.default is parameter.empty else f"{type(parameter.default).__name__}"
    default = "" if parameter.default is parameter.empty else f", default {parameter.default!r}"
    return f"{parameter.name} : {kind}{default}"
