"""The report: what hardware there is, and how fast and how exact every activation is on it."""

import argparse
import json
import math

import numpy as np

import numact as na
from numact.commands.hardware import copy_call, cpu_seconds, find_targets, hardware

SIZES = ["4096x4096", "64000x1000"]  # a transformer block's activations, and 64 million elements
PEER_ELEMENTS = 16_000_000  # the NumPy or SciPy expression, many times slower, is timed on so many at the most
SAMPLE_ELEMENTS = 1_000_000  # results compared with the reference
REPORTED = [name for name in na.registry if name != "glu"]  # which takes an even number of columns alone
PACKAGES = ("rich", "scipy")


def measure(name, target, host, copy):
    """Return one line of the report: an activation on an array of one target."""
    from numact.references import REFERENCES, ulp_error

    function, reference = na.registry[name], REFERENCES[name]
    arguments = function._sample(target.put(host))
    out = function(*arguments)
    moved = host.nbytes + math.prod(out.shape) * host.itemsize
    seconds = target.seconds(lambda: function(*arguments, out=out))
    rows = max(1, SAMPLE_ELEMENTS // host.shape[1])
    computed = target.get(out)[:rows]
    with np.errstate(all="ignore"):
        wide = function._sample(host[:rows].astype(np.float64))
        exact = reference.value(*wide, *reference.defaults(np.float32))
        error = ulp_error(computed, exact)
        part = host[: max(1, PEER_ELEMENTS // host.shape[1])]
        peer = cpu_seconds(lambda: reference.value(*function._sample(part))) * host.size / part.size
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
        task = progress.add_task("", total=len(shapes) * len(targets) * len(REPORTED))
        for shape in shapes:
            host = (np.random.default_rng(0).standard_normal(shape, np.float32) * 3).astype(np.float32)
            for target in targets:
                copy = target.seconds(copy_call(target, target.put(host), target.put(np.ones_like(host))))
                for name in REPORTED:
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


def add(parser):
    """Add the arguments of the report."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    parser.add_argument(
        "--shape", action="append", type=parse_shape, metavar="ROWSxCOLUMNS", help=f"default: {' and '.join(SIZES)}"
    )


def run(options):
    """Measure, and print the report; return the exit code."""
    targets, gpu = find_targets()
    found = hardware(gpu)
    lines = list(measure_all(options.shape or [parse_shape(size) for size in SIZES], targets))
    if options.json:
        print(json.dumps({"numact": na.__version__, "hardware": found, "results": lines}, indent=2))
    else:
        print_report(found, lines)
    return 0
