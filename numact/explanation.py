"""What there is to say of an activation, in the order in which a reader asks: for the guide and for the terminal."""

import inspect

import numpy as np

from numact.accuracy import ACCURACY
from numact.base import Elementwise
from numact.gated import Halved
from numact.rows import Reduction
from numact.tables import describe

POINTS = (-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan)
SECOND = 0.5  # stands for every further array, and for numbers without a default


def sections(function):
    """Return texts by heading; what is not known of an activation is left out.

    Parameters
    ----------
    function : Activation
        One of numact's, or of the user's own.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> import numact
    >>> sections(numact.relu)["Range"]
    '[0, inf)'
    """
    from numact import registry

    _, _, ends, kinks, use, strengths, weaknesses = describe(function)
    found = {
        "What it does": function.info.mechanism,
        "Where it is used": use,
        "Advantages": strengths,
        "Disadvantages": weaknesses,
        "Range": ends,
        "Kinks": kinks or "none",
        "Largest error": _accuracy(function.__name__) if function in registry.values() else "",
        "Paper": function.info.paper,
    }
    return {heading: text for heading, text in found.items() if text}


def summary(function):
    """Return the first paragraphs of an activation's documentation: what it is, and its values that are special."""
    document, _, _ = inspect.cleandoc(function.__doc__).partition("\n\nParameters\n")
    return document


def _accuracy(name):
    figures = ACCURACY[name]
    return (
        f"float32: {figures.value} ULP, derivative or gradient {figures.derivative} ULP; "
        f"float64: {figures.value64} ULP, derivative or gradient {figures.derivative64} ULP"
    )


def curve(function, x):
    """Return an activation's value and derivative along x, every other argument held.

    Parameters
    ----------
    function : Activation
    x : array_like
        One axis. It is the first array; of glu the gate, and of a row-wise activation the first of three entries, the
        others 0.

    Returns
    -------
    value, derivative : array of float64
        The derivative is None where none was declared.
    held : str
        The arguments beside x; empty where x is the only one.

    Examples
    --------
    >>> import numact
    >>> curve(numact.prelu, [-1.0, 1.0])
    (array([-0.5,  1. ]), array([0.5, 1. ]), 'weight = 0.5')
    """
    x = np.asarray(x, np.float64)
    if isinstance(function, Halved):
        halves = np.stack([np.full_like(x, SECOND), x])
        return function(halves, axis=0)[0], function.grad(halves, axis=0)[1], f"of the gate, value = {SECOND}"
    if isinstance(function, Elementwise):
        empty = inspect.Parameter.empty
        held = {name: SECOND for name, default in function._defaults.items() if default is empty}
        derivative = function.grad(x, *held.values()) if function._derivative else None
        derivative = derivative[0] if isinstance(derivative, tuple) else derivative
        return function(x, *held.values()), derivative, ", ".join(f"{name} = {SECOND}" for name in held)
    row = np.stack([x, np.zeros_like(x), np.zeros_like(x)])
    if isinstance(function, Reduction):
        return function(row, axis=0), function.backward(np.ones_like(x), row, axis=0)[0], "of the row (x, 0, 0)"
    first = np.stack([np.ones_like(x), np.zeros_like(x), np.zeros_like(x)])
    return function(row, axis=0)[0], function.backward(first, row, axis=0)[0], "first of the row (x, 0, 0)"


def special_values(function):
    """Return x, value and derivative as columns of text, at the points where activations are special.

    Returns
    -------
    columns : dict of str to tuple of str
        By heading, which says what was held; no derivative where none was declared.

    Examples
    --------
    >>> import numact
    >>> special_values(numact.silu)["derivative"]
    ('-0', '0.0723295', '0.5', '0.5', '0.927671', '1', 'nan')
    """
    value, derivative, held = curve(function, POINTS)
    columns = {"x": POINTS, f"value, {held}" if held else "value": value, "derivative": derivative}
    return {name: tuple(f"{y:.6g}" for y in column) for name, column in columns.items() if column is not None}
