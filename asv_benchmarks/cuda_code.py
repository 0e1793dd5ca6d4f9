"""Read the machine code of the CUDA kernels for a compute capability; a process that exact.py starts for each.

The compiler and NVIDIA's assembler need no GPU; nothing is run.
"""

import json
import re
import sys
from types import SimpleNamespace

from cuda import core
from numba import cuda, types
from numba.cuda import dispatcher

import numact as na
from numact.base import Elementwise
from numact.targets import common, cuda_projections, cuda_rows
from numact.targets import cuda as target

DTYPE = "float32"
WORD, NOP = 16, 0x7918  # bytes of an instruction from compute capability 7.0 on; its low bits where it only fills up


def array(dimensions):
    """Return Numba's type of a contiguous array of so many axes."""
    return types.Array(getattr(types, common.storage(DTYPE).name), dimensions, "C")


def elementwise_kernels(function):
    """Yield the name of each kernel of an elementwise activation, its Python function and its signature."""
    count = len(function._value.inputs)
    formulas = {"value": function._value, "derivative": function._derivative, "backward": function._product}
    for which, formula in formulas.items():
        results = 1 if which == "value" else count
        kinds = (DTYPE,) * len(formula.inputs)
        kernel = target.elementwise_function.__wrapped__(formula, kinds, DTYPE, (DTYPE,) * results)
        yield which, kernel, (array(1),) * (len(kinds) + results) + (types.float32,) * len(formula.parameters)


def row_kernels(function):
    """Yield the name of each kernel of a row-wise activation, its Python function and its signature."""
    for which in ("value", "backward"):
        if isinstance(function, na.projections.Projection):
            kernel = cuda_projections.kernel.__wrapped__(function._formulas, which, DTYPE)
            yield which, kernel, (array(3),) * (2 if which == "value" else 3)
            continue
        scaled = getattr(function, "_scale", 1.0) != 1.0
        kernel = cuda_rows.function.__wrapped__(function._formulas, which, DTYPE, scaled, False)
        reduced = array(2 if isinstance(function, na.rows.Reduction) else 3)
        arrays = (array(3), reduced) if which == "value" else (reduced, array(3), array(3))
        yield which, kernel, (*arrays, types.float32)


def assemble(ptx, capability):
    """Return the machine code of PTX as an ELF file, and the assembler's report."""
    options = core.LinkerOptions(arch=f"sm_{capability}", ptxas_options=["-v"])
    linker = core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=options)
    code = linker.link("cubin").code
    return bytes(code), (linker.get_info_log() or "") + (linker.get_error_log() or "")


def count_instructions(elf):
    """Return how many instructions the code sections of an ELF file hold, those left out that fill them up."""
    start, size, count = (int.from_bytes(elf[a:b], "little") for a, b in ((40, 48), (58, 60), (60, 62)))
    headers = [elf[start + index * size : start + (index + 1) * size] for index in range(count)]
    total = 0
    for header in headers:
        flags, offset, length = (int.from_bytes(header[a:b], "little") for a, b in ((8, 16), (24, 32), (32, 40)))
        if flags & 4:  # SHF_EXECINSTR
            words = [elf[at : at + 2] for at in range(offset, offset + length, WORD)]
            total += sum(int.from_bytes(word, "little") != NOP for word in words)
    return total


def accesses(ptx):
    """Return how many accesses to global memory it takes to move 16 bytes, on the average over those in the code."""
    found = re.findall(r"\b(?:ld|st)\.global(?:\.nc)?(?:\.v(\d))?\.[a-z](\d+)", ptx)
    return 16 * 8 * len(found) / sum(int(count or 1) * int(bits) for count, bits in found)


def main(capability, names):
    """Print the figures of the activations of these names as JSON."""
    numbers = int(capability[:-1]), int(capability[-1])
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=numbers)
    figures = {}
    for name in names:
        function = na.registry[name]
        kernels = elementwise_kernels(function) if isinstance(function, Elementwise) else row_kernels(function)
        for which, kernel, signature in kernels:
            ptx = cuda.compile_ptx(kernel, signature, cc=numbers)[0]
            elf, report = assemble(ptx, capability)
            stores, loads = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report).groups()
            label = f"{name} {which} sm_{capability}"
            figures[f"{label} registers"] = int(re.search(r"Used (\d+) registers", report)[1])
            figures[f"{label} spilled bytes"] = int(stores) + int(loads)
            figures[f"{label} instructions"] = count_instructions(elf)
            figures[f"{label} accesses for 16 bytes"] = accesses(ptx)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
