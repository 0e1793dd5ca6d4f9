"""What tests of real processes share: how to run one, and which of Numba's threading layers there are."""

import functools
import os
import subprocess
import sys

import pytest

LAYERS = ["omp", "tbb", "workqueue"]


def run(code, *arguments, timeout=300, **environment):
    """Run Python code in a process of its own; return what it prints, or fail with what it says."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.strip()


def threads(layer):
    """Return the environment in which Numba runs two threads of a layer; skip where it cannot load it."""
    # The wheel of tbb puts its library where the loader does not look by itself.
    libraries = os.pathsep.join([os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")])
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "LD_LIBRARY_PATH": libraries}
    if reason := _missing(tuple(environment.items())):
        pytest.skip(f"Numba cannot load {layer}: {reason}")
    return environment


@functools.cache
def _missing(environment):
    code = "import numba; numba.get_num_threads()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **dict(environment)}
    )
    return " ".join(done.stderr.split("ValueError: ")[-1].split()) if done.returncode else ""
