"""What row kernels make of columns side by side, in whole vectors: their largest entries and their sums.

What has come so far of a vector of columns stays in registers, where a loop over the columns would load and store it
for every entry.
"""

import inspect
from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numact.targets.cpu_vectors import WIDER, WIDTH, Row, Terms, splat, steps, tree, two_sum, vector

GROUP = 2  # vectors of columns at a time
TOGETHER = 4  # lines at a time of what is summed for gradients, as in `numact.targets.cpu_vectors.summing`


def _each(builder, width, down, overlaps=False):
    """Call a function with where the vectors of `width` columns begin, some at a time, and what loads one of a row.

    The last vector is filled up with others, or `overlaps` the one before it.
    """
    whole = builder.and_(width, width.type(-GROUP * WIDTH))
    with steps(builder, width.type(0), whole, GROUP * WIDTH) as (index, _):
        columns = [builder.add(index, index.type(place * WIDTH)) for place in range(GROUP)]
        down(columns, lambda row, place, others: row.load(place))
    with steps(builder, whole, width, WIDTH) as (index, _):
        rest = builder.sub(width, index)
        if overlaps:
            last = builder.sub(width, width.type(WIDTH))
            index = builder.select(builder.icmp_signed("<", index, last), index, last)
        down([index], lambda row, *place: row.load(place[0]) if overlaps else row.load_first(rest, *place))


@intrinsic
def copy_behind(typing_context, row, place, count):
    """Copy the first `count` entries of a row to a place behind them; a vector more is touched."""

    def generate(context, builder, signature, arguments):
        row, place, count = arguments
        target = Row(context, builder, signature.args[0], row, place.type(0))
        with steps(builder, count.type(0), count, WIDTH) as (index, _):
            target.store(target.load(index), builder.add(place, index))
        return context.get_dummy_value()

    return types.none(row, place, count), generate


@intrinsic
def largest_down(typing_context, x, start, step, length, width, largest):
    """Raise the largest of each of `width` columns to that of `length` more entries, `step` apart, leaving out NaN."""

    def generate(context, builder, signature, arguments):
        x, start, step, length, width, largest = arguments
        source = Row(context, builder, signature.args[0], x, start)
        target = Row(context, builder, signature.args[5], largest, start.type(0))
        lowest = ir.Constant(vector(source.kind), [float("-inf")] * WIDTH)

        def down(columns, load):
            found = [cgutils.alloca_once_value(builder, target.load(column)) for column in columns]
            with cgutils.for_range(builder, length) as loop:
                offset = builder.mul(loop.index, step)
                for column, place in zip(columns, found, strict=True):
                    old, value = builder.load(place), load(source, builder.add(offset, column), lowest)
                    builder.store(builder.select(builder.fcmp_ordered(">", value, old), value, old), place)
            for column, place in zip(columns, found, strict=True):
                target.store(builder.load(place), column)

        _each(builder, width, down)
        return context.get_dummy_value()

    return types.none(x, start, step, length, width, largest), generate


class _Sums:
    """Totals in float64 of vectors of columns, and their rounding errors: float32 entries leave none."""

    def __init__(self, context, builder, array_type, array):
        self.builder = builder
        room = cgutils.unpack_tuple(builder, context.make_array(array_type)(context, builder, array).shape)[1]
        self.rows = [Row(context, builder, array_type, array, start) for start in (room.type(0), room)]

    def take(self, column):
        """Return places that hold the sums of the columns from one on."""
        return [cgutils.alloca_once_value(self.builder, row.load(column)) for row in self.rows]

    def give(self, places, column):
        """Write sums that are held in places back to the columns from one on."""
        for row, place in zip(self.rows, places, strict=True):
            row.store(self.builder.load(place), column)


def _sum_lines(builder, columns, held, length, together, term):
    """Add what a function makes of each line and column to sums that are held in places, some lines at a time.

    Their results are added to each other first.
    """
    start = length.type(0)
    for lines in (together, 1):
        stop = builder.and_(length, length.type(-lines))
        with steps(builder, start, stop, lines) as (index, _):
            group = [builder.add(index, index.type(line)) for line in range(lines)]
            for column, places in zip(columns, held, strict=True):
                _add(builder, places, tree([term(line, column) for line in group], builder.fadd))
        start = stop


def _add(builder, places, part):
    """Add a vector to a sum and, of float64, to its rounding error."""
    total, error = places
    if part.type == vector(WIDER):
        result, rest = two_sum(builder, builder.load(total), part)
        builder.store(builder.fadd(builder.load(error), rest), error)
    else:
        result = builder.fadd(builder.load(total), builder.fpext(part, vector(WIDER)))
    builder.store(result, total)


