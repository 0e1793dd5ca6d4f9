"""Read the loops of the CPU kernels in the machine code for a CPU model; a process that exact.py starts for each model.

Numba takes the model from NUMBA_CPU_NAME and compiles for it, whatever the CPU here is; nothing is run. The first
argument is a key of exact.MODELS.
"""

# ruff: noqa: E402
import json
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import llvmlite.binding as llvm
from exact import MODELS

# Numba asks at its import what to compile for. Told another architecture, it compiles for that as if it were here.
part = sys.argv[1]
architecture = MODELS[part].partition("-")[0]
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
llvm.get_process_triple = lambda: MODELS[part]

import numba
from numba import types
from numba.core.cpu import CPUContext

import numact as na
from numact.base import Elementwise
from numact.targets import common, cpu, cpu_arrays, cpu_gathered, cpu_rows

common.cached = lambda compiler, function, **options: compiler(**options)(function)  # what is loaded has no code


def declare_function(context, module, descriptor, declare=CPUContext.declare_function):
    """Declare a function to LLVM; those of kernels as not to be inlined, so that each loop is found once or not."""
    function = declare(context, module, descriptor)
    if descriptor.modname.startswith("numact.targets") and not descriptor.inline:
        function.attributes.add("noinline")
    return function


CPUContext.declare_function = declare_function

model, _, dtype = part.partition(" ")
DTYPE = dtype or "float32"
ITEMSIZE = common.storage(DTYPE).itemsize
ARRAY = types.Array(getattr(types, common.storage(DTYPE).name), 1, "C")
COMMENTS = {"x86_64": "#", "aarch64": "//"}  # what begins one in the assembly of an architecture
PACKED = r"\tv?(mov[au]p|movdq|p[a-z]+|\w+p[sd]\b)"  # x86-64 instructions of whole registers, not of a single number


class Loop(NamedTuple):
    """An innermost loop: its instructions, and how many elements it takes at a time."""

    instructions: list
    elements: int


def read_loops(library):
    """Return the innermost loops of a compiled function.

    The assembly, with LLVM's comments, says which instructions are in a loop; the intermediate code, where the counter
    still counts elements, how many of them a round takes.
    """
    library.codegen._tm.set_asm_verbosity(True)
    code = dict(re.findall(r'^define [^\n]*?@"?([^\s"(]+)"?\(.*?\{\n(.*?)^\}', library.get_llvm_str(), re.M | re.S))
    found, function, label, name, loop = {}, "", "", "", None
    for line in library.get_asm_str().splitlines():
        text, _, comment = line.partition(COMMENTS[architecture])
        if (start := re.match(r'"?([^\s".]+)"?:', text)) and start[1] in code:
            function = start[1]
        if text.startswith(".LBB") or "%bb." in comment:
            label, loop = text.strip()[2:-1], None
            name = (re.findall(r'%"?([\w.$-]+)', comment) or [""])[-1]
        if "Inner Loop Header" in comment:
            loop = found[label] = ([], function, name)
        elif inside := re.search(r"in Loop: Header=(\w+)", comment):
            loop = found.get(inside[1])
        if loop and re.match(r"\t\w", text):
            loop[0].append(text.rstrip())
    return [Loop(lines, count_elements(code[function], header)) for lines, function, header in found.values()]


def count_elements(code, header):
    """Return by how much the counter of a loop grows, or shrinks, in a round; the loop is named by its first block."""
    parts = re.split(r'^"?([\w.$-]+)"?:.*$', code, flags=re.M)
    block = dict(zip(parts[1::2], parts[2::2], strict=True)).get(header, "")
    steps = [1]
    for counter, incoming in re.findall(r"(%\S+) = phi i64 (.*)", block):
        for value in re.findall(r"\[ (%[^,]+),", incoming):
            found = re.search(rf"{re.escape(value)} = add [a-z ]*i64 {re.escape(counter)}, (-?\d+)$", code, re.M)
            steps.append(abs(int(found[1])) if found else 1)
    return max(steps)


def width(loop):
    """Return the bytes of the widest register that a loop computes with; what it calls takes a number at a time."""
    text = "\n".join(loop.instructions)
    if has_call(loop):
        return ITEMSIZE
    for bytes_wide, pattern in {64: "%zmm", 32: "%ymm", 16: r"\bq\d+|\bv\d+\.\d*[a-z]"}.items():
        if re.search(pattern, text):
            return bytes_wide
    return 16 if re.search(PACKED, text) else ITEMSIZE


def has_call(loop):
    """Return whether a loop calls a function."""
    return any(re.match(r"\t(call|bl)", line) for line in loop.instructions)


def elementwise_loops(function):
    """Yield the name of each kernel of an elementwise activation, the functions of its loops, and its code."""
    function = getattr(function, "common", function)  # of commits that know one form only, that
    for which, formula in {
        "value": function._value,
        "derivative": function._derivative,
        "backward": function._product,
    }.items():
        results = 1 if which == "value" else len(function._value.inputs)
        if results == 1:
            kernel = cpu.kernel(formula, DTYPE)
            kernel = getattr(kernel, "kernel", kernel)  # of commits that wrap it
        else:
            kinds = cpu_arrays.Kinds(("whole",) * len(formula.inputs), ("whole",) * results, False)
            kernel = cpu_arrays.kernel(formula, DTYPE, kinds)
        loop = kernel.function.py_func.__globals__["loop"]
        numbers = (types.float64,) * len(formula.parameters)
        loop.compile((ARRAY,) * len(formula.inputs) + numbers + (ARRAY,) * results)
        yield which, [loop], assembly(loop)


