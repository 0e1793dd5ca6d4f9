"""The source of the CPU's row kernels: along contiguous rows, or down columns in strips.

Loops over arrays stand in functions of their own: in one with others LLVM leaves them scalar. They take whole arrays
and where to begin, since a slice costs 10 ns (its reference is counted atomically); `at` makes an index unsigned, as
one that may be negative is looked at twice. Where a loop would write what it reads, it reads from a copy: LLVM runs one
whose arrays overlap as scalar code.

What stands in braces is filled in for each kernel: see `numact.targets.cpu_rows.WORDS`.
"""

SUMS = """
def at(start, i):
    return uint64(start + i)

def add(total, low, part):
    result = total + part
    back = result - total
    return result, low + ((total - (result - back)) + (part - back))

def sum_lanes(total, low, lanes):
    for j in range(16):
        for k in range(16, LANES, 16):
            i, other = at(lanes, j), at(lanes + k, j)
            total[i], low[i] = add(total[i], low[i] + low[other], total[other])
    result, rest = total[at(lanes, 0)], low[at(lanes, 0)]
    for j in range(1, 16):
        result, rest = add(result, rest + low[at(lanes, j)], total[at(lanes, j)])
    for j in range(LANES):
        total[at(lanes, j)], low[at(lanes, j)] = 0, 0
    return result + rest

def is_same(array, out):
    return array.ctypes.data == out.ctypes.data
"""

# The weight of a row's largest entry is exactly 1. What is to be the logarithm of 1 plus the rest counts such entries
# and sums the others by themselves: beside the 1, in float32, 65,000 weights of 1e-9 would be summed in `low` alone,
# with a rounding error each, 8 units in the last place in all in a single lane of 64, and 1,000 down a column.
LONG_ROWS = """
def load_row(x, start, length, values, place, padded, scale):
    result = read(x[at(start, 0)], scale)
    for i in range(length):
        value = read(x[at(start, i)], scale)
        values[at(place, i)] = value
        result = maximum(result, value)
    for i in range(length, padded):
        values[at(place, i)] = -np.inf
    return result

def add_weights(values, place, padded, largest, scale, total, low, lanes):
    for first in range(0, padded, LANES):
        for j in range(LANES):
            e = weight(values[at(place + first, j)], largest, scale)
            values[at(place + first, j)] = e
            total[at(lanes, j)], low[at(lanes, j)] = add(total[at(lanes, j)], low[at(lanes, j)], e)

def add_rests(values, place, padded, largest, scale, total, low, count, lanes):
    for first in range(0, padded, LANES):
        for j in range(LANES):
            value = values[at(place + first, j)]
            e = ZERO if value == largest else weight(value, largest, scale)
            count[at(lanes, j)] += ONE if value == largest else ZERO
            total[at(lanes, j)], low[at(lanes, j)] = add(total[at(lanes, j)], low[at(lanes, j)], e)

def add_terms(grad, start, length, values, place, total, low, lanes):
    for first in range(0, length, LANES):
        for j in range(min(LANES, length - first)):
            part = term(stored(values[at(place + first, j)]), load(grad[at(start + first, j)]))
            total[at(lanes, j)], low[at(lanes, j)] = add(total[at(lanes, j)], low[at(lanes, j)], part)

def divide(values, place, total, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(values[at(place, i)] / total)

def subtract(values, place, largest, log_high, log_low, scale, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(entry(values[at(place, i)], largest, log_high, log_low, scale))

def multiply(values, place, factor, out, start, length):
    for i in range(length):
        out[at(start, i)] = store(gradient(values[at(place, i)], factor))

def row_gradient(grad, begin, values, place, first, second, out, start, length):
    for i in range(length):
        g = load(grad[at(begin, i)])
        out[at(start, i)] = store(gradient(stored(values[at(place, i)]), g, first, second))

def long_rows({grad}x, out, length, scale):
    padded = (length + LANES - 1) // LANES * LANES
    group = max(1, GROUPED // padded)
    values, largest = np.empty(group * padded, number), np.empty(group, number)
    total, low = np.zeros(group * LANES, number), np.zeros(group * LANES, number)
    count = np.zeros(group * LANES, number) if COUNTS else total
    for start in range(0, x.size, group * length):
        rows = min(group, (x.size - start) // length)
        for k in range(rows):
            largest[k] = load_row(x, start + k * length, length, values, k * padded, padded, scale)
        for k in range(rows):
            {sum}(values, k * padded, padded, largest[k], scale, total, low, {count}k * LANES)
        for k in range(rows):
            row, place, lanes = start + k * length, k * padded, k * LANES
            {finish}

def long_rows_from_output(grad, x, out, length, scale):
    total, low = np.zeros(LANES, number), np.zeros(LANES, number)
    for row in range(0, x.size, length):
        add_terms(grad, row, length, x, row, total, low, 0)
        first, second = shares(ONE, sum_lanes(total, low, 0), scale)
        if is_same(grad, out) or is_same(x, out):
            grads, part = grad[row : row + length].copy(), x[row : row + length].copy()
            row_gradient(grads, 0, part, 0, first, second, out, row, length)
        else:
            row_gradient(grad, row, x, row, first, second, out, row, length)
"""

