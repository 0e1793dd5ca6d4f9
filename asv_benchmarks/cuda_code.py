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
from numact.targets import common, cuda_projections
from numact.targets import cuda as target
from numact.targets import cuda_row_kernels as rows
from numact.targets.cuda_launch import MOST_THREADS

DTYPE = "float32"
HELD = rows.Layout(lanes=4, values=16, are_columns=False, is_streamed=False)  # 16 entries of a row a thread
WORD, NOP = 16, 0x7918  # bytes of an instruction from compute capability 7.0 on; its low bits where it only fills up


def array(dimensions):
    """Return Numba's type of a contiguous array of so many axes."""
    return types.Array(getattr(types, common.storage(DTYPE).name), dimensions, "C")


def elementwise_kernels(function):
    """Yield the name of each kernel of an elementwise activation, its Python function and its signature."""
    function = getattr(function, "common", function)  # of commits that know one form only, that
    count = len(function._value.inputs)
    formulas = {"value": function._value, "derivative": function._derivative, "backward": function._product}
    for which, formula in formulas.items():
        results = 1 if which == "value" else count
        kernel, _ = target.vectors_function.__wrapped__(formula, DTYPE, results)
        integers = len(formula.inputs) + results + 1  # addresses, and the size
        yield which, kernel, (types.int64,) * integers + (types.float32,) * len(formula.parameters)


def row_kernels(function):
    """Yield the name of each kernel of a row-wise activation, its Python function and its signature."""
    for which in ("value", "backward"):
        if isinstance(function, na.projections.Projection):
            kernel = cuda_projections.kernel.__wrapped__(function._formulas, which, DTYPE)
            yield which, kernel, (array(3),) * (2 if which == "value" else 3)
            continue
        scaled = getattr(function, "_scale", 1.0) != 1.0
        kernel = rows.function.__wrapped__(function._formulas, which, DTYPE, scaled, False, HELD)
        addresses, sizes = 2 if which == "value" else 3, 5
        yield which, kernel, (types.int64,) * (addresses + sizes) + (types.float32,)


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
    for name in filter(na.registry.__contains__, names):  # an older commit has fewer
        function = na.registry[name]
        kernels = elementwise_kernels(function) if isinstance(function, Elementwise) else row_kernels(function)
        for which, kernel, signature in kernels:
            ptx = cuda.compile_ptx(kernel, signature, cc=numbers, launch_bounds=MOST_THREADS)[0]
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
