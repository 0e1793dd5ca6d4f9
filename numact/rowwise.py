"""The row-wise activations, as formulas of one entry and of what its row shares."""

from numact.binding import Formula
from numact.elementary import LOWEST, exp_sum, log_parts
from numact.primitives import ByType, fma
from numact.rows import Formulas, reduction, rowwise

LARGEST = ByType(float32=3.4028234663852886e38, float64=1.7976931348623157e308)


@Formula
def lead(x, maximum):
    """Return x - maximum in two parts: the rounded difference and its rounding error (Knuth's two-sum)."""
    difference = x - maximum
    back = difference - x
    return difference, (x - (difference - back)) - (maximum + back)


@Formula
def scaled_lead(x, maximum, scale):
    """Return |scale| * (x - maximum) in two parts."""
    difference, low = lead(x, maximum)
    high = abs(scale) * difference
    return high, fma(abs(scale), low, fma(abs(scale), difference, -high))


@Formula
def weight(x, maximum, scale):
    """Return exp(x - maximum), at most about 1 unit in the last place off, for x <= maximum; scale is 1."""
    # exp magnifies the rounding error of the difference by up to 100: pass it on.
    high, low = lead(x, maximum)
    return exp_sum(high, low)


@Formula
def scaled_weight(x, maximum, scale):
    """Return exp(|scale| * (x - maximum)), at most about 1 unit in the last place off, for x <= maximum."""
    high, low = scaled_lead(x, maximum, scale)
    # -inf stands for what is masked out, which weighs nothing at any scale: not even at 0, where high is NaN.
    high = LOWEST if x < -LARGEST else high
    return exp_sum(high, low)


# The difference of two numbers of a half type is exact in float32, unless one is some 2^13 times as large as the other:
# then its rounding error magnified is 2^-17 of a result that is rounded to 2^-11 at the finest.


@Formula
def half_weight(x, maximum, scale):
    """Return exp(x - maximum) for x <= maximum of a half type; scale is 1."""
    return exp_sum(x - maximum, 0.0)


@Formula
def scaled_half_weight(x, maximum, scale):
    """Return exp(|scale| * (x - maximum)) for x <= maximum of a half type."""
    difference = x - maximum
    high = abs(scale) * difference
    low = fma(abs(scale), difference, -high)
    high = LOWEST if x < -LARGEST else high  # as in `scaled_weight`
    return exp_sum(high, low)


@Formula
def logarithm(maximum, rest):
    """Return maximum + log(1 + rest) in two parts; NaN where the maximum is infinite."""
    log_high, log_low = log_parts(1.0, rest + (maximum - maximum), 0.0)
    high, low = lead(maximum, -log_high)
    return high, low + log_low


@Formula
def scaled_logarithm(maximum, rest):
    """Return log(1 + rest) in two parts, since the maximum is not scaled yet; NaN where it is infinite."""
    return log_parts(1.0, rest + (maximum - maximum), 0.0)


@Formula
def difference(x, maximum, log_high, log_low, scale):
    """Return x - (log_high + log_low), rounded about once, where these are the logarithm of the row's sum."""
    high, low = lead(x, log_high)
    low = low - log_low
    return high + (low if low == low else 0.0)  # of infinite parts the errors are inf - inf


@Formula
def scaled_difference(x, maximum, log_high, log_low, scale):
    """Return |scale| * (x - maximum) - (log_high + log_low), rounded about once."""
    lead_high, lead_low = scaled_lead(x, maximum, scale)
    high, low = lead(lead_high, log_high)
    low = (lead_low - log_low) + low
    return high + (low if low == low else 0.0)


# Where halves cancel, float32 subtracts exactly: errors in two parts would be far below what the result is rounded to.


@Formula
def half_difference(x, maximum, log_high, log_low, scale):
    """Return x - (log_high + log_low) for x of a half type."""
    return (x - log_high) - log_low


