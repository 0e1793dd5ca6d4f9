"""What row kernels make of a row as a whole, in whole vectors: its largest entry, and its sum.

LLVM's own vectorisation leaves the end of a row to scalar code, up to 63 entries, and sums no numbers at all, as that
would change their order. Here the end of a row is one more vector, and the order of a sum is the same on every CPU,
whatever the width of its vectors.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numact.targets.cpu_memory import LINE

WIDTH = 16  # entries of a vector; LLVM divides it among narrower registers
LINED = 128  # entries of a row from which it is written in whole lines
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

    def before_line(self):
        """Return how many entries lie before the first that begins a cache line."""
        address = self.builder.ptrtoint(self.data, ir.IntType(64))
        left = self.builder.and_(self.builder.neg(address), address.type(LINE - 1))
        return self.builder.udiv(left, left.type(self.size))

    def load(self, index):
        """Load the vector that begins at an entry."""
        return self.builder.load(self.place(index), align=self.size)

    def store(self, value, index):
        """Store a vector from an entry on."""
        self.builder.store(value, self.place(index), align=self.size)

    def load_first(self, count, index, others):
        """Load the first `count` entries of a vector, and others for what lies behind them, which is not touched."""
        arguments = self.place(index), INDEX(self.size), self._is_first(count), others
        return _call(self.builder, "masked.load", ".p0", others.type, arguments)

    def store_first(self, value, count, index):
        """Store the first `count` entries of a vector, and touch nothing behind them."""
        arguments = value, self.place(index), INDEX(self.size), self._is_first(count)
        _call(self.builder, "masked.store", ".p0", ir.VoidType(), arguments, value.type)

    def _is_first(self, count):
        lanes = ir.Constant(vector(count.type), list(range(WIDTH)))
        return self.builder.icmp_signed("<", lanes, splat(self.builder, count))


def _call(builder, name, suffix, result, arguments, kind=None):
    """Call an intrinsic of LLVM, for vectors of a kind, or of its result."""
    element = (kind or result).element
    full = f"llvm.{name}.v{WIDTH}{'f64' if element == WIDER else 'f32'}{suffix}"
    signature = ir.FunctionType(result, [value.type for value in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, full), arguments)


def _each(rows, count, others, step):
    """Call a function with the vectors of `count` entries of each row, as lists, the last one filled up with others."""
    builder, start = rows[0].builder, count.type(0)
    for vectors in (GROUP, 1):
        stop = builder.and_(count, count.type(-vectors * WIDTH))
        with steps(builder, start, stop, vectors * WIDTH) as (index, _):
            places = [builder.add(index, index.type(place * WIDTH)) for place in range(vectors)]
            step(*([row.load(place) for place in places] for row in rows))
        start = stop
    rest = builder.sub(count, start)
    with builder.if_then(builder.icmp_signed(">", rest, rest.type(0))):
        step(*([row.load_first(rest, start, others)] for row in rows))


def splat(builder, value):
    """Return a vector of one number."""
    undefined = ir.Constant(vector(value.type), ir.Undefined)
    single = builder.insert_element(undefined, value, INDEX(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(INDEX, WIDTH), [0] * WIDTH))


def steps(builder, start, stop, step):
    """Loop from one place to another by so many entries; a context manager."""
    return cgutils.for_range_slice(builder, start, stop, stop.type(step))


def tree(values, combine):
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
        repeated = splat(builder, value)
        with steps(builder, count.type(0), count, WIDTH) as (index, _):
            target.store(repeated, index)
        return context.get_dummy_value()

    return types.none(row, place, count, value), generate


@intrinsic
def stream_lines(typing_context, room, begin, end, out, place):
    """Write the whole lines of a room to a place in an array where a line begins, past the caches.

    Its entries before `begin` are not written, of the first line; those behind the last whole line before `end` are
    moved to the room's front. Returns how many these are, and `begin` for the next time.
    """

    def generate(context, builder, signature, arguments):
        room, begin, end, out, place = arguments
        zero = end.type(0)
        source = Row(context, builder, signature.args[0], room, zero)
        target = Row(context, builder, signature.args[3], out, place)
        count, mark = LINE // source.size, builder.module.add_metadata([INDEX(1)])
        line, whole = ir.VectorType(source.kind, count).as_pointer(), builder.and_(end, end.type(-count))
        is_first, has_line = (builder.icmp_signed(">", value, zero) for value in (begin, whole))
        with builder.if_then(has_line):
            first = builder.select(is_first, end.type(count), zero)
            with steps(builder, begin, first, 1) as (index, _):
                builder.store(builder.load(builder.gep(source.data, [index])), builder.gep(target.data, [index]))
            with steps(builder, first, whole, count) as (index, _):
                read, written = (builder.bitcast(builder.gep(row.data, [index]), line) for row in (source, target))
                stored = builder.store(builder.load(read, align=source.size), written, align=LINE)
                stored.set_metadata("nontemporal", mark)
            source.store(source.load(whole), zero)
        begin = builder.select(has_line, zero, begin)
        return context.make_tuple(builder, signature.return_type, [builder.sub(end, whole), begin])

    return types.UniTuple(types.int64, 2)(room, begin, end, out, place), generate


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
            builder.store(larger(builder.load(largest), tree(values, larger)), largest)

        _each([source], count, lowest, step)
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


class Terms:
    """A vector that a formula computes with, when it is called with such: LLVM need not vectorise what it emits."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __mul__(self, other):
        return Terms(self.builder, self.builder.fmul(self.value, other.value))

    def __truediv__(self, other):
        return Terms(self.builder, self.builder.fdiv(self.value, other.value))

    def __neg__(self):
        return Terms(self.builder, self.builder.fneg(self.value))


