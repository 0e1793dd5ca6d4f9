"""What row kernels make of a row as a whole, in whole vectors: its largest entry, and its sum.

LLVM's own vectorisation leaves the end of a row to scalar code, up to 63 entries, and sums no numbers at all, as that
would change their order. Here the end of a row is one more vector, and the order of a sum is the same on every CPU,
whatever the width of its vectors.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # entries of a vector; LLVM divides it among narrower registers
GROUP = 4  # vectors at a time: what has come so far waits for one result of a group, not of a vector

INDEX, WIDER = ir.IntType(32), ir.DoubleType()


def vector(kind):
    """Return LLVM's type of a vector of elements of a type."""
    return ir.VectorType(kind, WIDTH)


class Row:
    """A part of an array, as an intrinsic sees it: vectors that are loaded and stored."""

    def __init__(self, context, builder, array_type, array, start):
        self.builder, self.kind = builder, context.get_data_type(array_type.dtype)
        self.size = context.get_abi_sizeof(self.kind)  # in bytes: what a vector is aligned to
        self.data = builder.gep(context.make_array(array_type)(context, builder, array).data, [start])

    def place(self, index):
        """Return a pointer to the vector that begins at an entry."""
        return self.builder.bitcast(self.builder.gep(self.data, [index]), vector(self.kind).as_pointer())

    def load(self, index):
        """Load the vector that begins at an entry."""
        return self.builder.load(self.place(index), align=self.size)

    def store(self, value, index):
        """Store a vector from an entry on."""
        self.builder.store(value, self.place(index), align=self.size)

    def load_first(self, count, index, others):
        """Load the first `count` entries of a vector, and others for what lies behind them, which is not touched."""
        lanes = ir.Constant(vector(count.type), list(range(WIDTH)))
        mask = self.builder.icmp_signed("<", lanes, _splat(self.builder, count))
        arguments = self.place(index), INDEX(self.size), mask, others
        kind = ir.FunctionType(others.type, [value.type for value in arguments])
        name = f"llvm.masked.load.v{WIDTH}{'f32' if self.size == 4 else 'f64'}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def each(self, count, others, step):
        """Call a function with lists of the vectors of `count` entries, the last one filled up with others."""
        builder, start = self.builder, count.type(0)
        for vectors in (GROUP, 1):
            stop = builder.and_(count, count.type(-vectors * WIDTH))
            with steps(builder, start, stop, vectors * WIDTH) as (index, _):
                step([self.load(builder.add(index, index.type(place * WIDTH))) for place in range(vectors)])
            start = stop
        rest = builder.sub(count, start)
        with builder.if_then(builder.icmp_signed(">", rest, rest.type(0))):
            step([self.load_first(rest, start, others)])


def _splat(builder, value):
    undefined = ir.Constant(vector(value.type), ir.Undefined)
    single = builder.insert_element(undefined, value, INDEX(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(INDEX, WIDTH), [0] * WIDTH))


def steps(builder, start, stop, step):
    """Loop from one place to another by so many entries; a context manager."""
    return cgutils.for_range_slice(builder, start, stop, stop.type(step))


def _tree(values, combine):
    """Return what pairs of values, pairs of what those give and so on combine to."""
    while len(values) > 1:
        values = list(map(combine, values[::2], values[1::2]))
    return values[0]


def _halves(builder, value):
    count, undefined = value.type.count // 2, ir.Constant(value.type, ir.Undefined)
    places = [ir.Constant(ir.VectorType(INDEX, count), list(range(low, low + count))) for low in (0, count)]
    return [builder.shuffle_vector(value, undefined, place) for place in places]


def _first(builder, value):
    return builder.extract_element(value, INDEX(0))


@intrinsic
def spread(typing_context, row, place, count, value):
    """Write a number into `count` entries of a row, and into the rest of their last vector."""

    def generate(context, builder, signature, arguments):
        row, place, count, value = arguments
        target = Row(context, builder, signature.args[0], row, place)
        repeated = _splat(builder, value)
        with steps(builder, count.type(0), count, WIDTH) as (index, _):
            target.store(repeated, index)
        return context.get_dummy_value()

    return types.none(row, place, count, value), generate


@intrinsic
def largest_of(typing_context, row, place, count):
    """Return the largest of `count` entries of a row, leaving out NaN; -inf where all are."""

    def generate(context, builder, signature, arguments):
        row, place, count = arguments
        source = Row(context, builder, signature.args[0], row, place)
        lowest = ir.Constant(vector(source.kind), [float("-inf")] * WIDTH)
        largest = cgutils.alloca_once_value(builder, lowest)

        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", b, a), b, a)

        def step(values):
            builder.store(larger(builder.load(largest), _tree(values, larger)), largest)

        source.each(count, lowest, step)
        result = builder.load(largest)
        while result.type.count > 1:
            result = larger(*_halves(builder, result))
        return _first(builder, result)

    return row.dtype(row, place, count), generate


def two_sum(builder, a, b):
    """Emit a + b and its rounding error (Knuth's two-sum)."""
    total = builder.fadd(a, b)
    back = builder.fsub(total, a)
    return total, builder.fadd(builder.fsub(a, builder.fsub(total, back)), builder.fsub(b, back))


@intrinsic
def sum_of(typing_context, row, place, count, without):
    """Return the sum of `count` entries of a row, its rounding error, and how many were left out.

    Left out are the entries that equal `without`. A sum of float32 is had in float64, which takes fewer operations than
    to keep the rounding errors, as a sum of float64 has to.
    """

    def generate(context, builder, signature, arguments):
        row, place, count, without = arguments
        source = Row(context, builder, signature.args[0], row, place)
        zero, one = (ir.Constant(vector(source.kind), [value] * WIDTH) for value in (0.0, 1.0))
        is_wide = source.size == 8
        nothing = zero if is_wide else ir.Constant(vector(WIDER), [0.0] * WIDTH)
        places = [cgutils.alloca_once_value(builder, value) for value in (nothing, zero, zero)]
        without = _splat(builder, without)

        def step(values):
            total, low, left = map(builder.load, places)
            are_left = [builder.fcmp_ordered("==", value, without) for value in values]
            parts = [builder.select(is_left, zero, value) for is_left, value in zip(are_left, values, strict=True)]
            if is_wide:
                for part in parts:
                    total, error = two_sum(builder, total, part)
                    low = builder.fadd(low, error)
            else:
                parts = [builder.fpext(part, nothing.type) for part in parts]
                total = builder.fadd(total, _tree(parts, builder.fadd))
            left = builder.fadd(left, _tree([builder.select(is_left, one, zero) for is_left in are_left], builder.fadd))
            for result, place in zip((total, low, left), places, strict=True):
                builder.store(result, place)

        source.each(count, zero, step)
        total, low, left = map(builder.load, places)
        while left.type.count > 1:
            left = builder.fadd(*_halves(builder, left))
            if is_wide:
                total, error = two_sum(builder, *_halves(builder, total))
                low = builder.fadd(builder.fadd(*_halves(builder, low)), error)
            else:
                total = builder.fadd(*_halves(builder, total))
        total, low, left = (_first(builder, value) for value in (total, low, left))
        if not is_wide:
            exact, total = total, builder.fptrunc(total, source.kind)
            low = builder.fptrunc(builder.fsub(exact, builder.fpext(total, exact.type)), source.kind)
        return context.make_tuple(builder, signature.return_type, [total, low, left])

    return types.UniTuple(row.dtype, 3)(row, place, count, without), generate
