"""A plain fully connected network on numact's activations and NumPy's matmul: what the other examples train."""

import itertools

import numpy as np

import numact as na


def initialise(sizes, gain, random):
    """Return a weight and a bias for each layer; weights have the variance gain^2 / inputs."""
    return [
        (random.normal(0, gain / fan_in**0.5, (fan_in, fan_out)).astype(np.float32), np.zeros(fan_out, np.float32))
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]


def forward(layers, x, activation):
    """Return the input of every layer, and what comes out of its weights and bias; the last of these are logits."""
    inputs, sums = [x], []
    for weight, bias in layers:
        sums.append(inputs[-1] @ weight + bias)
        inputs.append(activation(sums[-1]))
    return inputs[:-1], sums


def gradients(layers, x, labels, activation):
    """Return the gradient of the mean cross-entropy by the weight and the bias of every layer."""
    inputs, sums = forward(layers, x, activation)
    _, grad = na.softmax_cross_entropy.value_and_grad(sums[-1], labels)
    found = []
    for number in reversed(range(len(layers))):
        found.append((inputs[number].T @ grad, grad.sum(axis=0)))
        if number:
            grad = activation.backward(grad @ layers[number][0].T, sums[number - 1])
    return found[::-1]


def train(layers, x, labels, activation, epochs, rate, random, batch=64, momentum=0.9):
    """Train in place by stochastic gradient descent with momentum; yield after every epoch."""
    velocities = [tuple(np.zeros_like(array) for array in layer) for layer in layers]
    for _ in range(epochs):
        order = random.permutation(len(labels))
        for chosen in np.split(order, range(batch, len(order), batch)):
            found = gradients(layers, x[chosen], labels[chosen], activation)
            for layer, velocity, gradient in zip(layers, velocities, found, strict=True):
                for array, speed, slope in zip(layer, velocity, gradient, strict=True):
                    speed *= np.float32(momentum)
                    speed -= np.float32(rate) * slope
                    array += speed
        yield


def accuracy(layers, x, labels, activation):
    """Return the share of right answers."""
    return float((forward(layers, x, activation)[1][-1].argmax(axis=1) == labels).mean())
