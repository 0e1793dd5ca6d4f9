"""Let one logit of a digit classifier grow, and see what softmax makes of it at several temperatures.

python examples/temperature.py --output temperature.png
"""

import argparse

import numpy as np
from digits import load
from matplotlib.figure import Figure
from network import forward, initialise, train

import numact as na

SCALES = [0.1, 0.25, 1.0, 4.0]  # 1 over the temperature
GROWTH = np.linspace(0, 40, 401, dtype=np.float32)
EPOCHS, RATE = 30, 0.05


def classify():
    """Return the logits and labels of the held-out digits, by a network of one layer of gelu."""
    train_x, train_y, test_x, test_y = load(seed=0)
    random = np.random.default_rng(0)
    layers = initialise([64, 64, 10], 2**0.5, random)
    for _ in train(layers, train_x, train_y, na.gelu, EPOCHS, RATE, random):
        pass
    return forward(layers, test_x, na.gelu)[1][-1], test_y


def grow(logits):
    """Return the logits of the digit of which the network is the surest, its least likely class raised step by step."""
    surest = logits[na.softmax(logits).max(axis=1).argmax()]
    rows = np.tile(surest, (len(GROWTH), 1))
    rows[:, surest.argmin()] += GROWTH
    return rows, surest.argmax(), surest.argmin()


def loss(logits, labels, scale):
    """Return the mean cross-entropy at a scale."""
    return float(-na.log_softmax(logits, scale=scale)[np.arange(len(labels)), labels].mean())


def draw(rows, right, wrong):
    """Draw the probability of the growing class and that of the right one."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for scale in SCALES:
        probabilities = na.softmax(rows, scale=scale)
        for panel, number in zip(panels, (wrong, right), strict=True):
            panel.plot(GROWTH, probabilities[:, number], label=f"scale {scale:g}")
    panels[0].set(title=f"the class that grows ({wrong})", xlabel="added to its logit", ylabel="probability")
    panels[1].set(title=f"the right class ({right})", xlabel="added to the other's logit")
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[0].legend()
    return figure


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="temperature.png")
    options = parser.parse_args()
    logits, labels = classify()
    rows, right, wrong = grow(logits)
    lead = float(rows[0, right] - rows[0, wrong])
    print(f"{'scale':8}{'at first':>12}{'level':>12}{'past by 5':>12}{'held-out loss':>16}")
    for scale in SCALES:
        first, level, past = (
            na.softmax(rows[0] + shift * np.eye(10, dtype=np.float32)[wrong], scale=scale)[wrong]
            for shift in (0, lead, lead + 5)
        )
        print(f"{scale:<8g}{first:12.2g}{level:12.2g}{past:12.2g}{loss(logits, labels, scale):16.3f}")
    print(f"The right class leads by {lead:.1f} at first.")
    draw(rows, right, wrong).savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
