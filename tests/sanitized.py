"""Row kernels of every plan on ragged arrays, and an elementwise tail: to be run under NVIDIA's compute-sanitizer.

compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 python tests/sanitized.py softmax
"""

import sys

import numpy as np
from numba import config, cuda

import numact as na

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
# With the axis: rows of a thread, of a few, of a warp and of a block; ragged ones; those read twice, halves that are
# read ahead, more rows than blocks; columns.
SHAPES = [((7, 1), 1), ((301, 4), 1), ((33, 33), 1), ((5, 1000), 1), ((3, 1023), 1), ((300, 9000), 1), ((2, 20_001), 1)]
SHAPES += [((3, 70), 0), ((1000, 3), 0), ((2, 50, 7), 1)]


def run(name, kind):
    """Run an activation and its gradient on arrays that end where their memory ends."""
    function, random = na.registry[name], np.random.default_rng(5)
    for shape, axis in SHAPES:
        x = cuda.to_device(random.standard_normal(shape).astype(kind))
        if isinstance(function, na.base.Elementwise):
            function(x)
            function.backward(x, x)
            continue
        value = function(x, axis=axis)
        function.backward(value, x, axis=axis)
        if name == "softmax":
            mask = cuda.to_device(random.random(shape) < 0.5)
            function(x, axis=axis, mask=mask, scale=0.5)
            function.backward(value, output=value, axis=axis)
    cuda.synchronize()


if __name__ == "__main__":
    for dtype in ("float16", "float32", "float64"):
        run(sys.argv[1], dtype)
    print("done", sys.argv[1])
