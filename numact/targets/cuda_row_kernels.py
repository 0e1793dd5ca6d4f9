"""CUDA kernels for row-wise functions: the entries of a row lie in the registers of the threads that share it.

A short row has a thread or a few, whose parts meet in shuffles; a longer one has a block. Rows that do not fit into a
block's registers are read twice: once for the maximum and the sum together, once for the entries.
"""

import math
import textwrap
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda

from numact.targets import common
from numact.targets import cuda as target
from numact.targets.cuda_memory import SIMULATED, access, conversions, kind_of, prefetch

# For the half types a few roundings of float32 count for nothing, and what computes longer than it reads is quicker.
HALF_ARITHMETIC = """
def quotient(value, inverse, total):
    return value * inverse

def add(total, low, part):
    return total + part, low
"""
# How a thread takes in what another has found. A sum keeps its rounding errors: those of a plain tree were larger than
# all others together (5,000 rows of 1,023 float32, emulated: softmax off by 5.8 units in the last place, now by 3.4).
JOINED = {
    "group_largest": "other = {value}; value = value if value >= other else other",
    "group_sum": "value, low = add(value, low + {low}, {value})",
}
SHUFFLED = {name: f"cuda.shfl_xor_sync(0xFFFFFFFF, {name}, offset)" for name in ("value", "low")}
SHUFFLES = """
def NAME(value, low, shared, thread, part, parts, beside):
    offset = 1
    while offset < min(parts, 32):
        JOIN
        offset *= 2
    if parts > 32:
        if thread % 32 == 0:
            shared[thread // 32], shared[thread // 32 + LOWS] = value, low
        cuda.syncthreads()
        place = (thread - part) // 32 + thread % 32 % (parts // 32)
        value, low = shared[place], shared[place + LOWS]
        cuda.syncthreads()
        offset = 1
        while offset < parts // 32:
            JOIN
            offset *= 2
    return value + low
"""
# Where neighbouring threads have different rows, and in the simulator, which has no shuffles.
IN_TREE = {"value": "shared[thread + half * beside]", "low": "shared[thread + half * beside + LOWS]"}
TREE = """
def NAME(value, low, shared, thread, part, parts, beside):
    shared[thread], shared[thread + LOWS] = value, low
    cuda.syncthreads()
    half = parts // 2
    while half > 0:
        if part < half:
            JOIN
            shared[thread], shared[thread + LOWS] = value, low
        cuda.syncthreads()
        half //= 2
    first = thread - part * beside
    result = shared[first] + shared[first + LOWS]
    cuda.syncthreads()
    return result
"""
# A row has `parts` threads, and a block as many rows side by side as it has threads for. Thread `part` of a row has
# the vectors part, part + parts, ...: what neighbours read lies side by side, and a load of a warp is whole lines.
KERNEL = """
def row_{kind}({arrays}, outer, length, inner, parts, beside, scale):
    shared = cuda.shared.array(SHARED, number)
    values = cuda.local.array(VALUES, number)
    grads = cuda.local.array(VALUES, number)
    thread, parts, beside = uint32(cuda.threadIdx.x), uint32(parts), uint32(beside)
    part, slots = uint32(thread // beside % parts), int64(uint32(cuda.blockDim.x) // parts)
    slot = int64(thread % beside + thread // (beside * parts) * beside)
    chunks = (length + int64(parts) * VALUES - 1) // (int64(parts) * VALUES)
    {groups}
    tile = int64(cuda.blockIdx.x)
    while tile < {tiles}:
        {place}
{body}
        tile += int64(cuda.gridDim.x)
"""
FILL = """
for c in range(CHUNKS):
    k = uint32(((uint32(chunk) * uint32(CHUNKS) + uint32(c)) * parts + part) * uint32(LANES))
    at = {at}
    if k < size:
        {load}
    else:
        {absent}
"""
# Asks for the entries of the next row, a line of 128 bytes at a time, while those of this row are computed.
AHEAD = """
ahead = row + int64(cuda.gridDim.x) * slots
if ahead < outer:
    line = int64(part) * 128
    while line < length * ITEM:
        {ahead}
        line += int64(parts) * 128
"""
LARGEST = """
largest = number(-inf)
for v in range(VALUES):
    if not largest >= values[v]:
        largest = values[v]
largest = group_largest(largest, number(0), shared, thread, part, parts, beside)
"""
WEIGH = """
for v in range(VALUES):
    values[v] = number(weight(values[v], largest, scale))
"""
# Of a thread's terms four at a time are added up plainly: exactly added, each would take six additions, as much as half
# of its exponential.
TOTAL = """
total, low = number(0), number(0)
for v in range(0, VALUES, 4):
    total, low = add(total, low, (values[v] + values[v + 1]) + (values[v + 2] + values[v + 3]))
total = group_sum(total, low, shared, thread, part, parts, beside)
"""
# Adds up weights by a reference, and counts the entries that are the largest by themselves.
ADD_RESTS = """\
for v in range(0, VALUES, 4):
    part_total = number(0)
    for k in range(4):
        one, is_largest = number(weight(values[v + k], REFERENCE, scale)), values[v + k] == largest
        count += number(1) if is_largest else number(0)
        part_total += number(0) if is_largest else one
    total, low = add(total, low, part_total)
"""
REST = f"""
total, low, count = number(0), number(0), number(0)
{ADD_RESTS.replace("REFERENCE", "largest")}
rest = group_sum(count, number(0), shared, thread, part, parts, beside) - number(1)
rest = rest + group_sum(total, low, shared, thread, part, parts, beside)
"""
# Maximum and sum in one pass. A thread adds up weights by a reference that it leaves only for an entry whose weight
# would be above FAR: what it has by then no longer counts, so that scaling it loses no digits. Entries equal to the
# largest so far are counted by themselves, as `REST` counts them.
ONLINE = """
largest, reference = number(-inf), number(-inf)
total, low, count = number(0), number(0), number(0)
for chunk in range(chunks):
{fill}
    peak = number(-inf)
    for v in range(VALUES):
        if not peak >= values[v]:
            peak = values[v]
    if not largest >= peak:
        if largest > -inf:
            total, low = add(total, low, count * number(weight(largest, reference, scale)))
        if not number(weight(peak, reference, scale)) <= FAR:
            factor = number(weight(reference, peak, scale))
            total, low, reference = total * factor, low * factor, peak
        largest, count = peak, number(0)
{add_rests}own = largest
largest = group_largest(own, number(0), shared, thread, part, parts, beside)
total = (total + low) * number(weight(reference, largest, scale))
if not own >= largest:
    total, count = total + count * number(weight(own, largest, scale)), number(0)
rest = group_sum(count, number(0), shared, thread, part, parts, beside) - number(1)
rest = rest + group_sum(total, number(0), shared, thread, part, parts, beside)
""".replace("{add_rests}", textwrap.indent(ADD_RESTS.replace("REFERENCE", "reference"), "    "))
RESTORED = "total = rest + number(1) + (largest - largest)\n"  # NaN for a row with +inf
INVERSE = "inverse = number(1) / total if size > 0 else number(0)\n"  # a thread without a row has no sum
LOGARITHM = """
high, low = logarithm(largest, rest)
high, low = number(high), number(low)
"""
NO_WEIGHTS = "largest, total = number(0), number(1)\n"
NO_TERMS = "dot, low = number(0), number(0)\n"
TERMS = """
for v in range(0, VALUES, 4):
    part_total = number(0)
    for k in range(4):
        part_total += number(term(values[v + k], grads[v + k]))
    dot, low = add(dot, low, part_total)
"""
SHARES = """
dot = group_sum(dot, low, shared, thread, part, parts, beside)
first_share, second_share = shares(total, dot, scale)
first_share, second_share = number(first_share), number(second_share)
"""
STORE = """
for c in range(CHUNKS):
    k = uint32(((uint32(chunk) * uint32(CHUNKS) + uint32(c)) * parts + part) * uint32(LANES))
    at = {at}
    if k < size:
        store_out(out + at * ITEM, {stored})
"""
ONE_A_ROW = """
if part == 0 and {is_row}:
    store_one(out + row * ITEM, encode(number(reduced(largest, high, low))))
"""
FACTOR = """
factor = number(0)
if {is_row}:
    factor = number(decode(load_one(grad + row * ITEM))) / total
"""
GRADIENT = "number(gradient(values[V], grads[V], first_share, second_share))"
# kind -> the steps for rows in registers.
HELD = {
    "value": [FILL, LARGEST, WEIGH, TOTAL, INVERSE, STORE],
    "log": [FILL, LARGEST, REST, LOGARITHM, STORE],
    "reduced": [FILL, LARGEST, REST, LOGARITHM, ONE_A_ROW],
    "backward": [FILL, LARGEST, WEIGH, TOTAL, NO_TERMS, TERMS, SHARES, STORE],
    "from_output": [NO_WEIGHTS, FILL, NO_TERMS, TERMS, SHARES, STORE],
    "reduced_backward": [FILL, LARGEST, WEIGH, TOTAL, FACTOR, STORE],
}


