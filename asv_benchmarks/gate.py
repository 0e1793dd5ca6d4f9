"""Compare the package of a commit with that of its base: fail on exact figures that grew, and on lasting slow-downs.

python asv_benchmarks/gate.py origin/main
"""

import argparse
import contextlib
import fnmatch
import io
import math
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import exact
from peer_worker import Case
from peers import Worker, comparable

ROOT = Path(__file__).parents[1]
PARTS = (*exact.MODELS, *exact.CAPABILITIES, "errors")
TRAILER = "Performance-accepted"  # of a commit message: a pattern of names of figures that may grow
SLOWER = 1.15  # times as long in the median and at the least, in each run
RUNS = 3  # of the rounds, in new processes, whose arrays lie elsewhere; the sides take turns in being first
ROUNDS = 15
# Shapes and axes, by rows or not. All arrays of a case fit into a core's second cache: where they did not, relu took
# 1.3 times as long in one of two processes of the same commit, in one of three comparisons; why is not known.
CASES = (
    [((1_000,), None), ((16_384,), None)],
    [((16, 1_024), 1), ((1_024, 16), 0)],
)


def git(*arguments):
    """Return what git prints."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def unpack(commit, folder):
    """Write the package of a commit into a folder, and return that."""
    with zipfile.ZipFile(io.BytesIO(git("archive", "--format=zip", commit, "numact"))) as packed:
        packed.extractall(folder)
    return folder


def described(commit):
    """Return the abbreviated hash and the subject of a commit."""
    return git("log", "-1", "--format=%h %s", commit).decode().strip()


def chosen(before, after, names):
    """Return the activations to compare, from the digests of both sides: those named, else all that can differ."""
    if unknown := set(names or ()) - (before | after).keys():
        raise RuntimeError(f"no activation of either side: {', '.join(sorted(unknown))}")
    return names or [name for name in before | after if before.get(name) != after.get(name)]


def compare_figures(before, after):
    """Return the lines on figures that grew or went missing, by name, and those on figures that fell."""
    worse, better = {}, {}
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            worse[name] = f"{old:.4g} -> none"
        elif exact.is_worse(name, old, new):
            worse[name] = f"{old:.4g} -> {new:.4g} (allowed: {exact.bound(name):+.0%})"
        elif exact.is_worse(name, new, old):
            better[name] = f"{old:.4g} -> {new:.4g}"
    return worse, better


# --- timings --------------------------------------------------------------------------------------------------------


def list_cases(names):
    """Return the cases to time: both directions, with out=, on one thread."""
    from numact import registry

    ways = ("forward", "backward")
    return [
        Case(name, way, "float32", math.prod(shape), shape, axis, True)
        for name in names
        if name in comparable()
        for shape, axis in CASES[not hasattr(registry[name], "grad")]
        for way in ways
    ]


def race(case, workers):
    """Return a case's time in times a copy's, by side: the median and the least; a round's sides follow one another."""
    for worker in workers.values():
        for name in ("numact", "copy"):
            worker.ask("prepare", name, *case)
    rounds = {side: [] for side in workers}
    for turn in range(ROUNDS):
        for side in list(workers)[:: -1 if turn % 2 else 1]:
            rounds[side].append([workers[side].ask("measure", name)["seconds"] for name in ("numact", "copy")])
    return {side: (statistics.median(x / y for x, y in found), least(found)) for side, found in rounds.items()}


def least(found):
    """Return the least time in times the least of a copy: a copy that was disturbed makes no small figure of it."""
    times, copies = zip(*found, strict=True)
    return min(times) / min(copies)


def ratios_of_sides(cases, folders):
    """Return the figures before and after of cases and by how much the second is slower, measured in new processes."""
    found, workers = {}, {}
    try:
        for side, folder in folders.items():
            workers[side] = Worker("numact", 1, PYTHONPATH=str(folder))
        for case in cases:
            figures = race(case, workers)
            before, after = figures["before"], figures["after"]
            found[case] = before[0], after[0], min(after[0] / before[0], after[1] / before[1])
    finally:
        for worker in workers.values():
            worker.end()
    return found


def compare_timings(names, base, head):
    """Return the lines on cases that were slower in every run, by name."""
    folders = {"before": base, "after": head}
    cases, slower = list_cases(names), {}
    for _ in range(RUNS):
        figures = ratios_of_sides(cases, folders) if cases else {}
        cases = [case for case, (*_, times) in figures.items() if times > SLOWER]
        for case in cases:
            slower.setdefault(case, []).append(figures[case])
        folders = dict(reversed(folders.items()))
    lines = {}
    for case in cases:
        (old, new, _), times = slower[case][-1], [f"{figure[-1]:.2f}" for figure in slower[case]]
        shape = "x".join(map(str, case.shape))
        label = f"{case.function} {case.direction} {shape} time" + ("" if case.axis is None else f" axis {case.axis}")
        lines[label] = (
            f"{old:.3g} -> {new:.3g} times a copy's (at least {', '.join(times)} times as long in {RUNS} runs)"
        )
    return lines


# --- the command ----------------------------------------------------------------------------------------------------


def accepted(base, head):
    """Return the patterns of figures that commits between two say may grow."""
    found = git("log", f"--format=%(trailers:key={TRAILER},valueonly)", f"{base}..{head}").decode()
    return [line.strip() for line in found.splitlines() if line.strip()]


def report(title, lines):
    """Print lines under a title."""
    if lines:
        print(f"\n{title}:")
        for name, text in lines.items():
            print(f"  {name}: {text}")


def parse(arguments):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="a commit")
    parser.add_argument("head", nargs="?", help="another; default: the files as they are")
    parser.add_argument("--exact", action="store_true", help="leave the timings out")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="which exact figures; default: all")
    parser.add_argument("--function", nargs="+", metavar="NAME", help="default: all whose kernels can differ")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the comparison; return the exit code."""
    options = parse(arguments)
    before, after = described(options.base), described(options.head or "HEAD")
    if not options.head and git("status", "--porcelain", "--", "numact"):
        after = f"changes not committed, on {after}"
    print(f"base: {before}\nhead: {after}")
    with contextlib.ExitStack() as stack:
        base = unpack(options.base, stack.enter_context(tempfile.TemporaryDirectory()))
        head = unpack(options.head, stack.enter_context(tempfile.TemporaryDirectory())) if options.head else ROOT
        digests = exact.digests(base), exact.digests(head)
        names = chosen(*digests, options.function)
        print(f"activations whose kernels can differ: {', '.join(names) or 'none'}")
        parts = [part for part in options.part if names or part == "errors"]
        for part in list(parts):
            if reason := exact.missing(part):
                print(f"skipped {part}: {reason}")
                parts.remove(part)
        worse, better = compare_figures(*(exact.compute(folder, names, parts) for folder in (base, head)))
        common = [name for name in names if all(name in side for side in digests)]
        slow = {} if options.exact or not common else compare_timings(common, base, head)
    patterns = accepted(options.base, options.head or "HEAD")
    failed = {
        name: text for name, text in (worse | slow).items() if not any(fnmatch.fnmatch(name, p) for p in patterns)
    }
    report("better", better)
    report(f"worse, and accepted by a line {TRAILER}", {k: v for k, v in (worse | slow).items() if k not in failed})
    report(f"WORSE in {after}", failed)
    print(f"\n{len(failed)} figures worse, {len(better)} better")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (exact.NoFigures, RuntimeError) as error:  # nothing is known: neither that it is worse, nor that it is not
        print(f"no comparison: {error}", file=sys.stderr)
        sys.exit(2)
