"""`bench`: time functions beside a copy of the same bytes, as a table, a picture and a file to compare with later."""

import json
import sys
from functools import partial
from pathlib import Path

import numba
import numpy as np

import numact as na
from numact.base import Elementwise
from numact.commands.hardware import copy_call, find_targets, free_cores, hardware
from numact.gated import Halved
from numact.warmup import plan

PACKAGES = ("rich",)
DTYPES, SIZES = ["float32"], [1_000, 100_000, 16_000_000]  # a call's overhead, the caches, the memory
ROW = 1_000  # entries of a row of the row-wise functions
ROUNDS = 5  # of a function and a copy in turn
SHORTEST = 1e-3  # seconds of calls between two looks at the clock
DISTURBED = 0.85  # the share of its cores below which a copy is disturbed
CASE = ("activation", "direction", "target", "dtype", "size")


def calls(function, x):
    """Yield the directions and a call of each on arrays like x that writes into an array there is."""
    arguments = function._sample(x)
    y = function(*arguments)
    yield "forward", partial(function, *arguments, out=y), arguments, (y,)
    gradient = function.backward(y, *arguments)
    written = gradient if isinstance(gradient, tuple) else (gradient,)
    yield "backward", partial(function.backward, y, *arguments, out=gradient), (y, *arguments), written