def _forth(steps):
    """Return steps for each chunk of a row."""
    return f"\nfor chunk in range(chunks):{textwrap.indent(steps, '    ')}"


def _back(steps, first=""):
    """Return steps for each chunk of a row, the last one first: what was read last is still in a cache.

    The `first` of them are left out for the last chunk, whose entries have been in registers since a pass forth.
    """
    first = first and f"\nif turn > 0:{textwrap.indent(first, '    ')}"
    return f"\nfor turn in range(chunks):\n    chunk = chunks - 1 - turn{textwrap.indent(first + steps, '    ')}"


# kind -> the steps for longer rows. A gradient from the input reads its last chunk once more: to keep so many entries
# in registers takes 1.16 to 1.45 times as long (H100).
STREAMED = {
    "value": [ONLINE, RESTORED, INVERSE, _back(WEIGH + STORE, FILL)],
    "log": [ONLINE, LOGARITHM, _back(STORE, FILL)],
    "reduced": [ONLINE, LOGARITHM, ONE_A_ROW],
    "backward": [ONLINE, RESTORED, NO_TERMS, _forth(FILL + WEIGH + TERMS), SHARES, _back(FILL + WEIGH + STORE)],
    "from_output": [NO_WEIGHTS, NO_TERMS, _forth(FILL + TERMS), SHARES, _back(STORE, FILL)],
    "reduced_backward": [ONLINE, RESTORED, FACTOR, _back(WEIGH + STORE, FILL)],
}
# kind -> the result.
RESULTS = {
    "value": "quotient(values[V], inverse, total)",
    "log": "number(entry(values[V], largest, high, low, scale))",
    "reduced": "",
    "backward": GRADIENT,
    "from_output": GRADIENT,
    "reduced_backward": "number(gradient(values[V], factor))",
}
# Whether rows lie one behind the other, or side by side -> the words that say so. A block that reaches beyond the last
# row has threads without one: for them a row has no entries.
PLACES = {
    False: {
        "groups": "tiles = (outer + slots - 1) // slots",
        "tiles": "tiles",
        "place": "row = tile * slots + slot\n        first, size = row * length, uint32(length if row < outer else 0)",
        "at": "first + int64(k)",
        "is_row": "row < outer",
    },
    True: {
        "groups": "groups = (inner + slots - 1) // slots",
        "tiles": "outer * groups",
        "place": """i, j = tile // groups, tile % groups * slots + slot
        row, first, size = i * inner + j, i * length * inner + j, uint32(length if j < inner else 0)""",
        "at": "first + int64(k) * inner",
        "is_row": "j < inner",
    },
}


