"""The source of the CPU's row kernels where rows lie side by side: down columns in strips, all entries of a row apart.

A strip is read three times or more, from a core's caches. Where the result may be written before all has been read, the
weights wait in it, and each exponential is computed once. See `numact.targets.cpu_row_source` for the rest.
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

def strip_kept_terms(grad, weights, start, width, total, low):
    for j in range(width):
        total[j], low[j] = add(total[j], low[j], term(weights[at(start, j)], load(grad[at(start, j)])))

def strip_kept_gradients(grad, out, start, width, first, second):
    for j in range(width):
        out[at(start, j)] = gradient(out[at(start, j)], load(grad[at(start, j)]), first[j], second[j])

def strip_divide(inverse, total, out, start, width):
    for j in range(width):
        out[at(start, j)] = quotient(out[at(start, j)], inverse[j], total[j])

def strip_values(x, begin, largest, inverse, total, scale, out, start, width):
    for j in range(width):
        e = weight(read(x[at(begin, j)], scale), largest[j], scale)
        out[at(start, j)] = store(quotient(e, inverse[j], total[j]))

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

def keep_weights(x, largest, out, start, stop, step, width, scale):
    total, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        strip_kept(x, k, width, largest, scale, total, low, out)
    return total + low

def strip_value(x, out, start, stop, step, width, place, scale):
    largest = strip_largest(x, start, stop, step, width, scale)
    if KEEPS and not is_same(x, out):
        total = keep_weights(x, largest, out, start, stop, step, width, scale)
        inverse = ONE / total
        for k in range(start, stop, step):
            strip_divide(inverse, total, out, k, width)
    else:
        total = strip_total(x, largest, start, stop, step, width, scale)
        inverse = ONE / total
        for k in range(start, stop, step):
            if is_same(x, out):
                strip_values(x[k : k + width].copy(), 0, largest, inverse, total, scale, out, k, width)
            else:
                strip_values(x, k, largest, inverse, total, scale, out, k, width)

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
    keeps = KEEPS and not FROM_OUTPUT and not is_same(grad, out) and not is_same(x, out)
    if FROM_OUTPUT:
        largest, total = np.zeros(width, number), np.ones(width, number)
    else:
        largest = strip_largest(x, start, stop, step, width, scale)
        if keeps:
            total = keep_weights(x, largest, out, start, stop, step, width, scale)
        else:
            total = strip_total(x, largest, start, stop, step, width, scale)
    dot, low = np.zeros(width, number), np.zeros(width, number)
    for k in range(start, stop, step):
        if keeps:
            strip_kept_terms(grad, out, k, width, dot, low)
        else:
            strip_terms(grad, x, k, width, largest, scale, dot, low)
    dot = dot + low
    strip_shares(total, dot, scale)
    for k in range(start, stop, step):
        if keeps:
            strip_kept_gradients(grad, out, k, width, total, dot)
        elif is_same(grad, out) or is_same(x, out):
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
