"""Powers of e."""

from numact.binding import Formula
from numact.primitives import ByType, Polynomial, clamp, fma, power_of_two

LOG2_E = 1.4426950408889634
# ln 2 in two parts. With fma, n * LN2_HIGH is subtracted from an argument of the same size without an error.
LN2_HIGH = ByType(float32=0.693147182464599609375, float64=0.6931471805599453)
LN2_LOW = ByType(float32=-1.904654299957768e-09, float64=2.319046813846299558e-17)
# Adding 1.5 * 2^mantissa rounds to the nearest integer; with the exponent's bias on top, `power_of_two` reads it.
ROUNDER = ByType(float32=1.5 * 2**23 + 127, float64=1.5 * 2**52 + 1023)
# Below LOWEST every a * e^x of interest is 0. 2^n for n down to LOWEST / ln 2 is itself no normal number, so the
# power is taken LIFT higher, which is exact, and a factor LOWER = 2^-LIFT makes the last product round just once.
LOWEST = ByType(float32=-131.0, float64=-1060.0)
HIGHEST = ByType(float32=89.0, float64=710.0)
LIFT = ByType(float32=64.0, float64=512.0)
LOWER = ByType(float32=2.0**-64, float64=2.0**-512)
RAISE = ByType(float32=2.0**64, float64=2.0**512)
# Beyond this e^-x is below half a unit in the last place of 1.
NEGLIGIBLE_FROM = ByType(float32=-20.0, float64=-40.0)

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the error relative to e^r is 2^-28.2 and 2^-63.5.
EXP_TAIL = Polynomial(
    float32=(
        0.4999999403953552,
        0.1666651964187622,
        0.04166823998093605,
        0.008368827402591705,
        0.0013823241461068392,
    ),
    float64=(
        0.5,
        0.16666666666666685,
        0.04166666666666654,
        0.008333333333315962,
        0.0013888888888960234,
        0.00019841269898649176,
        2.480158717064227e-05,
        2.7557232865293656e-06,
        2.755740476074693e-07,
        2.5112665183257342e-08,
        2.087499485941054e-09,
    ),
)


@Formula
def exp_parts(high, low, lift):
    """Return power and s with exp(high + low) * 2**lift = power * (1 + s).

    s is left by itself, so that a formula can multiply 1 + s before it rounds.

    Parameters
    ----------
    high : float
        The exponent; its magnitude and `lift` must leave `power` a normal number.
    low : float
        The rounding error of `high`: exp magnifies it by |high|, up to a hundredfold in float32. At most 1e-3.
    lift : float
        Integral; a power of two that comes in without an error.

    Returns
    -------
    power : float
        A power of two.
    s : float
        From -0.3 to 0.42.
    """
    # |r| <= ln(2) / 2; the first fma of its sum is exact.
    rounder = ROUNDER + lift
    shifted = fma(high, LOG2_E, rounder)
    n = shifted - rounder
    r = fma(n, -LN2_HIGH, high) + fma(n, -LN2_LOW, low)
    return power_of_two(shifted), fma(r * r, EXP_TAIL(r), r)


@Formula
def exp_parts_beside_one(x):
    """Return power and s with exp(x) = power * (1 + s), for x <= 0 and a result that 1 is added to or taken from.

    s has one rounding error less than that of `exp_parts`, which counts where 1 - exp(x) cancels.

    Parameters
    ----------
    x : float
        Not positive; from NEGLIGIBLE_FROM down the result is that for NEGLIGIBLE_FROM.

    Returns
    -------
    power, s : float
        As from `exp_parts`.

    Examples
    --------
    >>> exp_parts_beside_one(-1.0)
    (0.5, -0.26424111765711533)
    """
    # This r has no error. What it lacks, n times the rest of ln 2, joins the small terms; its product with r, at most
    # 2^-31 and 2^-57 beside 1, is left out.
    high = NEGLIGIBLE_FROM if x < NEGLIGIBLE_FROM else x
    shifted = fma(high, LOG2_E, ROUNDER)
    n = shifted - ROUNDER
    r = fma(n, -LN2_HIGH, high)
    return power_of_two(shifted), r + fma(r * r, EXP_TAIL(r), n * -LN2_LOW)


@Formula
def exp_sum(high, low):
    """Return exp(high + low) for high <= 0, rounded about once, down through the subnormal range.

    Parameters
    ----------
    high, low : float
        As in `exp_parts`; where high is at most LOWEST, -inf included, low may be anything.

    Examples
    --------
    >>> exp_sum(-1.0, 0.0)
    0.36787944117144233
    """
    is_lost = high <= LOWEST
    power, s = exp_parts(LOWEST if is_lost else high, 0.0 if is_lost else low, LIFT)
    return fma(LOWER, s, LOWER) * power


@Formula
def one_plus_exp(high, low):
    """Return (1 + exp(high + low)) * 2**-LIFT, rounded at most twice; the factor keeps it from overflow.

    Parameters
    ----------
    high, low : float
        As in `exp_parts`; high from NEGLIGIBLE_FROM to -LOWEST.
    """
    # 1 + 2^n + 2^n s: no rounded exponential stands in between. LIFT is what 1 / (1 + e^x) needs to end in the
    # subnormal range with one rounding.
    power, s = exp_parts(high, low, -LIFT)
    return fma(power, s, LOWER) + power


@Formula
def exp(x):
    """Return e**x, at most 1 unit in the last place off, subnormal results included.

    Parameters
    ----------
    x : float

    Examples
    --------
    >>> exp(1.0)
    2.7182818284590455
    """
    # 2^128 is no float32: positive powers are taken LIFT lower, negative ones LIFT higher.
    back = LOWER if x < 0.0 else RAISE
    power, s = exp_parts(clamp(x, LOWEST, HIGHEST), 0.0, LIFT if x < 0.0 else -LIFT)
    return fma(back, s, back) * power


@Formula
def expm1(x):
    """Return e**x - 1 without the cancellation near 0.

    Parameters
    ----------
    x : float

    Examples
    --------
    >>> expm1(1e-10)
    1.00000000005e-10
    """
    # 2^n (1 + s) - 1 = 2^n s + (2^n - 1), where the bracket is exact and 0 for small x. Half of it never overflows.
    half, s = exp_parts(clamp(x, NEGLIGIBLE_FROM, HIGHEST), 0.0, -1.0)
    return 2.0 * fma(half, s, half - 0.5)
