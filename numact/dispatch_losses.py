"""Where do logits and labels live, and are they right? What `numact.dispatch` is to activations."""

import contextlib
import importlib
import math
import operator
from functools import cache
from typing import NamedTuple

import numpy as np

from numact import dispatch, memory, result_types

REDUCTIONS = ("none", "mean", "sum")
NOTHING_IGNORED = -(2**63)  # a label that cannot pass for a mistaken one


class Options(NamedTuple):
    """The parameters of a loss; `checked` returns them once they are right."""

    axis: int
    reduction: str
    ignore_index: int | None
    label_smoothing: float

    def checked(self):
        """Return the options as numbers, or raise.

        Raises
        ------
        ValueError
            If the reduction is unknown or the smoothing is not in [0, 1].
        TypeError
            If the axis or the ignored label is not an integer, or the smoothing is not a number.
        """
        if not isinstance(self.reduction, str) or self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be {', '.join(map(repr, REDUCTIONS))}, not {self.reduction!r}")
        smoothing = float(self.label_smoothing)
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be from 0 to 1, not {self.label_smoothing!r}")
        ignored = None if self.ignore_index is None else operator.index(self.ignore_index)
        return Options(operator.index(self.axis), self.reduction, ignored, smoothing)


class Plan(NamedTuple):
    """What is known of a call before the first number is read.

    Attributes
    ----------
    dtype : str
        The name of the result's dtype.
    kind : str
        The name of the labels' dtype, or "parts" where they are probabilities.
    shape, rows : tuple of int
        Of the logits, and of the rows: that shape without the axis.
    """

    dtype: str
    kind: str
    shape: tuple[int, ...]
    rows: tuple[int, ...]


def plan(options, logits, labels):
    """Return the `Plan` for (shape, dtype's name) of logits and of labels.

    Raises
    ------
    ValueError
        If the axis is out of range, or the labels' shape fits neither the rows nor the logits.
    TypeError
        If a dtype is not taken.
    """
    (shape, dtype), (labels_shape, labels_dtype) = logits, labels
    dispatch.split_at(shape, options.axis)
    axis = options.axis % len(shape)
    rows = shape[:axis] + shape[axis + 1 :]
    result = result_types.compute_dtype("logits", dtype)
    if labels_dtype in result_types.FLOATING:
        expected, kind = shape, "parts"
        result = result_types.common_dtype({"logits": result, "labels": labels_dtype})
        if options.ignore_index is not None:
            raise ValueError("ignore_index is for integer labels, and these are probabilities")
    elif labels_dtype.startswith(("int", "uint")):
        expected, kind = rows, labels_dtype
    else:
        raise TypeError(f"labels has dtype {labels_dtype}; numact takes integers, or the probabilities of the classes")
    if labels_shape != expected:
        what = "probabilities" if kind == "parts" else "integer labels"
        raise ValueError(f"labels has shape {labels_shape}; {what} for logits of shape {shape} have {expected}")
    return Plan(result, kind, shape, rows)


def cross_entropy(options, logits, labels, grad_output=None, out=None, wants_loss=True, wants_gradient=False):
    """Return the loss and the gradient by the logits, None for what is not wanted.

    `out` is for the gradient if that is wanted, else for the loss.
    """
    options = options.checked()
    named = {"logits": logits, "labels": labels}
    if not isinstance(grad_output, (type(None), bool, int, float)):
        named["grad_output"] = grad_output
    interop = dispatch.find_interop(named, out)
    if interop is not None:
        dispatch.cuda_target()
        target = importlib.import_module("numact.targets.cuda_losses")
        return target.cross_entropy(interop, options, logits, labels, grad_output, out, wants_loss, wants_gradient)
    return _on_cpu(options, logits, labels, grad_output, out, wants_loss, wants_gradient)


def _on_cpu(options, logits, labels, grad_output, out, wants_loss, wants_gradient):
    logits, labels = np.asarray(logits), np.asarray(labels)
    made = plan(options, (logits.shape, logits.dtype.name), (labels.shape, labels.dtype.name))
    given = next((value.dtype for value in (logits, labels) if value.dtype.name == made.dtype), made.dtype)
    kind = np.dtype(given).newbyteorder("=")
    grad = _grad_of_rows(grad_output, options, made, kind)
    with np.errstate(all="ignore"):
        factor = 1.0 if grad_output is None or grad is not None else float(grad_output)
    loss_shape = made.rows if options.reduction == "none" else ()
    if out is not None:
        _check_out(out, made.shape if wants_gradient else loss_shape, made.dtype)
    counted = math.prod(made.rows)
    if made.kind != "parts":
        counted = _check_labels(labels, made, options)
    if options.reduction == "mean" and counted:
        factor /= counted
    inputs = [logits, labels] if grad is None else [logits, labels, grad]
    gradient = _gradient_for(out, logits, inputs, kind) if wants_gradient else None
    losses = np.empty(made.rows, kind) if wants_loss and options.reduction == "none" else None
    with np.errstate(all="ignore"):
        total = _fill(options, made, (logits, labels, grad), losses, gradient, kind, factor)
        if wants_loss and losses is None:
            divisor = counted if options.reduction == "mean" else 1
            number = common().number(made.dtype)
            losses = np.asarray(number(np.float64(total) / divisor if divisor else math.nan)).astype(kind)
    if wants_gradient:
        return (dispatch.deliver(losses, None) if wants_loss else None), dispatch.deliver(gradient, out)
    return dispatch.deliver(losses, out), None


