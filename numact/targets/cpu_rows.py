"""CPU kernels for row-wise functions: which formulas and which source make them, and which of them an array needs."""

import math
from functools import cache, lru_cache

import numba
import numpy as np
from numba import types

from numact.binding import INNER_OPTIONS, JIT_OPTIONS
from numact.primitives import maximum
from numact.targets import (
    common,
    cpu,
    cpu_column_vectors,
    cpu_memory,
    cpu_row_layouts,
    cpu_row_ufuncs,
    cpu_threads,
    cpu_vectors,
    cpu_width,
)
from numact.targets.cpu_row_source import SOURCES, steps
from numact.targets.cpu_threads import Kernel
from numact.targets.cpu_tiles import PARTS, tile_count
from numact.targets.cpu_vectors import WIDTH

PASSES = 2  # a row costs about twice its weights
SHORT = 12  # rows up to this length are turned into columns, rather than padded to a vector
PIECE = 512  # entries worked on at a time: a handful of arrays of so many stay in the L1 cache
COLUMNS = 64  # a strip has a multiple of this
STRIP = 1 << 20  # bytes of a strip of columns, which is read three times; measured on an AMD Zen 3
NARROWEST = 256  # columns of such a strip: where there would be fewer, the widest take less time
WIDEST = 2_048  # columns: what waits of more to be summed is too large for the caches
LEAST = 128  # columns, where a wider strip would leave threads without one
SMALL = 256  # entries of a block of columns up to which the columns of several are laid side by side
CHUNK, CHUNKS = 128, 64  # lines at least that are summed by themselves, so that threads can share them, and such sums
NARROW = PARTS * LEAST  # columns: of fewer, threads share the lines; side by side they would write to one cache line
WAITS = 4  # times as many entries as threads pay from, for tasks that wait for each other
RUN = 4_096  # entries of the strips that a task takes, where they are small
GROUPED = 512  # entries of the lines of a strip that a loop takes together
FEW = 64  # lines that are summed at once for gradients, where the caches hold them
CACHED = 1 << 21  # bytes of an array that they do
PAGE = 4_096  # bytes
NEXT = 16_384  # entries of a block up to which the next one is asked for
WAITING, LINES = 4_096, 8  # entries of a strip that wait to be summed, and lines, at least
INLINED = ("are_few", "at", "group_of", "next_block", "add", "quotient", "lined")
# What calls loops and is none: Numba itself inlines it. LLVM goes through the loops once more at each other level.
NESTED = ("few_lines", "collect_", "finish_", "strip_of", "long_rows")
SIZES = {"WIDTH": WIDTH, "PIECE": PIECE, "GROUPED": GROUPED, "FEW": FEW, "NEXT": NEXT, "WAITING": WAITING}
SIZES |= {"LINES": LINES, "TOGETHER": cpu_column_vectors.TOGETHER}

# What the braces in the kernels' source stand for, by what is computed.
VALUE = {"grad": "", "grad_part": "", "out_part": "out[start:stop]", "sums": "value", "results": "value"}
LOG = VALUE | {"sums": "log", "results": "log"}
REDUCED = LOG | {"out_part": "out[start // length : stop // length]", "results": "reduced"}
BACKWARD = VALUE | {"grad": "grad, ", "grad_part": "grad[start:stop], ", "sums": "backward", "results": "backward"}
REDUCED_BACKWARD = VALUE | {
    "grad": "grad, ",
    "grad_part": "grad[start // length : stop // length], ",
    "sums": "reduced_backward",
    "results": "reduced_backward",
}
WORDS = {"value": VALUE, "log": LOG, "reduced": REDUCED, "backward": BACKWARD, "from_output": BACKWARD}
WORDS["reduced_backward"] = REDUCED_BACKWARD

CALLED: set = set()  # kernels that others know by their address alone
OF_TERMS: dict = {"fma": cpu_vectors.fma}
exec(common.ROW_ARITHMETIC, OF_TERMS)
SUM_DOWN, TERMS_DOWN = (cpu_column_vectors.summing(lambda part: part, n) for n in (1, cpu_column_vectors.TOGETHER))