def _body(kind, layout):
    """Return the steps of a kernel as source, indented."""
    text = "" if layout.is_streamed else "chunk = 0\n"
    for step in (STREAMED if layout.is_streamed else HELD)[kind]:
        text += step
        text += AHEAD if layout.looks_ahead and step is FILL else ""
    return textwrap.indent(text.replace("{fill}", textwrap.indent(FILL, "    ")), "        ")


def _source(kind, is_half, is_masked, layout):
    """Return the source of a kernel and of what it calls."""
    lanes = layout.lanes
    text, others = (TREE, IN_TREE) if layout.are_columns or SIMULATED else (SHUFFLES, SHUFFLED)
    reductions = [text.replace("NAME", name).replace("JOIN", join.format(**others)) for name, join in JOINED.items()]
    arithmetic = HALF_ARITHMETIC if is_half else common.ROW_ARITHMETIC
    source = "".join([arithmetic, *reductions, KERNEL.replace("{body}", _body(kind, layout))])
    given = {"values": ("x", "number(read(ENTRY, scale))", "HIDDEN")}
    if kind in ("backward", "from_output"):
        given["grads"] = ("grad", "number(decode(ENTRY))", "number(0)")
    load, absent, stored = [], [], []
    for name, (array, entry, hidden) in given.items():
        load.append(f"{array}_read = load({array} + at * ITEM)")
        for lane in range(lanes):
            value = entry.replace("ENTRY", f"{array}_read[{lane}]" if lanes > 1 else f"{array}_read")
            if is_masked:
                value = f"{value} if load_mask(mask + at + {lane}) else {hidden}"
            load.append(f"{name}[c * LANES + {lane}] = {value}")
            absent.append(f"{name}[c * LANES + {lane}] = {hidden}")
    for lane in range(lanes):
        value = f"encode({RESULTS[kind].replace('[V]', f'[c * LANES + {lane}]')})"
        stored.append(f"({value} if load_mask(mask + at + {lane}) else BLANK)" if is_masked else value)
    arrays = [*(["x"] if kind in ("value", "log", "reduced") else ["grad", "x"]), *["mask"] * is_masked, "out"]
    words = {"kind": kind, "arrays": ", ".join(arrays), **PLACES[layout.are_columns]}
    words |= {"load": "; ".join(load), "absent": "; ".join(absent)}
    words["ahead"] = "; ".join(f"prefetch({array} + ahead * length * ITEM + line)" for array, *_ in given.values())
    words["stored"] = f"({', '.join(stored)})" if lanes > 1 else stored[0]
    for name, text in words.items():
        source = source.replace(f"{{{name}}}", text)
    return source