@Formula
def scaled_half_difference(x, maximum, log_high, log_low, scale):
    """Return |scale| * (x - maximum) - (log_high + log_low) for x of a half type."""
    return fma(abs(scale), x - maximum, -log_high) - log_low


@Formula
def logarithm_of_sum(maximum, log_high, log_low):
    """Return log_high + log_low; of an infinite maximum, the maximum."""
    return log_high + log_low if abs(maximum) <= LARGEST else maximum


@Formula
def itself(x, maximum, scale):
    """Return x: where the output is given it takes the weight's place."""
    return x


# The gradient of an entry from its weight e, its output's gradient g, and two numbers that its row shares: these come
# from the sum of the weights, the sum of the terms and the scale.


@Formula
def weighted_term(e, g):
    """Return what softmax's gradient sums along a row."""
    return e * g


@Formula
def weighted_shares(total, dot, scale):
    """Return what the entries of a row share in softmax's gradient."""
    factor = scale / total
    return factor, factor * (dot / total)


@Formula
def weighted_gradient(e, g, factor, share):
    """Return y * (g - mean) * scale, where y * scale is e * factor and share is factor * mean, rounded twice."""
    return e * fma(g, factor, -share)


@Formula
def plain_term(e, g):
    """Return what the gradient of log_softmax sums along a row."""
    return g


@Formula
def plain_shares(total, dot, scale):
    """Return what the entries of a row share in the gradient of log_softmax."""
    return scale, scale * (dot / total)


@Formula
def plain_gradient(e, g, scale, share):
    """Return scale * g - e * share, where e * share is y * scale times the sum of all g."""
    return fma(-e, share, scale * g)


@Formula
def reduced_gradient(e, factor):
    """Return g * y, where factor is g over the sum of the row's weights."""
    return e * factor


SOFTMAX = Formulas(
    weight=(weight, scaled_weight),
    half_weight=(half_weight, scaled_half_weight),
    output=itself,
    term=weighted_term,
    shares=weighted_shares,
    gradient=weighted_gradient,
)
LOG_SOFTMAX = Formulas(
    weight=(weight, scaled_weight),
    half_weight=(half_weight, scaled_half_weight),
    logarithm=(logarithm, scaled_logarithm),
    entry=(difference, scaled_difference),
    half_entry=(half_difference, scaled_half_difference),
    term=plain_term,
    shares=plain_shares,
    gradient=plain_gradient,
)
LOGSUMEXP = Formulas(
    weight=(weight, scaled_weight),
    half_weight=(half_weight, scaled_half_weight),
    logarithm=(logarithm, scaled_logarithm),
    reduced=logarithm_of_sum,
    gradient=reduced_gradient,
)


@rowwise(
    SOFTMAX,
    range=(0.0, 1.0),
    equation=r"\frac{e^{s x_i}}{\sum_j e^{s x_j}}",
    paper="Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
    use="multi-class outputs; attention weights",
    strengths="a probability distribution, differentiable, that grows with each entry's lead",
    weaknesses="never exactly 0; one outlier takes nearly all the weight",
    mechanism="Only differences within a row count: equal entries share equally, and an entry that leads by d gets "
    "e^(s d) times the weight of the other. A large scale, a low temperature, tends to hardmax; a small one to equal "
    "weights. Classifiers and attention use it because the weights are positive, add up to 1 and pass a gradient to "
    "every entry.",
)
def softmax(x, maximum, total):
    """Softmax: exp of each entry over the sum of exp along an axis.

    softmax(x)_i = e^(s x_i - m) / sum_j e^(s x_j - m), where s is the scale and m the largest s x_j, in [0, 1]. The sum
    runs over the entries that take part; those masked out give 0, in a row masked out altogether too. A row that holds
    +inf or NaN is NaN throughout; an entry -inf gives 0.

    Examples
    --------
    >>> softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    """
    return weight(x, maximum, 1.0) / total