class RowKernels:
    """What one row-wise function compiles to for one dtype: a `Kernel` by each name of `SOURCES`.

    Those of one source are defined when the first of them is asked for.

    Parameters
    ----------
    formulas : numact.rows.Formulas
        What they are made of.
    mode : str
        "value", "backward" or "from_output".
    dtype : str
        The name of the dtype.
    scaled : bool
        Whether a scale other than 1 is taken into account.
    """

    def __init__(self, formulas, mode, dtype, scaled):
        self._made_of, self.takes_gradients = (formulas, formulas.kind(mode), dtype, scaled), mode != "value"
        self._array = numba.from_dtype(common.storage(dtype))[::1]
        weight = formulas.output if mode == "from_output" else formulas.weight[0]
        self.parallel_from = cpu.parallel_from(weight, dtype) // PASSES

    def __getattr__(self, name):  # which is not defined yet
        if name not in SOURCES:
            raise AttributeError(f"no kernel of rows is named {name}")
        vars(self).update(_defined(SOURCES[name], *self._made_of))
        return vars(self)[name]

    def address(self, kernel):
        """Return the address of a kernel of the arrays that these take, and of some sizes and a scale; it is kept."""
        CALLED.add(kernel)
        kinds = [types.int64] * kernel.function.py_func.__code__.co_argcount
        kinds[1 : 3 + self.takes_gradients] = (self._array,) * (2 + self.takes_gradients)
        return cpu_threads.compiled_address(kernel.function, (*kinds[:-1], types.float64))


kernels = cache(RowKernels)