@cache
def common():
    """Import what the targets share at the first call."""
    return importlib.import_module("numact.targets.common")


def _grad_of_rows(grad_output, options, made, kind):
    """Return the gradient by each row's loss as an array, or None where one number is for all."""
    if grad_output is None:
        return None
    given = np.asarray(grad_output)
    result_types.compute_dtype("grad_output", given.dtype.name)
    check_grad(given.shape, made, options.reduction == "none")
    return given if given.shape else None


def check_grad(shape, made, each):
    """Raise unless a gradient by the loss, or by the loss of each row, may have that shape."""
    if shape and not (each and shape == made.rows):
        raise ValueError(f"grad_output has shape {shape}, but the loss has shape {made.rows if each else ()}")


def _check_out(out, shape, dtype):
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, as the input is, not {type(out).__name__}")
    result_types.check_out(out.shape, out.dtype.name, not out.flags.writeable, shape, dtype)


def _gradient_for(out, logits, inputs, kind):
    """Return where the gradient is computed: in `out` unless that would change an input that is still to be read."""
    if out is None:
        return memory.empty(logits.shape, kind)
    is_logits = out is logits or (
        out.dtype == logits.dtype and out.ctypes.data == logits.ctypes.data and out.strides == logits.strides
    )
    shared = any(np.may_share_memory(out, value) for value in inputs[is_logits:])
    return memory.empty(logits.shape, kind) if shared else out


def _check_labels(labels, made, options):
    """Return how many labels count, or raise a ValueError that names the first one out of range."""
    from numact.targets import cpu_losses

    ignored = NOTHING_IGNORED if options.ignore_index is None else options.ignore_index
    classes = made.shape[options.axis]
    counted = passed = 0
    for part in dispatch._parts((*labels.shape, 1)):
        values = _flat(labels[part], labels.dtype.newbyteorder("="))
        found, count = cpu_losses.check(values, classes, ignored)
        if found >= 0:
            place = tuple(map(int, np.unravel_index(passed + found, labels.shape)))
            raise ValueError(f"labels holds {values[found]} at {place}, but there are {classes} classes")
        counted, passed = counted + int(count), passed + values.size
    return counted


def _flat(array, kind):
    """Return an array's elements in C order, native, aligned and of a dtype, without a copy where they lie so."""
    return np.require(array, kind, ["C", "A"]).reshape(-1)


def _fill(options, made, arrays, losses, gradient, kind, factor):
    """Compute part by part, or at once where all arrays lie dense; return the sum of the losses."""
    from numact.targets import cpu_losses

    logits, labels, grad = arrays
    storage = common().storage(made.dtype)
    label_kind = kind if made.kind == "parts" else np.dtype(made.kind)
    ignored = NOTHING_IGNORED if options.ignore_index is None else options.ignore_index
    nothing, sums = np.empty(0, storage), []

    def call(x, labels, grad, losses, gradient, rows):
        x, labels = _flat(x, kind).view(storage), _flat(labels, label_kind)
        labels = labels.view(storage) if made.kind == "parts" else labels
        grad = nothing if grad is None else _flat(grad, kind).view(storage)
        losses = nothing if losses is None else losses.reshape(-1).view(storage)
        gradient = nothing if gradient is None else gradient.reshape(-1).view(storage)
        return cpu_losses.cross_entropy(
            made.dtype,
            made.kind,
            (x, labels, grad),
            losses,
            gradient,
            rows,
            ignored,
            options.label_smoothing,
            factor,
        )

    kinds = kind, label_kind, kind, kind
    if not logits.size:
        if losses is not None:
            losses[...] = 0
    elif all(_is_dense(array, dtype) for array, dtype in zip((*arrays, gradient), kinds, strict=True)):
        sums.append(call(*arrays, losses, gradient, dispatch.split_at(made.shape, options.axis)))
    else:
        x, target, labels = (
            value if value is None or value.shape != made.shape else np.moveaxis(value, options.axis, -1)
            for value in (logits, gradient, labels)
        )
        for part in dispatch._parts(x.shape):
            values = None if gradient is None else np.empty(x[part].shape, kind)
            grads, row_losses = (None if value is None else value[part] for value in (grad, losses))
            rows = x[part].size // x.shape[-1], x.shape[-1], 1
            sums.append(call(x[part], labels[part], grads, row_losses, values, rows))
            if gradient is not None:
                target[part] = values
    return _total(np.concatenate([[0.0], *sums]))


def _is_dense(array, dtype):
    """Return whether an array, if there is one, lies in memory as kernels read it."""
    return array is None or (
        array.dtype == dtype and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned
    )


def _total(sums):
    """Return the sum of sums and rounding errors, rounded once."""
    if np.isfinite(sums).all():
        with contextlib.suppress(OverflowError):
            return math.fsum(sums)
    return sums[~np.isnan(sums)].sum() if not np.isnan(sums[1::2]).any() else math.nan
