"""The softmax and the cross entropy in one pass."""

import functools

from numact import dispatch, foreign
from numact.dispatch_losses import Options, cross_entropy


class SoftmaxCrossEntropy:
    """Cross entropy of the softmax of logits and the labels: the loss, `.value_and_grad` and `.backward`.

    loss = sum_j p_j (log(sum_k e^(x_k - m)) + m - x_j) for each row x of logits with the largest entry m, where p is 1
    at the label and 0 elsewhere, or the given probabilities; label_smoothing s makes p_j into (1 - s) p_j + s / C for C
    classes. So written nothing cancels, and a confident right answer keeps its digits. The gradient by x_j is
    softmax(x)_j sum(p) - p_j.

    Parameters
    ----------
    logits : array_like
        Any real dtype, shape and strides.
    labels : array_like
        Integers from 0 to C - 1, of the shape of `logits` without `axis`; or floating probabilities of the shape of
        `logits`, which are not checked to sum to 1.
    axis : int, default -1
        The axis of the classes.
    reduction : str, default "mean"
        "none" for each row's loss; "sum"; "mean" for the sum over the number of rows, those ignored left out: NaN if
        none remains.
    ignore_index : int, optional
        Rows with this label, which need not be a class, give a loss of 0 and a gradient of 0. For integer labels.
    label_smoothing : float, default 0.0
        From 0 to 1.
    out : array, optional
        Where to write the loss: () for "sum" and "mean", else the shape of `logits` without `axis`; of a dtype that the
        result casts to under "same_kind".

    Returns
    -------
    array
        The loss. The dtype is that of `logits`, integers promote as in `numpy.tanh`; with probabilities it is the one
        that both promote to. Sums run in float64 with their rounding errors, and do not depend on the threads.

    Raises
    ------
    TypeError
        If a dtype is not taken, or a parameter is not of its type.
    ValueError
        If a label is neither a class nor the ignored one (the message names it, its place and the number of classes),
        or a shape, parameter or axis does not fit. Nothing is written. On a GPU the labels are not read by the host:
        there a row whose label is out of range gives NaN.

    Notes
    -----
    A row that holds NaN or +inf, or nothing but -inf, gives NaN. A class whose probability is 0 adds 0, even where its
    logit is -inf; a label whose logit is -inf gives inf.

    References
    ----------
    Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990; label smoothing: Szegedy
    and others, Rethinking the Inception Architecture for Computer Vision, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 40.0, 0.0]])
    >>> softmax_cross_entropy(logits, [1, 1], reduction="none")
    array([1.40760596e+00, 8.49670851e-18])
    >>> loss, gradient = softmax_cross_entropy.value_and_grad(logits, [1, 1])
    >>> float(loss), gradient[0]
    (0.7038029822221902, array([ 0.33262048, -0.37763576,  0.04501529]))
    """

    __name__ = __qualname__ = "softmax_cross_entropy"
    takes_output = False

    def __repr__(self):
        return "<loss softmax_cross_entropy>"

    def __reduce__(self):
        return self.__name__

    def __get__(self, instance, owner=None):
        return self  # stored in a class it does not bind

    def __call__(
        self,
        logits,
        labels,
        axis=-1,
        reduction="mean",
        ignore_index=None,
        label_smoothing=0.0,
        *,
        out=None,
        stream=None,
    ):
        """Return the loss; see the loss's own documentation."""
        if stream is not None:
            given = labels, axis, reduction, ignore_index, label_smoothing
            return dispatch.on_stream(stream, self, logits, *given, out=out)
        options = Options(axis, reduction, ignore_index, label_smoothing)
        try:
            loss, _ = cross_entropy(options, logits, labels, out=out)
        except TypeError as error:
            return foreign.hand_over(error, self.__call__, logits, labels, *options, out=out)
        return loss

    def value_and_grad(
        self,
        logits,
        labels,
        axis=-1,
        reduction="mean",
        ignore_index=None,
        label_smoothing=0.0,
        *,
        out=None,
        stream=None,
    ):
        """Return the loss and its gradient by the logits, from one pass over them; no other memory holds the softmax.

        Parameters
        ----------
        logits, labels, axis, reduction, ignore_index, label_smoothing
            As for the loss.
        out : array, optional
            Where to write the gradient: of the shape of `logits`, and may be `logits`.
        stream : int or stream of Numba, CuPy or PyTorch, optional
            As for the loss.

        Returns
        -------
        loss : array
        gradient : array
            Of the shape of `logits`. With "none" each row holds the gradient of that row's loss.
        """
        if stream is not None:
            given = labels, axis, reduction, ignore_index, label_smoothing
            return dispatch.on_stream(stream, self.value_and_grad, logits, *given, out=out)
        options = Options(axis, reduction, ignore_index, label_smoothing)
        try:
            return cross_entropy(options, logits, labels, out=out, wants_gradient=True)
        except TypeError as error:
            return foreign.hand_over(error, self.value_and_grad, logits, labels, *options, out=out)

    def backward(
        self,
        grad_output,
        logits,
        labels,
        axis=-1,
        reduction="mean",
        ignore_index=None,
        label_smoothing=0.0,
        *,
        out=None,
        stream=None,
    ):
        """Return grad_output times the gradient of the loss by the logits.

        Parameters
        ----------
        grad_output : array_like
            The gradient by the loss: one number, or with "none" one for each row.
        logits, labels, axis, reduction, ignore_index, label_smoothing
            As for the loss.
        out : array, optional
            Where to write: of the shape of `logits`, and may be `logits`.
        stream : int or stream of Numba, CuPy or PyTorch, optional
            As for the loss.

        Returns
        -------
        array
            Of the shape and the dtype of the gradient by the logits.
        """
        if stream is not None:
            given = axis, reduction, ignore_index, label_smoothing
            backward = functools.partial(self.backward, grad_output)
            return dispatch.on_stream(stream, backward, logits, labels, *given, out=out)
        options = Options(axis, reduction, ignore_index, label_smoothing)
        try:
            wanted = {"wants_loss": False, "wants_gradient": True}
            _, gradient = cross_entropy(options, logits, labels, grad_output, out, **wanted)
        except TypeError as error:
            return foreign.hand_over(error, self.backward, grad_output, logits, labels, *options, out=out)
        return gradient


softmax_cross_entropy = SoftmaxCrossEntropy()
