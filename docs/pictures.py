"""Draw every activation, all of them on one sheet, and the errors of numact, PyTorch and JAX."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import numact as na
from numact.accuracy import ACCURACY
from numact.explanation import curve
from numact.pictures import draw

ERRORS = Path(__file__).parent / "errors.csv"  # by tools/errors.py
COLUMNS = 5


def write(folder):
    """Write all pictures."""
    folder.mkdir(exist_ok=True)
    for name, function in na.registry.items():
        draw([function], grad=True).savefig(folder / f"{name}.svg")
    sheet().savefig(folder / "sheet.svg")
    for name, figure in errors():
        figure.savefig(folder / f"errors_{name}.svg")


def sheet():
    """Draw all activations on one sheet, values in colour and derivatives dashed."""
    rows = -(-len(na.registry) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True).ravel()
    x = np.linspace(-4, 4, 401)
    for panel, (name, function) in zip(panels, na.registry.items(), strict=False):
        value, derivative, _ = curve(function, x)
        panel.plot(x, value)
        panel.plot(x, derivative, "--", color="gray", linewidth=1)
        panel.set_title(name, fontsize="small")
        panel.set(xlim=(-4, 4), ylim=(-1.6, 3.2))
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize="x-small")
    for panel in panels[len(na.registry) :]:
        panel.set_axis_off()
    return figure


def errors():
    """Yield the name of a function, and its largest error along x in each library as a figure."""
    with ERRORS.open() as file:
        libraries = [part.split() for part in file.readline().lstrip("# ").split(", ")]
        rows = list(csv.DictReader(file))
    for name in dict.fromkeys(row["function"] for row in rows):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        x = [float(row["x"]) for row in rows if row["function"] == name]
        for library, version in libraries:
            found = np.array([float(row[library]) for row in rows if row["function"] == name])
            axes.plot(x, np.where(np.isfinite(found), np.maximum(found, 0.1), 1e9), label=f"{library} {version}")
        axes.axhline(ACCURACY[name].value, color="gray", linestyle=":")
        axes.set(yscale="log", xlabel="length of the row" if name == "softmax" else "x", ylabel="largest error in ULP")
        axes.set(title=name, xscale="log" if name == "softmax" else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
        yield name, figure
