"""The CUDA kernels of sparsemax, hardmax and the cross entropy compiled to PTX and machine code without a GPU."""

import re
from types import SimpleNamespace

import pytest
from conftest import DTYPES
from kernel_table import array, cuda, link

import numact as na

CASES = [("float32", (7, 5)), *((dtype, (9, 0)) for dtype in DTYPES)]


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    """A dtype and a compute capability, for which the compiler is told that it runs."""
    from numba.cuda import dispatcher

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=request.param[1]))
    return request.param


# What a row shares is computed in float64 and kept: with up to 80 registers and 256 threads a block, a multiprocessor
# holds three blocks, with up to 128 two.
PROJECTION, LOSS = {True: 128, False: 80}, 128  # float64 or not


def check(function, signature, capability, most):
    """Check that the kernel calls nothing, spills nothing, and leaves registers for other blocks."""
    ptx = cuda.compile_ptx(function, signature, cc=capability)[0]
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_", ptx)
    assert ".local" not in ptx
    report = link(ptx, capability)
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(re.search(r"Used (\d+) registers", report)[1]) <= most
    return ptx


@pytest.mark.parametrize("which", ["value", "backward", "from_output"])
@pytest.mark.parametrize("function", [na.sparsemax, na.hardmax])
def test_projections(case, function, which):
    from numact.targets import cuda_projections

    dtype, capability = case
    kernel = cuda_projections.kernel.__wrapped__(function._formulas, which, dtype)
    signature = (array(dtype, 3, "C"),) * (2 if which == "value" else 3)
    ptx = check(kernel, signature, capability, PROJECTION[dtype == "float64"])
    assert dtype == "float64" or ".f64" not in ptx


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("labels", ["int64", "uint8", "parts"])
def test_cross_entropy(case, labels, gradient):
    from numba import types

    from numact.targets import cuda_losses

    dtype, capability = case
    flags = cuda_losses.Flags(labels == "parts", not gradient, gradient, True, dtype, True)
    count, rows, finish = cuda_losses.functions.__wrapped__(dtype, flags)
    x, flat, sums = array(dtype, 3, "C"), array(dtype, 1, "C"), array("float64", 1, "C")
    given = x if labels == "parts" else array(labels, 2, "A")
    numbers = (types.int64, *(types.float64,) * 3)
    check(rows, (x, given, flat, sums, flat, sums, x, *numbers), capability, LOSS)
    if not gradient:
        check(finish, (sums, sums, flat, types.float64), capability, LOSS)
        if labels != "parts":
            check(count, (given, sums, types.int64), capability, LOSS)