COLUMNS = """
def strip_maximum(x, start, width, scale, largest):
    for j in range(width):
        largest[j] = maximum(largest[j], read(x[at(start, j)], scale))

def strip_weights(x, start, width, largest, scale, total, low):
    for j in range(width):
        total[j], low[j] = add(total[j], low[j], weight(read(x[at(start, j)], scale), largest[j], scale))

def strip_kept(x, start, width, largest, scale, total, low, out):
    for j in range(width):
        e = weight(read(x[at(start, j)], scale), largest[j], scale)
        out[at(start, j)] = e
        total[j], low[j] = add(total[j], low[j], e)

def strip_rests(x, start, width, largest, scale, total, low, count):
    for j in range(width):
        value = read(x[at(start, j)], scale)
        e = ZERO if value == largest[j] else weight(value, largest[j], scale)
        count[j] += ONE if value == largest[j] else ZERO
        total[j], low[j] = add(total[j], low[j], e)

def strip_logarithm(total, low, count, largest):
    for j in range(total.size):
        total[j], low[j] = logarithm(largest[j], count[j] - ONE + (total[j] + low[j]))

def strip_divide(total, out, start, width):
    for j in range(width):
        out[at(start, j)] /= total[j]

def strip_values(x, begin, largest, total, scale, out, start, width):
    for j in range(width):
        out[at(start, j)] = store(weight(read(x[at(begin, j)], scale), largest[j], scale) / total[j])

def strip_entries(x, begin, largest, high, low, scale, out, start, width):
    for j in range(width):
        out[at(start, j)] = store(entry(read(x[at(begin, j)], scale), largest[j], high[j], low[j], scale))

def strip_results(largest, high, low, out, place, width):
    for j in range(width):
        out[at(place, j)] = store(reduced(largest[j], high[j], low[j]))

def strip_terms(grad, x, start, width, largest, scale, total, low):
    for j in range(width):
        e = weight(read(x[at(start, j)], scale), largest[j], scale)
        total[j], low[j] = add(total[j], low[j], term(e, load(grad[at(start, j)])))

def strip_shares(total, dot, scale):
    for j in range(total.size):
        total[j], dot[j] = shares(total[j], dot[j], scale)

def strip_gradients(grad, x, begin, largest, first, second, scale, out, start, width):
    for j in range(width):
        e = weight(read(x[at(begin, j)], scale), largest[j], scale)
        out[at(start, j)] = store(gradient(e, load(grad[at(begin, j)]), first[j], second[j]))

def strip_products(x, begin, largest, factor, scale, out, start, width):
    for j in range(width):
        out[at(start, j)] = store(gradient(weight(read(x[at(begin, j)], scale), largest[j], scale), factor[j]))

def strip_largest(x, start, stop, step, width, scale):
    largest = np.full(width, -np.inf, number)
    for k in range(start, stop, step):
        strip_maximum(x, k, width, scale, largest)
    return largest

def strip_total(x, largest, start, stop, step, width, scale):
    total, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_weights(x, k, width, largest, scale, total, low)
    return total + low

def strip_logarithms(x, largest, start, stop, step, width, scale):
    total, low, count = np.zeros(width, number), np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_rests(x, k, width, largest, scale, total, low, count)
    strip_logarithm(total, low, count, largest)
    return total, low

def strip_value(x, out, start, stop, step, width, place, scale):
    largest = strip_largest(x, start, stop, step, width, scale)
    if KEEPS and not is_same(x, out):  # the weights wait in out
        total, low = np.zeros(width, number), np.zeros(width, number)
        for k in range(start, stop, step):
            strip_kept(x, k, width, largest, scale, total, low, out)
        total = total + low
        for k in range(start, stop, step):
            strip_divide(total, out, k, width)
    else:
        total = strip_total(x, largest, start, stop, step, width, scale)
        for k in range(start, stop, step):
            if is_same(x, out):
                strip_values(x[k : k + width].copy(), 0, largest, total, scale, out, k, width)
            else:
                strip_values(x, k, largest, total, scale, out, k, width)

def strip_log(x, out, start, stop, step, width, place, scale):
    largest = strip_largest(x, start, stop, step, width, scale)
    high, low = strip_logarithms(x, largest, start, stop, step, width, scale)
    for k in range(start, stop, step):
        if is_same(x, out):
            strip_entries(x[k : k + width].copy(), 0, largest, high, low, scale, out, k, width)
        else:
            strip_entries(x, k, largest, high, low, scale, out, k, width)

def strip_reduced(x, out, start, stop, step, width, place, scale):
    largest = strip_largest(x, start, stop, step, width, scale)
    high, low = strip_logarithms(x, largest, start, stop, step, width, scale)
    strip_results(largest, high, low, out, place, width)

def strip_backward(grad, x, out, start, stop, step, width, place, scale):
    if FROM_OUTPUT:
        largest, total = np.zeros(width, number), np.ones(width, number)
    else:
        largest = strip_largest(x, start, stop, step, width, scale)
        total = strip_total(x, largest, start, stop, step, width, scale)
    dot, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_terms(grad, x, k, width, largest, scale, dot, low)
    dot = dot + low
    strip_shares(total, dot, scale)
    for k in range(start, stop, step):
        if is_same(grad, out) or is_same(x, out):
            grads, part = grad[k : k + width].copy(), x[k : k + width].copy()
            strip_gradients(grads, part, 0, largest, total, dot, scale, out, k, width)
        else:
            strip_gradients(grad, x, k, largest, total, dot, scale, out, k, width)

def strip_reduced_backward(grad, x, out, start, stop, step, width, place, scale):
    largest = strip_largest(x, start, stop, step, width, scale)
    factor = strip_total(x, largest, start, stop, step, width, scale)
    for j in range(width):
        factor[j] = load(grad[at(place, j)]) / factor[j]
    for k in range(start, stop, step):
        if is_same(x, out):
            strip_products(x[k : k + width].copy(), 0, largest, factor, scale, out, k, width)
        else:
            strip_products(x, k, largest, factor, scale, out, k, width)
"""

