"""Run the examples: the guide shows their pictures, and quotes what they print."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "examples"
NAMES = ["neuron", "decision_regions", "vanishing_gradients", "dead_units", "temperature"]
# Their matrices are too small for threads: of the time of two, one went into waiting.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def write(folder):
    """Run each example that has changed since it was run last."""
    changed = max(file.stat().st_mtime for file in SCRIPTS.glob("*.py"))
    for name in NAMES:
        text, picture = folder / f"{name}.txt", folder / f"{name}.png"
        if text.exists() and text.stat().st_mtime > changed:
            continue
        command = [sys.executable, SCRIPTS / f"{name}.py", "--output", picture]
        done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
        text.write_text(done.stdout)
