"""Every CUDA kernel compiled to PTX and machine code, for which no GPU is needed."""

import json
import re
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ELEMENTWISE, SEVERAL
from kernel_table import (
    FILE,
    array,
    cases,
    compile_ptx,
    cuda,
    elementwise_kernel,
    formula_of,
    link,
    machine_code,
    measure,
)
from numba import float32, njit

import numact as na
from numact.binding import JIT_OPTIONS, bind
from numact.elementary import exp

TABLE = json.loads(FILE.read_text())
SLACK = 8  # registers that another version of the assembler may take beyond the table


@pytest.mark.parametrize("case", cases(), ids=" ".join)
def test_table(case):
    """A kernel takes what the table says; `python tests/kernel_table.py` writes it anew."""
    ptx, found = measure(*case)
    expected = TABLE[" ".join(case)]
    assert found["registers"] <= expected["registers"] + SLACK
    assert found["registers"] <= 128  # with which a block of 512 threads can be launched
    assert found | {"registers": 0} == expected | {"registers": 0}
    assert found["spilled bytes"] == 0
    assert found["float64"] == ("float64" in case)
    assert bool(found["loads of 16 bytes"]) == (case[2] in ("dense", "held", "ahead", "streamed"))
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_|\.local", ptx)
    assert not re.search(r"\s(?!cvt\.)[a-z][.\w]*\.b?f16\b", ptx)  # halves are computed as float32, and only so


def test_table_holds_nothing_else():
    assert TABLE.keys() == {" ".join(case) for case in cases()}


def check(ptx, dtype, registers):
    """Hold machine code to what every kernel has: no wider arithmetic, no calls, no spills, few registers."""
    assert dtype == "float64" or ".f64" not in ptx
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_|\.local", ptx)
    report = link(ptx, (9, 0))
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(re.search(r"Used (\d+) registers", report)[1]) <= registers[dtype]


@pytest.mark.parametrize("name", [*ELEMENTWISE, *SEVERAL])
def test_nvvm_contracts_nothing(name):
    """Each fma.rn of the PTX is one that the formula wrote: then CPU and GPU round alike."""
    ptx = compile_ptx(*elementwise_kernel(name, "value", "float32", 1), (9, 0))
    formula = formula_of(name, "value")
    compiled = njit(bind(formula.formula, np.float32), **JIT_OPTIONS)
    compiled.compile((float32,) * len(formula.__signature__.parameters))
    (code,) = compiled.inspect_llvm().values()
    # Not as many: LLVM may copy one, and once had 6 on the CPU for squareplus's 5.
    assert ptx.count("fma.rn") <= len(re.findall(r"call\b.*@llvm\.fma", code))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", ["value", "backward"])
@pytest.mark.parametrize("name", [*ELEMENTWISE, *SEVERAL])
def test_assembler_contracts_nothing(name, which, dtype):
    """Products and sums that PTX leaves to the assembler stay apart: the instructions are those without contraction."""
    ptx = compile_ptx(*elementwise_kernel(name, which, dtype, 1), (9, 0))
    contracted, apart = (machine_code(ptx, (9, 0), f"--fmad={choice}") for choice in ("true", "false"))
    if (name, which) == ("tanhshrink", "value"):  # 1 + p / 2 becomes an fma: half of a power of two is exact
        assert contracted != apart
    else:
        assert contracted == apart
    assert contracted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sum_kernel(monkeypatch, dtype):
    """What sums the gradients of arrays that repeat."""
    from numba import types
    from numba.cuda import dispatcher

    from numact.targets import cuda_sums

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    rows = array(dtype, 3, "C")
    kernel = cuda_sums.sums_function.__wrapped__(cuda_sums.IDENTITY, (dtype,), dtype, (None,))
    flat, sizes = array(dtype, 1, "C"), (types.int64, types.int64)
    check(cuda.compile_ptx(kernel, (flat, rows, *sizes), cc=(9, 0))[0], dtype, {"float32": 64, "float64": 80})
    # A bias is read by its own strides and its gradient summed: three or two such blocks fit on a multiprocessor.
    kernel = cuda_sums.sums_function.__wrapped__(na.gelu._biased_product, (dtype,) * 3, dtype, (dtype, None))
    ptx = cuda.compile_ptx(kernel, (flat, flat, array(dtype, 2, "A"), flat, rows, *sizes), cc=(9, 0))[0]
    check(ptx, dtype, {"float32": 80, "float64": 128})


def test_threads_load_a_kernel_once(monkeypatch):
    """Numba fails in one of two threads that load a kernel at the same time."""
    from numact.targets import cuda_launch

    made, launched, together = [], [], threading.Barrier(8)

    def load(function, *arguments):
        made.append(function)
        time.sleep(0.05)  # in which all others come in
        return lambda *arguments: launched.append(arguments)

    def call():
        together.wait()
        cuda_launch.start_on(0, 7, call, 1, 256, (1, 2), (0.5,), "float32")

    monkeypatch.setattr(cuda_launch, "Launcher", load)
    monkeypatch.setattr(cuda_launch, "_launchers", {})
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [call]
    assert launched == [(1, 256, 7, 1, 2, 0.5)] * 8


@pytest.mark.parametrize("name", ["gelu", "swiglu"])
def test_scalar_in_a_kernel(monkeypatch, name):
    """The user's own kernel, in the dtype of its arrays."""
    from numba import types
    from numba.cuda import dispatcher

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    scalar, elementary = na.registry[name].scalar, exp.scalar
    count = len(na.registry[name]._value.inputs)

    def kernel(x, out):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = (scalar(x[i]) if count == 1 else scalar(x[i], x[i])) + elementary(x[i])

    for kind in ("float32", "float64"):
        ptx = cuda.compile_ptx(kernel, (getattr(types, kind)[:],) * 2, cc=(9, 0))[0]
        assert (".f64" in ptx) == (kind == "float64")
        assert not re.search(r"\bcall\b|__nv_", ptx)
