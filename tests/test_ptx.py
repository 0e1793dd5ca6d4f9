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

KERNELS = [(name, which) for name in ELEMENTWISE for which in ("value", "derivative", "backward")]
KERNELS += [("softmax", "value"), ("softmax", "backward")]
# The other GPUs and dtypes compile the gradient, which holds the derivative and takes the most registers.
CASES = [(*kernel, "float32", (9, 0)) for kernel in KERNELS]
OTHERS = [("float32", capability) for capability in ((7, 5), (8, 0), (10, 0))]
OTHERS += [(dtype, (9, 0)) for dtype in DTYPES if dtype != "float32"]
CASES += [(name, which, *other) for name, which in KERNELS if which == "backward" for other in OTHERS]
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
    if name == "softmax":
        function = target.row_functions.__wrapped__(na.softmax._weight, dtype)[which == "backward"]
        signature = (array(dtype, 3, "C"),) * (count + 1)
    else:
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


@pytest.mark.parametrize(("name", "which", "dtype", "capability"), CASES)
def test_kernel(monkeypatch, name, which, dtype, capability):
    ptx = compile_ptx(monkeypatch, name, which, dtype, capability)
    if dtype != "float64":
        assert ".f64" not in ptx
    assert ".local" not in ptx
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_", ptx)
    report = link(ptx, capability)
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(re.search(r"Used (\d+) registers", report)[1]) <= REGISTERS[dtype == "float64"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_strided_kernel_compiles(monkeypatch, name):
    ptx = compile_ptx(monkeypatch, name, "backward", "float32", (9, 0), 3, "A")
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
