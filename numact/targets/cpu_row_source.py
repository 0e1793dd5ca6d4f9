"""The source of the CPU's row kernels: along contiguous rows, and what calls those and the loops down columns.

Loops over arrays stand in functions of their own: in one with others LLVM leaves them scalar. They take whole arrays
and where to begin, since a slice costs 10 ns (its reference is counted atomically); `at` makes an index unsigned, as
one that may be negative is looked at twice. Where a loop would write what it reads, it reads from a copy: LLVM runs one
whose arrays overlap as scalar code. What is `lined` begins at a cache line: across two a vector is stored slower.

What stands in braces is filled in for each kernel: see `numact.targets.cpu_rows.WORDS`.
"""

import re

from numact.targets.common import ROW_ARITHMETIC
from numact.targets.cpu_column_source import COLUMNS, FEW_LINES, GRADIENTS_OF_FEW, STREAM_COLUMNS, STREAMED_COLUMNS

INDEXING = """
def at(start, i):
    return uint64(start + i)

def whole_vectors(count):
    return (count + 15) // 16 * 16

def move(source, target):
    for i in range(target.size):
        target[i] = source[i]
"""
BASICS = """
def lined(rows, size):
    room = np.empty((whole_vectors(size) + WIDTH) * rows + WIDTH, number)
    first = before_line(room)
    return room[first : first + room.size - WIDTH].reshape(rows, -1)

def is_same(array, out):
    return array.ctypes.data == out.ctypes.data
"""

# Rows are worked on in pieces of `PIECE` entries, which stay in a core's L1 cache: several short rows, or a part of a
# long one. Formulas run over a whole piece, whatever rows it holds, since LLVM leaves the end of every loop to scalar
# code; what a row's entries share is written out beside each of them.
#
# The weight of a row's largest entry is exactly 1. What is to be the logarithm of 1 plus the rest counts such entries
# and sums the others by themselves: beside the 1, in float32, 65,000 weights of 1e-9 would be summed in the rounding
# errors alone, with one of its own each, 8 units in the last place in all.
LONG_ROWS = """
def read_rows(x, start, size, values, place, scale):
    for i in range(size):
        values[at(place, i)] = read(x[at(start, i)], scale)

def load_rows(grad, start, size, grads):
    for i in range(size):
        grads[at(0, i)] = load(grad[at(start, i)])

def weigh(x, start, size, largest, scale, values, piece):
    for i in range(size):
        values[at(piece, i)] = weight(x[at(start, i)], largest[at(0, i)], scale)

def weigh_in_place(values, start, size, largest, scale, same, piece):
    for i in range(size):
        values[at(piece, i)] = weight(values[at(piece, i)], largest[at(0, i)], scale)

def weigh_rests(x, start, size, largest, scale, parts, place):
    for i in range(size):
        value = x[at(start, i)]
        e = weight(value, largest[at(0, i)], scale)
        parts[at(place, i)] = ONE if value == largest[at(0, i)] else e

def logarithms(largest, rests, highs, lows):
    for k in range(largest.size):
        highs[k], lows[k] = logarithm(largest[k], rests[k])

def subtract(x, begin, size, largest, high, low, scale, out, start):
    for i in range(size):
        lead = x[at(begin, i)]
        out[at(start, i)] = store(entry(lead, largest[at(0, i)], high[at(0, i)], low[at(0, i)], scale))

def map_rows(values, place, grads, begin, out, start, length, rows, room, first, second):
    for k in range(rows):
        at_row = k * length
        map_row(
            values, place + at_row, grads, begin + at_row, out, start + at_row, length, room - start - at_row,
            first[k], second[k],
        )

def store_rows(values, size, out, start):
    for i in range(size):
        out[at(start, i)] = store(values[at(0, i)])

def long_rows({grad}x, out, length, scale):
    group, part, room = max(1, PIECE // length), min(PIECE, length), max(PIECE, length)
    sums, shared = np.empty((2, group), np.float64), np.ones((4, whole_vectors(group)), number)
    total, low, left, norm, one, other = sums[0], sums[1], shared[0], shared[1], shared[2], shared[3]
    {prepare}
    for start in range(0, x.size, group * length):
        rows = min(group, (x.size - start) // length)
        count = rows * length
        {base}{read}{weigh}{share}{finish}
"""
# Gradients that nothing but their memory takes time for are streamed, once there are many. They wait in a room until
# they fill lines, since one stored in part waits for memory to bring the rest.
STREAMED_ROWS = """
def streamed_rows(grad, x, out, length, scale):
    group = max(1, PIECE // length)
    sums, shared = np.empty((2, group), np.float64), np.ones((3, whole_vectors(group)), number)
    total, low, norm, one, other = sums[0], sums[1], shared[0], shared[1], shared[2]
    room, held = lined(1, PIECE)[0], -before_line(out) & (LINE_SIZE - 1)
    begin = held  # before it lies what another task writes
    for start in range(0, x.size, group * length):
        rows = min(group, (x.size - start) // length)
        count = rows * length
        {share}for piece in range(0, count, PIECE):
            size, at_piece = min(PIECE, count - piece), start + piece
            map_rows(x, at_piece, grad, at_piece, room, held, min(length, size), rows, int64(PIECE), one, other)
            held, begin = stream_lines(room, begin, held + size, out, at_piece - held)
    for i in range(begin, held):
        out[at(x.size - held, i)] = room[at(0, i)]
    end_stream()
"""
STREAM_LARGE = """if out.size >= STREAMED and not is_same(grad, out) and not is_same(x, out):
        streamed_rows(grad[start:stop], x[start:stop], out[start:stop], length, number(scale))
        return
    """
