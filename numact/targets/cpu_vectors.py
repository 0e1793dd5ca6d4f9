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

INDEX, FLAG = ir.IntType(32), ir.IntType(1)


def vector(kind):
    """Return LLVM's type of a vector of elements of a type."""
    return ir.VectorType(kind, WIDTH)


class _Row:
    """A part of an array, as an intrinsic sees it: vectors that are loaded and stored."""

    def __init__(self, context, builder, array_type, array, start):
        self.builder, self.kind = builder, context.get_data_type(array_type.dtype)
        self.size = context.get_abi_sizeof(self.kind)  # in bytes: what a vector is aligned to
        self.data = builder.gep(context.make_array(array_type)(context, builder, array).data, [start])

    def place(self, index):
        return self.builder.bitcast(self.builder.gep(self.data, [index]), vector(self.kind).as_pointer())

    def load(self, index):
        return self.builder.load(self.place(index), align=self.size)

    def store(self, value, index):
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
        """Call a function with each vector of `count` entries, the last one filled up with others."""
        whole = self.builder.and_(count, count.type(-WIDTH))
        with _steps(self.builder, whole) as (index, _):
            step(self.load(index))
        rest = self.builder.sub(count, whole)
        with self.builder.if_then(self.builder.icmp_signed(">", rest, rest.type(0))):
            step(self.load_first(rest, whole, others))


def _splat(builder, value):
    undefined = ir.Constant(vector(value.type), ir.Undefined)
    single = builder.insert_element(undefined, value, INDEX(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(INDEX, WIDTH), [0] * WIDTH))


def _steps(builder, count):
    """Loop over where the vectors of `count` entries begin; a context manager."""
    return cgutils.for_range_slice(builder, count.type(0), count, count.type(WIDTH))


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
        target = _Row(context, builder, signature.args[0], row, place)
        repeated = _splat(builder, value)
        with _steps(builder, count) as (index, _):
            target.store(repeated, index)
        return context.get_dummy_value()

    return types.none(row, place, count, value), generate


@intrinsic
def largest_of(typing_context, row, place, count):
    """Return the largest of `count` entries of a row, leaving out NaN; -inf where all are."""

    def generate(context, builder, signature, arguments):
        row, place, count = arguments
        source = _Row(context, builder, signature.args[0], row, place)
        lowest = ir.Constant(vector(source.kind), [float("-inf")] * WIDTH)
        largest = cgutils.alloca_once_value(builder, lowest)

        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", b, a), b, a)

        source.each(count, lowest, lambda value: builder.store(larger(builder.load(largest), value), largest))
        result = builder.load(largest)
        while result.type.count > 1:
            result = larger(*_halves(builder, result))
        return _first(builder, result)

    return row.dtype(row, place, count), generate


def _add(builder, a, b):
    """Emit a + b and its rounding error (Knuth's two-sum)."""
    total = builder.fadd(a, b)
    back = builder.fsub(total, a)
    return total, builder.fadd(builder.fsub(a, builder.fsub(total, back)), builder.fsub(b, back))


@intrinsic
def sum_of(typing_context, row, place, count, without):
    """Return the sum of `count` entries of a row, its rounding error, and how many were left out.

    Left out are the entries that equal `without`.
    """

    def generate(context, builder, signature, arguments):
        row, place, count, without = arguments
        source = _Row(context, builder, signature.args[0], row, place)
        zero, one = (ir.Constant(vector(source.kind), [value] * WIDTH) for value in (0.0, 1.0))
        places = [cgutils.alloca_once_value(builder, zero) for _ in range(3)]
        without = _splat(builder, without)

        def step(value):
            total, low, left = map(builder.load, places)
            is_left = builder.fcmp_ordered("==", value, without)
            total, error = _add(builder, total, builder.select(is_left, zero, value))
            left = builder.fadd(left, builder.select(is_left, one, zero))
            for result, place in zip((total, builder.fadd(low, error), left), places, strict=True):
                builder.store(result, place)

        source.each(count, zero, step)
        total, low, left = map(builder.load, places)
        while total.type.count > 1:
            total, error = _add(builder, *_halves(builder, total))
            low = builder.fadd(builder.fadd(*_halves(builder, low)), error)
            left = builder.fadd(*_halves(builder, left))
        return context.make_tuple(builder, signature.return_type, [_first(builder, v) for v in (total, low, left)])

    return types.UniTuple(row.dtype, 3)(row, place, count, without), generate
