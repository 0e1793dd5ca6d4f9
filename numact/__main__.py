"""python -m numact: what hardware there is, and how fast and how exact every activation is on it."""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

import numact as na
from numact.warmup import plan

SIZES = ["4096x4096", "64000x1000"]  # a transformer block's activations, and 64 million elements
PEER_ELEMENTS = 16_000_000  # the NumPy or SciPy expression, many times slower, is timed on so many at the most
SAMPLE_ELEMENTS = 1_000_000  # results compared with the reference
REPEATS = 7
PURPOSE = "Compile activations ahead, so that their first calls load from the disk cache."
MISSING = "python -m numact needs {}: pip install 'numact[cli]'"


class Target(NamedTuple):
    """Where arrays can live: how one gets there and back, and how long a call takes there, in seconds."""

    name: str
    put: Callable[[np.ndarray], Any]
    get: Callable[[Any], np.ndarray]
    seconds: Callable[[Callable[[], Any]], float]


@numba.njit(parallel=True, nogil=True)
def copy_tiles(x, out):
    """Copy on all threads, as a yardstick: the same bytes with no arithmetic."""
    for tile in numba.prange((x.size + 16_383) // 16_384):
        low = tile * 16_384
        out[low : low + 16_384] = x[low : low + 16_384]


def cpu_seconds(call):
    """Return the median time of a call by wall clock, compiled and warm."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gpu_seconds(call):
    """Return the median time of a call between two CUDA events."""
    from numba import cuda

    call()
    times = []
    for _ in range(REPEATS):
        start, stop = cuda.event(), cuda.event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(cuda.event_elapsed_time(start, stop) / 1e3)
    return statistics.median(times)


def find_targets():
    """Return the targets present, and a line on the GPU or on why there is none."""
    targets = [Target("cpu", lambda x: x, lambda x: x, cpu_seconds)]
    try:
        from numba import cuda
    except ImportError:
        return targets, "none: numba-cuda is not installed (pip install 'numact[cuda13]' or 'numact[cuda12]')"
    if not cuda.is_available():
        return targets, "none: no CUDA driver or device found"
    name = cuda.get_current_device().name
    targets.append(Target("gpu", cuda.to_device, lambda x: x.copy_to_host(), gpu_seconds))
    return targets, name.decode() if isinstance(name, bytes) else name


def hardware(gpu):
    """Return what was found, as lines by label."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    widths = {"avx512f": "AVX-512, 16 float32", "avx2": "AVX2, 8 float32", "neon": "NEON, 4 float32"}
    numba.get_num_threads()
    copy_tiles(np.ones(10, np.float32), np.ones(10, np.float32))
    return {
        "CPU": f"{llvm.get_host_cpu_name()} ({platform.machine()})",
        "SIMD": next((text for name, text in widths.items() if features.get(name)), "baseline"),
        "threads": f"{numba.get_num_threads()} ({numba.threading_layer()})",
        "GPU": gpu,
    }


def copy_seconds(target, x, out):
    """Return the time to copy the same bytes on a target."""
    if target.name == "cpu":
        return target.seconds(lambda: copy_tiles(x.ravel(), out.ravel()))
    return target.seconds(lambda: out.copy_to_device(x))


def measure(name, target, host, copy):
    """Return one line of the report: an activation on an array of one target."""
    from numact.references import REFERENCES, ulp_error
    from numact.rows import Reduction

    function, reference = na.registry[name], REFERENCES[name]
    # A reduction has one value for each row.
    result = np.ones(host.shape[:1] if isinstance(function, Reduction) else host.shape, host.dtype)
    x, out = target.put(host), target.put(result)
    moved = host.nbytes + result.nbytes
    seconds = target.seconds(lambda: function(x, out=out))
    rows = max(1, SAMPLE_ELEMENTS // host.shape[1])
    computed = target.get(out)[:rows]
    with np.errstate(all="ignore"):
        exact = reference.value(host[:rows].astype(np.float64), *reference.defaults(np.float32))
        error = ulp_error(computed, exact)
        part = host[: max(1, PEER_ELEMENTS // host.shape[1])]
        peer = cpu_seconds(lambda: reference.value(part)) * host.size / part.size
    return {
        "activation": name,
        "target": target.name,
        "shape": list(host.shape),
        "milliseconds": seconds * 1e3,
        "gigabytes_per_second": moved / seconds / 1e9,
        "share_of_copy": copy * moved / (2 * host.nbytes) / seconds,
        "times_numpy": peer / seconds,
        "largest_error_ulp": float(error.max()),
    }


def measure_all(shapes, targets):
    """Yield the lines of the report; a progress bar goes to stderr."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(shapes) * len(targets) * len(na.registry))
        for shape in shapes:
            host = (np.random.default_rng(0).standard_normal(shape, np.float32) * 3).astype(np.float32)
            for target in targets:
                copy = copy_seconds(target, target.put(host), target.put(np.ones_like(host)))
                for name in na.registry:
                    progress.update(task, description=f"{name} on {target.name}")
                    yield measure(name, target, host, copy)
                    progress.advance(task)


def print_report(found, lines):
    """Print the hardware and a table for each array."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for label, text in found.items():
        console.print(f"{label:8}{text}", highlight=False)
    console.print("NumPy arrays run on the CPU; CuPy, Numba and PyTorch CUDA arrays on their GPU.\n")
    for shape in dict.fromkeys(tuple(line["shape"]) for line in lines):
        table = Table(title=f"float32, {' x '.join(map(str, shape))}, with out=", title_justify="left")
        for heading in ("activation", "on", "ms", "GB/s", "of copy", "x NumPy/SciPy", "largest ULP"):
            table.add_column(heading, justify="left" if heading in ("activation", "on") else "right")
        for line in (line for line in lines if tuple(line["shape"]) == shape):
            cells = [f"{line['milliseconds']:.2f}", f"{line['gigabytes_per_second']:.1f}"]
            cells += [f"{line['share_of_copy']:.0%}", f"{line['times_numpy']:.1f}", f"{line['largest_error_ulp']:.2f}"]
            table.add_row(line["activation"], line["target"], *cells)
        console.print(table)


def parse_shape(text):
    """Return the rows and columns of an argument like 4096x4096."""
    rows, _, columns = text.partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write rows x columns, as in 4096x4096")
    return int(rows), int(columns)


def add_warmup(parser):
    """Add the command that compiles ahead."""
    commands = parser.add_subparsers(dest="command", metavar="command")
    command = commands.add_parser("warmup", help="compile activations ahead, into the disk cache", description=PURPOSE)
    command.add_argument("names", nargs="*", metavar="name", help="default: all activations")
    command.add_argument("--dtype", action="append", help="may be repeated; default: all floating dtypes")
    command.add_argument("--target", action="append", help="cpu or cuda; may be repeated; default: all there are")


def run_warmup(options):
    """Compile ahead under a progress bar on stderr; return the exit code."""
    from rich.console import Console
    from rich.progress import track

    try:
        jobs = plan(options.names or None, options.dtype, options.target)
        for job in track(jobs, "compiling", console=Console(stderr=True), transient=True):
            job.run()
    except (ValueError, RuntimeError) as error:
        print(f"python -m numact warmup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def main(arguments=None):
    """Run the report or the command that is named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m numact", description=__doc__.split(": ", 1)[1].strip())
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    parser.add_argument(
        "--shape", action="append", type=parse_shape, metavar="ROWSxCOLUMNS", help=f"default: {' and '.join(SIZES)}"
    )
    add_warmup(parser)
    options = parser.parse_args(arguments)
    for package in ("rich",) if options.command == "warmup" else ("rich", "scipy"):
        try:
            __import__(package)
        except ImportError:
            print(MISSING.format(package), file=sys.stderr)
            return 1
    if options.command == "warmup":
        return run_warmup(options)
    targets, gpu = find_targets()
    found = hardware(gpu)
    try:
        lines = list(measure_all(options.shape or [parse_shape(size) for size in SIZES], targets))
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps({"numact": na.__version__, "hardware": found, "results": lines}, indent=2))
    else:
        print_report(found, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
