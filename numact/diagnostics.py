"""What goes wrong in a network, measured: units that are dead or saturated, and gradients that vanish or explode.

The functions take arrays of NumPy, CuPy, PyTorch and of every library that follows the Python array API standard. They
compute in float64 where the array lives and return arrays of its library, so that a training loop on a GPU does not
wait for them.
"""

import importlib

import numpy as np

from numact.dispatch import PYTHON_TYPES


def dead_share(slopes, axis=0):
    """Return the share of units that are dead: whose derivative is 0 at every sample, so that they learn nothing.

    Parameters
    ----------
    slopes : array_like
        Derivatives of real dtype, such as ``activation.grad(x)``. Of relu the outputs serve as well.
    axis : int or tuple of int, default 0
        The samples; all other axes are units. None stands for all axes: then there is one unit.

    Returns
    -------
    array
        A number from 0 to 1; NaN of no units.

    Raises
    ------
    TypeError
        If the array's library has no functions of its own to compute with.

    Examples
    --------
    >>> import numact
    >>> float(dead_share(numact.relu.grad([[-1.0, 2.0], [-3.0, -4.0]])))
    0.5
    """
    return saturated_share(slopes, axis, tolerance=0.0)


def saturated_share(slopes, axis=0, tolerance=0.01):
    """Return the share of units that are saturated: whose derivative is small on the mean over the samples.

    Parameters
    ----------
    slopes : array_like
        Derivatives of real dtype, such as ``activation.grad(x)``.
    axis : int or tuple of int, default 0
        The samples; all other axes are units. None stands for all axes: then there is one unit.
    tolerance : float, default 0.01
        The largest mean of the derivatives' magnitudes that counts as saturated.

    Returns
    -------
    array
        A number from 0 to 1; NaN of no units. A unit with a derivative of NaN counts as neither.

    Raises
    ------
    TypeError
        If the array's library has no functions of its own to compute with.

    Examples
    --------
    >>> import numact
    >>> float(saturated_share(numact.sigmoid.grad([[9.0, 2.0], [-8.0, -7.0]])))
    0.5
    """
    library = _library(slopes)
    mean = library.mean(abs(library.asarray(slopes, dtype=library.float64)), axis=axis)
    return library.mean(library.asarray(mean <= tolerance, dtype=library.float64))


def gradient_norm(*gradients):
    """Return the Euclidean norm of gradients, all their entries taken together.

    Parameters
    ----------
    *gradients : array_like
        Of real dtypes and any shapes, all of one library and on one device: those of one layer, or of all.

    Returns
    -------
    array
        The root of the sum of the squares, which does not overflow for float32 and the half types.

    Raises
    ------
    TypeError
        If there is no gradient, or their library has no functions of its own to compute with.

    Examples
    --------
    >>> float(gradient_norm(np.float16([300.0, 400.0]), np.float16([[0.0]])))
    500.0
    """
    if not gradients:
        raise TypeError("gradient_norm needs at least one array")
    library = _library(gradients[0])
    wide = [library.asarray(gradient, dtype=library.float64) for gradient in gradients]
    return library.sqrt(sum(library.sum(array * array) for array in wide))


def _library(array):
    """Return the functions of an array's library."""
    name = type(array).__module__.partition(".")[0]
    if isinstance(array, PYTHON_TYPES):
        return np
    if name in ("cupy", "torch"):  # older CuPy and all PyTorch have the standard's functions, but do not say so
        return importlib.import_module(name)
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    kind = f"{type(array).__module__}.{type(array).__qualname__}"
    raise TypeError(
        f"diagnostics cannot sum a {kind}; pass it as an array of a library that shares its memory: cupy.asarray(x) or "
        "torch.as_tensor(x)"
    )