DRIVERS = """
def move(source, target):
    for i in range(target.size):
        target[i] = source[i]

def turn(x, columns, length, step):
    for k in range(length):
        move(x[k::length], columns[k * step : k * step + x.size // length])

def turn_back(columns, out, length, step):
    for k in range(length):
        move(columns[k * step : k * step + out.size // length], out[k::length])

def whole_vectors(count):
    return (count + 15) // 16 * 16

def short_rows({grad}x, out, length, scale):
    block = min(TURNED // length // 16 * 16, whole_vectors(x.size // length))
    size = block * length
    {grads_empty}columns, values = np.zeros(size, x.dtype), np.empty(size, x.dtype)
    for start in range(0, x.size, size):
        part = x[start : start + size]
        rows, row = part.size // length, start // length
        count = whole_vectors(rows)
        turn(part, columns, length, count)
        {turn_grads}{strip}({grads}columns, values, 0, count * length, count, count, 0, scale)
        {turn_values}

def few_columns({grad}x, out, length, inner, scale):
    turned, values = np.empty(x.size, x.dtype), np.empty(out.size, x.dtype)
    turn(x, turned, inner, length)
    {few_columns}

def slab(index, {grad}x, out, length, inner, scale):
    size = length * inner
    start, stop = index * size, (index + 1) * size
    few_columns({grad_part}x[start:stop], {out_part}, length, inner, number(scale))

def strip(index, {grad}x, out, length, inner, width, scale):
    count = (inner + width - 1) // width
    block, low = index // count, index % count * width
    start, stop, place = block * length * inner + low, (block + 1) * length * inner, block * inner + low
    {strip}({grad}x, out, start, stop, inner, min(width, inner - low), place, number(scale))

def hide(mask, x, start, fill, part):
    for i in range(part.size):
        value = x[at(start, i)]  # read in any case: LLVM vectorises a choice, but no branch
        part[i] = value if mask[at(start, i)] else fill

def blank(mask, start, out):
    for i in range(out.size):
        value = out[i]
        out[i] = value if mask[at(start, i)] else BLANK
"""
TASKS = """
def {size}(index, {{grad}}x, out, length, size, scale):
    start, stop = index * size, min(index * size + size, x.size)
    {rows}({{grad_part}}x[start:stop], {{out_part}}, length, number(scale))

def masked_{size}(index, {{grad}}x, mask, out, length, size, scale):
    start, stop = index * size, min(index * size + size, x.size)
    {{hide_grads}}part = np.empty(stop - start, x.dtype)
    hide(mask, x, start, HIDDEN_NEGATED if scale < 0 else HIDDEN, part)
    {rows}({{grads}}part, out[start:stop], length, number(scale))
    blank(mask, start, out[start:stop])
"""
# What is made of a row once its weights are summed. These lines stand in the loop over rows: a function for them would
# take 36 ns a row, to count the references of its arrays.
LOGARITHM = """rest = sum_lanes(total, low, lanes)
            others = sum_lanes(count, low, lanes) - ONE
            log_high, log_low = logarithm(largest[k], others + rest)
            """
FINISH = {
    "value": "divide(values, place, sum_lanes(total, low, lanes), out, row, length)",
    "log": LOGARITHM + "subtract(values, place, largest[k], log_high, log_low, scale, out, row, length)",
    "reduced": LOGARITHM + "out[row // length] = store(reduced(largest[k], log_high, log_low))",
    "backward": """norm = sum_lanes(total, low, lanes)
            add_terms(grad, row, length, values, place, total, low, lanes)
            first, second = shares(norm, sum_lanes(total, low, lanes), scale)
            if is_same(grad, out):
                row_gradient(grad[row : row + length].copy(), 0, values, place, first, second, out, row, length)
            else:
                row_gradient(grad, row, values, place, first, second, out, row, length)""",
    "reduced_backward": """factor = load(grad[row // length]) / sum_lanes(total, low, lanes)
            multiply(values, place, factor, out, row, length)""",
}
KERNELS = SUMS + LONG_ROWS + COLUMNS + DRIVERS
KERNELS += TASKS.format(size="short", rows="short_rows") + TASKS.format(size="long", rows="{long_rows}")
