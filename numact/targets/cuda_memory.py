"""Elements read and written by their address, 16 bytes at once where a kernel wants it, and what converts half types.

A kernel that takes addresses is launched without an array object for each argument, which takes the host longer to
make than the launch. In the simulator an address is one of the host's memory, and the same instructions read it.
"""

from functools import cache

import numba
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numact.binding import JIT_OPTIONS
from numact.half_types import HALF_CONVERSIONS, emit_float32_to_bfloat16
from numact.targets import common

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", False))
if not SIMULATED:
    from numba.cuda.core import targetconfig
VECTOR = 16  # bytes of the widest load and store
GLOBAL = 1  # the number of the address space: without it a load would ask at run time which memory it reads


def kind_of(dtype):
    """Return the Numba type of what a kernel reads for the dtype of a name; a truth value is read as its byte."""
    return getattr(types, "uint8" if dtype == "bool" else common.storage(dtype).name)


@cache
def access(kind, lanes):
    """Return the compiled functions load(address) and store(address, values) for elements of a Numba type.

    One lane is a number. Several are a tuple and fill 16 bytes, at an address that is a multiple of 16.
    """
    numbers = kind if lanes == 1 else types.UniTuple(kind, lanes)

    @intrinsic
    def load(typing_context, address):
        def generate(context, builder, signature, arguments):
            value = builder.load(_pointer(builder, arguments[0], kind, lanes))
            if lanes == 1:
                return value
            value.align = VECTOR
            return context.make_tuple(builder, numbers, _unpacked(builder, value, kind, lanes))

        return numbers(types.int64), generate

    @intrinsic
    def store(typing_context, address, values):
        def generate(context, builder, signature, arguments):
            address, values = arguments
            pointer = _pointer(builder, address, kind, lanes)
            if lanes == 1:
                builder.store(values, pointer)
            else:
                packed = _packed(builder, cgutils.unpack_tuple(builder, values, lanes), pointer.type.pointee, kind)
                builder.store(packed, pointer).align = VECTOR
            return context.get_dummy_value()

        return types.none(types.int64, numbers), generate

    read, write = (lambda address: load(address)), (lambda address, values: store(address, values))
    return numba.njit(read, **JIT_OPTIONS), numba.njit(write, **JIT_OPTIONS)


@intrinsic
def _prefetch(typing_context, address):
    def generate(context, builder, signature, arguments):
        if not SIMULATED:
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
            builder.asm(kind, "prefetch.global.L2 [$0];", "l", arguments, True)
        return context.get_dummy_value()

    return types.none(types.int64), generate


@numba.njit(**JIT_OPTIONS)
def prefetch(address):
    """Bring the line of an address into the second-level cache, and do not wait for it; the simulator does nothing."""
    _prefetch(address)


def _type(kind):
    """Return LLVM's type of a Numba number."""
    named = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
    return named.get(kind) or ir.IntType(kind.bitwidth)


def _pointer(builder, address, kind, lanes):
    # Eight halves are read as four words: NVVM would read a vector of eight in two parts.
    wide = ir.VectorType(ir.IntType(32) if kind == types.uint16 else _type(kind), VECTOR * 8 // max(kind.bitwidth, 32))
    return builder.inttoptr(address, ir.PointerType(_type(kind) if lanes == 1 else wide, addrspace=GLOBAL))


def _unpacked(builder, vector, kind, lanes):
    """Return the elements of a vector."""
    parts = [builder.extract_element(vector, ir.IntType(32)(place)) for place in range(vector.type.count)]
    if kind != types.uint16:
        return parts
    half = ir.IntType(16)
    pairs = [(builder.trunc(word, half), builder.trunc(builder.lshr(word, word.type(16)), half)) for word in parts]
    return [value for pair in pairs for value in pair]


def _packed(builder, values, vector, kind):
    """Return elements as a vector."""
    if kind == types.uint16:
        wide = [builder.zext(value, ir.IntType(32)) for value in values]
        pairs = zip(wide[::2], wide[1::2], strict=True)
        values = [builder.or_(low, builder.shl(high, high.type(16))) for low, high in pairs]
    result = ir.Constant(vector, ir.Undefined)
    for place, value in enumerate(values):
        result = builder.insert_element(result, value, ir.IntType(32)(place))
    return result


def _conversion(emit, source, target):
    """Return the scalar function of one instruction, emitted into each kernel anew: for the GPU that it is for."""

    @intrinsic
    def convert(typing_context, value):
        return target(source), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return convert


def _instruction(text, result, operand, constraints):
    """Return what emits an instruction of PTX.

    LLVM's own conversions of float16 are not to be trusted: it takes a choice of two through them, as one of halves
    with another comparison, which gave relu6(-0.0) and silu(0.0) the other sign.
    """
    kind = ir.FunctionType(result, [operand])
    return lambda builder, value: builder.asm(kind, text, constraints, [value], False)


WORD, SINGLE = ir.IntType(16), ir.FloatType()
_load_float16 = _instruction("cvt.f32.f16 $0, $1;", SINGLE, WORD, "=f,h")
_store_float16 = _instruction("cvt.rn.f16.f32 $0, $1;", WORD, SINGLE, "=h,f")
_round_to_bfloat16 = _instruction("cvt.rn.bf16.f32 $0, $1;", WORD, SINGLE, "=h,f")


def _store_bfloat16(builder, value):
    if targetconfig.ConfigStack().top().compute_capability < (8, 0):
        return emit_float32_to_bfloat16(builder, value)
    return _round_to_bfloat16(builder, value)


# A GPU converts in one instruction, where integer code takes 15 for float16 and to bfloat16 6: relu of eight float16
# took 413 lines of PTX, now 131. From bfloat16 it is a shift.
ONE_INSTRUCTION = {
    "float16": (
        _conversion(_load_float16, types.uint16, types.float32),
        _conversion(_store_float16, types.float32, types.uint16),
    ),
    "bfloat16": (HALF_CONVERSIONS["bfloat16"][0], _conversion(_store_bfloat16, types.float32, types.uint16)),
}


def conversions(dtype):
    """Return the functions that load an element as a number and store a number as an element."""
    return ONE_INSTRUCTION[dtype] if dtype in ONE_INSTRUCTION and not SIMULATED else common.conversions(dtype)
