"""Elementary functions for formulas: branch-free arithmetic that vectorises on CPU and GPU alike.

Each is written once for float32 and float64; only coefficients differ. Every product that feeds a sum is an explicit
`fma`, so that no compiler has a choice left and all targets give the same bits. The coefficients come from
`sollya tools/coefficients.sollya`.
"""

from numact.binding import Formula
from numact.primitives import ByType, Polynomial, PolynomialPair, fma, power_of_two

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

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the error relative to e^r is 2^-28.2 and 2^-57.9.
EXP_TAIL = Polynomial(
    float32=(
        0.4999999403953552,
        0.1666651964187622,
        0.04166823998093605,
        0.008368827402591705,
        0.0013823241461068392,
    ),
    float64=(
        0.5000000000000011,
        0.1666666666666642,
        0.041666666666526596,
        0.008333333333490218,
        0.001388888894451334,
        0.00019841269516499355,
        2.4801492211244113e-05,
        2.7557576800093247e-06,
        2.7630560280734723e-07,
        2.500332770014334e-08,
    ),
)

# The normal distribution's upper tail as R(t) = e^(t^2/2) Q(t): 4 R(t) - 1 below TAIL_KNOT and 32/11 t R(t) - 1 above,
# each a polynomial in (t - center) / (t + TAIL_SHIFT) with a center of its own. One polynomial over the whole range
# needs 12 coefficients in float32 and 35 in float64, and has to carry its rounding errors. Centers,
# knot and shift are those, of some 50 tried, that keep gelu's largest error lowest: a difference t - center that is
# exact near the knot, where the error of the whole is largest, and a short first polynomial near 0. Past TAIL_LIMIT
# t * Q(t) and its derivative round to 0; the float32 fit ends at 14.5, where they are subnormal.
TAIL_LIMIT = ByType(float32=15.0, float64=39.0)
TAIL_KNOT = ByType(float32=1.28125, float64=1.75)
TAIL_SHIFT = ByType(float32=2.28125, float64=3.0)
NEAR_CENTER = ByType(float32=0.375, float64=0.75)
FAR_CENTER = ByType(float32=2.0, float64=3.0)
FAR_SCALE = 0.34375  # 11/32; the density of the normal distribution at 0, the limit of t R(t), is 0.399
NORMAL_TAIL = PolynomialPair(
    float32=(
        (
            0.5184177160263062,
            -2.7262754440307617,
            1.2726333141326904,
            0.1874285638332367,
            -0.19421420991420746,
            -0.10684362053871155,
            0.003036993322893977,
            0.044602181762456894,
        ),
        (
            -0.021951984614133835,
            0.530880868434906,
            -0.541558563709259,
            0.19035322964191437,
            0.03702498972415924,
            -0.02983628585934639,
            -0.013128560036420822,
            0.008817631751298904,
        ),
    ),
    float64=(
        (
            0.20092984935980374,
            -2.6065190046970423,
            2.172101648258874,
            -0.7873786711563151,
            -0.12597397609768599,
            0.14132235307139063,
            0.041608147920090564,
            -0.02398359057499755,
            -0.018169135234350275,
            -0.000408020797344516,
            0.00516484427020353,
            0.002781038879249499,
            -0.00021698021828596507,
            -0.0014110557001210074,
            0.0013308858718614745,
            0.007230206396731519,
            -0.019833547600786785,
            -0.07236019951805997,
            0.0873740128129954,
            0.3106021509820739,
        ),
        (
            0.06048536746672437,
            0.319638848314012,
            -0.4062752900987515,
            0.26582501066433645,
            -0.0839649340593526,
            -0.0050767211529842374,
            0.01163667417800877,
            -2.6525044315737194e-05,
            -0.0018944069826145056,
            -0.000148636486690596,
            0.0003392517593698812,
            9.540203140287961e-05,
            -4.983785700303597e-05,
            -3.4400907382197194e-05,
            1.1935126777223446e-06,
            2.7070793580516e-06,
            1.2903094463386122e-05,
            -8.256399616891517e-06,
            6.52353914745896e-07,
            3.597122152361779e-07,
        ),
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
def exp_sum(high, low):
    """Return exp(high + low) for high <= 0, rounded about once, down through the subnormal range.

    Parameters
    ----------
    high, low : float
        As in `exp_parts`; high may be -inf.

    Examples
    --------
    >>> exp_sum(-1.0, 0.0)
    0.36787944117144233
    """
    power, s = exp_parts(LOWEST if high < LOWEST else high, low, LIFT)
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
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    # 2^128 is no float32: positive powers are taken LIFT lower, negative ones LIFT higher.
    back = LOWER if x < 0.0 else RAISE
    power, s = exp_parts(x, 0.0, LIFT if x < 0.0 else -LIFT)
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
    x = NEGLIGIBLE_FROM if x < NEGLIGIBLE_FROM else x
    x = HIGHEST if x > HIGHEST else x
    half, s = exp_parts(x, 0.0, -1.0)
    return 2.0 * fma(half, s, half - 0.5)


@Formula
def normal_tail_polynomial(t):
    """Return 4 * R(t) - 1 below TAIL_KNOT and t * R(t) / FAR_SCALE - 1 from there, with R(t) = exp(t**2 / 2) * Q(t).

    Q is the upper tail of the standard normal distribution.

    Parameters
    ----------
    t : float
        From 0 to TAIL_LIMIT.

    Examples
    --------
    >>> normal_tail_polynomial(0.0)
    1.0
    """
    near = t < TAIL_KNOT
    return NORMAL_TAIL((t - (NEAR_CENTER if near else FAR_CENTER)) / (t + TAIL_SHIFT), near)