@rowwise(
    LOG_SOFTMAX,
    range=(float("-inf"), 0.0),
    equation=r"s x_i - \log \sum_j e^{s x_j}",
    paper="Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
    use="multi-class outputs that go into a negative log-likelihood",
    strengths="keeps the digits of probabilities near 1 and of those too small for softmax",
    weaknesses="unbounded below; no probabilities until exp is taken",
    mechanism="Each entry less the logarithm of the row's sum of exponentials. Entries far below the leader keep "
    "their distance to it as a plain number where softmax would give 0, and the leader of a clear row keeps the "
    "digits that 1 minus a tiny number would lose. The loss of a classifier is one entry of it.",
)
def log_softmax(x, maximum, total):
    """Logarithm of softmax: each entry less the logarithm of the sum of exp along an axis.

    log_softmax(x)_i = s x_i - m - log(sum_j e^(s x_j - m)), where s is the scale and m the largest s x_j, in [-inf, 0].
    The sum runs over the entries that take part; those masked out give -inf, and their gradient is 0. A row that holds
    +inf or NaN is NaN throughout; an entry -inf gives -inf. Where one entry dominates, its value keeps its digits: the
    logarithm is taken of 1 plus the rest, which is summed by itself.

    Examples
    --------
    >>> log_softmax([1.0, 2.0, 3.0])
    array([-2.40760596, -1.40760596, -0.40760596])
    """
    log_high, log_low = logarithm(maximum, total - 1.0)
    return difference(x, maximum, log_high, log_low, 1.0)


@rowwise(
    SOFTMAX,
    fixed_scale=-1.0,
    range=(0.0, 1.0),
    equation=r"\frac{e^{-x_i}}{\sum_j e^{-x_j}}",
    paper="Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
    use="weights that favour small entries: distances, energies, costs",
    strengths="a probability distribution over costs without negating them first",
    weaknesses="those of softmax: never exactly 0, and one low outlier takes nearly all the weight",
    mechanism="As softmax, with the smallest entry first: an entry that is larger by d gets e^-d times the weight. "
    "Distances and energies become weights without being negated.",
)
def softmin(x, minimum, total):
    """Softmin: softmax of -x along an axis.

    softmin(x)_i = e^(m - x_i) / sum_j e^(m - x_j), where m is the smallest entry, in [0, 1]. A row that holds -inf or
    NaN is NaN throughout; an entry +inf gives 0.

    Examples
    --------
    >>> softmin([1.0, 2.0, 3.0])
    array([0.66524096, 0.24472847, 0.09003057])
    """
    return weight(minimum, x, 1.0) / total


@reduction(
    LOGSUMEXP,
    range=(float("-inf"), float("inf")),
    equation=r"\log \sum_j e^{x_j}",
    paper="Blanchard, Higham and Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions, 2021",
    use="partition functions; sums of probabilities kept as logarithms; a smooth maximum",
    strengths="overflows for no finite input; smooth, convex, and at most log(n) above the largest entry",
    weaknesses="relative accuracy is lost where the largest entry and the logarithm cancel",
    mechanism="The largest entry plus a correction between 0 and log(n): where one entry leads, nearly that entry, "
    "and where n are equal, log(n) more. Its gradient is softmax, so every entry takes part; the maximum would only "
    "move its leader.",
)
def logsumexp(maximum, total):
    """Logarithm of the sum of exp along one axis, several or all.

    logsumexp(x) = m + log(sum_j e^(x_j - m)), where m is the largest entry, in [-inf, inf]. Of no entries, and where
    all are -inf, it is -inf; where one is +inf it is +inf; where one is NaN it is NaN. The gradient is softmax times
    the gradient of the output.

    Examples
    --------
    >>> float(logsumexp([1.0, 2.0, 3.0]))
    3.40760596444438
    """
    log_high, log_low = logarithm(maximum, total - 1.0)
    return logarithm_of_sum(maximum, log_high, log_low)
