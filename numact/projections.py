"""Sparsemax and hardmax: row-wise activations that give most entries a weight of 0."""

from dataclasses import dataclass
from functools import cached_property

from numact import dispatch, dispatch_rows, foreign
from numact.base import Info
from numact.binding import Formula
from numact.rows import _OnRows
from numact.rowwise import lead


@dataclass(frozen=True, eq=False)  # kernels are looked up by it, as by `numact.rows.Formulas`
class RowFunction:
    """A function of whole rows that every target has its own loops for, by name.

    Attributes
    ----------
    name : str
    formulas : tuple of Formula
        What its loops compute each entry with.
    """

    name: str
    formulas: tuple[Formula, ...]
    cpu_target = "cpu_gathered"
    cuda_target = "cuda_projections"


class Projection(_OnRows):
    """A row-wise activation whose gradient follows from the output as exactly as from the input.

    Its formula, and `.scalar`, give one entry from the entry itself and what its row shares.
    """

    takes_output = property(lambda self: True, doc="Whether `.backward` takes `output=`.")

    def __init__(self, function, info, *formulas):
        super().__init__(function, info, None, {"axis": -1})
        self._formulas = RowFunction(function.__name__, (self._value, *formulas))

    def __call__(self, x, /, *arguments, out=None, stream=None, **keywords):
        """Return the value of each row along an axis; see the activation's own documentation."""
        if stream is not None:
            return dispatch.on_stream(stream, self, x, *arguments, out=out, **keywords)
        try:
            (axis,) = self._resolve(arguments, keywords)
            return dispatch_rows.rowwise(self._formulas, "value", (x,), axis, None, 1.0, out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, x, *arguments, out=out, **keywords)

    def backward(self, grad_output, x=None, /, *arguments, output=None, out=None, stream=None, **keywords):
        """Return the gradient of a loss by x, given its gradient by the output.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss by this activation's output, of the shape of `x`.
        x : array_like, optional
            The activation's input.
        *arguments, out, stream, **keywords
            As for the value.
        output : array_like, optional
            The activation's output, in the place of `x`: the same gradient for less work, to the bit in float32 and
            float64. In the half types an entry of the support may have rounded to 0.

        Returns
        -------
        array
            As the activation's own documentation says.

        Raises
        ------
        TypeError
            If neither or both of `x` and `output` are given.
        """
        if stream is not None:
            given = {"output": output, "out": out, **keywords}
            return dispatch.on_stream(stream, self.backward, grad_output, x, *arguments, **given)
        if (x is None) == (output is None):
            raise TypeError(f"{self.__name__}.backward takes either x or output=, exactly one of them")
        mode, given = ("backward", x) if output is None else ("from_output", output)
        try:
            (axis,) = self._resolve(arguments, keywords)
            return dispatch_rows.rowwise(self._formulas, mode, (grad_output, given), axis, None, 1.0, out)
        except TypeError as error:
            keywords |= {"output": output, "out": out}
            return foreign.hand_over(error, self.backward, grad_output, x, *arguments, **keywords)

    @cached_property
    def ufunc(self):
        """The CPU kernel as a NumPy-style generalised ufunc, (n)->(n), for float32 and float64 (single-threaded)."""
        from numact.targets import cpu_gathered

        return cpu_gathered.public_ufunc(self._formulas)


@Formula
def excess(x, maximum, threshold, rest):
    """Return x - maximum - (threshold + rest), which has no rounding error where threshold cancels the difference."""
    difference, low = lead(x, maximum)
    return (difference - threshold) + (low - rest)


def _projection(*formulas, **info):
    """Make a projection of the formula of an entry, and of those that its loops need; a decorator."""
    return lambda function: Projection(function, Info(range=(0.0, 1.0), **info), *formulas)


@_projection(
    excess,
    lead,
    equation=r"\max(x_i - t, 0), \quad \sum_j \max(x_j - t, 0) = 1",
    paper="Martins and Astudillo, From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label "
    "Classification, 2016",
    use="attention and multi-class outputs of which only a few entries should count",
    strengths="a probability distribution with true zeros, and a gradient that costs a mean",
    weaknesses="an entry outside the support gets no gradient; slower than softmax",
    mechanism="One threshold is subtracted from the whole row and what falls below 0 is cut off, so that the rest "
    "adds up to 1. Entries that trail the leader by 1 or more are exactly 0. Attention over many places then rests on "
    "a few that can be named.",
)
def sparsemax(x, maximum, threshold):
    """Sparsemax: the projection of each row on the probability simplex.

    sparsemax(x)_i = max(x_i - t, 0), where t is the one number that makes the sum 1, in [0, 1]. It is
    (sum of x over the support - 1) / k for a support of k entries, those larger than t. The gradient is 0 outside the
    support, and in it the incoming gradient less its mean there; `backward` takes `output=y` in the place of x, as the
    support is where y > 0 (in the half types an entry of it may have rounded to 0). A row that holds +inf or NaN, or
    nothing but -inf, is NaN throughout; any other entry -inf gives 0.

    Examples
    --------
    >>> sparsemax([1.0, 1.5, 0.0])
    array([0.25, 0.75, 0.  ])
    """
    y = excess(x, maximum, threshold, 0.0)
    return y if y > 0.0 else 0.0


@_projection(
    equation=r"1 \text{ if } i = \min \operatorname{arg\,max}_j x_j \text{ else } 0",
    paper="ONNX operator Hardmax",
    use="decisions: the class, or the place of attention, that leads",
    strengths="exact and as fast as memory",
    weaknesses="a gradient of 0 everywhere: nothing learns through it",
    mechanism="The first largest entry becomes 1, all others 0, by however little it leads. Nothing can be learnt "
    "through it; it states a decision that was made.",
)
def hardmax(x, maximum):
    """Hardmax: 1 at the first largest entry along an axis and 0 elsewhere.

    hardmax(x)_i = 1 if x_i = max_j x_j (at the first such i), else 0, in [0, 1]. The gradient is 0 everywhere. A row
    that holds NaN is NaN throughout, value and gradient; so is the gradient where the incoming one is NaN.

    Examples
    --------
    >>> hardmax([1.0, 3.0, 3.0])
    array([0., 1., 0.])
    """
    return 1.0 if x == maximum else 0.0
