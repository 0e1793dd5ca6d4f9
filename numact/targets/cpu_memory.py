"""How CPU kernels read and write large arrays: what they ask memory for before they come to it, and what they stream.

A processor that runs a long formula looks few cache lines ahead, and its stores wait for memory one after the other. On
two cores of an Intel Xeon with AVX-512, 16 million values of silu took, in float64, 36 ms without this and 12 with it,
in float32 8.5 and 5.1, of mish 6.6 and 4.0, of relu 3.2 and 2.6, and of relu's gradient 7.6 and 6.0.

A short formula gains by it in the caches, too: 100,000 values of relu took 0.85 of the time, of its gradient 0.78, in
float64 0.82 and 0.68. A long one loses: gelu took 1.1 of the time.

What is stored across two lines takes longer, and NumPy's arrays begin 16 bytes behind a line or more often than not.
Stored in whole lines 100,000 values of relu took 0.92 of the time on an Emerald Rapids, of its gradient 0.86, in
float64 0.91 and 0.83, of 30,000 0.80 to 0.89. gelu took as long, and it does not matter how what is read lies.

On a processor with no more than AVX2 kernels do not ask: on two cores of an AMD Zen 3 20,000 to a million values of
relu took 0.83 to 1.04 of the time without, 0.94 in the mean, of its gradient 0.75 to 0.98, 0.86 in the mean.

Every line of a result is read from memory before something is stored to it, unless it is streamed: stored past the
caches, as a whole. On two cores of an AMD Zen 5 with 32 MiB of L3 cache, 16 million float32 then took 0.77 to 0.9 of
the time, their gradients 0.78 to 0.86, float64 0.71 to 0.84, or up to 1.03 where the formula takes longer than
its memory, as gelu; but relu of 4 million, which the caches hold, 1.4. On the Zen 3 short formulas took 0.55 to 0.9
of the time, but those of 25 operations and more, which AVX2 takes longer for than memory, 1.08 in the mean.

The gradient of softmax's rows from their output is as short: in five runs ten cases of 16 million entries took 0.87,
0.88, 0.89, 0.93 and, while memory was a third faster, 1.00 of the time in the mean on the Zen 3. Down columns, in lines
of 244 and more of them, 22 cases took 0.74 to 1.03 of the time, 0.88 in the mean. Small blocks took up to 1.3 times as
long.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from numact.binding import JIT_OPTIONS

AHEAD, STEP = 4_096, 512  # bytes: how far ahead lines are asked for, and of how many at a time
AHEAD_OF_STREAM = 2_048  # bytes: 4,096 take 1.05 times as long where the result is not asked for
LINE = 64  # bytes of a cache line
STREAMED = 1 << 25  # bytes of a result from where it is streamed
LARGE = 8_192  # elements: where it pays for no formula to ask in an array of fewer
SHORT = 20  # operations below which a formula takes less time than its memory: softsign takes 6, elu 24
BYTE, NUMBER = ir.IntType(8), ir.IntType(32)
POINTER, WHOLE_LINE = BYTE.as_pointer(), ir.VectorType(ir.IntType(64), LINE // 8)
FIRST_CACHE, OF_DATA = NUMBER(3), NUMBER(1)


def steps(dtype):
    """Return how many elements a step has, and how many further on the step lies whose lines are asked for."""
    size = np.dtype(dtype).itemsize
    return STEP // size, AHEAD // size


def asks_from(operations):
    """Return from how many elements it pays to ask for memory, for a formula of so many operations."""
    return LARGE if operations < SHORT else 2 * LARGE


def has(feature):
    """Return whether what Numba knows of the processor that kernels are compiled for says so: "+avx2", "-avx512f"."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return feature in features.split(",")


def asks():
    """Return whether kernels of elements ask for memory: not where AVX2 is all that there is."""
    return not has("-avx512f")


def streams(operations):
    """Return whether large results of a formula of so many operations are streamed: on AMD's processors."""
    return has("+clzero") and (has("+avx512f") or operations < SHORT)


@numba.njit(**JIT_OPTIONS)
def before_line(out):
    """Return how many elements of an array lie before the first that begins a cache line."""
    return np.int64(-out.ctypes.data) % LINE // out.itemsize


@intrinsic
def ask_for(typing_context, array, start, is_written):
    """Ask for the cache lines of a step of an array's elements, to be read or to be written."""
    if not isinstance(is_written, types.IntegerLiteral):
        return None  # Numba asks again with the literal

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        first = builder.bitcast(builder.gep(array.data, [arguments[1]]), POINTER)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, NUMBER, NUMBER, NUMBER])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for line in range(0, STEP, LINE):
            place = builder.gep(first, [NUMBER(line)])
            builder.call(prefetch, [place, NUMBER(is_written.literal_value), FIRST_CACHE, OF_DATA])
        return context.get_dummy_value()

    return types.none(array, start, is_written), generate


@intrinsic
def room_for_step(typing_context, array):
    """Return a pointer to room on the stack for a step of elements like an array's, which begins with a line."""

    def generate(context, builder, signature, arguments):
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(BYTE, STEP))
            room.align = LINE
        return builder.bitcast(room, context.get_value_type(signature.return_type))

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def stream(typing_context, room, array, start):
    """Stream the elements of a room to the step that begins at a place in an array."""

    def generate(context, builder, signature, arguments):
        room, array, start = arguments
        data = context.make_array(signature.args[1])(context, builder, array).data
        lines = [builder.bitcast(place, WHOLE_LINE.as_pointer()) for place in (room, builder.gep(data, [start]))]
        mark = builder.module.add_metadata([NUMBER(1)])
        for line in range(STEP // LINE):
            source, target = (builder.gep(first, [NUMBER(line)]) for first in lines)
            stored = builder.store(builder.load(source, align=LINE), target, align=LINE)
            stored.set_metadata("nontemporal", mark)
        return context.get_dummy_value()

    return types.none(room, array, start), generate


@intrinsic
def end_stream(typing_context):
    """Let nothing be stored before all that was streamed."""

    def generate(context, builder, signature, arguments):
        fence = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, fence, "llvm.x86.sse.sfence"), [])
        return context.get_dummy_value()

    return types.none(), generate
