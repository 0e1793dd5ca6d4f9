"""Pictures of activations and their derivatives, by Matplotlib."""

import numpy as np
from matplotlib.figure import Figure

from numact.explanation import curve


def draw(functions, grad=False, span=(-5.0, 5.0)):
    """Draw activations into one figure, their derivatives beside them.

    Parameters
    ----------
    functions : sequence of Activation
    grad : bool, default False
        Whether to draw the derivatives, too.
    span : tuple of float, default (-5.0, 5.0)
        From where to where.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If an activation has no derivative and `grad` asks for it, or the span is empty.

    Examples
    --------
    >>> import numact
    >>> figure = draw([numact.relu, numact.gelu], grad=True)
    >>> [axes.get_title() for axes in figure.axes]
    ['value', 'derivative']
    """
    low, high = span
    if not low < high:
        raise ValueError(f"a picture from {low:g} to {high:g} is empty: the first number must be the smaller one")
    titles = ["value", "derivative"] if grad else ["value"]
    figure = Figure(figsize=(0.8 + 4.2 * len(titles), 3.4), layout="constrained")
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    x = np.linspace(low, high, 1001)
    for function in functions:
        *curves, held = curve(function, x)
        for panel, y in zip(panels, curves, strict=False):
            if y is None:
                raise ValueError(
                    f"{function.__name__} has no derivative; declare one with @{function.__name__}.derivative"
                )
            panel.plot(x, y, label=f"{function.__name__} ({held})" if held else function.__name__)
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="x", xlim=span)
        panel.grid(alpha=0.3)
    panels[0].legend()
    return figure