def fma(a, b, c):
    """Return a * b + c of `Terms`, rounded once."""
    values = [term.value for term in (a, b, c)]
    return Terms(a.builder, _call(a.builder, "fma", "", a.value.type, values))


def of_terms(formula):
    """Return a formula of products and `fma` as one of `Terms`."""
    return type(formula)(formula.__code__, formula.__globals__ | {"fma": fma})


class _Total:
    """A sum of vectors, in float64 of float32, which takes fewer operations than to keep its rounding errors.

    A sum of float64 has to keep them.
    """

    def __init__(self, builder, kind):
        self.builder, self.kind, self.is_wide = builder, kind, kind == WIDER
        nothing = ir.Constant(vector(WIDER), [0.0] * WIDTH)
        self.total, self.low = (cgutils.alloca_once_value(builder, nothing) for _ in range(2))

    def add(self, parts):
        """Add some vectors."""
        builder, total = self.builder, self.builder.load(self.total)
        if self.is_wide:
            for part in parts:
                total, error = two_sum(builder, total, part)
                builder.store(builder.fadd(builder.load(self.low), error), self.low)
        else:
            parts = [builder.fpext(part, total.type) for part in parts]
            total = builder.fadd(total, tree(parts, builder.fadd))
        builder.store(total, self.total)

    def result(self):
        """Return the sum of all entries and its rounding error, in float64."""
        builder, total, low = self.builder, self.builder.load(self.total), self.builder.load(self.low)
        while total.type.count > 1:
            if self.is_wide:
                total, error = two_sum(builder, *_halves(builder, total))
                low = builder.fadd(builder.fadd(*_halves(builder, low)), error)
            else:
                total, low = builder.fadd(*_halves(builder, total)), _halves(builder, low)[0]
        return _first(builder, total), _first(builder, low)


@intrinsic
def sum_of(typing_context, row, place, count, without):
    """Return the sum of `count` entries of a row, its rounding error, and how many were left out.

    Left out are the entries that equal `without`.
    """

    def generate(context, builder, signature, arguments):
        row, place, count, without = arguments
        source = Row(context, builder, signature.args[0], row, place)
        zero, one = (ir.Constant(vector(source.kind), [value] * WIDTH) for value in (0.0, 1.0))
        total, left, without = (
            _Total(builder, source.kind),
            cgutils.alloca_once_value(builder, zero),
            splat(builder, without),
        )

        def step(values):
            are_left = [builder.fcmp_ordered("==", value, without) for value in values]
            total.add([builder.select(is_left, zero, value) for is_left, value in zip(are_left, values, strict=True)])
            ones = tree([builder.select(is_left, one, zero) for is_left in are_left], builder.fadd)
            builder.store(builder.fadd(builder.load(left), ones), left)

        _each([source], count, zero, step)
        counted = builder.load(left)
        while counted.type.count > 1:
            counted = builder.fadd(*_halves(builder, counted))
        return context.make_tuple(builder, signature.return_type, [*total.result(), _first(builder, counted)])

    results = types.Tuple([types.float64, types.float64, row.dtype])
    return results(row, place, count, without), generate


