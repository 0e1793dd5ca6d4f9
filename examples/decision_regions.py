"""Train a network without and with an activation on two rings, which no line separates, and draw what each decides.

python examples/decision_regions.py --output decision_regions.png
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from network import accuracy, forward, initialise, train
from sklearn.datasets import make_circles

import numact as na

SIZES = [2, 16, 16, 2]
EPOCHS, RATE = 40, 0.05


@na.activation(equation="x")
def identity(x):
    """What is left of a layer without an activation: its matrix and bias."""
    return 1.0 * x


@identity.derivative
def identity_grad(x):
    """1."""
    return 1.0 if x == x else x


def measure(activation, points, labels):
    """Return a trained network and its share of right answers."""
    random = np.random.default_rng(0)
    layers = initialise(SIZES, 1.4, random)
    for _ in train(layers, points, labels, activation, EPOCHS, RATE, random):
        pass
    return layers, accuracy(layers, points, labels, activation)


def draw(results, points, labels):
    """Draw the decision regions of each network, and the points."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    grid = np.linspace(-1.5, 1.5, 151, dtype=np.float32)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    for panel, (activation, (layers, right)) in zip(figure.subplots(1, 3), results.items(), strict=True):
        outer = na.softmax(forward(layers, plane, activation)[1][-1])[:, 0].reshape(151, 151)
        panel.contourf(grid, grid, outer, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.7)
        panel.scatter(*points.T, c=np.where(labels, "darkred", "navy"), s=4)
        panel.set(title=f"{activation.__name__}: {right:.0%} right", aspect="equal", xticks=[], yticks=[])
    return figure


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="decision_regions.png")
    options = parser.parse_args()
    points, labels = make_circles(400, noise=0.1, factor=0.45, random_state=0)
    points = points.astype(np.float32)
    results = {activation: measure(activation, points, labels) for activation in (identity, na.relu, na.gelu)}
    print(f"{'activation':12}{'right':>10}")
    for activation, (_, right) in results.items():
        print(f"{activation.__name__:12}{right:10.3f}")
    draw(results, points, labels).savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
