"""The normal distribution's upper tail."""

from numact.binding import Formula
from numact.primitives import ByType, PolynomialPair

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