def summing(formula):
    """Return an intrinsic that sums what a formula of products makes of the entries of two rows.

    It takes the rows, each with where it begins, and how many entries; it returns the sum and its rounding error. Four
    vectors are added to each other first: what is summed for gradients is rounded itself, and may be twice more.
    """

    @intrinsic
    def sum_of_terms(typing_context, row, place, other, other_place, count):
        def generate(context, builder, signature, arguments):
            row, place, other, other_place, count = arguments
            rows = [
                Row(context, builder, signature.args[0], row, place),
                Row(context, builder, signature.args[2], other, other_place),
            ]
            total = _Total(builder, rows[0].kind)

            def step(*values):
                entries = ([Terms(builder, value) for value in vectors] for vectors in values)
                total.add([tree([formula(*pair).value for pair in zip(*entries, strict=True)], builder.fadd)])

            _each(rows, count, ir.Constant(vector(rows[0].kind), [0.0] * WIDTH), step)
            return context.make_tuple(builder, signature.return_type, total.result())

        return types.UniTuple(types.float64, 2)(row, place, other, other_place, count), generate

    return sum_of_terms


def mapping(formula):
    """Return an intrinsic that writes what a formula of products makes of a row's entries and two numbers.

    It takes two rows, each with where it begins, and where to write; how many entries, and up to how many from there
    may be written, those behind the row with what has no meaning; and the numbers. The second row may be left unread.
    """

    @intrinsic
    def map_row(typing_context, row, place, other, other_place, out, out_place, count, room, first, second):
        def generate(context, builder, signature, arguments):
            *places, count, room, first, second = arguments
            rows = [Row(context, builder, signature.args[i], *places[i : i + 2]) for i in (0, 2, 4)]
            *sources, target = rows
            numbers = [Terms(builder, splat(builder, value)) for value in (first, second)]
            others = ir.Constant(vector(target.kind), [0.0] * WIDTH)

            def compute(load):
                return formula(*(Terms(builder, load(source)) for source in sources), *numbers).value

            def write(index):
                target.store(compute(lambda source: source.load(index)), index)

            def write_first(number, index):
                values = compute(lambda source: source.load_first(number, index, others))
                target.store_first(values, number, index)

            place = cgutils.alloca_once_value(builder, count.type(0))
            with builder.if_then(builder.icmp_signed(">=", count, count.type(LINED))):
                builder.store(target.before_line(), place)
                write_first(builder.load(place), count.type(0))
            head = builder.load(place)
            behind = builder.sub(count, head)
            start, whole = head, builder.add(head, builder.and_(behind, count.type(-WIDTH)))
            for vectors in (GROUP, 1):
                stop = builder.add(head, builder.and_(behind, count.type(-vectors * WIDTH)))
                with steps(builder, start, stop, vectors * WIDTH) as (index, _):
                    for part in range(vectors):
                        write(builder.add(index, index.type(part * WIDTH)))
                start = stop
            rest = builder.sub(count, whole)
            with builder.if_then(builder.icmp_signed(">", rest, rest.type(0))):
                is_roomy = builder.icmp_signed("<=", builder.add(whole, whole.type(WIDTH)), room)
                with builder.if_else(is_roomy) as (then, otherwise):
                    with then:
                        write(whole)
                    with otherwise:
                        write_first(rest, whole)
            return context.get_dummy_value()

        arguments = row, place, other, other_place, out, out_place, count, room, first, second
        return types.none(*arguments), generate

    return map_row
