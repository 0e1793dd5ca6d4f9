"""What row kernels make of columns side by side, in whole vectors: their largest entries and their sums.

What has come so far of a vector of columns stays in registers, where a loop over the columns would load and store it
for every entry.
"""

import inspect

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numact.targets.cpu_vectors import WIDER, WIDTH, Row, Terms, steps, tree, two_sum, vector

GROUP = 2  # vectors of columns at a time
TOGETHER = 4  # lines at a time of what is summed for gradients, as in `numact.targets.cpu_vectors.summing`


def _each(builder, width, down):
    """Call a function with where the vectors of `width` columns begin, some at a time, and what loads one of a row."""
    whole = builder.and_(width, width.type(-GROUP * WIDTH))
    with steps(builder, width.type(0), whole, GROUP * WIDTH) as (index, _):
        columns = [builder.add(index, index.type(place * WIDTH)) for place in range(GROUP)]
        down(columns, lambda row, place, others: row.load(place))
    with steps(builder, whole, width, WIDTH) as (index, _):
        rest = builder.sub(width, index)
        down([index], lambda row, place, others: row.load_first(rest, place, others))


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

    def add(self, places, part):
        """Add a vector to sums that are held in places."""
        total, error = places
        if part.type == vector(WIDER):
            result, rest = two_sum(self.builder, self.builder.load(total), part)
            self.builder.store(self.builder.fadd(self.builder.load(error), rest), error)
        else:
            result = self.builder.fadd(self.builder.load(total), self.builder.fpext(part, vector(WIDER)))
        self.builder.store(result, total)

    def give(self, places, column):
        """Write sums that are held in places back to the columns from one on."""
        for row, place in zip(self.rows, places, strict=True):
            row.store(self.builder.load(place), column)


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

            start = length.type(0)
            for lines in (together, 1):
                stop = builder.and_(length, length.type(-lines))
                with steps(builder, start, stop, lines) as (index, _):
                    group = [builder.add(index, index.type(line)) for line in range(lines)]
                    for column, held in zip(columns, taken, strict=True):
                        sums.add(held, tree([term(line, column) for line in group], builder.fadd))
                start = stop
            for column, held in zip(columns, taken, strict=True):
                sums.give(held, column)

        _each(builder, width, down)
        return context.get_dummy_value()

    def sum_one(typing_context, x, start, step, length, width, sums):
        return types.none(x, start, step, length, width, sums), generate

    def sum_two(typing_context, x, start, step, other, other_start, other_step, length, width, sums):
        return types.none(x, start, step, other, other_start, other_step, length, width, sums), generate

    return intrinsic(sum_one if len(inspect.signature(formula).parameters) == 1 else sum_two)
