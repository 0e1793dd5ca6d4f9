"""The figures that do not depend on how busy a machine is: what compilers made of the kernels, and how exact they are.

They are computed for the package in a folder, in processes of their own, and come by name; a lower one is better.
"""

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LINUX = "unknown-linux-gnu"
# CPU models by LLVM's names. For x86-64-v4, as for Intel's CPUs with AVX-512, it keeps to 32-byte registers.
# Kernels are those of float32, but where a dtype stands beside the model.
MODELS = dict.fromkeys(["x86-64-v3", "x86-64-v4", "znver4"], f"x86_64-{LINUX}") | {"apple-m1": f"aarch64-{LINUX}"}
MODELS["x86-64-v3 float64"] = MODELS["x86-64-v3"]
CAPABILITIES = ("80", "90")
# By how much of itself a figure may grow, by the words that its name ends in. LLVM's and NVIDIA's compilers place a few
# instructions and registers differently when anything changes nearby; the others stay as they are to the bit.
BOUNDS = {
    "registers for 64 bytes": 0.0,
    "instructions per element": 0.03,
    "cycles per element": 0.05,
    "registers": 0.1,
    "spilled bytes": 0.0,
    "instructions": 0.03,
    "accesses for 16 bytes": 0.0,
    "ULP": 0.01,
    "wheel bytes": 0.5,  # a feature brings text; a folder of tests or data that is packed by mistake brings more
    "modules imported": 0.0,
}


class NoFigures(Exception):
    """A part of the figures cannot be computed for a package; the message is the reason."""


def missing(part):
    """Return why nobody can compute a part here, or None."""
    if part in CAPABILITIES:
        absent = [name for name in ("numba_cuda", "cuda.core") if not _is_installed(name)]
        return f"{' and '.join(absent)} not installed: pip install 'numact[cuda13]'" if absent else None
    return None


def _is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def run(folder, script, *arguments, **environment):
    """Return what a script of this folder prints as JSON about the package in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "rror" in line] or [f"exit code {done.returncode}"]
        raise NoFigures(f"{' '.join([script, *arguments[:1]])}: {said[-1].strip()}")
    sys.stderr.write(done.stderr)
    return json.loads(done.stdout)


def part_of(folder, part, names):
    """Return the figures of one part: a CPU model, a compute capability or "errors"."""
    if part in MODELS:
        return run(folder, "loops.py", part, *names, NUMBA_CPU_NAME=part.partition(" ")[0], NUMBA_CPU_FEATURES="")
    if part in CAPABILITIES:
        return run(folder, "cuda_code.py", part, *names)
    return run(folder, "errors.py", *names)


def digests(folder):
    """Return a digest of each activation of the package in a folder, which changes when a figure of it can."""
    return run(folder, "digests.py")


def compute(folder, names, parts):
    """Return the figures of activations and of the package in a folder; those that a commit has not are left out.

    Raises
    ------
    NoFigures
        If a part cannot be computed.
    """
    figures = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in [pool.submit(part_of, folder, part, names) for part in parts]:
            figures |= future.result()
    return figures


def bound(name):
    """Return by how much of itself the figure of a name may grow."""
    return next(share for words, share in BOUNDS.items() if name.endswith(f" {words}"))


def is_worse(name, before, after):
    """Return whether a figure grew beyond its bound, or is none."""
    return not after <= before * (1 + bound(name)) + 1e-9
