"""Every function against a reference that is not numact's, in units in the last place of the exact result."""

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
from conftest import bit_patterns, dtype_of, exact, read_only

import numact as na
from numact.accuracy import ACCURACY
from numact.references import REFERENCES, ulp_error

STRIDE = 1023  # through the bit patterns of float32; odd, so that all endings of the mantissa occur
CHUNK = 2**20  # inputs of the exhaustive run at a time: of more, the references spend their time on new memory


def errors(name, x, parameters=(), factor=1.0):
    """Return the largest errors (value, derivative, derivative near its root) over the finite ones of float32 inputs.

    The root is that of the derivative by default, divided by `factor`. At infinity the references are 0 * inf;
    `test_values.py` has the limits.
    """
    x = x[np.isfinite(x)]
    function, reference, bound = na.registry[name], REFERENCES[name], ACCURACY[name]
    wide, rounded = x.astype(np.float64), [float(np.float32(number)) for number in parameters or reference.defaults()]
    value, slope = reference.value(wide, *rounded), reference.derivative(wide, *rounded)
    value_error = ulp_error(function(x, *parameters), value)
    computed = function.grad(x, *parameters)
    slope_error, root_error = ulp_error(computed, slope), np.zeros(1)
    if bound.root is not None:
        near = (factor * wide > bound.root[0]) & (factor * wide < bound.root[1])
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


OTHER_PARAMETERS = {
    "leaky_relu": [(0.3,), (-2.0,)],
    "elu": [(0.3,), (-2.0,)],
    "celu": [(0.3,), (3.0,), (100.0,)],
    "selu": [(0.7, 3.0)],
    "silu": [(0.01,), (0.7,), (1.702,), (-3.0,), (0.0,)],
    "softplus": [(0.0625, np.inf), (1.115, np.inf), (54.5, np.inf)],
    "hardtanh": [(-0.3, 7.0)],
    "hardsigmoid": [(0.2, 0.5), (0.7, -0.1)],
    "hardshrink": [(0.0,), (3.0,)],
    "softshrink": [(0.0,), (3.0,)],
}
CASES = [(name, *parameters) for name, choices in OTHER_PARAMETERS.items() for parameters in choices]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_other_parameters(case):
    name, *parameters = case
    factor = parameters[0] if name == "silu" else 1.0
    value, slope, root = errors(name, bit_patterns(4 * STRIDE + 1), parameters, factor)
    assert value <= 2.0
    assert max(slope, root) <= 4.0


def errors_of_chunk(name, chunk):
    patterns = np.arange(chunk * CHUNK, (chunk + 1) * CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return errors(name, read_only(patterns[~np.isnan(patterns)]))


@pytest.mark.exhaustive
def test_float32_exhaustive(elementwise, capsys):
    from rich.progress import track

    name = elementwise.__name__
    with capsys.disabled(), ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = pool.map(lambda chunk: errors_of_chunk(name, chunk), range(2**32 // CHUNK))
        worst = np.max(list(track(chunks, description=name, total=2**32 // CHUNK)), axis=0)
        print(f"{name}: value {worst[0]:.3f}, derivative {worst[1]:.3f}, near its root {worst[2]:.3f} ULP")
    check(name, worst)


def hard_inputs():
    """Return float64 inputs near 0, near the ends of every range reduction, in the tails, and at random.

    At the last of them tanh is 1.984 ULP off, the most of 44 million, and selu 1.655.
    """
    random = np.random.default_rng(2026)
    halves = (np.arange(-60, 60) + 0.5) * np.log(2)
    points = [random.normal(0, 3, 2_000), random.uniform(-40, 40, 2_000), 10.0 ** random.uniform(-300, 2, 500)]
    points += [halves, np.nextafter(halves, np.inf), halves / 2, random.uniform(-760, 760, 500)]
    points += [np.array([0.20016765699539857, 0.5174215925932635, -0.3196025225955991])]
    return np.concatenate(points)


@pytest.mark.parametrize("which", ["value", "derivative"])
def test_float64(elementwise, which):
    name, x = elementwise.__name__, hard_inputs()
    bound = ACCURACY[name]
    computed = elementwise(x) if which == "value" else elementwise.grad(x)
    limit = bound.value64 if which == "value" else bound.derivative64
    with mpmath.workdps(60):
        for point, result in zip(x.tolist(), computed.tolist(), strict=True):
            truth = exact(name, which, point, np.float64)
            if math.isinf(result):
                assert abs(truth) > sys.float_info.max, (point, result, truth)
                continue
            unit = np.spacing(max(abs(float(truth)), 2.0**-1022))
            if which == "derivative" and bound.root and bound.root[0] < point < bound.root[1]:
                unit, allowed = np.spacing(0.125), 4.0
            else:
                allowed = limit
            assert abs(result - truth) <= allowed * mpmath.mpf(float(unit)), (point, result, truth)


@pytest.mark.parametrize("which", ["value", "derivative"])
def test_references_in_float64_have_digits_to_spare(elementwise, which):
    """What float32 results are measured against, beside many digits: a hundredth of float32's last place would do."""
    name, x = elementwise.__name__, bit_patterns(2**22 - 1)
    x = x[np.isfinite(x)].astype(np.float64)
    reference = REFERENCES[name]
    computed = getattr(reference, which)(x, *reference.defaults(np.float32))
    with mpmath.workdps(30):
        truth = np.array([float(exact(name, which, point, np.float32)) for point in x.tolist()])
    np.testing.assert_allclose(computed, truth, rtol=1e-12, atol=1e-50)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_is_float32_rounded_once(elementwise, half):
    dtype = dtype_of(half)
    for x in np.arange(65_536, dtype=np.uint16).view(dtype).reshape(8, -1):  # too few elements for threads
        with np.errstate(all="ignore"):
            wide = x.astype(np.float32)
        for computed, expected in (
            (elementwise(x), elementwise(wide)),
            (elementwise.grad(x), elementwise.grad(wide)),
            (elementwise.backward(x, x), elementwise.backward(wide, wide)),
        ):
            assert computed.dtype == dtype
            with np.errstate(all="ignore"):
                expected = expected.astype(dtype)
            np.testing.assert_array_equal(computed.astype(np.float32), expected.astype(np.float32))


def test_every_activation_has_a_figure_and_a_reference():
    assert list(ACCURACY) == list(REFERENCES) == list(na.registry)
