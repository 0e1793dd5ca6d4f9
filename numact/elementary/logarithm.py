"""Logarithms and the square root."""

from numact.binding import Formula
from numact.elementary.exponential import LIFT, LN2_HIGH, LN2_LOW, RAISE, ROUNDER
from numact.primitives import Polynomial, exponent, fma, power_of_two, square_root

INFINITY = float("inf")
NAN = float("nan")

# (log(1 + r) - r) / r^2 for 1 + r from 3/4 to 3/2, and for r from 0 to 1: the error relative to log(1 + r) is
# 2^-30.1 and 2^-58.8, and 2^-30.1 and 2^-59.1.
LOG_TAIL = Polynomial(
    float32=(
        -0.4999999701976776,
        0.3333333730697632,
        -0.25000399351119995,
        0.20000086724758148,
        -0.16650237143039703,
        0.14259585738182068,
        -0.1274905800819397,
        0.11849535256624222,
        -0.09319055825471878,
        0.038505394011735916,
    ),
    float64=(
        -0.49999999999999994,
        0.3333333333333323,
        -0.2500000000000386,
        0.20000000000044185,
        -0.1666666666597362,
        0.1428571427868746,
        -0.12500000049674234,
        0.11111111664461845,
        -0.09999998574960757,
        0.09090885328092489,
        -0.08333330807149547,
        0.07692866546749894,
        -0.07143985540331846,
        0.06660334537342619,
        -0.06223650931555823,
        0.058925044841768415,
        -0.05784220449983468,
        0.056663467746295174,
        -0.04718482336548752,
        0.02648559486024256,
        -0.007029822229051538,
    ),
)
LOG1P_TAIL = Polynomial(
    float32=(
        -0.49999988079071045,
        0.33332711458206177,
        -0.249888077378273,
        0.19899187982082367,
        -0.1613338440656662,
        0.1247519999742508,
        -0.08317504078149796,
        0.04205833002924919,
        -0.013664181344211102,
        0.0020788810215890408,
    ),
    float64=(
        -0.499999999999999,
        0.333333333333136,
        -0.24999999998614483,
        0.19999999949970654,
        -0.16666665570940986,
        0.1428569828788668,
        -0.12499834506064635,
        0.11109845765529046,
        -0.09992626770380121,
        0.09057402176395586,
        -0.08212440401449689,
        0.07340972826791312,
        -0.06310167426627135,
        0.05037999873301736,
        -0.03586577683196941,
        0.021798672958661336,
        -0.010801834908979948,
        0.0041369857503870565,
        -0.0011387228461414677,
        0.00019926279307029438,
        -1.6581746199171866e-05,
    ),
)


@Formula
def log_parts(high, low, lift):
    """Return two numbers whose sum is log((high + low) * 2**lift), so that a formula can add to them before it rounds.

    Parameters
    ----------
    high, low : float
        Their sum is positive, and from 2**-LIFT to infinity; `high` is 1, or as large as the sum.
    lift : float
        Integral; a power of two that comes in without an error.

    Returns
    -------
    high : float
        The logarithm, rounded.
    low : float
        What is missing: at most half of `high`.

    Examples
    --------
    >>> log_parts(2.0, 0.0, 0.0)
    (0.6931471805599453, 2.3190468138462996e-17)
    """
    # (high + low) 2^-n = 1 + r from 3/4 to 3/2: near 1 n is 0 and r is exact, so nothing cancels.
    # 2^-128 is no normal float32: the power is taken 4 times that.
    shifted = exponent(high + low)
    scale = 0.25 * power_of_two(2.0 * ROUNDER + 2.0 - shifted)
    n = shifted - (ROUNDER - lift)
    r = fma(scale, low, fma(scale, high, -1.0))
    # n ln(2) + r may cancel down to half of r, so its rounding error, which is exact, goes along.
    total = fma(n, LN2_HIGH, r)
    error = fma(n, LN2_HIGH, -total) + r
    return total, fma(r * r, LOG_TAIL(r), fma(n, LN2_LOW, error))


@Formula
def log(x):
    """Return the natural logarithm; -inf at 0, NaN below.

    Parameters
    ----------
    x : float

    Examples
    --------
    >>> log(10.0)
    2.302585092994046
    """
    # Subnormal numbers have no exponent to read: below 1 all are raised into the normal range, which is exact.
    small = x < 1.0
    high, low = log_parts(x * RAISE if small else x, 0.0, -LIFT if small else 0.0)
    result = high + low if x < INFINITY else x
    result = result if x > 0.0 else NAN
    return -INFINITY if x == 0.0 else result


@Formula
def log1p(x):
    """Return log(1 + x), without rounding 1 + x first; -inf at -1, NaN below.

    Parameters
    ----------
    x : float

    Examples
    --------
    >>> log1p(1e-16)
    1e-16
    """
    high, low = log_parts(1.0, x, 0.0)
    result = high + low if x < INFINITY else x
    result = result if x > -1.0 else NAN
    return -INFINITY if x == -1.0 else result


@Formula
def log1p_fraction(r):
    """Return log(1 + r) for r from 0 to 1 only, in half the operations of `log1p`.

    Parameters
    ----------
    r : float
        From 0 to 1, as the exponential of a negative number is.

    Examples
    --------
    >>> log1p_fraction(1.0)
    0.6931471805599453
    """
    return fma(r * r, LOG1P_TAIL(r), r)


@Formula
def sqrt(x):
    """Return the square root, rounded correctly; NaN below 0.

    Parameters
    ----------
    x : float

    Examples
    --------
    >>> sqrt(2.0)
    1.4142135623730951
    """
    return square_root(x)
