"""The registry as a table to choose from."""

import inspect
import itertools
import textwrap

# heading -> width of its column in text; equations, in LaTeX, are for Markdown alone
COLUMNS = {"function": 24, "equation": 0, "range": 16, "kinks": 10, "use": 28, "advantages": 34, "disadvantages": 34}


def table(format="text"):
    """Return a table that compares all activations: range, kinks, where each is used, why and why not.

    Parameters
    ----------
    format : {"text", "markdown"}
        Text of 158 columns, or a Markdown table, which has the equations, too.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the format is neither.

    Examples
    --------
    >>> import numact
    >>> print(numact.table().splitlines()[2][:76].rstrip())
    relu(x)                  [0, inf)         0          hidden layers of
    """
    from numact import __all__, registry

    rows = [describe(registry[name]) for name in registry if name in __all__]
    if format == "markdown":
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    if format != "text":
        raise ValueError(f"format must be 'text' or 'markdown', not {format!r}")
    rules = ["-" * width for width in COLUMNS.values()]
    return "\n".join(line for cells in (COLUMNS, rules, *rows) for line in _wrapped(cells))


def describe(function):
    """Return the cells of an activation's row, one for each of `COLUMNS`."""
    info = function.info
    listed = [item for item in inspect.signature(function).parameters.values() if item.name not in ("bias", "out")]
    name = f"{function.__name__}{inspect.Signature(listed)}"
    low, high = (f"{end:.5g}" for end in info.range)
    brackets = ("(" if low == "-inf" else "["), (")" if high == "inf" else "]")
    kinks = ", ".join(f"{kink:g}" for kink in info.kinks)
    ends = f"{brackets[0]}{low}, {high}{brackets[1]}"
    equation = info.equation.replace("|", r"\vert ")  # a bar ends a cell
    return name, f"${equation}$", ends, kinks, info.use, info.strengths, info.weaknesses


def _wrapped(cells):
    """Return the lines of a row, each cell wrapped to its column."""
    shown = [(cell, width) for cell, width in zip(cells, COLUMNS.values(), strict=True) if width]
    columns = [[part.ljust(width) for part in textwrap.wrap(cell, width) or [""]] for cell, width in shown]
    widths = [width for _, width in shown]
    for parts in itertools.zip_longest(*columns):
        yield " ".join(part or " " * width for part, width in zip(parts, widths, strict=True)).rstrip()