def row_loops(function):
    """Yield the name of each kernel of a row-wise activation, the functions of the loops it goes through, and its code.

    Not those for a result in the place of an input.
    """
    for which in ("value", "backward"):
        arrays = (types.int64, *(ARRAY,) * (2 if which == "value" else 3))
        if isinstance(function, na.projections.Projection):
            kernel = cpu_gathered.kernel(function._formulas, which, DTYPE).function
            kernel.compile(arrays + (types.int64,) * 3)
            yield which, list(called(kernel)), assembly(kernel)
            continue
        scaled = getattr(function, "_scale", 1.0) != 1.0
        made = cpu_rows.kernels.__wrapped__(function._formulas, which, DTYPE, scaled)
        for name, kernel in ((which, made.long.function), (f"{which} of columns", made.strip.function)):
            kernel.py_func.__globals__["is_same"] = numba.njit(lambda array, out: False)
            sizes = kernel.py_func.__code__.co_argcount - len(arrays) - 1  # as many as the commit has
            kernel.compile(arrays + (types.int64,) * sizes + (types.float64,))
            yield name, list(called(kernel)), assembly(kernel)


def assembly(function):
    """Return the machine code of a function compiled once, with what it calls."""
    (compiled,) = function.overloads.values()
    return compiled.library.get_asm_str()


def compiled_in(code, function):
    """Return the versions of a function that are in a kernel's code: LLVM drops those of what is never the case."""
    return [item for item in function.overloads.values() if item.fndesc.llvm_func_name in code]


def called(function):
    """Yield each compiled function with loops of its own that a function calls, once; what it inlines has none."""
    code, seen, waiting = assembly(function), set(), [function]
    while waiting:
        scope, names = waiting[-1].py_func.__globals__, waiting.pop().py_func.__code__.co_names
        callees = [scope[name] for name in names if hasattr(scope.get(name), "overloads")]
        for callee in callees:
            if callee in seen or callee.targetoptions.get("forceinline"):
                continue
            seen.add(callee)
            if callee.targetoptions.get("inline") == "always":  # by Numba: its code is the caller's
                waiting.append(callee)
            elif compiled_in(code, callee):
                waiting.append(callee)
                if "range" in callee.py_func.__code__.co_names:
                    yield callee


def hot_loops(functions, code):
    """Return of each function in a kernel's code the widest loop, of these the one that takes most elements at a time.

    So none for the rest, which LLVM may unroll; nor one that calls others of the functions.
    """
    found = []
    for function in functions:
        scope, names = function.py_func.__globals__, function.py_func.__code__.co_names
        calls_others = any(scope.get(name) in functions for name in names)
        for overload in compiled_in(code, function):
            loops = [loop for loop in read_loops(overload.library) if not (calls_others and has_call(loop))]
            widest = max(loops, key=lambda loop: (width(loop), loop.elements, len(loop.instructions)), default=None)
            found += [widest] if widest else []
    return found


def estimate_cycles(loops):
    """Return the cycles that LLVM's machine-code analyser gives a round of each loop, or None where it cannot."""
    if not shutil.which("llvm-mca"):
        print("no cycles: llvm-mca is not installed (Debian's package llvm has it)", file=sys.stderr)
        return [None] * len(loops)
    command = ["llvm-mca", "-json", f"-mtriple={MODELS[part]}", f"-mcpu={model}"]
    regions = [
        "\n".join([f"# LLVM-MCA-BEGIN {index}", *loop.instructions, "# LLVM-MCA-END"])
        for index, loop in enumerate(loops)
    ]
    done = subprocess.run(command, input="\n".join(regions), capture_output=True, text=True)
    if done.returncode:
        print(f"no cycles for {model}: llvm-mca says {done.stderr.strip().splitlines()[0]}", file=sys.stderr)
        return [None] * len(loops)
    found = {region["Name"]: region["SummaryView"] for region in json.loads(done.stdout)["CodeRegions"]}
    return [found[str(index)]["TotalCycles"] / found[str(index)]["Iterations"] for index in range(len(loops))]


def main(names):
    """Print the figures of the activations of these names as JSON: of a kernel of several loops, their sums."""
    kernels = {}
    for name in filter(na.registry.__contains__, names):  # an older commit has fewer
        function = na.registry[name]
        parts = elementwise_loops(function) if isinstance(function, Elementwise) else row_loops(function)
        found = {f"{name} {which}": hot_loops(compiled, code) for which, compiled, code in parts}
        kernels |= {kernel: loops for kernel, loops in found.items() if loops}  # without any, its figures are missing
    every = [loop for loops in kernels.values() for loop in loops]
    cycles = iter(estimate_cycles(every))
    figures = {}
    for kernel, loops in kernels.items():
        figures[f"{kernel} {part} registers for 64 bytes"] = sum(64 // width(loop) for loop in loops)
        figures[f"{kernel} {part} instructions per element"] = sum(
            len(loop.instructions) / loop.elements for loop in loops
        )
        estimates = [(next(cycles), loop.elements) for loop in loops]
        if None not in [estimate for estimate, _ in estimates]:
            figures[f"{kernel} {part} cycles per element"] = sum(estimate / count for estimate, count in estimates)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[2:])
