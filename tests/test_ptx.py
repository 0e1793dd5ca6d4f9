"""Every CUDA kernel compiled to PTX and machine code, for which no GPU is needed."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DTYPES, ELEMENTWISE, SEVERAL
from numba import float32, njit

import numact as na
from numact.binding import JIT_OPTIONS, bind
from numact.elementary import exp

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
core = pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'numact[cuda13]'")

KERNELS = [(name, which) for name in (*ELEMENTWISE, *SEVERAL) for which in ("value", "derivative", "backward")]
OTHERS = [("float32", capability) for capability in ((7, 5), (8, 0), (10, 0))]
OTHERS += [(dtype, (9, 0)) for dtype in DTYPES if dtype != "float32"]
# The other GPUs and dtypes compile the gradient, which holds the derivative and takes the most registers.
CASES = [(*kernel, "float32", (9, 0)) for kernel in KERNELS]
CASES += [(name, which, *other) for name, which in KERNELS if which == "backward" for other in OTHERS]
ROW_KERNELS = [
    (name, mode, is_scaled, is_masked)
    for name, modes in {"softmax": ["value", "backward", "from_output"], "log_softmax": ["value", "backward"]}.items()
    for mode in modes
    for is_scaled, is_masked in ((False, False), (True, False), (True, True))
]
ROW_KERNELS += [("logsumexp", "value", False, False), ("logsumexp", "backward", False, False)]
# Rows in registers, 16 bytes at once; rows that are read twice; rows side by side. Gradients take the most registers.
HELD, STREAMED, COLUMNS = ((True, False, False), (True, False, True), (False, True, True))
ROW_CASES = [(*kernel, HELD, "float32", (9, 0)) for kernel in ROW_KERNELS]
ROW_CASES += [
    (*kernel, layout, "float32", (9, 0))
    for kernel in ROW_KERNELS
    for layout in (STREAMED, COLUMNS)
    if kernel[2] == kernel[3]
]
ROW_CASES += [("softmax", "backward", True, True, HELD, *other) for other in OTHERS]
# Of one element, then of 16 bytes: with 64, 80 and 96 and 256 threads a block, a multiprocessor holds four, three and
# two blocks. Eight elements at once take more registers, and are as many bytes under way as four float32.
REGISTERS = {"float16": 64, "bfloat16": 64, "float32": 64, "float64": 80}
WIDE_REGISTERS = {"float16": 96, "bfloat16": 96, "float32": 80, "float64": 80}
ROW_REGISTERS = 128  # with which a block of 512 threads can be launched


def array(dtype, dimensions, layout):
    """Return Numba's type of an array of the dtype of that name."""
    from numba import types

    from numact.targets import common

    return types.Array(getattr(types, common.storage(dtype).name), dimensions, layout)


def formula_of(name, which):
    function = na.registry[name]
    return {"value": function._value, "derivative": function._derivative, "backward": function._product}[which]


def compile_ptx(monkeypatch, kernel, signature, capability):
    """Return the PTX of a kernel."""
    from numba.cuda import dispatcher

    from numact.targets.cuda_launch import MOST_THREADS

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
    return cuda.compile_ptx(kernel, signature, cc=capability, launch_bounds=MOST_THREADS)[0]


def elementwise_kernel(name, which, dtype, axes=None):
    """Return the kernel for arrays that lie dense, or of any strides in so many axes, and its signature."""
    from numba import types

    from numact.targets import common
    from numact.targets import cuda as target

    formula = formula_of(name, which)
    results = 1 if which == "value" else len(na.registry[name]._value.inputs)
    kinds = (dtype,) * len(formula.inputs)
    arrays = len(kinds) + results
    integers = arrays + 1
    if axes is None:
        kernel, _ = target.vectors_function.__wrapped__(formula, dtype, results)
    else:
        kernel = target.strided_function.__wrapped__(formula, kinds, dtype, (dtype,) * results, axes, False)
        integers += axes - 1 + axes * arrays
    number = getattr(types, common.number(dtype).__name__)
    return kernel, (types.int64,) * integers + (number,) * len(formula.parameters)


def row_kernel(name, mode, is_scaled, is_masked, dtype, layout):
    """Return a row kernel and its signature."""
    from numba import types

    from numact.targets import common, cuda_row_kernels

    formulas = na.registry[name]._formulas
    kernel = cuda_row_kernels.function.__wrapped__(formulas, mode, dtype, is_scaled, is_masked, layout)
    integers = (2 if mode == "value" else 3) + is_masked + 5
    return kernel, (types.int64,) * integers + (getattr(types, common.number(dtype).__name__),)


