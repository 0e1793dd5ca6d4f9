"""The elementary functions against mpmath and NumPy."""

import doctest
import shutil
import subprocess
from pathlib import Path

import mpmath
import numpy as np
import pytest
from conftest import bit_patterns
from numba import float32, uint16, vectorize

from numact import elementary
from numact.binding import Formula
from numact.primitives import HALF_CONVERSIONS, copysign, fma, power_of_two


@pytest.mark.parametrize(("name", "exact", "bound"), [("exp", np.exp, 1.2), ("expm1", np.expm1, 1.6)])
def test_float32(name, exact, bound):
    x = bit_patterns(1021)
    scalar = getattr(elementary, name).scalar
    with np.errstate(all="ignore"):
        computed = vectorize([float32(float32)])(lambda value: scalar(value))(x).astype(np.float64)
        truth = exact(x.astype(np.float64))
        unit = np.spacing(np.maximum(np.abs(truth), 2.0**-126).astype(np.float32))
    finite = np.abs(truth) < 2.0**128 * (1 - 2.0**-25)
    assert (np.abs(computed[finite] - truth[finite]) / unit[finite]).max() <= bound
    np.testing.assert_array_equal(computed[~finite], np.where(truth[~finite] > 0, np.inf, truth[~finite]))


@pytest.mark.parametrize(
    ("name", "exact", "low", "high", "bound"),
    [
        ("exp", mpmath.exp, -745, 709, 1.2),
        ("expm1", mpmath.expm1, -50, 709, 1.6),
    ],
)
def test_float64(name, exact, low, high, bound):
    function = getattr(elementary, name)
    with mpmath.workdps(50):
        for point in np.random.default_rng(1).uniform(low, high, 2000).tolist():
            truth = exact(mpmath.mpf(point))
            unit = np.spacing(max(abs(float(truth)), 2.0**-1022))
            assert abs(function(point) - truth) <= bound * mpmath.mpf(float(unit)), point


def ratio(t):
    """e^(t^2/2) times the normal distribution's upper tail, in mpmath."""
    return mpmath.exp(t * t / 2) * mpmath.erfc(t / mpmath.sqrt(2)) / 2


def test_normal_tail_polynomial():
    """Of 1 + p, at most 2^-52: the knot and either side of it included."""
    knot = elementary.TAIL_KNOT.values["float64"]
    with mpmath.workdps(50):
        for t in [*np.random.default_rng(3).uniform(0, 39, 2000), 0.0, knot, np.nextafter(knot, 0), 39.0]:
            exact = 4 * ratio(mpmath.mpf(t)) if t < knot else t * ratio(mpmath.mpf(t)) * 32 / 11
            assert abs(1 + mpmath.mpf(elementary.normal_tail_polynomial(t)) - exact) <= 2.0**-52, t


def test_coefficients_come_from_their_script():
    """Run the Sollya script and compare each list that it prints with the constants."""
    if not shutil.which("sollya"):
        pytest.skip("sollya is not installed (Debian's package of that name), and it alone can rerun the fits")
    script = Path(__file__).parent.parent / "tools" / "coefficients.sollya"
    done = subprocess.run(["sollya", script], capture_output=True, text=True, timeout=300, check=True)
    printed = {}
    for line in done.stdout.splitlines():
        if "2^" in line:
            printed[line.split(" 2^")[0]] = numbers = []
        else:
            numbers.append(float(line.rstrip(" ,")))
    for kind in ("float32", "float64"):
        near, far = elementary.NORMAL_TAIL.values[kind]
        assert printed.pop(f"EXP_TAIL, {kind}") == list(elementary.EXP_TAIL.values[kind])
        assert printed.pop(f"NORMAL_TAIL near, {kind}") == list(near)
        assert printed.pop(f"NORMAL_TAIL far, {kind}") == list(far)
    assert not printed


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_copysign(kind):
    values = [0.0, -0.0, 1.5, -1.5, np.inf, -np.inf]
    for magnitude in map(kind, values):
        for sign in map(kind, values):
            same = np.copysign(magnitude, sign)
            assert copysign(magnitude, sign) == same
            assert np.signbit(copysign(magnitude, sign)) == np.signbit(same)


def test_fma_rounds_once():
    a = 1 + 2.0**-30
    assert fma(a, a, -(a * a)) == 2.0**-60
    b = np.float32(1 + 2.0**-12)
    assert fma(b, b, -(b * b)) == 2.0**-24


@pytest.mark.parametrize(("kind", "low", "high"), [(np.float32, -126, 127), (np.float64, -1022, 1023)])
def test_power_of_two(kind, low, high):
    for n in range(low, high + 1):
        assert power_of_two(kind(n) + kind(elementary.ROUNDER.values[kind.__name__])) == 2.0**n


def test_float16_conversions():
    load, store = HALF_CONVERSIONS["float16"]
    bits = np.arange(65_536, dtype=np.uint16)
    halves = bits.view(np.float16)
    loaded = vectorize([float32(uint16)])(lambda x: load(x))(bits)
    np.testing.assert_array_equal(loaded, halves.astype(np.float32))
    check_rounding(vectorize([uint16(float32)])(lambda x: store(x)), halves.dtype)


def test_bfloat16_conversions():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    load, store = HALF_CONVERSIONS["bfloat16"]
    bits = np.arange(65_536, dtype=np.uint16)
    expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(vectorize([float32(uint16)])(lambda x: load(x))(bits), expected)
    check_rounding(vectorize([uint16(float32)])(lambda x: store(x)), np.dtype(ml_dtypes.bfloat16))


def check_rounding(store, dtype):
    """Compare with NumPy's rounding over bit patterns of float32 and over the halves' midpoints and neighbours."""
    halves = np.arange(65_536, dtype=np.uint16).view(dtype).astype(np.float32)
    x = bit_patterns(509)
    bits = halves.view(np.uint32)
    for shift in (0x1000, 0x0FFF, 0x1001, 0x8000, 0x7FFF, 0x8001):
        x = np.concatenate([x, (bits + np.uint32(shift)).view(np.float32)])
    with np.errstate(all="ignore"):
        expected = x.astype(dtype).astype(np.float32)
        computed = store(x).view(dtype).astype(np.float32)
    np.testing.assert_array_equal(computed, expected)
    assert np.isnan(store(np.array([np.nan], np.float32)).view(dtype).astype(np.float32)).all()


FORMULAS = [name for name, value in vars(elementary).items() if isinstance(value, Formula)]


@pytest.mark.parametrize("name", FORMULAS)
def test_documentation(name):
    function = getattr(elementary, name)
    assert "Parameters" in function.__doc__
    examples = doctest.DocTestParser().get_doctest(function.__doc__, {name: function}, name, None, 0)
    assert doctest.DocTestRunner().run(examples).failed == 0
    assert examples.examples or name in ("exp_parts", "one_plus_exp")
