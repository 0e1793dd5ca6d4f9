"""Compare numact with torch, JAX and NumPy/SciPy, side by side in one run.

python asv_benchmarks/peers.py --json peers.json --update docs/performance.md
"""

import argparse
import datetime
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from peer_worker import LIBRARIES, Case

LABELS = {"numact": "numact", "torch": "torch", "jax": "JAX", "numpy": "NumPy/SciPy", "copy": "copy"}
PEERS = ("torch", "jax", "numpy")
SIZES = (1, 1_000, 100_000, 16_000_000)  # a call's overhead (twice), the caches, the memory
ROWS = (4, 32, 1_000, 65_536)
SHAPES = {1_000: (5, 5, 5, 8), 100_000: (10, 10, 20, 50), 16_000_000: (40, 40, 100, 100)}  # a softmax along each axis
DTYPES = ("float32", "float64")
SELDOM = ("softmin", "logsumexp", "sparsemax", "hardmax")  # only where named: nearly as many cases again
ROUNDS = 15
TRIALS, TOO_SLOW = 3, 4  # who takes 4 times as long as the fastest in 3 rounds sits out the others
LARGE = 100_000  # elements from which the kernels and not the calls decide
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


# --- what is compared ---------------------------------------------------------------------------------------------


def layouts(size, is_rowwise):
    """Yield the shapes and axes of a size."""
    if not is_rowwise or size == 1:
        yield (size,), -1 if is_rowwise else None
        return
    for length in ROWS:
        if length <= size:
            yield (size // length, length), 1
            yield (length, size // length), 0
    for axis in range(4):
        yield SHAPES[size], axis


def comparable():
    """Return the names of the activations of one array."""
    from numact import registry

    return [name for name, function in registry.items() if name != "glu" and len(function._sample(0.0)) == 1]


def list_cases(functions, dtypes, sizes):
    """Return every case of functions, dtypes and sizes; single elements with out= only."""
    from numact import registry

    return [
        Case(name, direction, dtype, size, shape, axis, out)
        for size in sizes
        for dtype in dtypes
        for name in functions
        for shape, axis in layouts(size, not hasattr(registry[name], "grad"))
        for direction in ("forward", "backward")
        for out in (True, False)
        if out or size > 1
    ]


# --- the processes ------------------------------------------------------------------------------------------------


class Worker:
    """The process of one library.

    Two OpenMP runtimes in one process disturb each other, and threads that wait for work spin for some milliseconds: a
    process is therefore stopped while another has its turn. In its own turn its threads spin, so that calls in a row
    need no waking, but not for long: beside one busy process on two cores, libgomp's default made an 8 us call of
    torch or a 4 us one of numact last 8 ms, a time slice. 1,000 turns were too few where waking a thread took 40 us, as
    on a virtual machine: the threads slept in every call, and 9 us became 39.
    """

    def __init__(self, library, threads, **others):
        count = str(threads)
        names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC")
        environment = {"GOMP_SPINCOUNT": "10000"} | os.environ | dict.fromkeys(names, count)
        environment |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"} | others
        command = [sys.executable, str(Path(__file__).with_name("peer_worker.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.library = library
        self.process = subprocess.Popen(command, env=environment, text=True, bufsize=1, **pipes)
        self.facts = self.ask("introduce", library)

    def ask(self, *request):
        """Let the process run until it has answered."""
        self.signal("SIGCONT")
        self.process.stdin.write(json.dumps(request) + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.library} ended over {request}")
        self.signal("SIGSTOP")
        return json.loads(answer)

    def signal(self, name):
        """Stop or continue the process, where the system can."""
        if hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))

    def end(self):
        """End the process."""
        self.process.kill()
        self.process.communicate()


def compare(case, workers, rounds):
    """Return the median time of a case for each library that has it, and the cores that it kept busy."""
    racing = [name for name, worker in workers.items() if worker.ask("prepare", name, *case)]
    measured = {name: [] for name in racing}
    for turn in range(rounds):
        for position in range(len(racing)):
            name = racing[(turn + position) % len(racing)]
            measured[name].append(workers[name].ask("measure", name))
        if turn + 1 == TRIALS:
            best = {name: min(line["seconds"] for line in measured[name]) for name in racing}
            limit = TOO_SLOW * min(best.values())
            racing = [name for name in racing if best[name] <= limit or name in ("numact", "copy")]

    def medians(key):
        return {name: statistics.median(line[key] for line in lines) for name, lines in measured.items()}

    return {**case._asdict(), "seconds": medians("seconds"), "cores": medians("cores")}


def compare_all(cases, rounds, threads):
    """Return the results of all cases and what each library said of itself; a progress bar goes to stderr."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    started = []
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        for library in LIBRARIES:
            started.append(Worker(library, threads))
        workers = {worker.library: worker for worker in started if "absent" not in worker.facts}
        workers["copy"] = workers["numact"]
        results = []
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=len(cases))
            for case in cases:
                progress.update(task, description=f"{case.function} {case.direction} {case.dtype} {case.size:,}")
                results.append(compare(case, workers, rounds))
                progress.advance(task)
        return results, {worker.library: worker.facts for worker in started}
    finally:
        for worker in started:
            worker.end()


# --- the report ---------------------------------------------------------------------------------------------------


def ratios(result):
    """Return how many times as fast as the best peer, torch and the copy numact is; None where there is none."""
    seconds = result["seconds"]
    times = [seconds[name] for name in PEERS if name in seconds]
    best = min(times) if times else None
    compared = {"best": best, "torch": seconds.get("torch"), "copy": seconds["copy"]}
    return {name: time and time / seconds["numact"] for name, time in compared.items()}


def lost_cases(results):
    """Return the results in which a peer is faster, the worst first."""
    lost = [result for result in results if (ratios(result)["best"] or math.inf) < 1]
    return sorted(lost, key=lambda result: ratios(result)["best"])


def describe(result):
    """Return the array of a case: its shape and, of a row-wise function, the axis."""
    shape = " x ".join(f"{length:,}" for length in result["shape"])
    return shape if result["axis"] is None else f"{shape}, axis {result['axis']}"


def microseconds(seconds):
    """Return a time in three digits or more."""
    if seconds is None:
        return "-"
    time = seconds * 1e6
    return f"{time:,.{0 if time >= 100 else 1 if time >= 10 else 2}f}"


def table(results):
    """Return the lines of a Markdown table."""
    heads = ["", "dtype", "array", "`out=`", *LABELS.values(), "to best", "to torch", "to copy", ""]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|" + "--:|" * 8 + "---|"]
    for result in results:
        cells = [result["direction"], result["dtype"], describe(result), "yes" if result["out"] else "no"]
        cells += [microseconds(result["seconds"].get(name)) for name in LABELS]
        ratio = ratios(result)
        cells += ["-" if value is None else f"{value:.2f}" for value in ratio.values()]
        cells.append("**lost**" if (ratio["best"] or math.inf) < 1 else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def geometric_mean(results, reference):
    """Return the mean ratio of large cases, as text."""
    found = [ratios(result)[reference] for result in results if result["size"] >= LARGE]
    found = [ratio for ratio in found if ratio]
    return f"{statistics.geometric_mean(found):.2f}" if found else "-"


def summary(results):
    """Return the lines that say how numact fares."""
    with_out, without = ([result for result in results if result["out"] is out] for out in (True, False))
    lost = lost_cases(results)
    lines = [f"| geometric mean from {LARGE:,} elements | with `out=` | without | both |", "|---|--:|--:|--:|"]
    for reference in ("best", "torch", "copy"):
        means = [geometric_mean(part, reference) for part in (with_out, without, results)]
        lines.append(f"| to {reference} | {' | '.join(means)} |")
    lines += ["", f"Lost: {len(lost)} of {len(results)} cases" + (", the worst first." if lost else "."), ""]
    for result in lost:
        peer = min((name for name in PEERS if name in result["seconds"]), key=result["seconds"].get)
        words = [result["function"], result["direction"], result["dtype"], describe(result)]
        words.append(f"{'with' if result['out'] else 'without'} `out=`: {ratios(result)['best']:.2f} to {LABELS[peer]}")
        lines.append(f"- {' '.join(words)}")
    return lines


def machine(threads):
    """Return what the measurements were made on."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = models[0].partition(": ")[2] if models else processor
    found = {"processor": processor, "cores": os.cpu_count(), "threads": threads, "system": platform.platform()}
    if hasattr(os, "sysconf"):
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    return found


def heading(report):
    """Return the lines on the machine and the libraries."""
    found, hardware = report["machine"], report["libraries"]["numact"]["hardware"]
    lines = [
        f"{report['date']}, {found['processor']} ({hardware['CPU']}; {hardware['SIMD']}), {found['cores']} cores, "
        f"{found.get('memory_gib', '?')} GiB, {found['system']}. {found['threads']} threads each; numact's are "
        f"{hardware['threads']}. Load of other programs before the run: {found.get('load', '?')}. Python "
        f"{platform.python_version()}.",
        "",
    ]
    for library, facts in report["libraries"].items():
        versions = [f"{name} {version}" for name, version in facts.get("versions", {}).items()]
        cores = busy_cores(report, library)
        busy = f"; {cores:.1f} cores busy" if cores else ""
        lines.append(f"- {LABELS[library]}: {', '.join(versions) or 'absent, ' + facts['absent']}{busy}")
    if disturbed(report):
        lines += [
            "",
            f"**Disturbed**: the copy got {busy_cores(report, 'copy'):.1f} cores. Other programs had the rest.",
        ]
    return [*lines, ""]


def busy_cores(report, name):
    """Return how many cores a library kept busy in the median case of the largest size, or None."""
    largest = max(result["size"] for result in report["results"])
    cores = [result["cores"].get(name) for result in report["results"] if result["size"] == largest]
    cores = [count for count in cores if count is not None]
    return statistics.median(cores) if cores else None


def disturbed(report):
    """Return whether other programs took cores: a large copy keeps all of its threads busy."""
    large = any(result["size"] >= LARGE for result in report["results"])
    return large and busy_cores(report, "copy") < 0.9 * report["machine"]["threads"]


def markdown(report):
    """Return the report as Markdown."""
    results = report["results"]
    lines = [*heading(report), *summary(results)]
    for name in dict.fromkeys(result["function"] for result in results):
        lines += ["", f"### {name}", "", *table([result for result in results if result["function"] == name])]
    return "\n".join(lines)


def update(page, text):
    """Replace what stands between the markers of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} lacks the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def parse(arguments):
    """Return the options."""

    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, choices=range(1, available + 1), default=available, metavar="COUNT")
    usual = [name for name in comparable() if name not in SELDOM]
    parser.add_argument("--function", nargs="+", choices=comparable(), default=usual, metavar="NAME")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, help="default: both; with --quick float32")
    parser.add_argument("--size", nargs="+", type=int, choices=SIZES, help="default: all; with --quick 1000")
    parser.add_argument("--quick", action="store_true", help="a run of seconds: two rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all medians, in seconds")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="the page whose table to rewrite")
    options = parser.parse_args(arguments)
    options.dtype = options.dtype or (DTYPES[:1] if options.quick else DTYPES)
    options.size = options.size or ((1_000,) if options.quick else SIZES)
    return options


def main(arguments=None):
    """Run the comparison; return the exit code."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the stopped processes would stay
    cases = list_cases(options.function, options.dtype, options.size)
    report = {"date": datetime.date.today().isoformat(), "machine": machine(options.threads)}
    try:
        results, libraries = compare_all(cases, 2 if options.quick else ROUNDS, options.threads)
    except KeyboardInterrupt:
        return 130
    report |= {"libraries": libraries, "results": results}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    if options.update:
        update(options.update, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
