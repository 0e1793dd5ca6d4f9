"""Elementary functions for formulas: branch-free arithmetic that vectorises on CPU and GPU alike.

Each is written once for float32 and float64; only coefficients differ. Every product that feeds a sum is an explicit
`fma`, so that no compiler has a choice left and all targets give the same bits. The coefficients come from
`python tools/coefficients.py`.
"""

from numact.binding import Formula
from numact.primitives import ByType, Polynomial, fma, power_of_two

LOG2_E = 1.4426950408889634
# ln 2 in two parts. With fma, n * LN2_HIGH is subtracted from an argument of the same size without an error.
LN2_HIGH = ByType(float32=0.693147182464599609375, float64=0.6931471805599453)
LN2_LOW = ByType(float32=-1.904654299957768e-09, float64=2.319046813846299558e-17)
# Adding and subtracting 1.5 * 2^mantissa rounds to the nearest integer.
ROUNDER = ByType(float32=1.5 * 2**23, float64=1.5 * 2**52)
# Below LOWEST every a * e^x of interest is 0. 2^n for n down to LOWEST / ln 2 is itself no normal number, so the
# power is taken LIFT higher, which is exact, and one product with 2^-LIFT rounds into the subnormal range.
LOWEST = ByType(float32=-131.0, float64=-1060.0)
HIGHEST = ByType(float32=89.0, float64=710.0)
LIFT = ByType(float32=64.0, float64=512.0)
LOWER = ByType(float32=2.0**-64, float64=2.0**-512)
RAISE = ByType(float32=2.0**64, float64=2.0**512)
# Beyond this e^-x is below half a unit in the last place of 1.
MINUS_ONE_FROM = ByType(float32=-20.0, float64=-40.0)

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the error relative to e^r is 2^-28.2 and 2^-57.9.
EXP_TAIL = Polynomial(
    float32=(
        0.4999999403953552,
        0.1666651964187622,
        0.04166823998093605,
        0.008368827402591705,
        0.001382322981953621,
    ),
    float64=(
        0.5000000000000011,
        0.16666666666666416,
        0.041666666666526554,
        0.00833333333349172,
        0.0013888888944528187,
        0.00019841269513610143,
        2.480149219428956e-05,
        2.755757915487328e-06,
        2.7630566533436087e-07,
        2.5002636005293518e-08,
    ),
)

# The normal distribution's upper tail Q(t) times e^(t^2/2), as (1 + p) / 2 / (t + TAIL_SHIFT), where p is a polynomial
# in TAIL_SHIFT / (t + TAIL_SHIFT) - center (the script prints 1 + p; TAIL_END is 1 - center). With a shift of 1.5, p
# stays between -0.12 and 0.5 and its rounding error hardly shows; a shift of 4 spares 2 coefficients of float32 and
# gave 5 units in the last place. Past TAIL_LIMIT t * Q(t) and its derivative round to 0; the float32 fit ends at 14.5,
# where they are subnormal.
TAIL_LIMIT = ByType(float32=15.0, float64=39.0)
TAIL_SHIFT = ByType(float32=1.5, float64=1.5)
TAIL_END = ByType(float32=0.375, float64=0.5)
TAIL_POLYNOMIAL = Polynomial(
    float32=(
        0.3246166706085205,
        0.6560425162315369,
        -0.5201606750488281,
        -0.05116969719529152,
        0.3698585629463196,
        -0.3211926817893982,
        0.06166192516684532,
        0.19025254249572754,
        -0.36065152287483215,
        0.3943999111652374,
        0.1227400004863739,
        -0.5936115384101868,
    ),
    float64=(
        0.2346840018643681,
        0.7803980739435267,
        -0.45996361919810824,
        -0.2863683070815044,
        0.5644505977543467,
        -0.2542136153786675,
        -0.3104297757553222,
        0.674693767614592,
        -0.5387337737183391,
        -0.08422032137968523,
        0.8625023433822763,
        -1.2904591929583704,
        0.9356760589081726,
        0.29762239741308105,
        -2.0003292570493,
        3.2916890029996884,
        -3.074075327082007,
        0.4744568631329477,
        4.118535242884786,
        -8.174836823297504,
        12.092451800590647,
        -20.11534486229464,
        -1.057621639532698,
        95.20872162216507,
        -50.111764441348306,
        -325.51574805110425,
        23.532025897041194,
        1449.886052620292,
        -419.31187530074936,
        -3989.0830308163136,
        2494.61666164859,
        5508.938792045614,
        -4786.868929992741,
        -3057.6313619611633,
        3205.5141350543877,
    ),
)