# Where an array's entries are numbers that need no conversion, they are read where they are, unless they are about to
# be overwritten: LLVM runs a loop whose arrays overlap as scalar code.
IN_PLACE = "if is_same({name}, out):\n        {name} = {name}.copy()"
READ_X = "read_rows(x, start, count, values, {values_start}, scale)\n        "
READ_GRADS = "load_rows(grad, start, count, grads)\n        "
SUM = """for k in range(rows):
            total[k], low[k], left[k] = 0, 0, 0
        for piece in range(0, count, PIECE):
            size = min(PIECE, count - piece)
            {terms}
            for k in range(rows):
                result, error, ones = sum_of({summed}, min(length, size), {without})
                total[k], low[k] = add(total[k], low[k] + error, result)
                left[k] += ones
        """
LARGEST = """for k in range(rows):
            spread(largest, k * length, part, largest_of({x}, {x_start} + k * length, length))
        """
WEIGH = LARGEST + SUM.format(
    terms="{weigher}({x}, {x_start} + piece, size, largest, scale, values, {values_start} + piece)",
    summed="values, {values_start} + piece + k * length",
    without="NAN",
)
WEIGH_RESTS = LARGEST + SUM.format(
    terms="weigh_rests({x}, {x_start} + piece, size, largest, scale, {parts})",
    summed="{parts} + k * length",
    without="ONE",
)
# What the entries of a row share, from the sum of its weights.
SHARE_SUM = """for k in range(rows):
            other[k] = number(total[k] + low[k])
            one[k] = ONE / other[k]
        """
LOGARITHMS = """for k in range(rows):
            norm[k], left[k] = largest[k * length], left[k] - ONE + number(total[k] + low[k])
        logarithms(norm, left, one, other)
        """
SHARE_LOGARITHM = f"""{LOGARITHMS}for k in range(rows):
            spread(first, k * length, part, one[k])
            spread(second, k * length, part, other[k])
        """
SHARE_SUMS = """for k in range(rows):
            norm[k] = {norm}
            total[k], low[k] = 0, 0
        for piece in range(0, count, PIECE):
            size = min(PIECE, count - piece)
            for k in range(rows):
                place = piece + k * length
                result, error = sum_of_terms(
                    {values}, {values_start} + place, {grads}, {grads_start} + place, min(length, size)
                )
                total[k], low[k] = add(total[k], low[k] + error, result)
        for k in range(rows):
            one[k], other[k] = shares(norm[k], number(total[k] + low[k]), scale)
        """
# Where results need no conversion weights wait in their place: memory brings its lines while the next are computed.
WAIT = """waits = not is_same(x, out)
    values = out if waits else lined(1, room)[0]"""