def summing(formula, together):
    """Return an intrinsic that sums what a formula of products makes of the entries of one array or two, down columns.

    Lines are taken `together` at a time, whose results are added to each other first.

    It takes where each array begins and how far apart its entries are, how many there are and of how many columns, and
    two rows of float64 to add to, with room for a vector more: totals and rounding errors.
    """

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        *places, length, width, sums = arguments
        sources = [Row(context, builder, kinds[i], *places[i : i + 2]) for i in range(0, len(places), 3)]
        sums = _Sums(context, builder, kinds[-1], sums)
        zero = ir.Constant(vector(sources[0].kind), [0.0] * WIDTH)

        def down(columns, load):
            taken = list(map(sums.take, columns))

            def term(line, column):
                offsets = [builder.add(builder.mul(line, step), column) for step in places[2::3]]
                entries = (load(source, offset, zero) for source, offset in zip(sources, offsets, strict=True))
                return formula(*(Terms(builder, entry) for entry in entries)).value

            _sum_lines(builder, columns, taken, length, together, term)
            for column, held in zip(columns, taken, strict=True):
                sums.give(held, column)

        _each(builder, width, down)
        return context.get_dummy_value()

    def sum_one(typing_context, x, start, step, length, width, sums):
        return types.none(x, start, step, length, width, sums), generate

    def sum_two(typing_context, x, start, step, other, other_start, other_step, length, width, sums):
        return types.none(x, start, step, other, other_start, other_step, length, width, sums), generate

    return intrinsic(sum_one if len(inspect.signature(formula).parameters) == 1 else sum_two)


def _reader(builder, sources, step, load):
    """Return what loads the entries of some arrays in a line, from a column on."""
    zero = ir.Constant(vector(sources[0].kind), [0.0] * WIDTH)

    def entries(line, column):
        place = builder.add(builder.mul(line, step), column)
        return [Terms(builder, load(source, place, zero)) for source in sources]

    return entries


def differentiating(term, shares, gradient):
    """Return two intrinsics for the gradients of columns so short that all their lines are summed at once.

    One finds the two numbers that the entries of each column share. It takes the weights, the outputs' gradients, where
    the columns begin in both, how far apart their entries are, how many, of how many columns, the scale, and two rows:
    the sums of the weights, which the first number takes the place of, and room for the second.

    The other goes on to the gradients. In place of the last row it takes the array to write, which must be another than
    those it reads: where the last columns do not fill a vector, some before them are found again. There must be as many
    columns as a vector has.
    """

    def shared(builder, entries, norms, columns, length, scale):
        nothing, scale = ir.Constant(vector(WIDER), [0.0] * WIDTH), Terms(builder, splat(builder, scale))
        held = [[cgutils.alloca_once_value(builder, nothing) for _ in range(2)] for _ in columns]
        _sum_lines(builder, columns, held, length, TOGETHER, lambda *place: term(*entries(*place)).value)
        for column, (total, error) in zip(columns, held, strict=True):
            dot = builder.fadd(builder.load(total), builder.load(error))
            dot = dot if norms.kind == WIDER else builder.fptrunc(dot, vector(norms.kind))
            yield shares(Terms(builder, norms.load(column)), Terms(builder, dot), scale)

    def generate(writes, context, builder, signature, arguments):
        start, step, length, width, scale = arguments[2:7]
        places = {0: start, 1: start, 7: start.type(0), 8: start if writes else start.type(0)}
        *sources, norms, last = (Row(context, builder, signature.args[i], arguments[i], places[i]) for i in places)

        def down(columns, load):
            entries = _reader(builder, sources, step, load)
            found = list(zip(columns, shared(builder, entries, norms, columns, length, scale), strict=True))
            if not writes:
                for column, numbers in found:
                    for row, number in zip((norms, last), numbers, strict=True):
                        row.store(number.value, column)
                return
            with cgutils.for_range(builder, length) as loop:
                for column, numbers in found:
                    place = builder.add(builder.mul(loop.index, step), column)
                    last.store(gradient(*entries(loop.index, column), *numbers).value, place)

        _each(builder, width, down, overlaps=writes)
        return context.get_dummy_value()

    def typed(writes):
        def intrinsic_of(typing_context, weights, grad, start, step, length, width, scale, norms, last):
            kinds = weights, grad, start, step, length, width, scale, norms, last
            return types.none(*kinds), partial(generate, writes)

        return intrinsic(intrinsic_of)

    return typed(False), typed(True)