@Formula
def exp_parts(high, low):
    """Return n, r and e with exp(high + low) = 2**n * (1 + r + e), for high <= 0.

    The bracket is left unrounded, so that a formula can multiply it before it rounds.

    Parameters
    ----------
    high : float
        At most 0; -inf counts as the lowest argument of interest.
    low : float
        The rounding error of `high`: exp magnifies it by |high|, up to a hundredfold in float32. At most 1e-3.
    """
    # |r| <= ln(2) / 2. The first fma is exact; the rest of the second step is carried to the end.
    high = LOWEST if high < LOWEST else high
    n = fma(high, LOG2_E, ROUNDER) - ROUNDER
    exact = fma(n, -LN2_HIGH, high)
    small = fma(n, -LN2_LOW, low)
    r = exact + small
    return n, r, fma(r * r, EXP_TAIL(r), small - (r - exact))


@Formula
def scale_down(x, n):
    """Return x * 2**n for an integral n <= 0, rounded once, down through the subnormal range.

    Parameters
    ----------
    x : float
        Below 2**60 in magnitude.
    n : float
        From -190 (float32) or -1530 (float64) to 0.
    """
    return x * power_of_two(n + LIFT) * LOWER


@Formula
def scaled_exp(scale, high, low):
    """Return scale * exp(high + low) for high <= 0, rounded about once, down through the subnormal range.

    Parameters
    ----------
    scale : float
        Below 2**60 in magnitude.
    high, low : float
        As in `exp_parts`.

    Examples
    --------
    >>> scaled_exp(2.0, -1.0, 0.0)
    0.7357588823428847
    """
    # scale + scale * (e^r - 1) rounds once, where scale * e^r would round twice.
    n, r, e = exp_parts(high, low)
    return scale_down(fma(scale, r + e, scale), n)


@Formula
def quotient(numerator, high, low):
    """Return numerator / (high + low), rounded about once.

    Parameters
    ----------
    numerator : float
    high, low : float
        A divisor and its rounding error.

    Examples
    --------
    >>> quotient(1.0, 4.0, 0.0)
    0.25
    """
    inverse = 1.0 / high
    y = numerator * inverse
    return fma(fma(-y, low, fma(-y, high, numerator)), inverse, y)


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
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    n = fma(x, LOG2_E, ROUNDER) - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    mantissa = fma(r * r, EXP_TAIL(r), r) + 1.0
    # 2^128 is no float32: positive powers are taken LIFT lower, negative ones LIFT higher.
    lift = LIFT if x < 0.0 else -LIFT
    return mantissa * power_of_two(n + lift) * (LOWER if x < 0.0 else RAISE)


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
    x = MINUS_ONE_FROM if x < MINUS_ONE_FROM else x
    x = HIGHEST if x > HIGHEST else x
    n = fma(x, LOG2_E, ROUNDER) - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    s = fma(r * r, EXP_TAIL(r), r)
    half = power_of_two(n - 1.0)
    return 2.0 * fma(half, s, half - 0.5)


@Formula
def scaled_normal_tail(t):
    """Return t * Q(t) for t >= 0, where Q is the upper tail of the standard normal distribution.

    Parameters
    ----------
    t : float
        At least 0; +inf gives 0.

    Examples
    --------
    >>> scaled_normal_tail(1.0)
    0.15865525393145705
    """
    # exp(-t^2/2) takes the rounding error of t^2/2 along, y = t / (t + shift) that of its quotient.
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    high = -0.5 * t * t
    n, r, e = exp_parts(high, fma(-0.5 * t, t, -high))
    divisor = t + TAIL_SHIFT
    inverse = 1.0 / divisor
    y = t * inverse
    y_low = fma(-y, t - (divisor - TAIL_SHIFT), fma(-y, divisor, t)) * inverse
    p = TAIL_POLYNOMIAL((TAIL_END - y) - y_low)
    # y (1 + p)(1 + r + e), multiplied out so that only the last sum rounds at full size.
    growth = fma(p, r + e, p) + e + r
    return (fma(y, growth, y_low) + y) * power_of_two(n + LIFT) * (0.5 * LOWER)


@Formula
def normal_tail_ratio(t):
    """Return Q(t) * exp(t**2 / 2) for t >= 0, where Q is the upper tail of the standard normal distribution.

    Half the scaled complementary error function, erfcx(t / sqrt(2)) / 2: it falls slowly from 1/2, where Q itself
    underflows. Arguments past 15 (float32) or 39 (float64), where t * Q(t) is 0, count as that limit.

    Parameters
    ----------
    t : float
        At least 0.

    Examples
    --------
    >>> normal_tail_ratio(0.0)
    0.5
    """
    t = TAIL_LIMIT if t > TAIL_LIMIT else t
    divisor = t + TAIL_SHIFT
    w = 1.0 / divisor
    w_low = fma(-w, t - (divisor - TAIL_SHIFT), fma(-w, divisor, 1.0)) * w
    p = TAIL_POLYNOMIAL(fma(TAIL_SHIFT, w_low, fma(TAIL_SHIFT, w, TAIL_END - 1.0)))
    return 0.5 * (fma(w, p, w_low) + w)
