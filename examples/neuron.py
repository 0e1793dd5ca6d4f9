"""Follow one neuron from its inputs to its output, and a step of its learning, number by number.

python examples/neuron.py --output neuron.png
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

import numact as na

INPUTS, WEIGHTS, BIAS = [1.0, -2.0, 0.5], [0.5, 0.25, 2.0], 0.25
NAMES = ["relu", "sigmoid", "tanh", "gelu"]


def main():
    """Compute, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="neuron.png")
    options = parser.parse_args()
    products = [weight * x for weight, x in zip(WEIGHTS, INPUTS, strict=True)]
    z = sum(products) + BIAS
    print(f"products      {products}")
    print(f"z             {' + '.join(map(str, products))} + {BIAS} = {z}")
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    x = np.linspace(-3, 3, 601)
    for name in NAMES:
        activation = na.registry[name]
        slope = activation.grad(z)
        gradient = ", ".join(f"{slope * x:.4f}" for x in INPUTS)
        print(f"{name:12}  a = {activation(z):.4f}  da/dz = {slope:.4f}  da/dw = ({gradient})")
        axes.plot(x, activation(x), label=name)
        axes.plot(z, activation(z), "ko")
    axes.axvline(z, color="k", linestyle=":")
    axes.set(xlabel="z", ylabel="a", ylim=(-1.2, 2.5))
    axes.legend()
    figure.savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
