"""Every function against a reference that is not numact's, in units in the last place of the exact result."""

import os
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
from conftest import ELEMENTWISE, EXACT, bit_patterns, dtype_of, read_only

import numact as na
from numact.accuracy import ACCURACY
from numact.references import REFERENCES, ulp_error

STRIDE = 255  # through the bit patterns of float32; odd, so that all endings of the mantissa occur
CHUNKS = 512  # of the exhaustive run


def errors(name, x):
    """Return the largest errors (value, derivative, derivative near its root) over the finite ones of float32 inputs.

    At infinity the references are 0 * inf; `test_values.py` has the limits.
    """
    x = x[np.isfinite(x)]
    function, reference, bound = na.registry[name], REFERENCES[name], ACCURACY[name]
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        value, slope = reference.value(wide), reference.derivative(wide)
    value_error = ulp_error(function(x), value)
    computed = function.grad(x)
    slope_error, root_error = ulp_error(computed, slope), np.zeros(1)
    if bound.root is not None:
        near = (x > bound.root[0]) & (x < bound.root[1])
        root_error = np.abs(computed.astype(np.float64) - slope)[near] / np.spacing(np.float32(0.125))
        slope_error = slope_error[~near]
    return value_error.max(initial=0), slope_error.max(initial=0), root_error.max(initial=0)


def check(name, found):
    value, slope, root = found
    assert value <= ACCURACY[name].value
    assert slope <= ACCURACY[name].derivative
    assert root <= 4.0


def test_float32_stride(elementwise):
    check(elementwise.__name__, errors(elementwise.__name__, bit_patterns(STRIDE)))


def errors_of_chunk(name, chunk):
    patterns = np.arange(chunk << 23, (chunk + 1) << 23, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return errors(name, read_only(patterns[~np.isnan(patterns)]))


@pytest.mark.exhaustive
def test_float32_exhaustive(elementwise, capsys):
    from rich.progress import track

    name = elementwise.__name__
    with capsys.disabled(), ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = pool.map(lambda chunk: errors_of_chunk(name, chunk), range(CHUNKS))
        worst = np.max(list(track(chunks, description=name, total=CHUNKS)), axis=0)
        print(f"{name}: value {worst[0]:.3f}, derivative {worst[1]:.3f}, near its root {worst[2]:.3f} ULP")
    check(name, worst)


def hard_inputs():
    """Return float64 inputs near 0, near the ends of every range reduction, in the tails, and at random."""
    random = np.random.default_rng(2026)
    halves = (np.arange(-60, 60) + 0.5) * np.log(2)
    points = [random.normal(0, 3, 2_000), random.uniform(-40, 40, 2_000), 10.0 ** random.uniform(-300, 2, 500)]
    points += [halves, np.nextafter(halves, np.inf), halves / 2, random.uniform(-760, 760, 500)]
    return np.concatenate(points)


@pytest.mark.parametrize("which", ["value", "derivative"])
def test_float64(elementwise, which):
    name, x = elementwise.__name__, hard_inputs()
    bound = ACCURACY[name]
    computed = elementwise(x) if which == "value" else elementwise.grad(x)
    limit = bound.value64 if which == "value" else bound.derivative64
    with mpmath.workdps(60):
        for point, result in zip(x.tolist(), computed.tolist(), strict=True):
            exact = EXACT[name][which == "derivative"](mpmath.mpf(point))
            unit = np.spacing(max(abs(float(exact)), 2.0**-1022))
            if which == "derivative" and bound.root and bound.root[0] < point < bound.root[1]:
                unit, allowed = np.spacing(0.125), 4.0
            else:
                allowed = limit
            assert abs(result - exact) <= allowed * mpmath.mpf(float(unit)), (point, result, exact)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_is_float32_rounded_once(elementwise, half):
    dtype = dtype_of(half)
    x = np.arange(65_536, dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32)
        for computed, expected in (
            (elementwise(x), elementwise(wide)),
            (elementwise.grad(x), elementwise.grad(wide)),
            (elementwise.backward(x, x), elementwise.backward(wide, wide)),
        ):
            assert computed.dtype == dtype
            np.testing.assert_array_equal(computed.astype(np.float32), expected.astype(dtype).astype(np.float32))


def softmax_exact(x, axis):
    wide = x.astype(np.longdouble)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


SOFTMAX_SHAPES = [
    ((300, 4), -1),
    ((300, 33), 1),
    ((100, 1000), -1),
    ((4, 65_536), -1),
    ((1000, 60), 0),
    ((5, 300, 7), 1),
]


@pytest.mark.parametrize(("shape", "axis"), SOFTMAX_SHAPES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("spread", [1.0, 4.0, 30.0])
def test_softmax(shape, axis, kind, spread):
    random = np.random.default_rng(7)
    x = read_only((random.normal(size=shape) * spread).astype(kind))
    grad = read_only(random.normal(size=shape).astype(kind))
    exact = softmax_exact(x, axis)
    unit = np.spacing(np.maximum(exact, np.finfo(kind).tiny).astype(kind)).astype(np.longdouble)
    assert (np.abs(na.softmax(x, axis) - exact) / unit).max() <= ACCURACY["softmax"].value
    # The terms that cancel, not their difference, set the scale of the gradient's error.
    wide = grad.astype(np.longdouble)
    dot = (wide * exact).sum(axis=axis, keepdims=True)
    scale = exact * (np.abs(wide) + np.abs(wide * exact).sum(axis=axis, keepdims=True))
    unit = np.spacing(np.maximum(scale, np.finfo(kind).tiny).astype(kind)).astype(np.longdouble)
    error = np.abs(na.softmax.backward(grad, x, axis) - exact * (wide - dot)) / unit
    assert error.max() <= ACCURACY["softmax"].derivative


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_softmax_half(half):
    dtype = dtype_of(half)
    x = np.random.default_rng(3).normal(size=(50, 200)).astype(dtype)
    wide = na.softmax(x.astype(np.float32))
    np.testing.assert_array_equal(na.softmax(x).astype(np.float32), wide.astype(dtype).astype(np.float32))


def test_every_activation_has_a_figure_and_a_reference():
    assert list(ACCURACY) == list(REFERENCES) == list(na.registry)
    assert set(EXACT) == set(ELEMENTWISE)
