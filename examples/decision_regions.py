"""Tell eights from twos and sevens in two coordinates, which no line does, with and without an activation.

python examples/decision_regions.py --output decision_regions.png
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from network import accuracy, forward, initialise, train
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import numact as na

SIZES = [2, 16, 16, 2]
EPOCHS, RATE = 60, 0.05
GRID = 151


@na.activation(equation="x")
def identity(x):
    """What is left of a layer without an activation: its matrix and bias."""
    return 1.0 * x


@identity.derivative
def identity_grad(x):
    """1."""
    return 1.0 if x == x else x


def load():
    """Return the first two principal components of all twos, sevens and eights, of variance 1, and which are eights."""
    digits = load_digits()
    chosen = np.isin(digits.target, (2, 7, 8))
    points = PCA(2, whiten=True).fit_transform(digits.data[chosen])
    return points.astype(np.float32), (digits.target[chosen] == 8).astype(int)


def measure(activation, points, labels):
    """Return a trained network and its share of right answers."""
    random = np.random.default_rng(0)
    layers = initialise(SIZES, 1.4, random)
    for _ in train(layers, points, labels, activation, EPOCHS, RATE, random):
        pass
    return layers, accuracy(layers, points, labels, activation)


def draw(results, points, labels):
    """Draw the decision regions of each network, and the points."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    grid = np.linspace(-2.8, 2.8, GRID, dtype=np.float32)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    for panel, (activation, (layers, right)) in zip(figure.subplots(1, 3), results.items(), strict=True):
        eight = na.softmax(forward(layers, plane, activation)[1][-1])[:, 1].reshape(GRID, GRID)
        panel.contourf(grid, grid, eight, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
        panel.scatter(*points.T, c=np.where(labels, "darkred", "navy"), s=4)
        panel.set(title=f"{activation.__name__}: {right:.0%} right", aspect="equal", xticks=[], yticks=[])
    return figure


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="decision_regions.png")
    options = parser.parse_args()
    points, labels = load()
    print(f"{len(labels)} digits, {labels.sum()} of them eights")
    results = {activation: measure(activation, points, labels) for activation in (identity, na.relu, na.gelu)}
    print(f"{'activation':12}{'right':>10}")
    for activation, (_, right) in results.items():
        print(f"{activation.__name__:12}{right:10.3f}")
    draw(results, points, labels).savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