class Layout(NamedTuple):
    """What a row kernel is compiled for, beside its formulas: how rows lie, and how many entries a thread holds."""

    lanes: int
    values: int
    are_columns: bool
    is_streamed: bool
    looks_ahead: bool = False


@cache
def function(formulas, mode, dtype, scaled, is_masked, layout):
    """Return the Python function of a row kernel for a `Layout`; see `numact.targets.cpu_rows.RowKernels`."""
    kind = formulas.kind(mode)
    scope = common.row_scope(formulas, kind, dtype, scaled, conversions(dtype))
    number, item = scope["number"], common.storage(dtype).itemsize
    scope |= {
        "cuda": cuda,
        "int64": np.int64,
        "uint32": np.uint32,
        "inf": math.inf,
        "FAR": number(2.0**40),
        "prefetch": prefetch,
        "ITEM": item,
    }
    scope |= {"LANES": layout.lanes, "VALUES": layout.values, "CHUNKS": layout.values // layout.lanes}
    scope |= {"decode": scope["load"], "encode": scope["store"], "load_mask": access(kind_of("bool"), 1)[0]}
    scope["load"], scope["store_out"] = access(kind_of(dtype), layout.lanes)
    scope["load_one"], scope["store_one"] = access(kind_of(dtype), 1)
    scope["LOWS"] = 1024 if SIMULATED else target.THREADS if layout.are_columns else 32
    scope["SHARED"] = 2 * scope["LOWS"]
    scope["HIDDEN"] = number(0 if kind == "from_output" else -np.inf)
    scope["BLANK"] = common.conversions(dtype)[1](number(-np.inf if kind == "log" else 0))
    source = _source(kind, item == 2, is_masked, layout)
    label = f"{common.row_label(formulas, kind, dtype, scaled, source)}_{layout.values}"
    *helpers, kernel = common.define(source, __name__, scope, label)
    for helper in helpers:
        scope[helper.__name__] = cuda.jit(helper, device=True)
    return kernel
