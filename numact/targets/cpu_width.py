"""How wide the vectors of CPU kernels are.

LLVM keeps to 256 bits on Intel's CPUs with AVX-512, since the first of them lowered their clock for 512. Sapphire
Rapids and Emerald Rapids do not: with all 512, 100,000 values of sigmoid, tanh, gelu, silu, mish and softplus took 0.66
to 0.87 of the time on the one, 0.58 to 0.92 on the other, in float32 and in float64, rows of 1,000 0.74 to 0.88, and 16
million values of gelu 0.78. What mostly moves memory was slower on Sapphire Rapids, as an access to an array that
begins at no multiple of 64 touches two cache lines: squareplus took 1.03 of the time, softsign and hardswish 1.07, relu
1.2.
"""

import re

import numpy as np
from numba import types
from numba.extending import intrinsic

from numact.targets import common

# The CPUs by LLVM's names, and what tells their successors from earlier ones: a hypervisor may hide it.
FASTER_ON, FASTER_WITH = ("sapphirerapids", "emeraldrapids", "graniterapids", "graniterapids-d"), "+avx512fp16"
FASTER_FROM = 20  # operations: hardswish takes 5, elu 24, sigmoid 29


@intrinsic
def use_full_width(typing_context):
    """Let LLVM use the widest vectors that there are in the function that calls this, where that is faster."""

    def generate(context, builder, signature, arguments):
        _, cpu, features = context.codegen().magic_tuple()
        if cpu in FASTER_ON or FASTER_WITH in features:
            # llvmlite refuses attributes that it does not know.
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


def define(source, module, scope, label, operations=np.inf):
    """Run a CPU module's source text and return its functions, which do that many operations with an element.

    The rest is as in `numact.targets.common.define`.
    """
    if operations >= FASTER_FROM:
        scope["use_full_width"] = use_full_width
        source = re.sub(r"^(def .*:)$", r"\1\n    use_full_width()", source, flags=re.MULTILINE)
    return common.define(source, module, scope, label)
