"""The row-wise activations, as formulas of one entry and of what its row shares."""

from numact.base import rowwise
from numact.binding import Formula
from numact.elementary import LOWEST, exp_sum


@Formula
def weight(x, maximum):
    """Return exp(x - maximum), at most about 1 unit in the last place off, for x <= maximum."""
    # exp magnifies the rounding error of the difference by up to 100: recover it exactly (Knuth's two-sum), pass it on.
    # Where the result is 0 anyway it may be inf - inf.
    difference = x - maximum
    back = difference - x
    low = (x - (difference - back)) - (maximum + back)
    return exp_sum(difference, low if difference > LOWEST else 0.0)


@rowwise(
    weight=weight,
    range=(0.0, 1.0),
    equation=r"\frac{e^{x_i}}{\sum_j e^{x_j}}",
    paper="Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
    use="multi-class outputs; attention weights",
    strengths="a probability distribution, differentiable, that grows with each entry's lead",
    weaknesses="never exactly 0; one outlier takes nearly all the weight",
)
def softmax(x, maximum, total):
    """Softmax: exp of each entry over the sum of exp along an axis.

    softmax(x)_i = e^(x_i - m) / sum_j e^(x_j - m), where m is the largest entry, in [0, 1]. A row that holds +inf or
    NaN is NaN throughout; an entry -inf gives 0.

    Examples
    --------
    >>> softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    """
    return weight(x, maximum) / total
