"""The source of the CPU's row kernels where rows lie side by side: down columns in strips, all entries of a row apart.

A strip is read three times or more, from a core's caches. Where the result needs no conversion and does not take the
place of the gradient, which is still to be read, the weights wait in it, and each exponential is computed once. Where a
strip is narrow and its lines lie behind each other, loops take a group of lines at a time, for which what the columns
share is repeated. Of long columns so many lines as `chunk_of` says are summed by themselves, and these sums added in
their order: so threads can share the lines of `tall` columns, with the bits of any strip. See `cpu_row_source` for the
rest.

While the results of a small block are found, memory is asked for the next one. Gradients from their output, which
nothing but their memory takes time for, are streamed in long lines. Both are for large arrays.
"""

LOOPS = """
def strip_maximum(x, start, width, scale, largest):
    for j in range(width):
        largest[j] = maximum(largest[j], read(x[at(start, j)], scale))

def strip_weights(x, start, size, largest, scale, parts, place):
    for j in range(size):
        parts[at(place, j)] = weight(read(x[at(start, j)], scale), largest[j], scale)

def strip_rests(x, start, size, largest, scale, parts, place, count):
    for j in range(size):
        value = read(x[at(start, j)], scale)
        e = weight(value, largest[j], scale)
        parts[at(place, j)] = ZERO if value == largest[j] else e
        count[j] += ONE if value == largest[j] else ZERO

def strip_terms(weights, begin, grad, start, size, parts, place):
    for j in range(size):
        parts[at(place, j)] = term(weights[at(begin, j)], load(grad[at(start, j)]))

def strip_totals(sums, width, total):
    for j in range(width):
        total[j] = number(sums[0, j] + sums[1, j])

def strip_inverse(total, width, inverse):
    for j in range(width):
        inverse[j] = ONE / total[j]

def strip_logarithm(total, count, largest, width, high, low):
    for j in range(width):
        high[j], low[j] = logarithm(largest[j], count[j] - ONE + total[j])

def strip_shares(total, dot, width, scale):
    for j in range(width):
        total[j], dot[j] = shares(total[j], dot[j], scale)

def strip_factors(grad, place, width, factor):
    for j in range(width):
        factor[j] = load(grad[at(place, j)]) / factor[j]

def strip_divide(inverse, total, out, start, size):
    for j in range(size):
        out[at(start, j)] = quotient(out[at(start, j)], inverse[j], total[j])

def strip_values(x, begin, largest, inverse, total, scale, out, start, size):
    for j in range(size):
        e = weight(read(x[at(begin, j)], scale), largest[j], scale)
        out[at(start, j)] = store(quotient(e, inverse[j], total[j]))

def strip_entries(x, begin, largest, high, low, scale, out, start, size):
    for j in range(size):
        out[at(start, j)] = store(entry(read(x[at(begin, j)], scale), largest[j], high[j], low[j], scale))

def strip_results(largest, total, high, low, out, place, width):
    for j in range(width):
        peak = largest[j] + (total[j] - total[j])  # NaN if an entry is
        out[at(place, j)] = store(reduced(peak, high[j], low[j]))

def strip_kept_gradients(grad, out, start, size, first, second):
    for j in range(size):
        out[at(start, j)] = gradient(out[at(start, j)], load(grad[at(start, j)]), first[j], second[j])

def strip_gradients(grad, x, begin, largest, first, second, scale, out, start, size):
    for j in range(size):
        e = weight(read(x[at(begin, j)], scale), largest[j], scale)
        out[at(start, j)] = store(gradient(e, load(grad[at(begin, j)]), first[j], second[j]))

def strip_products(x, begin, largest, factor, scale, out, start, size):
    for j in range(size):
        out[at(start, j)] = store(gradient(weight(read(x[at(begin, j)], scale), largest[j], scale), factor[j]))
"""
# What is summed lies in `parts`, as many lines at a time as fit, but in fours: these are added to each other first, and
# which they are must not depend on the width.
IN_PARTS = """
def {name}({arrays}, start, stop, step, width, group, largest, scale, parts, sums):
    lines = parts.size // width // group * group
    if group == 1:
        lines = max(TOGETHER, lines // TOGETHER * TOGETHER)
    sums[:] = 0
    for first in range(start, stop, lines * step):
        last, place = min(first + lines * step, stop), int64(0)
        for k in range(first, last, group * step):
            size = min(group, (last - k) // step) * width
            {line}
            place += size
        {adder}(parts, 0, width, (last - first) // step, width, sums)
"""
WEIGHTS = "strip_weights(x, k, size, largest, scale, parts, place)"
RESTS = "strip_rests(x, k, size, largest, scale, parts, place, count)"
TERMS = f"{WEIGHTS}\n            strip_terms(parts, place, grad, k, size, parts, place)"
SUMS = (
    IN_PARTS.format(name="sum_weights", adder="sum_down", arrays="x", line=WEIGHTS)
    + IN_PARTS.format(name="sum_rests", adder="sum_down", arrays="x, count", line=RESTS)
    + IN_PARTS.format(name="sum_terms", adder="terms_down", arrays="grad, x", line=TERMS)
)
STRIPS = """
def group_of(length, step, width):
    lines = GROUPED // width if step == width else 1
    return length if length <= lines else max(1, lines // TOGETHER * TOGETHER)

def scratch_for(length, width, group):
    lines = max(group, min(length, max(LINES, WAITING // width)) // group * group)
    rows = np.empty((5, width * group + WIDTH), number)
    sums = np.empty((SUMS if length <= chunk_of(length) else 2 * SUMS, width + WIDTH))
    return rows, sums, np.empty(lines * width, number)

def next_block(out, start, stop, step, width):
    return stop - start if step == width and stop - start <= NEXT and out.size >= STREAMED else 0

def ask_next(x, start, size):
    for entry in range(start, start + size, ASKED):
        ask_for(x, entry, 0)

def repeat(row, width, count):
    while width < count:
        size = min(width, count - width)
        copy_behind(row, width, size)
        width += size

def find_largest(x, start, stop, step, width, group, scale, largest):
    largest[:] = -np.inf
    if IS_READ:
        for k in range(start, stop, LINES * step):
            largest_down(x, k, step, min(LINES, (stop - k) // step), width, largest)
    else:
        for k in range(start, stop, step):
            strip_maximum(x, k, width, scale, largest)
    repeat(largest, width, width * group)

def keep_weights(x, start, stop, step, width, group, largest, scale, out, sums):
    lines = max(LINES, WAITING // width // group * group)
    sums[:] = 0
    for first in range(start, stop, lines * step):
        last = min(first + lines * step, stop)
        for k in range(first, last, group * step):
            size = min(group, (last - k) // step) * width
            if is_same(x, out):
                strip_weights(x[k : k + size].copy(), int64(0), size, largest, scale, out, k)
            else:
                strip_weights(x, k, size, largest, scale, out, k)
        sum_down(out, first, step, (last - first) // step, width, sums)

def sum_products(weights, grad, start, stop, step, width, sums):
    sums[:] = 0
    for k in range(start, stop, LINES * step):  # memory has trouble with more lines at a time
        dot_down(weights, k, step, grad, k, step, min(LINES, (stop - k) // step), width, sums)

def collect_value(x, out, start, stop, step, width, scale, group, rows, sums, parts):
    if KEEPS:
        keep_weights(x, start, stop, step, width, group, rows[0], scale, out, sums)
    else:
        sum_weights(x, start, stop, step, width, group, rows[0], scale, parts, sums)

def finish_value(x, out, start, stop, step, width, place, scale, group, rows, sums):
    largest, total, inverse = rows[0], rows[1], rows[2]
    strip_totals(sums, width, total)
    strip_inverse(total, width, inverse)
    repeat(total, width, width * group)
    repeat(inverse, width, width * group)
    ahead = next_block(out, start, stop, step, width)
    for k in range(start, stop, group * step):
        size = min(group, (stop - k) // step) * width
        if ahead:
            ask_next(x, k + ahead, size)
        if KEEPS:
            strip_divide(inverse, total, out, k, size)
        elif is_same(x, out):
            strip_values(x[k : k + size].copy(), int64(0), largest, inverse, total, scale, out, k, size)
        else:
            strip_values(x, k, largest, inverse, total, scale, out, k, size)

def collect_log(x, out, start, stop, step, width, scale, group, rows, sums, parts):
    sum_rests(x, rows[4], start, stop, step, width, group, rows[0], scale, parts, sums)

def count_down(count, width, group, sums):
    if group > 1:
        sums[:] = 0
        sum_down(count, 0, width, group, width, sums)
        strip_totals(sums, width, count)

def find_logarithms(width, group, rows, sums):
    largest, total, high, low, count = rows[0], rows[1], rows[2], rows[3], rows[4]
    strip_totals(sums, width, total)
    count_down(count, width, group, sums)
    strip_logarithm(total, count, largest, width, high, low)

def finish_log(x, out, start, stop, step, width, place, scale, group, rows, sums):
    find_logarithms(width, group, rows, sums)
    largest, high, low = rows[0], rows[2], rows[3]
    repeat(high, width, width * group)
    repeat(low, width, width * group)
    ahead = next_block(out, start, stop, step, width)
    for k in range(start, stop, group * step):
        size = min(group, (stop - k) // step) * width
        if ahead:
            ask_next(x, k + ahead, size)
        if is_same(x, out):
            strip_entries(x[k : k + size].copy(), int64(0), largest, high, low, scale, out, k, size)
        else:
            strip_entries(x, k, largest, high, low, scale, out, k, size)

def finish_reduced(x, out, start, stop, step, width, place, scale, group, rows, sums):
    find_logarithms(width, group, rows, sums)
    strip_results(rows[0], rows[1], rows[2], rows[3], out, place, width)

def collect_backward(grad, x, out, start, stop, step, width, scale, group, rows, sums, parts):
    keeps = KEEPS and not FROM_OUTPUT and not is_same(grad, out)
    if keeps:
        keep_weights(x, start, stop, step, width, group, rows[0], scale, out, sums)
        sum_products(out, grad, start, stop, step, width, sums[2:])
    elif KEEPS and FROM_OUTPUT:
        sum_products(x, grad, start, stop, step, width, sums[2:])
    else:
        if not FROM_OUTPUT:
            sum_weights(x, start, stop, step, width, group, rows[0], scale, parts, sums)
        sum_terms(grad, x, start, stop, step, width, group, rows[0], scale, parts, sums[2:])

def write_gradients(grad, x, out, start, stop, step, width, scale, group, largest, total, dot):
    repeat(total, width, width * group)
    repeat(dot, width, width * group)
    ahead = next_block(out, start, stop, step, width)
    {stream_columns}for k in range(start, stop, group * step):
        size = min(group, (stop - k) // step) * width
        if ahead:
            ask_next(x, k + ahead, size)
            ask_next(grad, k + ahead, size)
        if KEEPS and not FROM_OUTPUT and not is_same(grad, out):
            strip_kept_gradients(grad, out, k, size, total, dot)
        elif is_same(grad, out) or is_same(x, out):
            grads, part = grad[k : k + size].copy(), x[k : k + size].copy()
            strip_gradients(grads, part, int64(0), largest, total, dot, scale, out, k, size)
        else:
            strip_gradients(grad, x, k, largest, total, dot, scale, out, k, size)

def finish_backward(grad, x, out, start, stop, step, width, place, scale, group, rows, sums):
    largest, total, dot = rows[0], rows[1], rows[2]
    if FROM_OUTPUT:
        total[:width] = ONE
    else:
        strip_totals(sums, width, total)
    strip_totals(sums[2:], width, dot)
    strip_shares(total, dot, width, scale)
    write_gradients(grad, x, out, start, stop, step, width, scale, group, largest, total, dot)

def collect_reduced_backward(grad, x, out, start, stop, step, width, scale, group, rows, sums, parts):
    sum_weights(x, start, stop, step, width, group, rows[0], scale, parts, sums)

def finish_reduced_backward(grad, x, out, start, stop, step, width, place, scale, group, rows, sums):
    largest, factor = rows[0], rows[1]
    strip_totals(sums, width, factor)
    strip_factors(grad, place, width, factor)
    repeat(factor, width, width * group)
    ahead = next_block(out, start, stop, step, width)
    for k in range(start, stop, group * step):
        size = min(group, (stop - k) // step) * width
        if ahead:
            ask_next(x, k + ahead, size)
        if is_same(x, out):
            strip_products(x[k : k + size].copy(), int64(0), largest, factor, scale, out, k, size)
        else:
            strip_products(x, k, largest, factor, scale, out, k, size)

def fold(found, sums, width):
    for j in range(0 if FROM_OUTPUT else width):
        sums[0, j], sums[1, j] = add(sums[0, j], sums[1, j] + found[1, j], found[0, j])
    for j in range(width if SUMS == 4 else 0):
        sums[2, j], sums[3, j] = add(sums[2, j], sums[3, j] + found[3, j], found[2, j])
{gradients_of_few}
def strip_of({grad}x, out, start, stop, step, width, place, scale, group, rows, sums, parts):
    if not FROM_OUTPUT:
        find_largest(x, start, stop, step, width, group, scale, rows[0])
    if COUNTS:
        rows[4][:] = 0
    {few_lines}chunk = chunk_of((stop - start) // step) * step
    for first in range(start, stop, chunk):
        found = sums[SUMS:] if first > start else sums[:SUMS]
        last = min(first + chunk, stop)
        collect_{sums}({grad}x, out, first, last, step, width, scale, group, rows, found, parts)
        if first > start:
            fold(found, sums, width)
    finish_{results}({grad}x, out, start, stop, step, width, place, scale, group, rows, sums[:SUMS])
"""
# What is summed of few lines stays in registers, and so do the two numbers that the gradients of a column share. On two
# cores of an AMD Zen 3 18 shapes of 100,000 entries in 4 to 64 lines took from the output 0.53 to 1.09 of the time,
# 0.76 and 0.79 in the mean of two runs; 7 from x 0.92 to 1.00 in the means of five, 4 lines 0.86 to 1.04. 32 lines of
# 31,250 float64 took 2.3 times as long from the output: beyond CACHED only LINES are few, or small dense blocks. Where
# lines lie pages apart 8 took up to 1.5 times: there LINES are few, and from more than TOGETHER on the numbers of the
# columns are written down, for loops along the lines.
FEW_LINES = """if are_few((stop - start) // step, step, group, out.size) and (FROM_OUTPUT or not is_same(grad, out)):
        few_lines(grad, x, out, start, stop, step, width, scale, group, rows, sums)
        return
    """
