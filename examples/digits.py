"""Train a two-layer network on handwritten digits with numact's activations and NumPy's matmul.

python examples/digits.py --activation gelu --output digits.png
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import numact as na

CLASSES, HIDDEN, BATCH, RATE, MOMENTUM = 10, 128, 64, 0.1, 0.9
HIDDEN_ACTIVATIONS = ["relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "mish"]


def load(seed):
    """Return pixels from 0 to 1 and labels of training digits, then of the held-out quarter."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    split = train_test_split(pixels, digits.target, test_size=0.25, random_state=seed, stratify=digits.target)
    train_x, test_x, train_y, test_y = split
    return train_x, train_y, test_x, test_y


def forward(parameters, x, activation):
    """Return the hidden layer's input and output, and the probabilities of the classes."""
    weight1, bias1, weight2, bias2 = parameters
    before = x @ weight1 + bias1
    hidden = activation(before)
    return before, hidden, na.softmax(hidden @ weight2 + bias2)


def gradients(parameters, x, labels, activation):
    """Return the gradient of the mean cross-entropy by every parameter."""
    before, hidden, probabilities = forward(parameters, x, activation)
    grad_logits = probabilities.copy()
    grad_logits[np.arange(len(labels)), labels] -= 1
    grad_logits /= len(labels)
    grad_before = activation.backward(grad_logits @ parameters[2].T, before)
    return x.T @ grad_before, grad_before.sum(axis=0), hidden.T @ grad_logits, grad_logits.sum(axis=0)


def evaluate(parameters, x, labels, activation):
    """Return the mean cross-entropy and the share of right answers."""
    *_, probabilities = forward(parameters, x, activation)
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-30)).mean()), float((probabilities.argmax(axis=1) == labels).mean())


def train(name="gelu", epochs=40, seed=0):
    """Train by stochastic gradient descent with momentum; return (loss, accuracy, held-out accuracy) by epoch."""
    activation, random = na.registry[name], np.random.default_rng(seed)
    train_x, train_y, test_x, test_y = load(seed)
    sizes = [(train_x.shape[1], HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    parameters = [random.normal(0, (2 / size[0]) ** 0.5 * (len(size) > 1), size).astype(np.float32) for size in sizes]
    velocities = [np.zeros_like(parameter) for parameter in parameters]
    history = []
    for _ in range(epochs):
        order = random.permutation(len(train_y))
        for batch in np.split(order, range(BATCH, len(order), BATCH)):
            grads = gradients(parameters, train_x[batch], train_y[batch], activation)
            for parameter, velocity, grad in zip(parameters, velocities, grads, strict=True):
                velocity *= MOMENTUM
                velocity -= np.float32(RATE) * grad
                parameter += velocity
        loss, accuracy = evaluate(parameters, train_x, train_y, activation)
        history.append((loss, accuracy, evaluate(parameters, test_x, test_y, activation)[1]))
    return history


def plot(history, name, file):
    """Draw loss and accuracy over the epochs into an open file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    loss, accuracy, held_out = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    figure.suptitle(f"Handwritten digits, hidden activation {name}")
    left.semilogy(epochs, loss)
    left.set(xlabel="epoch", ylabel="cross-entropy of training digits")
    right.plot(epochs, accuracy, label="training")
    right.plot(epochs, held_out, label="held out")
    right.set(xlabel="epoch", ylabel="share of right answers", ylim=(0.8, 1.005))
    right.legend()
    figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)


def main():
    """Read the command line, train, report, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--activation", default="gelu", choices=HIDDEN_ACTIVATIONS)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("digits.png"))
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:  # a temporary file beside the output: known to be writable before the training, complete when renamed
        handle, temporary = tempfile.mkstemp(suffix=".png", dir=options.output.parent)
    except OSError as error:
        sys.exit(f"cannot write {options.output}: {error.strerror}")
    try:
        history = train(options.activation, options.epochs, options.seed)
        for epoch in range(4, len(history), 5):
            loss, accuracy, held_out = history[epoch]
            print(f"epoch {epoch + 1:3}: loss {loss:.4f}, accuracy {accuracy:.4f}, held out {held_out:.4f}")
        print(f"held-out accuracy with {options.activation}: {history[-1][2]:.4f}")
        with os.fdopen(handle, "wb") as file:
            plot(history, options.activation, file)
        os.replace(temporary, options.output)
    finally:
        Path(temporary).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
