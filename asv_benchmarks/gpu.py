"""Compare numact on a GPU with a device copy, CuPy and torch, side by side in one run, by CUDA graphs and events.

python asv_benchmarks/gpu.py --json gpu.json --update docs/performance.md
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import statistics
import time
from functools import partial
from pathlib import Path

import cupy
import torch
from numba import cuda
from peer_worker import Case, cupy_call, numact_call, tensor_call
from peers import comparable

import numact as na
from numact.interop.cupy_arrays import on_stream

DTYPES = ("float16", "bfloat16", "float32")
ELEMENTS = 1 << 26
ROWS = tuple(1 << power for power in range(7, 17))  # 128 to 65,536
ROWWISE = ("softmax", "log_softmax")
ROUNDS, CALLS = 5, 10  # the median over rounds, in which each library has so many calls in a row
SMALL, SMALL_CALLS = 1000, 2000  # what a call costs the host
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"


# --- what is compared ---------------------------------------------------------------------------------------------


def list_cases(functions, dtypes, size, rows):
    """Return every case: elementwise functions of one array, and rows of every length."""
    shapes = {True: [((size // length, length), 1) for length in rows], False: [((size,), None)]}
    return [
        Case(name, direction, dtype, size, shape, axis, True)
        for dtype in dtypes
        for name in functions
        for shape, axis in shapes[name in ROWWISE]
        for direction in ("forward", "backward")
    ]


def tensors(dtype, size):
    """Return an input, a gradient and an output of so many elements."""
    kind, generator = getattr(torch, dtype), torch.Generator("cuda").manual_seed(0)
    made = [torch.randn(size, dtype=kind, device="cuda", generator=generator) for _ in range(2)]
    return made[0] * 3, made[1], torch.empty(size, dtype=kind, device="cuda")


def copy_call(case, x, grad, out):
    """Return a copy of the array."""
    return partial(out.copy_, x)


LIBRARIES = {"copy": copy_call, "numact": numact_call, "cupy": cupy_call, "torch": tensor_call}


# --- timing -------------------------------------------------------------------------------------------------------


def captured(call):
    """Return a CUDA graph of some calls in a row: so the host's time for a call is not part of the GPU's."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream), on_stream(None, stream.cuda_stream):
        call()  # what is not compiled or allocated yet cannot be captured
        stream.synchronize()
        graph.capture_begin(capture_error_mode="relaxed")  # CuPy's pool may ask for memory
        try:
            for _ in range(CALLS):
                call()
        finally:
            graph.capture_end()
    return graph


