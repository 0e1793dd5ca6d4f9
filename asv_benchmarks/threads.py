"""Time each kernel on one thread and on all of Numba's, to see from how many elements threads pay.

python asv_benchmarks/threads.py [--function NAME ...]
"""

import argparse
import statistics
import time

import numba
import numpy as np

import numact as na
from numact.base import Elementwise
from numact.targets import cpu

SIZES = (4_096, 8_192, 16_384, 32_768, 65_536, 131_072)
ROUNDS = 400


def median_times(kernel, arguments):
    """Return the median time in seconds of the serial and of the parallel kernel, taking turns, warm."""
    times = ([], [])
    for _ in range(ROUNDS):
        for is_parallel, found in enumerate(times):
            kernel.run(bool(is_parallel), *arguments)
            start = time.perf_counter()
            kernel.run(bool(is_parallel), *arguments)
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def main():
    """Print a Markdown table: microseconds of one thread / of all, in bold where the library would take all."""
    elementwise = [item for item in na.registry.values() if isinstance(item, Elementwise)]
    known = [item.__name__ for item in elementwise if len(item._value.inputs) == 1]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--function", nargs="+", choices=known, default=known, metavar="NAME")
    functions = parser.parse_args().function
    print(f"float32, us on one thread / on {numba.get_num_threads()}\n")
    print(f"| | threads from | {' | '.join(f'{size:,}' for size in SIZES)} |\n|---|--:|{'--:|' * len(SIZES)}")
    for name in functions:
        function = na.registry[name].common
        for label, formula in ((name, function._value), (f"{name}.grad", function._derivative)):
            kernel, cells = cpu.kernel(formula, "float32"), []
            for size in SIZES:
                x = np.random.default_rng(0).normal(0, 3, size).astype(np.float32)
                numbers = formula.formula.__defaults__ or (1.0,) * len(formula.parameters)
                arguments = (x, *numbers, np.ones_like(x))
                serial, parallel = (1e6 * seconds for seconds in median_times(kernel, arguments))
                cell = f"{serial:.1f} / {parallel:.1f}"
                cells.append(f"**{cell}**" if size >= kernel.parallel_from else cell)
            print(f"| {label} | {kernel.parallel_from:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
