"""The few operations that arithmetic lacks: fused products, square roots, powers of two.

Each emits LLVM instructions that both the CPU's compiler and NVVM accept and vectorise, and each can
be called from plain Python, from `numba.njit` and from `numba.cuda.jit` code.
"""

import functools

from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

# LLVM's type -> (integer of the same width, bits of the mantissa)
LAYOUT = {ir.FloatType(): (ir.IntType(32), 23), ir.DoubleType(): (ir.IntType(64), 52)}
LONG = 8  # coefficients: of fewer, pairs gain 1 % in the mean on a CPU, and cost a GPU's rows up to 32 registers


def emit_fma(builder, a, b, c):
    """Emit a * b + c with one rounding."""
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.declare_intrinsic("llvm.fma", [a.type], function_type)
    return builder.call(function, [a, b, c])


@intrinsic
def _fma(typing_context, a, b, c):
    kind = typing_context.unify_types(a, b, c)

    def generate(context, builder, signature, arguments):
        return emit_fma(builder, *arguments)

    return kind(kind, kind, kind), generate


@intrinsic
def _power_of_two(typing_context, shifted):
    def generate(context, builder, signature, arguments):
        (value,) = arguments
        integer, mantissa = LAYOUT[value.type]
        bits = builder.shl(builder.bitcast(value, integer), ir.Constant(integer, mantissa))
        return builder.bitcast(bits, value.type)

    return shifted(shifted), generate


@intrinsic
def _hidden(typing_context, number):
    def generate(context, builder, signature, arguments):
        if not builder.module.triple.startswith("x86_64"):
            return arguments[0]
        kind = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.arithmetic.fence", [kind], ir.FunctionType(kind, [kind]))
        return builder.call(function, arguments)

    return number(number), generate


@njit
def at_least(x, low):
    """Return x, or low where that is larger; NaN remains.

    LLVM makes no case of its own of where it is low, as it would of a constant.

    Parameters
    ----------
    x, low : float32 or float64

    Examples
    --------
    >>> at_least(-3.0, 0.0)
    0.0
    """
    low = _hidden(low)
    return low if x < low else x


@njit
def clamp(x, low, high):
    """Return x, held between two bounds; NaN remains.

    On x86-64 it takes two instructions, if LLVM does not know that both bounds are constants: else five, with masks.

    Parameters
    ----------
    x : float32 or float64
    low, high : float32 or float64
        Of the type of x, and the same for all elements of a loop, or LLVM does not vectorise it.

    Examples
    --------
    >>> clamp(-3.0, 0.0, 6.0)
    0.0
    """
    high = _hidden(high)
    return at_least(high if x > high else x, low)


@intrinsic
def _maximum(typing_context, a, b):
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.maximum", [kind], ir.FunctionType(kind, [kind] * 2))
        return builder.call(function, arguments, fastmath=("nsz",))

    return a(a, a), generate


@njit
def maximum(a, b):
    """Return the larger of a and b, or NaN where either is NaN (CPU only).

    LLVM vectorises a loop over this; a comparison would need flags that make NaN undefined.

    Parameters
    ----------
    a, b : float32 or float64
        Of one type.

    Examples
    --------
    >>> maximum(1.0, 2.0)
    2.0
    """
    return _maximum(a, b)


@njit
def fma(a, b, c):
    """Return a * b + c, rounded once.

    Parameters
    ----------
    a, b, c : float32 or float64
        All of one type.

    Examples
    --------
    >>> fma(0.1, 10.0, -1.0)
    5.551115123125783e-17
    """
    return _fma(a, b, c)


@njit
def power_of_two(shifted):
    """Return 2**n, given n + ROUNDER, where `numact.elementary.ROUNDER` is 1.5 * 2**mantissa plus the exponent's bias.

    Rounding to the nearest integer by adding ROUNDER has left the exponent in the lowest bits: one shift drops all
    others.

    Parameters
    ----------
    shifted : float32 or float64
        n + 1.5 * 2**23 + 127 for n from -126 to 127, or n + 1.5 * 2**52 + 1023 for n from -1022 to 1023. Other values
        give no meaningful result.

    Examples
    --------
    >>> power_of_two(-3.0 + 1.5 * 2**52 + 1023)
    0.125
    """
    return _power_of_two(shifted)


@intrinsic
def _exponent(typing_context, x):
    def generate(context, builder, signature, arguments):
        (value,) = arguments
        integer, mantissa = LAYOUT[value.type]
        # A mantissa from 1.5 carries into the exponent's field; above it go the bits of 1.5 * 2^mantissa.
        bits = builder.add(builder.bitcast(value, integer), ir.Constant(integer, 1 << (mantissa - 1)))
        bits = builder.lshr(bits, ir.Constant(integer, mantissa))
        rounder = builder.bitcast(ir.Constant(value.type, 1.5 * 2.0**mantissa), integer)
        return builder.bitcast(builder.or_(bits, rounder), value.type)

    return x(x), generate


