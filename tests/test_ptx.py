"""Every CUDA kernel compiled to PTX and machine code, for which no GPU is needed."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DTYPES, ELEMENTWISE
from numba import float32, njit

import numact as na
from numact.binding import JIT_OPTIONS, bind

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
core = pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'numact[cuda13]'")

CAPABILITIES = [(7, 5), (8, 0), (9, 0), (10, 0)]
CASES = [("float32", capability) for capability in CAPABILITIES]
CASES += [(dtype, (9, 0)) for dtype in DTYPES if dtype != "float32"]
KERNELS = [(name, which) for name in ELEMENTWISE for which in ("value", "derivative", "backward")]
ROW_KERNELS = [
    (name, mode, is_scaled, is_masked)
    for name, modes in {"softmax": ["value", "backward", "from_output"], "log_softmax": ["value", "backward"]}.items()
    for mode in modes
    for is_scaled, is_masked in ((False, False), (True, False), (True, True))
]
ROW_KERNELS += [("logsumexp", "value", False, False), ("logsumexp", "backward", False, False)]
REGISTERS = {True: 80, False: 64}  # float64 or not; with 64 and 256 threads a block, a multiprocessor holds four blocks


def array(dtype, dimensions, layout):
    """Return Numba's type of an array of the dtype of that name."""
    from numba import types

    from numact.targets import common

    return types.Array(getattr(types, common.storage(dtype).name), dimensions, layout)


def formula_of(name, which):
    function = na.registry[name]
    return {"value": function._value, "derivative": function._derivative, "backward": function._product}[which]


def compile_ptx(monkeypatch, name, which, dtype, capability, dimensions=1, layout="C"):
    """Return the PTX of a kernel."""
    from numba import types
    from numba.cuda import dispatcher

    from numact.targets import common
    from numact.targets import cuda as target

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
    count = 2 if which == "backward" else 1
    formula = formula_of(name, which)
    function = target.elementwise_function.__wrapped__(formula, (dtype,) * count, dtype, dtype)
    parameters = len(formula.__signature__.parameters) - count
    number = getattr(types, common.number(dtype).__name__)
    signature = (array(dtype, dimensions, layout),) * (count + 1) + (number,) * parameters
    return cuda.compile_ptx(function, signature, cc=capability)[0]


def link(ptx, capability):
    """Assemble PTX to machine code and return the assembler's report."""
    options = core.LinkerOptions(arch="sm_{}{}".format(*capability), ptxas_options=["-v"])
    linker = core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=options)
    assert len(linker.link("cubin").code) > 0
    return (linker.get_info_log() or "") + (linker.get_error_log() or "")


def check(ptx, dtype, capability):
    """Hold machine code to what every kernel has: no wider arithmetic, no calls, no spills, few registers."""
    if dtype != "float64":
        assert ".f64" not in ptx
    assert ".local" not in ptx
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_", ptx)
    report = link(ptx, capability)
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(re.search(r"Used (\d+) registers", report)[1]) <= REGISTERS[dtype == "float64"]


@pytest.mark.parametrize(("dtype", "capability"), CASES)
@pytest.mark.parametrize(("name", "which"), KERNELS)
def test_kernel(monkeypatch, name, which, dtype, capability):
    check(compile_ptx(monkeypatch, name, which, dtype, capability), dtype, capability)


@pytest.mark.parametrize(("dtype", "capability"), CASES)
@pytest.mark.parametrize(("name", "mode", "is_scaled", "is_masked"), ROW_KERNELS)
def test_row_kernel(monkeypatch, name, mode, is_scaled, is_masked, dtype, capability):
    from numba import types
    from numba.cuda import dispatcher

    from numact.targets import common, cuda_rows

    function = na.registry[name]
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
    kernel = cuda_rows.function.__wrapped__(function._formulas, mode, dtype, is_scaled, is_masked)
    rows, reduced = array(dtype, 3, "C"), array(dtype, 2 if name == "logsumexp" else 3, "C")
    inputs = (rows,) if mode == "value" else (reduced, rows)
    masks = (types.Array(types.uint8, 3, "C"),) if is_masked else ()
    number = getattr(types, common.number(dtype).__name__)
    signature = (*inputs, *masks, reduced if mode == "value" else rows, number)
    check(cuda.compile_ptx(kernel, signature, cc=capability)[0], dtype, capability)


@pytest.mark.parametrize(("name", "which"), KERNELS)
def test_strided_kernel_compiles(monkeypatch, name, which):
    ptx = compile_ptx(monkeypatch, name, which, "float32", (9, 0), 3, "A")
    assert ".f64" not in ptx
    assert "0 bytes spill stores, 0 bytes spill loads" in link(ptx, (9, 0))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nvvm_contracts_nothing(monkeypatch, name):
    """Each fma.rn of the PTX is one that the formula wrote: then CPU and GPU round alike."""
    ptx = compile_ptx(monkeypatch, name, "value", "float32", (9, 0))
    formula = formula_of(name, "value")
    compiled = njit(bind(formula.formula, np.float32), **JIT_OPTIONS)
    compiled.compile((float32,) * len(formula.__signature__.parameters))
    code = "".join(compiled.inspect_llvm().values())
    body = code[: code.index("define", code.index("define") + 1)]
    assert ptx.count("fma.rn") == len(re.findall(r"call\b.*@llvm\.fma", body))
