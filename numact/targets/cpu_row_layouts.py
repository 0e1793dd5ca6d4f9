"""CPU kernels that lay entries out anew for a row kernel, which they call by its address: short rows, and masked ones.

They are the same for all formulas, so that short rows take no kernel of their own, and neither do masks.
"""

from functools import cache

import numba
import numpy as np

from numact.binding import INNER_OPTIONS, JIT_OPTIONS
from numact.targets import common
from numact.targets.cpu_row_source import INDEXING
from numact.targets.cpu_threads import Kernel, define

TURNED = 8_192  # entries turned at a time
INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80}  # as bits

# Short rows, and the columns of several small blocks, are turned into columns side by side, for a kernel of strips.
TURN = """
def move_runs(source, start, step, target, place, target_step, run, count):
    for k in range(count):
        for i in range(run):
            target[at(place + k * target_step, i)] = source[at(start + k * step, i)]

def turn(x, columns, length, inner, step):
    block = length * inner
    for k in range(length):
        if inner == 1:
            move(x[k::length], columns[k * step : k * step + x.size // length])
        else:
            move_runs(x, k * inner, block, columns, k * step, inner, inner, x.size // block)

def turn_back(columns, out, length, inner, step):
    block = length * inner
    for k in range(length):
        if inner == 1:
            move(columns[k * step : k * step + out.size // length], out[k::length])
        else:
            move_runs(columns, k * step, inner, out, k * inner, block, inner, out.size // block)

def turned(index, {grad}x, out, strips, length, inner, tasks, scale):
    block, blocks = length * inner, x.size // (length * inner)
    first, stop = index * blocks // tasks * block, (index + 1) * blocks // tasks * block
    size = min(TURNED // block * block, stop - first)
    room = whole_vectors(size // length)
    {make_grads}columns, values = np.zeros(room * length, x.dtype), np.empty(room * length, x.dtype)
    for start in range(first, stop, size):
        end = min(start + size, stop)
        row, rows = start // length, (end - start) // length
        count = whole_vectors(rows)
        turn(x[start:end], columns, length, inner, count)
        {turn_grads}given, found = columns[: count * length], values[: count * length]
        call(strips, (int64(0), {grads}given, found, length, count, count, int64(1), scale))
        {turn_values}
"""
TURN_GRADS = "turn(grad[start:end], grads, length, inner, count)"
TURN_VALUES = "turn_back(values, out[start:end], length, inner, count)"
# Where there is one for each row.
MOVE_GRADS = "move(grad[row : row + rows], grads[:rows])"
MOVE_VALUES = "move(values[:rows], out[row : row + rows])"

MASK = """
def hide(mask, x, start, fill, part):
    for i in range(part.size):
        value = x[at(start, i)]  # read in any case: LLVM vectorises a choice, but no branch
        part[i] = value if mask[at(start, i)] else fill

def blank(mask, start, fill, out):
    for i in range(out.size):
        value = out[i]
        out[i] = value if mask[at(start, i)] else fill

def masked(index, {grad}x, mask, out, hidden, blanked, rows, {strips}length, inner, tasks, scale):
    count = x.size // length
    start, stop = index * count // tasks * length, (index + 1) * count // tasks * length
    {hide_grads}part = np.empty(stop - start, x.dtype)
    hide(mask, x, start, element(hidden), part)
    call(rows, (int64(0), {grads}part, out[start:stop], {strips}length, inner, int64(1), scale))
    blank(mask, start, element(blanked), out[start:stop])
"""
HIDE_GRADS = "grads = np.empty(stop - start, x.dtype)\n    hide(mask, grad, start, element(0), grads)\n    "


@cache
def turned(dtype, takes_gradients, reduces):
    """Return the `Kernel` of short rows, and of columns of small blocks, told the address of a kernel of strips.

    Parameters
    ----------
    dtype : str
        The name of the dtype.
    takes_gradients : bool
        Whether the kernels take the gradient of what is computed from x.
    reduces : bool
        Whether there is one result, or gradient, for each row.
    """
    words = dict.fromkeys(("grad", "grads", "make_grads", "turn_grads"), "")
    if takes_gradients:
        size = "" if reduces else " * length"
        words |= {"grad": "grad, ", "grads": f"grads[: count{size}], "}
        words["make_grads"] = f"grads = np.zeros(room{size}, x.dtype)\n    "
        words["turn_grads"] = f"{MOVE_GRADS if reduces else TURN_GRADS}\n        "
    words["turn_values"] = MOVE_VALUES if reduces and not takes_gradients else TURN_VALUES
    return _kernel(TURN.format(**words), dtype)


@cache
def masked(dtype, takes_gradients, is_short):
    """Return the `Kernel` of rows with a mask, told what to put where it is false, and a kernel's address and sizes.

    Parameters
    ----------
    dtype, takes_gradients
        As for `turned`.
    is_short : bool
        Whether the kernel it calls is one that `turned` returns.
    """
    words = {"grad": "grad, ", "grads": "grads, ", "hide_grads": HIDE_GRADS}
    words = words if takes_gradients else dict.fromkeys(words, "")
    return _kernel(MASK.format(strips="strips, " * is_short, **words), dtype)


def _kernel(source, dtype):
    scope = {"np": np, "uint64": np.uint64, "int64": np.int64, "element": common.storage(dtype).type, "TURNED": TURNED}
    *helpers, kernel = define(INDEXING + source, __name__, scope, dtype)
    for helper in helpers:
        scope[helper.__name__] = numba.njit(helper, **(JIT_OPTIONS if helper.__name__ == "at" else INNER_OPTIONS))
    return Kernel(kernel)


@cache
def fills(kind, dtype, is_negated):
    """Return what `masked` puts in the place of an entry that is masked out, and of its result, as Python numbers.

    The entry weighs nothing then, of the smallest where x is negated; an output has no share in a gradient.
    """
    hidden = 0 if kind == "from_output" else np.inf if is_negated else -np.inf
    return _bits(hidden, dtype), _bits(-np.inf if kind == "log" else 0, dtype)


def _bits(value, dtype):
    """Return 0 or an infinity as kernels see it in a dtype: a half type's bits as an integer."""
    if dtype not in INFINITY:
        return float(value)
    return int(value and INFINITY[dtype] + (0x8000 if value < 0 else 0))
