"""Bind a plain Python formula to a number type: literals take that type, names its functions."""

import builtins
import dis
import hashlib
import inspect
import linecache
import sys
import types
from functools import cache, cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit
from numba import types as numba_types
from numba.extending import overload

from numact import primitives
from numact.primitives import ByType, Polynomial

# Else each division carries a branch, or the call of a long formula stays a call, and nothing vectorises. What Python
# never calls needs no wrapper for it, which took a third of the time to compile; in the CUDA simulator Python does.
INNER_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
if not getattr(config, "ENABLE_CUDASIM", False):
    INNER_OPTIONS |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
JIT_OPTIONS = INNER_OPTIONS | {"forceinline": True}
BUILTINS = {"abs"}
# What straight-line code compiles to, by the beginning of an instruction's name: Python's versions differ in the end.
INSTRUCTIONS = (
    *("LOAD_FAST", "LOAD_CONST", "LOAD_SMALL_INT", "LOAD_GLOBAL", "LOAD_DEREF", "STORE_FAST", "POP_", "COPY", "SWAP"),
    *("BINARY_OP", "COMPARE_OP", "UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_NOT", "TO_BOOL", "JUMP_", "RETURN_"),
    *("CALL", "PRECALL", "PUSH_NULL", "KW_NAMES", "BUILD_TUPLE", "UNPACK_SEQUENCE"),
    *("RESUME", "CACHE", "NOP", "NOT_TAKEN", "EXTENDED_ARG"),
)
OPERATORS = {"+", "-", "*", "/", "+=", "-=", "*=", "/="}
SAID = {
    "LOAD_ATTR": "an attribute",
    "LOAD_METHOD": "a method",
    "BINARY_SUBSCR": "an index",
    "MAKE_FUNCTION": "a function",
}
ALLOWED = (
    "A formula is straight-line scalar code: numbers, arithmetic, comparisons, conditional expressions, abs(), "
    "numact.elementary functions, and other formulas."
)


class FormulaError(TypeError):
    """A formula uses something that cannot be compiled for every target."""


class Formula:
    """A scalar formula that can be bound to float32 or float64 and called from anywhere.

    Parameters
    ----------
    function : callable
        A plain Python function of scalars. It may call other formulas and read numbers of its module or closure. Its
        positional-only arguments, or where it has none those without a default, are elements of arrays; all others are
        parameters, one number for a whole call.

    Attributes
    ----------
    formula : callable
        The function itself.
    inputs, parameters : tuple of str
        The names of its arguments.

    Raises
    ------
    FormulaError
        If the function holds a loop, a string or a name that is neither a number nor a formula.
    """

    def __init__(self, function):
        if not isinstance(function, types.FunctionType):
            raise FormulaError(f"a formula must be a plain Python function, not {type(function).__name__}")
        self.formula = function
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__, self.__qualname__ = function.__module__, function.__qualname__
        self.__signature__ = inspect.signature(function)
        arguments = self.__signature__.parameters.values()
        inputs = [item.name for item in arguments if item.kind is item.POSITIONAL_ONLY]
        self.inputs = tuple(inputs or [item.name for item in arguments if item.default is item.empty])
        self.parameters = tuple(item.name for item in arguments if item.name not in self.inputs)
        # Of the CPU, see `numact.targets.cpu.kernel`: by the dtype's name, and by NumPy's dtype if that is its own.
        self.kernels, self.direct = {}, {}
        _check(function)

    def __repr__(self):
        return f"<formula {self.__name__}{self.__signature__}>"

    def __reduce__(self):
        is_there = getattr(sys.modules.get(self.__module__), self.__qualname__, None) is self
        return self.__qualname__ if is_there else (Formula, (self.formula,))

    def __call__(self, *arguments):
        """Return the value at Python numbers, computed in float64."""
        return self.scalar(*arguments)

    @cached_property
    def scalar(self):
        """The formula for use in `numba.njit` and `numba.cuda.jit` code: float32 in, float32 out; else float64."""

        names = list(self.__signature__.parameters)
        signature = str(self.__signature__.replace(return_annotation=inspect.Signature.empty))[1:-1]
        # A default of infinity is written `inf` in a signature.
        common = {"__name__": __name__, "inf": np.inf}
        bodies = {}
        for number in (np.float32, np.float64):
            scope = {**common, "core": self.compiled(number), "number": number}
            arguments = ", ".join(f"number({name})" for name in names)
            bodies[number] = eval(f"lambda {signature}: core({arguments})", scope)
        # The compiler reads the parameters from the code itself, so that defaults and keywords work.
        single = numba_types.float32
        scope = {**common, "choose": lambda x: bodies[np.float32 if x == single else np.float64]}
        scope["stub"] = stub = eval(f"lambda {signature}: None", scope)
        overload(stub, jit_options=JIT_OPTIONS)(eval(f"lambda {signature}: choose({names[0]})", scope))
        function = eval(f"lambda {signature}: stub({', '.join(names)})", scope)
        function.__name__, function.__doc__ = self.__name__, self.__doc__
        return njit(function, error_model="numpy", forceinline=True)

    def compiled(self, number):
        """Return the compiled function for `number`, either `numpy.float32` or `numpy.float64`."""
        return compiled(self.formula, number)

    def operations(self, number):
        """Return how many arithmetic operations the bound formula takes."""
        return operations(self.formula, number)

    def fingerprint(self, number):
        """Return a hash that changes with anything the bound formula is made of."""
        return fingerprint(self.formula, number)