@njit
def exponent(x):
    """Return n + ROUNDER, as `power_of_two` takes it, with x / 2**n from 3/4 to 3/2.

    Parameters
    ----------
    x : float32 or float64
        A positive normal number. Other values give no meaningful result.

    Examples
    --------
    >>> exponent(0.125) - (1.5 * 2**52 + 1023)
    -3.0
    """
    return _exponent(x)


@intrinsic
def _square_root(typing_context, x):
    def generate(context, builder, signature, arguments):
        (value,) = arguments
        function = builder.module.declare_intrinsic("llvm.sqrt", [value.type])
        return builder.call(function, arguments)

    return x(x), generate


@njit
def square_root(x):
    """Return the square root of x, rounded correctly, and NaN where x is negative.

    Parameters
    ----------
    x : float32 or float64

    Examples
    --------
    >>> square_root(2.0)
    1.4142135623730951
    """
    return _square_root(x)


@intrinsic
def _copysign(typing_context, magnitude, sign):
    def generate(context, builder, signature, arguments):
        integer, _ = LAYOUT[arguments[0].type]
        mask = ir.Constant(integer, 1 << (integer.width - 1))
        size, sign = (builder.bitcast(value, integer) for value in arguments)
        bits = builder.or_(builder.and_(size, builder.not_(mask)), builder.and_(sign, mask))
        return builder.bitcast(bits, arguments[0].type)

    return magnitude(magnitude, sign), generate


@njit
def copysign(magnitude, sign):
    """Return the magnitude of one number with the sign bit of another.

    Parameters
    ----------
    magnitude, sign : float32 or float64
        Of one type.

    Examples
    --------
    >>> copysign(2.0, -0.0)
    -2.0
    """
    return _copysign(magnitude, sign)


class ByType(float):
    """A constant with a value of its own for each number type; in plain Python it is the float64 one.

    Parameters
    ----------
    float32, float64 : float
        The value in formulas bound to that type.
    """

    def __new__(cls, *, float32, float64):
        """Make the constant."""
        constant = super().__new__(cls, float64)
        constant.values = {"float32": float32, "float64": float64}
        return constant

    def resolve(self, number):
        """Return what a formula bound to `number`, a NumPy scalar type, sees in this one's place."""
        return number(self.values[number.__name__])


class Polynomial:
    """A polynomial for use in formulas, as a function of one scalar.

    Parameters
    ----------
    float32, float64 : tuple of float
        The coefficients for each number type, lowest power first.
    """

    def __init__(self, *, float32, float64):
        self.values = {"float32": float32, "float64": float64}

    def __call__(self, x):
        """Return the value at a Python number, computed in float64."""
        return _evaluate(self.values["float64"], x, x * x, fma)

    def resolve(self, number):
        """Return the function that evaluates the polynomial of that type."""
        coefficients = [float(number(value)) for value in self.values[number.__name__]]

        @intrinsic
        def evaluate(typing_context, x):
            def generate(context, builder, signature, arguments):
                (point,) = arguments
                values = [ir.Constant(point.type, value) for value in coefficients]
                return _emit(builder, point, values)

            return x(x), generate

        return evaluate


class PolynomialPair(Polynomial):
    """Two polynomials of one degree, as a function of a scalar and of a condition that chooses the first.

    Choosing each coefficient costs one instruction, where evaluating both polynomials costs two.

    Parameters
    ----------
    float32, float64 : tuple of two tuples of float
        The coefficients for each number type, lowest power first.
    """

    def resolve(self, number):
        """Return the function that evaluates the polynomials of that type."""
        choices = [
            tuple(float(number(value)) for value in pair) for pair in zip(*self.values[number.__name__], strict=True)
        ]

        @intrinsic
        def evaluate(typing_context, x, first):
            def generate(context, builder, signature, arguments):
                point, condition = arguments
                chosen = [
                    builder.select(condition, ir.Constant(point.type, one), ir.Constant(point.type, other))
                    for one, other in choices
                ]
                return _emit(builder, point, chosen)

            return x(x, first), generate

        return evaluate


def _emit(builder, x, coefficients):
    return _evaluate(coefficients, x, builder.fmul(x, x), functools.partial(emit_fma, builder))


def _horner(coefficients, x, fma):
    return functools.reduce(lambda result, coefficient: fma(result, x, coefficient), coefficients[::-1])


def _evaluate(coefficients, x, square, fma):
    """Return c0 + x (c1 + c2 x + ...), where it is long as c0 + x (c1 + c2 x + x^2 (c3 + c4 x + ...)).

    Then half as many steps wait for one another. c0 is in no pair, as there its rounding error would count in full.
    """
    if len(coefficients) < LONG:
        return _horner(coefficients, x, fma)
    first, *rest = coefficients
    *pairs, last = [rest[index : index + 2] for index in range(0, len(rest), 2)]
    result = _horner(last, x, fma)
    for pair in reversed(pairs):
        result = fma(result, square, _horner(pair, x, fma))
    return fma(result, x, first)
