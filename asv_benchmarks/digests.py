"""Print a digest of each activation: of its formulas, and of the package but for the modules that hold formulas alone.

A formula's fingerprint covers all that it calls: it is what tells kernels apart in the disk cache.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

import numact as na
from numact.base import Elementwise
from numact.binding import Formula

# Formulas, and what neither kernels nor the way to them depend on.
LEFT_OUT = ("commands", "elementary", "elementwise", "interop", "rowwise.py")
LEFT_OUT += ("documentation.py", "explanation.py", "pictures.py", "torch.py")


def formulas(function):
    """Yield the formulas that an activation's kernels are made of."""
    if isinstance(function, Elementwise):
        function = getattr(function, "common", function)
        yield from (function._value, function._derivative, function._product)
        return
    for item in (function._value, *vars(function._formulas).values()):
        yield from (part for part in (item if isinstance(item, tuple) else (item,)) if isinstance(part, Formula))


def rest():
    """Return a digest of the package without the formulas."""
    package, digest = Path(na.__file__).parent, hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        if file.relative_to(package).parts[0] not in LEFT_OUT:
            digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    common, found = rest(), {}
    for name, function in na.registry.items():
        prints = [formula.fingerprint(np.float32) for formula in formulas(function)]
        found[name] = [common, getattr(function, "_scale", None), *prints]
    print(json.dumps(found))