SUBTRACT = """head = min(before_line(out[start:]), count) if group == 1 else 0  # whole lines are written sooner
        subtract({x}, {x_start}, head, largest, first, second, scale, out, start)
        for piece in range(head, count, PIECE):
            size = min(PIECE, count - piece)
            subtract({x}, {x_start} + piece, size, largest, first, second, scale, out, start + piece)"""
REDUCE = f"""{LOGARITHMS}for k in range(rows):
            peak = norm[k] + number(total[k] - total[k])  # NaN if an entry is
            out[start // length + k] = store(reduced(peak, one[k], other[k]))"""
# Behind a row lies one that is yet to be written, unless what is yet to be read lies there.
MAP = """end = 0 if {is_held} else out.size
        map_rows({values}, {values_start}, {grads}, {grads_start}, out, start, length, rows, end, one, other)"""
MAP_AND_STORE = """map_rows({values}, {values_start}, {grads}, {grads_start}, values, 0, length, rows, 0, one, other)
        store_rows(values, count, out, start)"""
FACTOR = """for k in range(rows):
            one[k] = load(grad[start // length + k]) / number(total[k] + low[k])
        """
STEPS = {  # of a row: its sum of weights, what its entries share, what comes out
    "value": (WEIGH, SHARE_SUM, MAP),
    "log": (WEIGH_RESTS, SHARE_LOGARITHM, SUBTRACT),
    "reduced": (WEIGH_RESTS, "", REDUCE),
    "backward": (WEIGH, SHARE_SUMS.replace("{norm}", "number(total[k] + low[k])"), MAP),
    "from_output": ("", SHARE_SUMS.replace("{norm}", "ONE"), MAP),
    "reduced_backward": (WEIGH, FACTOR, MAP),
}


def steps(kind, is_read, is_loaded, streams):
    """Return what fills the braces of the source for a kind of kernel.

    It is read where it is: x if `is_read`, the output's gradient if `is_loaded`. Large results are streamed if
    `streams`.
    """
    has_grads = kind in ("backward", "from_output")
    waits = is_loaded and kind in ("value", "backward", "reduced_backward")
    base = "base" if waits else "int64(0)"  # the type that places have
    words = {"x": "x", "x_start": "start"} if is_read else {"x": "values", "x_start": base}
    words |= {"grads": "grad", "grads_start": "start"} if is_loaded else {"grads": "grads", "grads_start": "0"}
    words |= {"values": "values", "values_start": base, "weigher": "weigh" if is_read else "weigh_in_place"}
    words |= {"is_held": "group > 1 or not waits" if waits else "is_same(x, out)"}
    words |= {"parts": "out, start + piece" if is_loaded and kind == "log" else "parts, 0"}
    if kind == "from_output":
        words |= {"values": words["x"], "values_start": words["x_start"]}
    if not has_grads:  # which are not read
        words |= {"grads": words["values"], "grads_start": words["values_start"]}
    read = ("" if is_read else READ_X) + ("" if is_loaded or not has_grads else READ_GRADS)
    weigh, share, finish = STEPS[kind]
    finish = MAP_AND_STORE if finish is MAP and not is_loaded else finish
    read, weigh, share, finish = (step.format(**words) for step in (read, weigh, share, finish))
    # Room for what is used alone: memory takes 0.1 us to get, in every task.
    used = set(re.findall(r"\w+", read + weigh + share + finish))
    lines = [f"{name} = lined(1, room)[0]" for name in ("values", "grads") if name in used and not waits]
    shared = [name for name in ("largest", "first", "second", "parts") if name in used]
    lines += [f"scratch = lined({len(shared)}, PIECE)"] * bool(shared)
    lines += [f"{name} = scratch[{place}]" for place, name in enumerate(shared)]
    for name, needed in (("x", is_read and kind in ("log", "from_output")), ("grad", is_loaded and has_grads)):
        lines += [IN_PLACE.format(name=name)] * needed
    lines += [WAIT] * waits
    prepare = "\n    ".join(lines)
    base = "base = start if waits else 0\n        " * waits
    words = {"prepare": prepare, "base": base, "read": read, "weigh": weigh, "share": share, "finish": finish}
    return words | {
        "stream_large": STREAM_LARGE * streams,
        "streamed_rows": STREAMED_ROWS.format(share=share) * streams,
        "few_lines": FEW_LINES * (is_loaded and has_grads),
        "gradients_of_few": GRADIENTS_OF_FEW * (is_loaded and has_grads),
        "stream_columns": STREAM_COLUMNS * streams,
        "streamed_columns": STREAMED_COLUMNS * streams,
    }


