"""What tests of real processes share: how to run one, and which of Numba's threading layers there are."""

import ctypes
import functools
import os
import subprocess
import sys

import pytest

LAYERS = ["omp", "tbb", "workqueue"]


def run(code, timeout=300, folder=None, **environment):
    """Run Python code in a process of its own; return what it prints, or fail with what it says."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        env={**os.environ, **environment},
        preexec_fn=_obey_permissions if sys.platform == "linux" else None,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.strip()


def _obey_permissions():
    """Let the process that is about to start fail to write what is read-only, even if it is root's."""
    drop_from_bounding_set, override_permissions = 24, 1  # PR_CAPBSET_DROP and CAP_DAC_OVERRIDE
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)


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
