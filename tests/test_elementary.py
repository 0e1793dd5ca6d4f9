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
from numact.half_types import HALF_CONVERSIONS
from numact.primitives import copysign, exponent, fma, power_of_two
from numact.references import ulp_error


@pytest.mark.parametrize(
    ("name", "exact", "bound"),
    [("exp", np.exp, 1.2), ("expm1", np.expm1, 1.6), ("log", np.log, 1.0), ("log1p", np.log1p, 1.0)],
)
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


@pytest.mark.parametrize(("name", "low", "high"), [("log", 0.25, 4.0), ("log1p", -0.75, 3.0), ("log1p", 1e-3, 3.0)])
def test_logarithms_where_they_cancel(name, low, high):
    """Every 63rd float32 around 1, where n ln(2) + log(1 + r) cancels or n is 0."""
    scalar, exact = getattr(elementary, name).scalar, getattr(np, name)
    x = bit_patterns(63)
    x = x[(x >= low) & (x <= high)]
    assert ulp_error(vectorize([float32(float32)])(lambda value: scalar(value))(x), exact(x.astype(float))).max() <= 1.0


def test_log1p_fraction():
    scalar, x = elementary.log1p_fraction.scalar, bit_patterns(63)
    x = np.append(x[(x >= 0) & (x <= 1)], np.float32(1))
    computed = vectorize([float32(float32)])(lambda value: scalar(value))(x)
    assert ulp_error(computed, np.log1p(x.astype(np.float64))).max() <= 1.2


def test_x_minus_tanh():
    """Against tanh's continued fraction, since float64's own difference would cancel."""
    scalar, x = elementary.x_minus_tanh.scalar, bit_patterns(63)
    x = x[(x >= 0) & (x <= elementary.TANH_KNOT)]
    wide = x.astype(np.float64)
    fraction = np.ones_like(wide)
    for odd in range(25, 3, -2):
        fraction = odd + wide**2 / fraction
    # tanh(x) = x / (1 + x^2 / (3 + x^2 / (5 + ...))), so that x - tanh(x) = x^3 / (3 + x^2 / (5 + ...) + x^2).
    exact = wide**3 / (3 + wide**2 / fraction + wide**2)
    assert ulp_error(vectorize([float32(float32)])(lambda value: scalar(value))(x), exact).max() <= 1.7


def spread(low, high, smallest):
    """Return numbers at random from low to high, and from 10^smallest to high by their exponent."""
    random = np.random.default_rng(1)
    return [*random.uniform(low, high, 2000), *10 ** random.uniform(smallest, np.log10(high), 500)]


@pytest.mark.parametrize(
    ("name", "exact", "points", "bound"),
    [
        ("exp", mpmath.exp, spread(-745, 709, -300), 1.2),
        ("expm1", mpmath.expm1, spread(-50, 709, -300), 1.6),
        ("log", mpmath.log, [*spread(0.25, 4, -323), *spread(0, 1e308, 1)], 1.0),
        ("log1p", mpmath.log1p, [*spread(-1, 4, -323), *spread(0, 1e308, 1)], 1.0),
        ("log1p", mpmath.log1p, [-x for x in spread(0, 1, -323)], 1.0),
        ("log1p_fraction", mpmath.log1p, spread(0, 1, -323), 1.2),
        ("x_minus_tanh", lambda x: x - mpmath.tanh(x), spread(0, elementary.TANH_KNOT, -15), 1.7),
        ("sqrt", mpmath.sqrt, spread(0, 1e308, -323), 0.5),
    ],
)
def test_float64(name, exact, points, bound):
    function = getattr(elementary, name)
    with mpmath.workdps(50):
        for point in map(float, points):
            truth = exact(mpmath.mpf(point))
            unit = np.spacing(max(abs(float(truth)), 2.0**-1022))
            assert abs(function(point) - truth) <= bound * mpmath.mpf(float(unit)), point


RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("high", "low", "bound"),
    [
        (10 ** RANDOM.uniform(-2, 3, 2000), np.zeros(2000), 0.3),
        (np.ones(2000), 10 ** RANDOM.uniform(-20, 3, 2000), 0.5),
        (10 ** RANDOM.uniform(-2, 3, 2000), RANDOM.uniform(-1e-3, 1e-3, 2000), 0.9),
    ],
)
@pytest.mark.parametrize("lift", [-3.0, 0.0])
def test_log_parts(high, low, bound, lift):
    """Their sum, not rounded, beats the rounded logarithm: by little only where high and low round as they add up."""
    with mpmath.workdps(50):
        for a, b in zip(high.tolist(), low.tolist(), strict=True):
            exact = mpmath.log((mpmath.mpf(a) + mpmath.mpf(b)) * mpmath.mpf(2) ** lift)
            parts = elementary.log_parts(a, b, lift)
            assert abs(sum(map(mpmath.mpf, parts)) - exact) <= bound * np.spacing(abs(float(exact))), (a, b)
            assert abs(parts[1]) <= 0.5 * abs(parts[0])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "root"), [("log", 0.0), ("log1p", -1.0)])
def test_ends_of_logarithms(kind, name, root):
    scalar, exact = getattr(elementary, name).scalar, getattr(np, name)
    below = np.nextafter(kind(root), kind(-np.inf))
    smallest, largest = np.finfo(kind).smallest_subnormal, np.finfo(kind).max
    points = np.array([root, below, -5.0, -np.inf, np.nan, np.inf, largest, smallest, -0.0, root + 1], kind)
    with np.errstate(all="ignore"):
        np.testing.assert_array_max_ulp(np.array([scalar(x) for x in points], kind), exact(points), 1)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sqrt_rounds_correctly(kind):
    x = bit_patterns(100_003).astype(kind)
    scalar = elementary.sqrt.scalar
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(
            vectorize(["float32(float32)", "float64(float64)"])(lambda v: scalar(v))(x), np.sqrt(x)
        )


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
        for name in ("EXP_TAIL", "LOG_TAIL", "LOG1P_TAIL", "TANHSHRINK_TAIL"):
            assert printed.pop(f"{name}, {kind}") == list(getattr(elementary, name).values[kind])
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
def test_powers_of_two_and_exponents(kind, low, high):
    for n in range(low, high + 1):
        assert power_of_two(kind(n) + kind(elementary.ROUNDER.values[kind.__name__])) == 2.0**n
        # 1.5 is where the next exponent begins.
        for mantissa, above in ((0.75, 0), (1.0, 0), (np.nextafter(kind(1.5), kind(0)), 0), (1.5, 1), (1.75, 1)):
            x = kind(mantissa) * kind(2.0) ** kind(n)
            if low < n:
                assert exponent(x) - kind(elementary.ROUNDER.values[kind.__name__]) == n + above


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