GRADIENTS_OF_FEW = """
def are_few(lines, step, group, size):
    return lines <= LINES or (lines <= FEW and step % PAGE and (group > 1 or size < CACHED))

def few_lines(grad, x, out, start, stop, step, width, scale, group, rows, sums):
    largest, total, dot, lines = rows[0], rows[1], rows[2], (stop - start) // step
    if FROM_OUTPUT:
        total[:] = ONE
        is_apart = not is_same(grad, out) and not is_same(x, out)
        if is_apart and width >= WIDTH and out.size < STREAMED and (step % PAGE or lines <= TOGETHER):
            gradients_down(x, grad, start, step, lines, width, scale, total, out)
            return
        shares_down(x, grad, start, step, lines, width, scale, total, dot)
    else:
        keep_weights(x, start, stop, step, width, group, largest, scale, out, sums)
        strip_totals(sums, width, total)
        shares_down(out, grad, start, step, lines, width, scale, total, dot)
    write_gradients(grad, x, out, start, stop, step, width, scale, group, largest, total, dot)
"""
# A cache line that is stored in part waits for memory.
STREAM_COLUMNS = """is_long = group == 1 and (step == width or step % LINE_SIZE == 0)
    if out.size >= STREAMED and is_long and not ahead and not is_same(grad, out) and not is_same(x, out):
        streamed_columns(grad, x, out, start, stop, step, width, scale, largest, total, dot)
        return
    """
STREAMED_COLUMNS = """
def streamed_columns(grad, x, out, start, stop, step, width, scale, largest, total, dot):
    room, head = lined(1, width)[0], -before_line(out[start:]) & (LINE_SIZE - 1)
    held, begin = head, head  # before it lies what another strip writes
    for k in range(start, stop, step):
        strip_gradients(grad, x, k, largest, total, dot, scale, room, held, width)
        held, begin = stream_lines(room, begin, held + width, out, k - held)
        if step != width or k + step == stop:
            for i in range(begin, held):
                out[at(k + width - held, i)] = room[at(0, i)]
            held, begin = head, head
    end_stream()
"""
COLUMNS = LOOPS + SUMS + "{streamed_columns}" + STRIPS