def shape_of(function, size):
    """Return the shape of the input whose result, or whose rows together, have so many elements."""
    if isinstance(function, Elementwise):
        return (2 * size if isinstance(function, Halved) else size,)
    return (max(1, size // ROW), min(size, ROW))


def repeated(call, count):
    """Return a call that makes so many."""
    return lambda: [call() for _ in range(count)]


def seconds_in_turn(target, items):
    """Return the least of the median times of each of several calls, over rounds of each in turn.

    Other work on the machine only ever adds to a time.
    """
    counts = [1 + int(SHORTEST / target.seconds(call)) for call in items]
    rounds = [
        [target.seconds(repeated(call, count)) / count for call, count in zip(items, counts, strict=True)]
        for _ in range(ROUNDS)
    ]
    return [min(times) for times in zip(*rounds, strict=True)]


def measure(function, dtype, target, size):
    """Yield the results of an activation, one for each direction."""
    host = np.random.default_rng(0).standard_normal(shape_of(function, size), np.float32) * np.float32(3)
    x = target.put(host.astype(dtype))
    for direction, call, read, written in calls(function, x):
        moved = sum(array.nbytes for array in (*read, *written) if hasattr(array, "nbytes"))
        halves = [target.put(np.ones(max(1, moved // 8), np.float32)) for _ in range(2)]
        seconds, copy = seconds_in_turn(target, [call, copy_call(target, *halves)])
        case = dict(zip(CASE, (function.__name__, direction, target.name, dtype, host.size), strict=True))
        yield case | {"seconds": seconds, "bytes": moved, "times_copy": seconds / copy}


def measure_all(jobs, targets, sizes):
    """Yield all results; a progress bar goes to stderr."""
    from rich.console import Console
    from rich.progress import track

    cases = [(job.function, job.dtype, target, size) for target in targets for size in sizes for job in jobs]
    for case in track(cases, "timing", console=Console(stderr=True), transient=True):
        yield from measure(*case)


def key(line):
    """Return what a result is of."""
    return tuple(line[name] for name in CASE)


def read_earlier(path):
    """Return the document of an earlier run."""
    try:
        earlier = json.loads(Path(path).read_text())
        earlier = earlier | {"results": {key(line): line["times_copy"] for line in earlier["results"]}}
        return earlier | {"hardware": dict(earlier["hardware"])}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is no file that `python -m numact bench --json` has written") from None


def print_results(found, lines, earlier):
    """Print the hardware and a table for each target, dtype and size."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for label, text in found.items():
        console.print(f"{label:8}{text}", highlight=False)
    if earlier and earlier["hardware"] != found:
        console.print("The earlier file is of other hardware: compare shares of a copy, not times.", highlight=False)
    headings = ["us", "GB/s", "times a copy"] + ["earlier", "ratio"] * bool(earlier)
    for panel, rows in panels(lines).items():
        table = Table(title=panel, title_justify="left")
        table.add_column("activation")
        table.add_column("direction")
        for heading in headings:
            table.add_column(heading, justify="right")
        for line in rows:
            cells = [line["seconds"] * 1e6, line["bytes"] / line["seconds"] / 1e9, line["times_copy"]]
            before = earlier and earlier["results"].get(key(line))
            cells += [before, line["times_copy"] / before] if before else []
            table.add_row(line["activation"], line["direction"], *(f"{cell:.2f}" for cell in cells))
        console.print(table)


def warn_if_disturbed():
    """Say so where the threads do not get their cores."""
    cores, threads = free_cores(), numba.get_num_threads()
    if cores < DISTURBED * threads:
        print(
            f"A copy on {threads} threads got {cores:.1f} cores: other programs, or a limit on this one, have the "
            "rest. Times will be too long.",
            file=sys.stderr,
        )


def panels(lines):
    """Return the results of each target, dtype and size under a title; glu's input is of twice the size."""
    found = {}
    for line in lines:
        size = line["size"] // (2 if line["activation"] == "glu" else 1)
        found.setdefault(f"{line['dtype']}, {size:,} elements, on the {line['target']}", []).append(line)
    return found


def draw(lines, path):
    """Draw the results as bars, in times a copy of the same bytes."""
    from matplotlib.figure import Figure

    parts = panels(lines)
    longest = max(len(rows) for rows in parts.values())
    figure = Figure(figsize=(5 * len(parts), 1.5 + 0.18 * longest), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        colours = ["tab:blue" if line["direction"] == "forward" else "tab:orange" for line in rows]
        labels = [f"{line['activation']} {line['direction']}" for line in rows]
        axes.barh(labels, [line["times_copy"] for line in rows], color=colours)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title(title)
        axes.set_xlabel("times a copy of the same bytes (lower is better)")
        axes.tick_params(labelsize=7)
        axes.margins(y=0.01)
    figure.savefig(path)


def check_paths(options):
    """Raise if a file could not be written after all has been measured."""
    for path in filter(None, (options.json, options.plot)):
        if not Path(path).absolute().parent.is_dir():
            raise ValueError(f"there is no folder for {path}")
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder, and no file to write")
    if options.plot:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ValueError("--plot needs matplotlib: pip install 'numact[cli]'") from None
        known = Figure().canvas.get_supported_filetypes()
        if Path(options.plot).suffix[1:] not in known:
            raise ValueError(f"--plot cannot write {options.plot}; it writes {', '.join(known)}")


def add(parser):
    """Add the command's arguments."""
    parser.add_argument("functions", nargs="*", metavar="function", help="default: all activations")
    parser.add_argument("--dtype", nargs="+", default=DTYPES, help=f"default: {' '.join(DTYPES)}")
    parser.add_argument(
        "--size",
        nargs="+",
        type=int,
        default=SIZES,
        help="elements of the input; of the gated functions, of each array",
    )
    parser.add_argument("--json", metavar="FILE", help="write the results to a file")
    parser.add_argument("--compare", metavar="FILE", help="an earlier file, to compare with")
    parser.add_argument("--plot", metavar="FILE", help="draw the results: a .png, .svg or .pdf")


def run(options):
    """Measure and print; return the exit code."""
    try:
        if min(options.size) < 1:
            raise ValueError(f"--size must be at least 1, not {min(options.size)}")
        jobs = plan(options.functions or None, options.dtype, "cpu")
        earlier = read_earlier(options.compare) if options.compare else None
        check_paths(options)
    except ValueError as error:
        print(f"python -m numact bench: {error}", file=sys.stderr)
        return 2
    targets, gpu = find_targets()
    found = hardware(gpu)
    warn_if_disturbed()
    lines = list(measure_all(jobs, targets, options.size))
    print_results(found, lines, earlier)
    if options.json:
        document = {"numact": na.__version__, "hardware": found, "results": lines}
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    if options.plot:
        draw(lines, options.plot)
    return 0
