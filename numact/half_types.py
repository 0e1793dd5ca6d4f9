"""Numbers of float16 and bfloat16 from their bits, and back, in instructions that every target has."""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _emit_float16_to_float32(builder, bits):
    word, single = ir.IntType(32), ir.FloatType()
    wide = builder.zext(bits, word)
    magnitude = builder.and_(wide, word(0x7FFF))
    # Moved into place, the exponent is short by 127 - 15; the exact product mends subnormals too.
    value = builder.bitcast(builder.shl(magnitude, word(13)), single)
    value = builder.bitcast(builder.fmul(value, ir.Constant(single, 2.0**112)), word)
    special = builder.icmp_unsigned(">=", magnitude, word(0x7C00))
    value = builder.or_(value, builder.select(special, word(0x7F800000), word(0)))
    sign = builder.shl(builder.and_(wide, word(0x8000)), word(16))
    return builder.bitcast(builder.or_(value, sign), single)


def _emit_float32_to_float16(builder, value):
    word, single = ir.IntType(32), ir.FloatType()
    bits = builder.bitcast(value, word)
    magnitude = builder.and_(bits, word(0x7FFFFFFF))
    # Below 2^-14 adding 0.5 leaves the rounded subnormal in the lowest bits.
    small = builder.fadd(builder.bitcast(magnitude, single), ir.Constant(single, 0.5))
    small = builder.sub(builder.bitcast(small, word), word(0x3F000000))
    # Else the exponent loses 127 - 15 and the dropped 13 bits round to nearest, ties to even.
    odd = builder.and_(builder.lshr(magnitude, word(13)), word(1))
    normal = builder.add(magnitude, builder.add(odd, word((0xFFF - (112 << 23)) & 0xFFFFFFFF)))
    normal = builder.lshr(normal, word(13))
    result = builder.select(builder.icmp_unsigned("<", magnitude, word(0x38800000)), small, normal)
    infinite = builder.icmp_unsigned(">=", magnitude, word(0x47800000))
    result = builder.select(infinite, word(0x7C00), result)
    is_nan = builder.icmp_unsigned(">", magnitude, word(0x7F800000))
    result = builder.select(is_nan, word(0x7E00), result)
    sign = builder.and_(builder.lshr(bits, word(16)), word(0x8000))
    return builder.trunc(builder.or_(result, sign), ir.IntType(16))


def _emit_bfloat16_to_float32(builder, bits):
    wide = builder.shl(builder.zext(bits, ir.IntType(32)), ir.IntType(32)(16))
    return builder.bitcast(wide, ir.FloatType())


def emit_float32_to_bfloat16(builder, value):
    """Emit the instructions that round a float32 to the bits of a bfloat16; of a NaN they keep the sign."""
    word = ir.IntType(32)
    bits = builder.bitcast(value, word)
    odd = builder.and_(builder.lshr(bits, word(16)), word(1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, word(0x7FFF))), word(16))
    # Rounding could carry a NaN's mantissa into infinity: keep the sign and set the quiet bit instead.
    quiet = builder.or_(builder.lshr(bits, word(16)), word(0x40))
    result = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(result, ir.IntType(16))


def _conversion(emit, source, target):
    """Return the compiled scalar function whose instructions `emit` writes."""

    @intrinsic
    def convert(typing_context, value):
        def generate(context, builder, signature, arguments):
            return emit(builder, *arguments)

        return target(source), generate

    return njit(lambda value: convert(value))


# Half types are handled as their bits (Numba has neither type on the CPU). Integer code is exact on every
# processor, where LLVM's own conversion crashes without F16C. dtype's name -> (load, store)
HALF_CONVERSIONS = {
    "float16": (
        _conversion(_emit_float16_to_float32, types.uint16, types.float32),
        _conversion(_emit_float32_to_float16, types.float32, types.uint16),
    ),
    "bfloat16": (
        _conversion(_emit_bfloat16_to_float32, types.uint16, types.float32),
        _conversion(emit_float32_to_bfloat16, types.float32, types.uint16),
    ),
}