@cache
def bind(function, number):
    """Copy a formula so that its literals have type `number` and its names mean that type's functions."""
    code = _with_constant_integers(function.__code__)
    constants = tuple(_literal(value, number) for value in code.co_consts)
    names = {name: _resolve(value, number) for name, value in _references(function).items()}
    names["__name__"] = __name__  # a cached function is loaded by the name of a module that can be imported
    cells = tuple(types.CellType(names[name]) for name in code.co_freevars)
    defaults = tuple(number(value) for value in function.__defaults__ or ())
    bound = types.FunctionType(code.replace(co_consts=constants), names, function.__name__, defaults, cells)
    bound.__doc__ = function.__doc__
    return bound


@cache
def compiled(function, number):
    """Return the bound formula as a Numba function that CPU and CUDA code can call."""
    return njit(bind(function, number), **JIT_OPTIONS)


@cache
def fingerprint(function, number):
    """Return a hash of the bound formula and all that it calls."""
    digest = hashlib.sha256(function.__code__.co_code + _package_source())
    constants = [value for value in function.__code__.co_consts if isinstance(value, Real)]
    digest.update(repr((constants, function.__defaults__, function.__code__.co_names)).encode())
    for name, value in sorted(_references(function).items()):
        if isinstance(value, ByType | Polynomial):
            value = value.values
        elif callee := _callee(value) or getattr(value, "py_func", None):
            value = "itself" if callee is function else fingerprint(callee, number)
        elif not isinstance(value, Real):
            value = getattr(value, "__qualname__", name)
        digest.update(f"{name}={value!r}".encode())
    return digest.hexdigest()[:16]


@cache
def operations(function, number):
    """Return how many operations the bound formula takes, those of the formulas that it calls included."""
    references, count = _references(function), 0
    for item in dis.get_instructions(function):
        value = references.get(item.argval) if item.opname in ("LOAD_GLOBAL", "LOAD_DEREF") else None
        if isinstance(value, Polynomial):
            count += np.shape(value.values[number.__name__])[-1]
        elif callee := _callee(value):
            count += operations(callee, number)
        else:
            count += item.opname in ("BINARY_OP", "COMPARE_OP", "UNARY_NEGATIVE", "CALL")
    return count


@cache
def _package_source():
    """Return the code that turns formulas into instructions, for the fingerprint."""
    return b"".join(Path(file).read_bytes() for file in (__file__, primitives.__file__))