def seconds(graph):
    """Return the seconds that the GPU takes for a call of a graph."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3 / CALLS


def measure(case, arrays):
    """Return the bandwidth of each library in bytes a second, of what the function must move at least."""
    x, grad, out = (array[: case.size].view(case.shape) for array in arrays)
    moved = {name: (2 if name == "copy" or case.direction == "forward" else 3) * x.nbytes for name in LIBRARIES}
    found = {}
    for name, make in LIBRARIES.items():
        with contextlib.suppress(TypeError, RuntimeError, NotImplementedError):  # a library without that kernel
            if call := make(case, x, grad, out):
                found[name] = captured(call)
    if "numact" not in found:
        captured(numact_call(case, x, grad, out))  # raises what was wrong
    times = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, graph in found.items():
            times[name].append(seconds(graph))
    return {name: moved[name] / statistics.median(times[name]) for name in found}


def per_call(call, calls):
    """Return the seconds that the host takes for a call, the least of some rounds; the GPU has done each by then."""
    best = float("inf")
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best


def overheads():
    """Return the seconds of a small call for each kind of array, beside CuPy's and torch's own kernels."""
    own = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x > 0 ? x : 0", "own_relu")
    x = cupy.ones(SMALL, cupy.float32)
    tensor, device = torch.ones(SMALL, device="cuda"), cuda.to_device(x.get())
    result, tensor_result, device_result = cupy.empty_like(x), torch.empty_like(tensor), cuda.device_array_like(device)
    calls = {
        "CuPy's ElementwiseKernel, out given": lambda: own(x, result),
        "CuPy's ElementwiseKernel, new array": lambda: own(x),
        "CuPy's ufunc (cupy.exp), out given": lambda: cupy.exp(x, out=result),
        "torch's relu, new tensor": lambda: torch.relu(tensor),
        "numact.relu of CuPy's array, out given": lambda: na.relu(x, out=result),
        "numact.relu of CuPy's array, new array": lambda: na.relu(x),
        "numact.relu of torch's tensor, out given": lambda: na.relu(tensor, out=tensor_result),
        "numact.relu of torch's tensor, new tensor": lambda: na.relu(tensor),
        "numact.relu of Numba's array, out given": lambda: na.relu(device, out=device_result),
        "numact.relu of Numba's array, new array": lambda: na.relu(device),
        "numact.softmax of CuPy's array, out given": lambda: na.softmax(x, out=result),
    }
    found = {}
    for name, call in calls.items():
        call()
        found[name] = per_call(call, SMALL_CALLS if "new array" not in name or "Numba" not in name else 200)
    return found


# --- compiling ahead ----------------------------------------------------------------------------------------------


def compile_some(name, dtype):
    """Fill the disk cache with the kernels of a function; in a process of its own."""
    x = torch.ones(max(ROWS), device="cuda").to(getattr(torch, dtype))
    for case in list_cases([name], [dtype], x.numel(), ROWS):
        array = x.view(case.shape)
        numact_call(case, array, array, torch.empty_like(array))()


def compile_ahead(functions):
    """Compile on all cores: Numba compiles one kernel at a time in a process."""
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, 16)) as pool:
        pool.starmap(compile_some, itertools.product(reversed(functions), DTYPES), chunksize=1)


# --- the report ---------------------------------------------------------------------------------------------------


def machine():
    """Return what the figures depend on."""
    import numba_cuda

    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cupy": cupy.__version__,
        "numba-cuda": numba_cuda.__version__,
        "cuda": torch.version.cuda,
        "numact": na.__version__,
    }


def table(results, calls):
    """Return the results in Markdown: the bandwidth of the copy, and each library's share of it."""
    lines = [
        "| function | pass | dtype | row | copy, GB/s | numact | CuPy | torch |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for case, speeds in results:
        shares = [
            f"{speeds[name] / speeds['copy']:.2f}" if name in speeds else "-" for name in ("numact", "cupy", "torch")
        ]
        row = f"{case.shape[-1]:,}" if case.axis else ""
        first = [case.function, case.direction, case.dtype, row, f"{speeds['copy'] / 1e9:,.0f}"]
        lines.append(f"| {' | '.join([*first, *shares])} |")
    lines += ["", f"| a call of {SMALL:,} elements | host, µs |", "|---|--:|"]
    lines += [f"| {name} | {seconds * 1e6:.1f} |" for name, seconds in calls.items()]
    return "\n".join(lines)


def parse_options():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--function", nargs="+", default=[name for name in comparable() if name in na.registry])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--elements", type=int, default=ELEMENTS)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--update", type=Path, help="replace the table in this file")
    return parser.parse_args()


def main():
    """Measure and report."""
    options = parse_options()
    functions = [name for name in options.function if hasattr(na.registry[name], "grad") or name in ROWWISE]
    compile_ahead(functions)
    results = []
    for dtype in options.dtype:
        arrays = tensors(dtype, options.elements)
        for case in list_cases(functions, [dtype], options.elements, options.rows):
            results.append((case, measure(case, arrays)))
    calls, facts = overheads(), machine()
    text = f"{', '.join(f'{name} {value}' for name, value in facts.items())}\n\n{table(results, calls)}"
    print(text)
    if options.json:
        listed = [case._asdict() | {"bytes_per_second": speeds} for case, speeds in results]
        options.json.write_text(json.dumps({"machine": facts, "results": listed, "seconds_per_call": calls}, indent=1))
    if options.update:
        before, _, rest = options.update.read_text().partition(BEGIN)
        options.update.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