def link(ptx, capability):
    """Assemble PTX to machine code and return the assembler's report."""
    options = core.LinkerOptions(arch="sm_{}{}".format(*capability), ptxas_options=["-v"])
    linker = core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=options)
    assert len(linker.link("cubin").code) > 0
    return (linker.get_info_log() or "") + (linker.get_error_log() or "")


def check(ptx, dtype, capability, registers=REGISTERS):
    """Hold machine code to what every kernel has: no wider arithmetic, no calls, no spills, few registers."""
    if dtype != "float64":
        assert ".f64" not in ptx
    assert ".local" not in ptx
    assert not re.search(r"\bcall\b|\.extern \.func|__nv_", ptx)
    report = link(ptx, capability)
    assert "0 bytes spill stores, 0 bytes spill loads" in report
    assert int(re.search(r"Used (\d+) registers", report)[1]) <= registers[dtype]


@pytest.mark.parametrize(("name", "which", "dtype", "capability"), CASES)
def test_kernel(monkeypatch, name, which, dtype, capability):
    ptx = compile_ptx(monkeypatch, *elementwise_kernel(name, which, dtype), capability)
    check(ptx, dtype, capability, WIDE_REGISTERS)
    kind = {"float32": "v4.[fbu]32", "float64": "v2.[fbu]64"}.get(dtype, "v4.[bu]32")
    inputs = len(formula_of(name, which).inputs)
    results = 1 if which == "value" else len(na.registry[name]._value.inputs)
    loads, stores = len(re.findall(rf"ld.global.{kind}", ptx)), len(re.findall(rf"st.global.{kind}", ptx))
    assert loads >= inputs  # of short formulas NVVM unrolls the loop
    assert loads * results == stores * inputs


@pytest.mark.parametrize(("name", "mode", "is_scaled", "is_masked", "places", "dtype", "capability"), ROW_CASES)
def test_row_kernel(monkeypatch, name, mode, is_scaled, is_masked, places, dtype, capability):
    from numact.targets import common
    from numact.targets.cuda_row_kernels import Layout

    is_wide, *rest = places
    item = common.storage(dtype).itemsize
    layout = Layout(16 // item if is_wide else 1, 16 if item < 8 and is_wide else 8, *rest)
    ptx = compile_ptx(monkeypatch, *row_kernel(name, mode, is_scaled, is_masked, dtype, layout), capability)
    check(ptx, dtype, capability, registers=dict.fromkeys(DTYPES, ROW_REGISTERS))
    assert not is_wide or "ld.global.v" in ptx


@pytest.mark.parametrize(("name", "which"), [kernel for kernel in KERNELS if kernel[1] == "backward"])
def test_strided_kernel_compiles(monkeypatch, name, which):
    ptx = compile_ptx(monkeypatch, *elementwise_kernel(name, which, "float32", 3), (9, 0))
    check(ptx, "float32", (9, 0))
    assert ".v4" not in ptx


@pytest.mark.parametrize("name", [*ELEMENTWISE, *SEVERAL])
def test_nvvm_contracts_nothing(monkeypatch, name):
    """Each fma.rn of the PTX is one that the formula wrote: then CPU and GPU round alike."""
    ptx = compile_ptx(monkeypatch, *elementwise_kernel(name, "value", "float32", 1), (9, 0))
    formula = formula_of(name, "value")
    compiled = njit(bind(formula.formula, np.float32), **JIT_OPTIONS)
    compiled.compile((float32,) * len(formula.__signature__.parameters))
    (code,) = compiled.inspect_llvm().values()
    assert ptx.count("fma.rn") == len(re.findall(r"call\b.*@llvm\.fma", code))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sum_kernel(monkeypatch, dtype):
    """What sums the gradients of arrays that repeat."""
    from numba import types
    from numba.cuda import dispatcher

    from numact.targets import cuda as target

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    rows = array(dtype, 3, "C")
    kernel = target.sums_function.__wrapped__(target.IDENTITY, (dtype,), dtype, (None,))
    flat, sizes = array(dtype, 1, "C"), (types.int64, types.int64)
    check(cuda.compile_ptx(kernel, (flat, rows, *sizes), cc=(9, 0))[0], dtype, (9, 0))
    # A bias is read by its own strides and its gradient summed: three or two such blocks fit on a multiprocessor.
    kernel = target.sums_function.__wrapped__(na.gelu._biased_product, (dtype,) * 3, dtype, (dtype, None))
    ptx = cuda.compile_ptx(kernel, (flat, flat, array(dtype, 2, "A"), flat, rows, *sizes), cc=(9, 0))[0]
    check(ptx, dtype, (9, 0), registers={"float32": 80, "float64": 128})


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
