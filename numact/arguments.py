"""Sorting out the arguments of a call."""

import functools

import numpy as np

PLAIN = {int, bool, float, str, type(None)}  # what can never change


def remembered(sort):
    """Let a method that sorts out arguments remember what it made of plain ones; to look that up takes 0.2 us, not 1.

    Nothing is remembered of 0.0, which equals -0.0, or looked up from before a form was declared.
    """

    @functools.lru_cache(maxsize=1024, typed=True)
    def look_up(activation, declared, *arguments, **keywords):
        given = [*arguments, *keywords.values()]
        if not all(type(value) in PLAIN for value in given):
            raise TypeError("what may change is not remembered")
        is_zero = any(type(value) is float and value == 0 for value in given)
        return None if is_zero else sort(activation, arguments, keywords)

    @functools.wraps(sort)
    def sorted_out(activation, arguments, keywords):
        if arguments and type(arguments[0]) is np.ndarray:
            return sort(activation, arguments, keywords)
        try:
            found = look_up(activation, activation._declared, *arguments, **keywords)
        except TypeError:  # of what may change, has no hash, or is wrong
            found = None
        return found or sort(activation, arguments, keywords)

    return sorted_out


def as_numbers(activation, values):
    """Return parameters as `dispatch.elementwise` takes them."""
    try:
        return tuple([np.array(float(value)) for value in values])
    except (TypeError, ValueError):
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(activation._defaults, values, strict=False))
        raise TypeError(f"{activation.__name__}: parameters must be real numbers, not {shown}") from None
