"""Measure how the gradient shrinks from layer to layer of a deep network on handwritten digits.

python examples/vanishing_gradients.py --output vanishing_gradients.png
"""

import argparse

import numpy as np
from digits import load
from matplotlib.figure import Figure
from network import accuracy, gradients, initialise, train

import numact as na
from numact.diagnostics import gradient_norm

SIZES = [64, *12 * [64], 10]  # 12 hidden layers between the pixels and the classes
GAINS = {"sigmoid": 1.0, "tanh": 1.0, "relu": 2**0.5, "gelu": 2**0.5}  # what is usual for each
EPOCHS, RATE = 30, 0.005


def measure(name):
    """Return the norm of the gradient by each layer's weights before training, and the accuracy after it."""
    train_x, train_y, test_x, test_y = load(seed=0)
    random, activation = np.random.default_rng(0), na.registry[name]
    layers = initialise(SIZES, GAINS[name], random)
    norms = [float(gradient_norm(weight)) for weight, _ in gradients(layers, train_x, train_y, activation)]
    for _ in train(layers, train_x, train_y, activation, EPOCHS, RATE, random):
        pass
    return norms, accuracy(layers, test_x, test_y, activation)


def draw(results):
    """Draw the norms by layer."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, (norms, _) in results.items():
        axes.semilogy(range(1, len(norms) + 1), norms, "o-", label=name)
    axes.set(xlabel="layer, from the pixels to the classes", ylabel="norm of the gradient by its weights")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="vanishing_gradients.png")
    options = parser.parse_args()
    results = {name: measure(name) for name in GAINS}
    print(f"{'activation':12}{'first layer':>13}{'last layer':>13}{'first / last':>14}{'accuracy':>10}")
    for name, (norms, right) in results.items():
        print(f"{name:12}{norms[0]:13.2g}{norms[-1]:13.2g}{norms[0] / norms[-1]:14.2g}{right:10.3f}")
    draw(results).savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
