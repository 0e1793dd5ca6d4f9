"""What does not depend on how busy the machine is; see exact.py."""

import sys
from pathlib import Path

import exact

import numact

from . import common

MODELS, CAPABILITIES = common.few(list(exact.MODELS)), common.few(exact.CAPABILITIES)
LOOP_FIGURES = ["registers for 64 bytes", "instructions per element", "cycles per element"]


def compute(parts):
    """Return the figures of the package that is measured; which parts nobody can compute here is said on stderr."""
    names = [name for name in common.ALL if name in numact.registry]
    missing = {part: reason for part in parts if (reason := exact.missing(part))}
    for part, reason in missing.items():
        print(f"no figures for {part}: {reason}", file=sys.stderr)
    return exact.compute(Path(numact.__file__).parents[1], names, [part for part in parts if part not in missing])


class _Figures:
    """Figures that are computed together, once a commit."""

    setup_cache_timeout, timeout = 3600, 3600

    def setup(self, figures, *names):
        """Skip what this commit or this machine does not have."""
        self.figure = figures.get(" ".join(names))
        if self.figure is None:
            raise NotImplementedError(f"no figure {' '.join(names)}")

    def track_figure(self, *case):
        """Return the figure."""
        return self.figure


class Loops(_Figures):
    """The hot loops of CPU kernels in the machine code for a CPU model."""

    params = (common.ELEMENTWISE, ["value", "derivative", "backward"], MODELS, LOOP_FIGURES)
    param_names = ("activation", "kernel", "model", "figure")

    def setup_cache(self):
        """Compile for each model."""
        return compute(MODELS)


class RowLoops(Loops):
    """Those of the row-wise activations, computed together with the others."""

    params = (
        common.ROWWISE,
        ["value", "backward", "value of columns", "backward of columns"],
        MODELS,
        LOOP_FIGURES,
    )


class Cuda(_Figures):
    """The CUDA kernels in the machine code for a compute capability."""

    params = (
        common.ALL,
        ["value", "derivative", "backward"],
        [f"sm_{capability}" for capability in CAPABILITIES],
        ["registers", "spilled bytes", "instructions", "accesses for 16 bytes"],
    )
    param_names = ("activation", "kernel", "capability", "figure")

    def setup_cache(self):
        """Compile for each compute capability."""
        return compute(CAPABILITIES)


class Errors(_Figures):
    """The largest errors in float32."""

    params = (common.ALL, ["value", "derivative", "backward"], ["ULP"])
    param_names = ("activation", "result", "figure")

    def setup_cache(self):
        """Compute on a sample of all float32."""
        return compute(["errors"])


class Package(Errors):
    """The package as a whole; computed with the errors."""

    params = (["package"], ["wheel bytes", "modules imported"])
    param_names = ("package", "figure")
