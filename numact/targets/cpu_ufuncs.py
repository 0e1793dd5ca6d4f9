"""NumPy ufuncs whose loops call a CPU kernel by its address.

NumPy calls a ufunc in 0.24 us, and makes the result, too; Numba calls a compiled function in 0.42 (an Intel Xeon with
AVX-512). After each loop NumPy warns of the floating-point exceptions in it. A loop leaves none: an activation is right
where a part of it overflows, and of what the threads do with a large array NumPy does not hear.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc import _internal  # type: ignore[attr-defined]

from numact.targets import common

WORD, LONG, BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
DTYPES = "float16", "float32", "float64"  # NumPy's own
# NumPy calls a loop with where the operands are, how many elements they have, the bytes between these, and `data`.
LOOP = types.CPointer(types.voidptr), types.CPointer(types.intp), types.CPointer(types.intp)


def ufunc_loop(function, is_parallel=False, data=types.int64):
    """Return a ufunc's loop, compiled, whose last argument, the address that `make` takes, has the type `data`."""
    compiled = common.cached(njit, function, no_cpython_wrapper=True, parallel=is_parallel, error_model="numpy")
    compiled.compile((*LOOP, data))
    return compiled


def make(name, loop, address, operands, kept):
    """Return a ufunc of one result.

    Parameters
    ----------
    name : str
        Its name.
    loop : function
        From `ufunc_loop`.
    address : int
        A kernel's, or of what its loop needs to know.
    operands : list of list of dtype
        The dtypes of its inputs and its result, for each choice of them.
    kept : object
        What must live as long as the ufunc.
    """
    (compiled,) = loop.overloads.values()
    place = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
    numbers = [[np.dtype(item).num for item in choice] for choice in operands]
    inputs, choices, no_identity = len(operands[0]) - 1, len(operands), _internal.PyUFunc_None
    addresses, kept = [address] * choices, (loop, kept)
    return _internal.fromfunc(name, "", [place] * choices, numbers, inputs, 1, addresses, kept, no_identity)


def _call(builder, name, result, *arguments):
    """Call an intrinsic of LLVM for one kind of processor."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic
def status(typing_context):
    """Return the processor's floating-point status; 0 on other processors than x86-64 and AArch64."""

    def generate(context, builder, signature, arguments):
        if builder.module.triple.startswith("x86_64"):
            word = cgutils.alloca_once(builder, WORD)
            _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), builder.bitcast(word, BYTES))
            return builder.zext(builder.load(word), LONG)
        if builder.module.triple.startswith(("aarch64", "arm64")):
            return _call(builder, "llvm.aarch64.get.fpsr", LONG)
        return LONG(0)

    return types.uint64(), generate


@intrinsic
def restore(typing_context, kept):
    """Give the processor the floating-point status that `status` returned."""

    def generate(context, builder, signature, arguments):
        if builder.module.triple.startswith("x86_64"):
            word = cgutils.alloca_once_value(builder, builder.trunc(arguments[0], WORD))
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), builder.bitcast(word, BYTES))
        elif builder.module.triple.startswith(("aarch64", "arm64")):
            _call(builder, "llvm.aarch64.set.fpsr", ir.VoidType(), arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint64), generate
