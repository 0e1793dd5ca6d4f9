"""What is left of x when its hyperbolic tangent is taken away."""

from numact.binding import Formula
from numact.primitives import ByType, Polynomial, fma

# From here on x and tanh(x) may be subtracted: the result passes 1/4, so 1 and more of its digits stay.
TANH_KNOT = 1.03125
THIRD = ByType(float32=0.3333333432674407958984375, float64=0.333333333333333314829616256247390992939472198486328125)
THIRD_LOW = ByType(float32=-9.934107758624577e-09, float64=1.850371707708594e-17)

# ((x - tanh(x)) / x^3 - 1/3) / x^2 in x^2, for x up to TANH_KNOT; the error relative to x - tanh(x) is 2^-26.7 and
# 2^-58.1.
TANHSHRINK_TAIL = Polynomial(
    float32=(
        -0.13333311676979065,
        0.05396289750933647,
        -0.02182423323392868,
        0.008678318932652473,
        -0.00317326164804399,
        0.0008961880812421441,
        -0.0001342806644970551,
    ),
    float64=(
        -0.13333333333333297,
        0.05396825396821453,
        -0.02186948853463446,
        0.008863235499927673,
        -0.0035921276817354264,
        0.001455831624825204,
        -0.0005900124745810984,
        0.00023907051475925895,
        -9.674534825094473e-05,
        3.890658570995366e-05,
        -1.5300162116422103e-05,
        5.663040780561069e-06,
        -1.842361288251599e-06,
        4.755967079157707e-07,
        -8.34906996836866e-08,
        7.26661594055182e-09,
    ),
)


@Formula
def x_minus_tanh(x):
    """Return x - tanh(x) for x from 0 to TANH_KNOT only, where the subtraction would cancel.

    Parameters
    ----------
    x : float
        From 0 to TANH_KNOT.

    Examples
    --------
    >>> x_minus_tanh(1e-100)
    3.3333333333333334e-301
    """
    # x^3 / 3 + x^5 p(x^2), with the rounding errors of x^2, x^3 and 1/3 carried along: without them 2.4 ULP, else 1.7.
    square = x * x
    square_low = fma(x, x, -square)
    cube = square * x
    cube_low = fma(square_low, x, fma(square, x, -cube))
    tail = TANHSHRINK_TAIL(square)
    tail = fma(square, tail, fma(square_low, tail, THIRD_LOW))
    return fma(cube, THIRD, fma(cube_low, THIRD + tail, cube * tail))
