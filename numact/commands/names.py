"""Activations by the names that a command line gives."""

import importlib

import numact as na


def find(name):
    """Return the activation of a name: one of numact's, or MODULE:NAME.

    Raises
    ------
    ValueError
        If there is none.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon:
        if name in na.registry:
            return na.registry[name]
        raise ValueError(
            f"{name!r} is no activation; one of your own is MODULE:NAME, numact has {', '.join(na.registry)}"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r} cannot be imported: {error}") from None
    if not isinstance(found, na.Activation):
        raise ValueError(
            f"{name!r} is no activation but of type {type(found).__name__}; make it one with @numact.activation"
        )
    return found
