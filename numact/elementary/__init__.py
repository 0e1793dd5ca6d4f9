"""Elementary functions for formulas: branch-free arithmetic that vectorises on CPU and GPU alike.

Each is written once for float32 and float64; only coefficients differ. Every product that feeds a sum is an explicit
`fma`, so that no compiler has a choice left and all targets give the same bits. The coefficients come from
`sollya tools/coefficients.sollya`.
"""

from numact.elementary.exponential import (
    EXP_TAIL,
    HIGHEST,
    LIFT,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOWER,
    LOWEST,
    NEGLIGIBLE_FROM,
    RAISE,
    ROUNDER,
    exp,
    exp_parts,
    exp_parts_beside_one,
    exp_sum,
    expm1,
    one_plus_exp,
)
from numact.elementary.hyperbolic import TANH_KNOT, TANHSHRINK_TAIL, x_minus_tanh
from numact.elementary.logarithm import (
    LOG1P_TAIL,
    LOG_TAIL,
    log,
    log1p,
    log1p_fraction,
    log_parts,
    sqrt,
)
from numact.elementary.normal import (
    FAR_CENTER,
    FAR_SCALE,
    NEAR_CENTER,
    NORMAL_TAIL,
    TAIL_KNOT,
    TAIL_LIMIT,
    TAIL_SHIFT,
    normal_tail_polynomial,
)

__all__ = [
    "EXP_TAIL",
    "FAR_CENTER",
    "FAR_SCALE",
    "HIGHEST",
    "LIFT",
    "LN2_HIGH",
    "LN2_LOW",
    "LOG1P_TAIL",
    "LOG2_E",
    "LOG_TAIL",
    "LOWER",
    "LOWEST",
    "NEAR_CENTER",
    "NEGLIGIBLE_FROM",
    "NORMAL_TAIL",
    "RAISE",
    "ROUNDER",
    "TAIL_KNOT",
    "TAIL_LIMIT",
    "TAIL_SHIFT",
    "TANHSHRINK_TAIL",
    "TANH_KNOT",
    "exp",
    "exp_parts",
    "exp_parts_beside_one",
    "exp_sum",
    "expm1",
    "log",
    "log1p",
    "log1p_fraction",
    "log_parts",
    "normal_tail_polynomial",
    "one_plus_exp",
    "sqrt",
    "x_minus_tanh",
]
