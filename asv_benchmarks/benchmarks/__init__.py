"""The benchmarks of airspeed velocity; a lower figure is always better."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that gate.py and peers.py share with these