def _defined(source, formulas, kind, dtype, scaled):
    """Return the kernels of a source by name."""
    scope = common.row_scope(formulas, kind, dtype, scaled, common.conversions(dtype))
    number, element = scope["number"], common.storage(dtype).type
    is_output, is_number = kind == "from_output", element is number
    scope |= {"maximum": maximum, "np": np, "uint64": np.uint64, "int64": np.int64, **SIZES}
    scope |= {name: getattr(cpu_vectors, name) for name in ("spread", "largest_of", "sum_of", "stream_lines")}
    scope |= {"largest_down": cpu_column_vectors.largest_down, "copy_behind": cpu_column_vectors.copy_behind}
    scope |= {"sum_down": SUM_DOWN, "terms_down": TERMS_DOWN, "map_row": cpu_vectors.mapping(_mapped(formulas, kind))}
    if formulas.term:
        scope["sum_of_terms"] = cpu_vectors.summing(formulas.term.formula)
        scope["dot_down"] = cpu_column_vectors.summing(formulas.term.formula, cpu_column_vectors.TOGETHER)
    if kind in ("backward", "from_output") and is_number:
        made_of = (cpu_vectors.of_terms(getattr(formulas, name).formula) for name in ("term", "shares", "gradient"))
        scope["shares_down"], scope["gradients_down"] = cpu_column_vectors.differentiating(*made_of)
        scope |= {"PAGE": PAGE // number().itemsize, "CACHED": CACHED // number().itemsize}
    scope |= {"before_line": cpu_memory.before_line, "end_stream": cpu_memory.end_stream}
    scope |= {"ask_for": cpu_memory.ask_for, "ASKED": cpu_memory.steps(element)[0]}
    # The gradient from the output is nothing but memory's work; the others take longer than memory.
    streams = is_output and is_number and cpu_memory.streams(formulas.gradient.operations(number))
    scope |= {"LINE_SIZE": cpu_memory.LINE // np.dtype(element).itemsize}
    scope |= {"STREAMED": cpu_memory.STREAMED // np.dtype(element).itemsize}
    scope |= {"ZERO": number(0), "ONE": number(1), "NAN": number(np.nan)}
    is_read = is_number and (is_output or not scaled)
    scope |= {"KEEPS": is_number, "FROM_OUTPUT": is_output, "IS_READ": is_read}
    scope["COUNTS"] = kind in ("log", "reduced")
    scope |= {"SUMS": 4 if kind in ("backward", "from_output") else 2, "chunk_of": numba.njit(chunk_of, **JIT_OPTIONS)}
    source = source.format(**WORDS[kind], **steps(kind, is_read, is_number, streams))
    kernels = {}
    for function in cpu_width.define(source, __name__, scope, common.row_label(formulas, kind, dtype, scaled, source)):
        name = function.__name__
        function = plain_add if name == "add" and number is np.float32 else function
        if name in SOURCES:
            kernels[name] = TallKernel(function, kind) if name == "tall" else Kernel(function)
        else:
            options = JIT_OPTIONS if name in INLINED else INNER_OPTIONS
            options = options | ({"inline": "always"} if name.startswith(NESTED) else {})
            scope[name] = numba.njit(function, **options)
    return kernels


def chunk_of(length):
    """Return of how many lines the entries of columns so long are summed by themselves, before these sums are added."""
    return max(CHUNK, (length // CHUNKS + LINES) // LINES * LINES)


class TallKernel(Kernel):
    """A kernel of tasks that share the same columns, and wait for the largest entries of all, then for all sums."""

    def __init__(self, function, kind):
        super().__init__(function)
        self._phase = 1 if kind == "from_output" else 0
        self._shares = 1 if kind == "reduced" else 2 * numba.config.NUMBA_NUM_THREADS  # one task writes a value a row

    def run(self, pays, tasks, *arguments):
        """Do all the work as `Kernel.run` does."""
        *arrays, length, inner, lines, scale = arguments
        largest = np.empty(tasks * inner, np.float64 if arrays[-1].itemsize == 8 else np.float32)
        sums = np.empty(tasks * 5 * inner)  # of each column four at most, and a count
        shares = min(tasks, self._shares)
        super().run(pays, tasks, *arrays, largest, sums, length, inner, lines, shares, self._phase, scale)


def plain_add(total, low, part):
    """Return the sum of a float64 total and a part, of float32 entries, which leaves no error that counts."""
    return total + part, low


def _mapped(formulas, kind):
    """Return what makes a result of vectors of weights and gradients and of two numbers that their row shares."""
    if kind in ("value", "log", "reduced"):
        return lambda e, g, inverse, total: OF_TERMS["quotient"](e, inverse, total)
    gradient = cpu_vectors.of_terms(formulas.gradient.formula)
    return gradient if kind != "reduced_backward" else lambda e, g, factor, unused: gradient(e, factor)


def rowwise(formulas, mode, dtype, arrays, out, shape, scale=1.0, mask=None):
    """Fill `out` from arrays; all are flat, dense, of `dtype` or its bits.

    Parameters
    ----------
    formulas, mode, dtype
        As for `RowKernels`.
    arrays : iterable of array
        The input, or the output's gradient and the input or the output.
    out : array
        May be one of them.
    shape : tuple of int
        The entries of the input before, along and after the axis.
    scale : float
        Multiplies the input first.
    mask : array of bool, optional
        Where it is true an entry takes part. Then nothing may come after the axis.
    """
    if out.size == 0:
        return
    kernel, pays, count, sizes = plan(formulas, mode, dtype, scale != 1.0, mask is not None, shape)
    if mask is not None:
        arrays = (*arrays, mask)
        sizes = (*cpu_row_layouts.fills(formulas.kind(mode), dtype, scale < 0), *sizes)
    if kernel.serial and not pays:  # what `run` would do, 0.3 us sooner
        kernel.serial(count, *arrays, out, *sizes, scale)
        return
    kernel.run(pays, count, *arrays, out, *sizes, scale)


@lru_cache(maxsize=4096)
def plan(formulas, mode, dtype, scaled, is_masked, shape):
    """Return the kernel for rows of a shape, whether threads pay, how many tasks there are, and the sizes it is told.

    Kept for the next call: it takes 1 us, and a call for few rows 4.
    """
    compiled = kernels(formulas, mode, dtype, scaled)
    outer, length, inner = shape
    size = outer * length * inner
    pays = size >= compiled.parallel_from
    if inner == 1 or (outer > 1 and length * inner <= SMALL):
        tasks = min(outer, tile_count(size)) if pays else 1
        sizes, made_for = (length, inner, tasks), (dtype, compiled.takes_gradients)
        is_short = inner > 1 or length <= SHORT
        if is_short:
            kernel = cpu_row_layouts.turned(*made_for, formulas.reduced is not None)
            sizes = compiled.address(compiled.strip), *sizes
        else:
            kernel = compiled.long
        if is_masked:
            sizes = compiled.address(kernel), *sizes
            kernel = cpu_row_layouts.masked(*made_for, is_short)
        return kernel, pays, tasks, sizes
    is_tall = outer == 1 and inner < NARROW and length > CHUNK
    if is_tall and size >= WAITS * compiled.parallel_from:
        lines = chunk_of(length)
        return compiled.tall, pays, -(-length // lines), (length, inner, lines)
    width = STRIP // (length * common.storage(dtype).itemsize) // COLUMNS * COLUMNS
    width = min(inner, width if NARROWEST <= width <= WIDEST else WIDEST)
    if pays:
        count = -(-inner // min(width, max(LEAST, -(-outer * inner // PARTS))))
        if outer == 1:  # threads get as many strips
            count = max(1, count // 2 * 2) if count < PARTS else -(-count // PARTS) * PARTS
        width = min(inner, -(-inner // (count * WIDTH)) * WIDTH)
    blocks = 1 if width < inner else max(1, RUN // (length * inner))
    tasks = -(-outer // blocks) * -(-inner // width)
    return compiled.strip, pays and tasks > 1, tasks, (length, inner, width, blocks)


def ufunc(formulas, mode, dtype, scaled, shape):
    """Return what `cpu_row_ufuncs.make` makes for dense arrays of a shape; None for many threads where there is one."""
    kernel, pays, tasks, sizes = plan(formulas, mode, dtype, scaled, False, shape)
    if isinstance(kernel, TallKernel) or (pays and not cpu_threads.needs_pool()):
        return None
    return cpu_row_ufuncs.make(kernel, mode, dtype, scaled, math.prod(shape), tasks, sizes, pays)


@cache
def public_ufunc(formulas, sign):
    """Return a generalised ufunc, (n)->(n) or (n)->(), with loops for float32 and float64 (single-threaded).

    The sign is that of the scale, 1 or -1.
    """
    weight = formulas.weight[0].scalar
    logarithm, entry = (pair and pair[0].scalar for pair in (formulas.logarithm, formulas.entry))
    reduced = formulas.reduced and formulas.reduced.scalar
    is_negative = sign < 0

    @numba.njit(**JIT_OPTIONS)
    def signed(value):
        return -value if is_negative else value

    @numba.njit
    def sums(x):
        largest, rest, low, count = signed(x[0]), 0.0, 0.0, 0
        for value in x:
            largest = maximum(largest, signed(value))
        for value in x:
            if signed(value) == largest:
                count += 1
            else:
                part = weight(signed(value), largest, 1.0)
                result = rest + part
                low += part - (result - rest) if rest > part else rest - (result - part)
                rest = result
        return largest, count, rest + low + (largest - largest)

    def shares(x, out):
        largest, count, rest = sums(x)
        for i in range(x.size):
            out[i] = weight(signed(x[i]), largest, 1.0) / (count + rest)

    def logarithms(x, out):
        largest, count, rest = sums(x)
        high, low = logarithm(largest, count - 1 + rest)
        for i in range(x.size):
            out[i] = entry(signed(x[i]), largest, high, low, 1.0)

    def reduce(x, out):
        largest, count, rest = sums(x)
        out[0] = reduced(largest, *logarithm(largest, count - 1 + rest))

    if formulas.reduced:
        row, layout = reduce, "(n)->()"
    else:
        row, layout = shares if formulas.logarithm is None else logarithms, "(n)->(n)"
    signatures = [(kind[:], kind[:]) for kind in (numba.float32, numba.float64)]
    return numba.guvectorize(signatures, layout)(row)