def _literal(value, number):
    """Give a number literal, or those of a tuple, the compute type; leave None and truth values alone."""
    if isinstance(value, tuple):
        return tuple(_literal(item, number) for item in value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return number(value)


def _callee(value):
    """Return the plain function behind a formula, or None where the value is something else."""
    value = getattr(value, "formula", value)
    return value if isinstance(value, types.FunctionType) else None


def _resolve(value, number):
    """Return what stands in a bound formula for a value that the plain formula refers to."""
    if isinstance(value, ByType | Polynomial):
        return value.resolve(number)
    if callee := _callee(value):
        return compiled(callee, number)
    return _literal(value, number)


def _references(function):
    """Return every outside name that the code reads, with its value."""
    code, closure = function.__code__, inspect.getclosurevars(function)
    cells = {name: closure.nonlocals[name] for name in code.co_freevars}
    loads = {item.argval for item in dis.get_instructions(code) if item.opname == "LOAD_GLOBAL"}
    scope = {**vars(builtins), **function.__globals__}
    return {**{name: scope[name] for name in loads}, **cells}


def _with_constant_integers(code):
    """Return code whose small integers are constants; Python 3.14 writes them into the instruction."""
    if "LOAD_SMALL_INT" not in dis.opmap:
        return code
    small, constant = dis.opmap["LOAD_SMALL_INT"], dis.opmap["LOAD_CONST"]
    binary, constants = bytearray(code.co_code), list(code.co_consts)
    for item in dis.get_instructions(code):
        if item.opcode == small:
            binary[item.offset : item.offset + 2] = constant, len(constants)
            constants.append(item.arg)
    return code.replace(co_code=bytes(binary), co_consts=tuple(constants))


def _check(function):
    """Raise a FormulaError that shows the line where the function leaves what formulas may do."""
    code = function.__code__
    line = code.co_firstlineno
    closure = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    scope = {**vars(builtins), **function.__globals__}

    def refuse(what):
        text = linecache.getline(code.co_filename, line).strip()
        shown = f"\n    {text}" if text else ""
        raise FormulaError(f"{function.__name__}, line {line}: {what}.{shown}\n{ALLOWED}")

    instructions = list(dis.get_instructions(code))
    # A loop first: its bounds would be refused too, and say less.
    instructions.sort(key=lambda item: not _is_loop(item))
    for item in instructions:
        line = (item.positions.lineno if item.positions else None) or line
        if _is_loop(item):
            refuse("a loop cannot be compiled for every target")
        if item.opname in ("LOAD_CONST", "RETURN_CONST") and not _is_real(item.argval):
            refuse(f"{item.argval!r} is not a real number")
        if item.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if item.argval not in scope:
                refuse(f"the name {item.argval!r} is unknown")
            _check_value(item.argval, scope[item.argval], refuse)
        if item.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
            try:
                value = closure[item.argval].cell_contents
            except (KeyError, ValueError):
                refuse(f"the name {item.argval!r} has no value yet")
            _check_value(item.argval, value, refuse)
        elif item.opname == "BINARY_OP" and item.argrepr not in OPERATORS:
            hint = "; write x * x for a square" if "**" in item.argrepr else ""
            refuse(f"the operator {item.argrepr} cannot be compiled for every target{hint}")
        elif not item.opname.startswith(INSTRUCTIONS):
            what = SAID.get(item.opname) or f"{item.opname.lower().replace('_', ' ')!r}"
            refuse(f"{what} cannot be compiled for every target")


def _is_real(value):
    return all(map(_is_real, value)) if isinstance(value, tuple) else isinstance(value, Real)


def _is_loop(instruction):
    return instruction.opname == "FOR_ITER" or "BACKWARD" in instruction.opname


def _check_value(name, value, refuse):
    """Call `refuse` unless the value is a number, a compiled function or a formula."""
    if isinstance(value, ByType | Polynomial | Real) or hasattr(value, "py_func"):
        return
    if callee := _callee(value):
        if callee is value:
            _check(callee)
        return
    if name in BUILTINS and value is getattr(builtins, name):
        return
    if isinstance(value, types.ModuleType):
        refuse(f"{name!r} is a module; import the function by name, as in `from numact.elementary import exp`")
    refuse(f"{name!r} is {type(value).__name__} {value!r}, neither a number nor a formula")