# Of tall columns a task has some lines; in the first phase it finds their largest entries, in the second their sums. In
# the third fewer tasks find the results, each of a share of the lines, as each adds all sums.
STRIPS = """
def add_counts(counts, place, width, count):
    for j in range(width):
        count[j] += number(counts[at(place, j)])

def strip(index, {grad}x, out, length, inner, width, blocks, scale):
    count = (inner + width - 1) // width
    first, low, head = index // count * blocks, index % count * width, before_line(out)
    high, low = min(low + width + head, inner), low + head if low else 0  # strips begin at cache lines
    columns = high - low
    if columns <= 0:
        return
    group = group_of(length, inner, columns)
    rows, sums, parts = scratch_for(length, columns, group)
    for block in range(first, min(first + blocks, x.size // (length * inner))):
        start = block * length * inner + low
        stop, place = start + length * inner, block * inner + low
        strip_of({grad}x, out, start, stop, inner, columns, place, number(scale), group, rows, sums, parts)

def tall(index, {grad}x, out, out_largest, out_sums, length, inner, lines, shares, phase, scale):
    start, tasks = index * lines * inner, (length + lines - 1) // lines
    stop, group = min(start + lines * inner, x.size), group_of(length, inner, inner)
    if phase == 2 and index * shares % tasks >= shares:
        return
    rows, sums, parts = scratch_for(length, inner, group)
    largest, count = rows[0], rows[4]
    if phase == 0:
        find_largest(x, start, stop, inner, inner, group, number(scale), largest)
        move(largest[:inner], out_largest[index * inner : (index + 1) * inner])
        return
    if not FROM_OUTPUT:
        largest[:] = -np.inf
        largest_down(out_largest, 0, inner, tasks, inner, largest)
        repeat(largest, inner, inner * group)
    if COUNTS:
        count[:] = 0
    kept = (SUMS + 1) * inner  # of a task: its sums, and its counts
    if phase == 1:
        collect_{sums}({grad}x, out, start, stop, inner, inner, number(scale), group, rows, sums[:SUMS], parts)
        for k in range(SUMS):
            move(sums[k, :inner], out_sums[index * kept + k * inner : index * kept + (k + 1) * inner])
        if COUNTS:
            count_down(count, inner, group, sums[:SUMS])
            move(count[:inner], out_sums[(index + 1) * kept - inner : (index + 1) * kept])
        return
    for task in range(tasks):
        found = out_sums[task * kept : task * kept + SUMS * inner].reshape((SUMS, inner))
        if task:
            fold(found, sums, inner)
        else:
            for k in range(SUMS):
                move(found[k], sums[k, :inner])
        if COUNTS:
            add_counts(out_sums, (task + 1) * kept - inner, inner, count)
    share = index * shares // tasks
    start, stop = share * tasks // shares * lines, min((share + 1) * tasks // shares * lines, length)
    begin, end = start * inner, stop * inner
    finish_{results}({grad}x, out, begin, end, inner, inner, int64(0), number(scale), group, rows, sums[:SUMS])
"""
ROWS = """
def long(index, {grad}x, out, length, inner, tasks, scale):
    count = x.size // length
    start, stop = index * count // tasks * length, (index + 1) * count // tasks * length
    {stream_large}long_rows({grad_part}x[start:stop], {out_part}, length, number(scale))
"""
# By the kernels they define. No array needs both, and a process that defines both computes its first rows 15 ms later.
SOURCES = {"long": ROW_ARITHMETIC + INDEXING + BASICS + "{streamed_rows}" + LONG_ROWS + ROWS}
SOURCES |= dict.fromkeys(("strip", "tall"), ROW_ARITHMETIC + INDEXING + BASICS + COLUMNS + STRIPS)
