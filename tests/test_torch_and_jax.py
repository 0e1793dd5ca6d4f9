"""The same functions in torch and JAX, where they are installed: where they agree, and each deliberate difference."""

import math
import warnings

import numpy as np
import pytest

import numact as na
from numact.base import Elementwise

INF = math.inf
TORCH = {  # name in numact -> how torch.nn.functional computes it
    "relu": lambda f, x: f.relu(x),
    "leaky_relu": lambda f, x: f.leaky_relu(x),
    "relu6": lambda f, x: f.relu6(x),
    "elu": lambda f, x: f.elu(x),
    "celu": lambda f, x: f.celu(x),
    "selu": lambda f, x: f.selu(x),
    "exponential": lambda f, x: x.exp(),
    "sigmoid": lambda f, x: x.sigmoid(),
    "log_sigmoid": lambda f, x: f.logsigmoid(x),
    "tanh": lambda f, x: x.tanh(),
    "tanhshrink": lambda f, x: f.tanhshrink(x),
    "softsign": lambda f, x: f.softsign(x),
    "softplus": lambda f, x: f.softplus(x),
    "mish": lambda f, x: f.mish(x),
    "gelu": lambda f, x: f.gelu(x),
    "gelu_tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x: f.silu(x),
    "hardtanh": lambda f, x: f.hardtanh(x),
    "hardsigmoid": lambda f, x: f.hardsigmoid(x),
    "hardswish": lambda f, x: f.hardswish(x),
    "hardshrink": lambda f, x: f.hardshrink(x),
    "softshrink": lambda f, x: f.softshrink(x),
    "softmax": lambda f, x: f.softmax(x, -1),
    "log_softmax": lambda f, x: f.log_softmax(x, -1),
    "softmin": lambda f, x: f.softmin(x, -1),
    "logsumexp": lambda f, x: x.logsumexp(-1),
}
JAX = {  # name in numact -> name in jax.nn
    **dict.fromkeys(["relu", "leaky_relu", "relu6", "elu", "celu", "selu", "sigmoid", "log_sigmoid", "softplus"]),
    **dict.fromkeys(["mish", "gelu", "gelu_tanh", "silu", "squareplus", "sparse_plus", "sparse_sigmoid", "softmax"]),
    **dict.fromkeys(["log_softmax", "logsumexp", "tanh"]),
    **{"softsign": "soft_sign", "hardtanh": "hard_tanh", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish"},
}
LIMIT = "the limit here; there an infinity is multiplied by 0 or divided by one"
TAIL = "here all digits of the tail; there it is taken from 1 minus a value that rounds to 1, or 1 plus one near -1"
KINK = "torch's choice at the kink here, another of the two slopes or their mean there"
SIXTH = "here 1/6 in float64, there in float32"
# Every deliberate difference in float64: (library, function, "value" or "derivative") -> {x: why}.
DIFFERENCES = {
    ("torch", "sigmoid", "derivative"): {100.0: TAIL},
    ("torch", "tanh", "derivative"): {-100.0: TAIL, 100.0: TAIL},
    ("torch", "softsign", "value"): {-INF: LIMIT, INF: LIMIT},
    ("torch", "softsign", "derivative"): {-INF: LIMIT, INF: LIMIT},
    ("torch", "gelu_tanh", "value"): {-INF: LIMIT, -6.0: TAIL},
    ("torch", "gelu_tanh", "derivative"): {-INF: LIMIT, -6.0: TAIL, INF: LIMIT},
    ("torch", "hardsigmoid", "derivative"): dict.fromkeys((-1.0, -0.5, 0.0, 0.5, 1.0), SIXTH),
    ("torch", "hardswish", "value"): {-INF: LIMIT},
    ("jax", "leaky_relu", "derivative"): {0.0: KINK},
    ("jax", "elu", "derivative"): {-100.0: TAIL},
    ("jax", "celu", "derivative"): {-100.0: TAIL},
    ("jax", "selu", "derivative"): {-100.0: TAIL},
    ("jax", "sigmoid", "derivative"): {100.0: TAIL},
    ("jax", "tanh", "derivative"): {-100.0: TAIL, 100.0: TAIL},
    ("jax", "softsign", "value"): {-INF: LIMIT, INF: LIMIT},
    ("jax", "softsign", "derivative"): {-INF: LIMIT, INF: LIMIT},
    ("jax", "gelu_tanh", "value"): {-INF: LIMIT, -6.0: TAIL},
    ("jax", "gelu_tanh", "derivative"): {-INF: LIMIT, -6.0: TAIL, INF: LIMIT},
    ("jax", "squareplus", "value"): {-INF: LIMIT},
    ("jax", "squareplus", "derivative"): {-INF: LIMIT, INF: LIMIT},
    ("jax", "sparse_plus", "derivative"): {-INF: LIMIT, INF: LIMIT},
    ("jax", "sparse_sigmoid", "derivative"): {-1.0: KINK, 1.0: KINK},
    ("jax", "hardtanh", "derivative"): {-1.0: KINK, 1.0: KINK},
    ("jax", "hardswish", "value"): {-INF: LIMIT},
}
for library in ("torch", "jax"):
    for name in ("gelu", "silu", "mish"):
        DIFFERENCES[library, name, "value"] = {-INF: LIMIT}
        DIFFERENCES[library, name, "derivative"] = {-INF: LIMIT, INF: LIMIT}
POINTS = np.array([-INF, -800.0, -100.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 100.0, 800.0, INF])


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield module


@pytest.fixture(scope="module")
def jax():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
        module.config.update("jax_enable_x64", True)
        yield module


def by_torch(torch, name, x):
    tensor = torch.tensor(x, requires_grad=True)
    value = TORCH[name](torch.nn.functional, tensor)
    value.sum().backward()
    return value.detach().numpy(), tensor.grad.numpy()


def by_jax(jax, name, x):
    function = {
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "logsumexp": lambda x: jax.nn.logsumexp(x, -1),
    }.get(name) or getattr(jax.nn, JAX[name] or name)
    value, back = jax.vjp(function, x)
    return np.asarray(value), np.asarray(back(jax.numpy.ones_like(value))[0])


def by_numact(name, x):
    function = na.registry[name]
    value = function(x)
    return value, function.backward(np.ones_like(value), x)


LIBRARIES = {"torch": (by_torch, TORCH), "jax": (by_jax, JAX)}
CASES = [(library, name) for library, (_, names) in LIBRARIES.items() for name in names]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_the_same_at_random_points(request, library, name):
    x = np.random.default_rng(4).normal(size=(40, 50)) * 3
    found = LIBRARIES[library][0](request.getfixturevalue(library), name, x)
    # torch's derivative of hardsigmoid is 1/6 in float32
    tolerance = 1e-7 if (library, name) == ("torch", "hardsigmoid") else 1e-9
    for computed, expected in zip(by_numact(name, x), found, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=1e-12)


@pytest.mark.parametrize(("library", "name"), [case for case in CASES if isinstance(na.registry[case[1]], Elementwise)])
def test_the_same_at_special_points_but_for_the_differences_named(request, library, name):
    found = LIBRARIES[library][0](request.getfixturevalue(library), name, POINTS)
    for which, computed, expected in zip(("value", "derivative"), by_numact(name, POINTS), found, strict=True):
        close = np.isclose(computed, expected, rtol=1e-9, atol=0, equal_nan=True)
        assert list(POINTS[~close]) == list(DIFFERENCES.get((library, name, which), {}))
