"""Count the units that never fire while networks of relu and of leaky_relu learn handwritten digits.

python examples/dead_units.py --output dead_units.png
"""

import argparse

import numpy as np
from digits import load
from matplotlib.figure import Figure
from network import accuracy, forward, initialise, train

from numact import activation, leaky_relu, relu
from numact.diagnostics import dead_share

SIZES = [64, 128, 128, 10]
BIAS = -2.0  # of the first layer: what one step that was too long leaves behind
EPOCHS, RATE = 20, 0.1


@activation
def leaky_tenth(x):
    """leaky_relu with a slope of 0.1 in the place of 0.01."""
    return leaky_relu(x, 0.1)


@leaky_tenth.derivative
def leaky_tenth_grad(x):
    """1 where x is positive, else 0.1."""
    return 1.0 if x > 0.0 else 0.1


def silent(layers, x, function):
    """Return the share of hidden units whose sum is positive for no digit: those through which relu passes nothing."""
    _, sums = forward(layers, x, function)
    return float(dead_share(relu.grad(np.concatenate(sums[:-1], axis=1))))


def measure(function):
    """Return the share of silent units before training and after each epoch, and the accuracy in the end."""
    train_x, train_y, test_x, test_y = load(seed=0)
    random = np.random.default_rng(0)
    layers = initialise(SIZES, 2**0.5, random)
    layers[0][1][:] = BIAS
    shares = [silent(layers, train_x, function)]
    for _ in train(layers, train_x, train_y, function, EPOCHS, RATE, random):
        shares.append(silent(layers, train_x, function))
    return shares, accuracy(layers, test_x, test_y, function)


def draw(results):
    """Draw the shares by epoch."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, (shares, _) in results.items():
        axes.plot(shares, label=name)
    axes.set(xlabel="epoch", ylabel="share of hidden units that no digit excites", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="dead_units.png")
    options = parser.parse_args()
    results = {item.__name__: measure(item) for item in (relu, leaky_relu, leaky_tenth)}
    print(f"{'activation':12}{'at first':>12}{'in the end':>12}{'accuracy':>12}")
    for name, (shares, right) in results.items():
        print(f"{name:12}{shares[0]:12.2f}{shares[-1]:12.2f}{right:12.2f}")
    draw(results).savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
