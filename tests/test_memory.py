"""No temporary of the input's size: the peak of a real process's memory during a call."""

import sys

import pytest
from processes import run

CODE = """
from pathlib import Path
import numpy as np, numact as na
SIDE = 4096
MASK = np.arange(SIDE) % 3 > 0

def filled(kind, shape=(SIDE, SIDE)):
    return np.ones(shape, kind)

def memory():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

def peak(call, arrays):
    call(*[array[:8, :8] if array.ndim > 1 else array[:64] for array in arrays])  # compiled, and the threads started
    for _ in range(2):
        small = [array[:600, :600] if array.ndim > 1 else array[:300_000] for array in arrays]
        call(*small)
        call(*[array.copy() for array in small])  # contiguous columns have a kernel of their own
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = memory()
    call(*arrays)
    return memory() - before

{setup}
for call in calls:
    print(peak(call, arrays))
"""
ELEMENTWISE = {
    "contiguous": "arrays = filled('f4'), filled('f4')",
    "read-only": "arrays = filled('f4'), filled('f4')\narrays[0].flags.writeable = False",
    "every second column": "arrays = filled('f4', (SIDE, 2 * SIDE))[:, ::2], filled('f4')",
    "reversed": "arrays = filled('f4')[::-1, ::-1], filled('f4')",
    "transposed": "arrays = filled('f4').T, filled('f4')",
    "Fortran order": "arrays = np.asfortranarray(filled('f4')), np.asfortranarray(filled('f4'))",
    "broadcast": "arrays = np.broadcast_to(filled('f4', SIDE), (SIDE, SIDE)), filled('f4')",
    "swapped bytes": "arrays = filled('>f4'), filled('f4')",
    "misaligned": "raw = np.zeros(4 * SIDE * SIDE + 1, 'u1')[1:]\n"
    "arrays = raw.view('f4').reshape(SIDE, SIDE), filled('f4')",
    "integers": "arrays = filled('i4'), filled('f8')",
    "float16": "arrays = filled('f2'), filled('f2')",
    "bfloat16": "import ml_dtypes\narrays = filled(ml_dtypes.bfloat16), filled(ml_dtypes.bfloat16)",
    "float64": "arrays = filled('f8'), filled('f8')",
    "another dtype out": "arrays = filled('f4'), filled('f8')",
    "in place": "x = filled('f4')\narrays = x, x",
}
CALLS = {
    "value": "lambda x, out: na.gelu(x, out=out)",
    "backward": "lambda x, out: na.gelu.backward(x, x, out=out)",
    "softmax": "lambda x, out: na.softmax(x, out=out)",
    "softmax down columns": "lambda x, out: na.softmax.backward(x, x, 0, out=out)",
    "softmax from its output": "lambda x, out: na.softmax.backward(x, output=x, out=out)",
    "log_softmax down columns": "lambda x, out: na.log_softmax(x, 0, out=out)",
    "masked": "lambda x, out: na.softmax(x, mask=MASK[: x.shape[-1]], out=out)",
    "masked down columns": "lambda x, out: na.log_softmax.backward(x, x, 0, MASK[: len(x)], out=out)",
    "logsumexp of all": "lambda x, out: na.logsumexp(x, None)",
    "logsumexp down columns": "lambda x, out: na.logsumexp(x, 0)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process set back its peak of memory")
@pytest.mark.parametrize("layout", ELEMENTWISE)
def test_no_temporary_of_the_size_of_the_input(layout):
    """A few parts of 262,144 elements may be held at a time, 2 MB each in float64; the input has 32 MB or more."""
    setup = f"{ELEMENTWISE[layout]}\ncalls = [{', '.join(CALLS.values())}]"
    peaks = dict(zip(CALLS, map(int, run(CODE.format(setup=setup), NUMBA_NUM_THREADS="2").split()), strict=True))
    assert {name: peak for name, peak in peaks.items() if peak >= 16e6} == {}
