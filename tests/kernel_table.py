"""CUDA kernels compiled without a GPU, and the table of what each takes; a script that writes that table anew.

python tests/kernel_table.py
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from conftest import DTYPES, ELEMENTWISE, SAMPLE, SEVERAL

import numact as na

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'numact[cuda13]'")
core = pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'numact[cuda13]'")

FILE = Path(__file__).with_name("kernel_table.json")
CAPABILITIES = ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]
KERNELS = [(name, which) for name in (*ELEMENTWISE, *SEVERAL) for which in ("value", "derivative", "backward")]
ROW_KERNELS = [
    (name, mode, options)
    for name, modes in {"softmax": ["value", "backward", "from_output"], "log_softmax": ["value", "backward"]}.items()
    for mode in modes
    for options in ("", "scaled", "scaled masked")
]
ROW_KERNELS += [("logsumexp", "value", ""), ("logsumexp", "backward", "")]
# Rows in registers, 16 bytes at once; such rows while the next are on their way; rows that are read twice; columns.
PLACES = {"held": (True, False, False), "ahead": (True, False, False, True), "streamed": (True, False, True)}
PLACES["columns"] = (False, True, True)


def cases():
    """Return all kernels in float32 for one GPU, gradients in the other dtypes, and some kernels for each GPU."""
    found = [(*kernel, "dense", "float32", "9.0") for kernel in KERNELS]
    found += [(*kernel, "3 axes", "float32", "9.0") for kernel in KERNELS if kernel[1] == "backward"]
    found += [(*kernel, "dense", "float64", "9.0") for kernel in KERNELS if kernel[1] == "backward"]
    found += [
        (name, which, "dense", kind, "9.0") for name in SAMPLE for which in ("value", "backward") for kind in DTYPES[:2]
    ]
    found += [(name, f"{mode} {options}".strip(), "held", "float32", "9.0") for name, mode, options in ROW_KERNELS]
    plain = [(name, mode) for name, mode, options in ROW_KERNELS if not options]
    found += [(*kernel, place, "float32", "9.0") for kernel in plain for place in ("streamed", "columns")]
    found += [(*kernel, "ahead", "float16", "9.0") for kernel in plain]
    found += [("softmax", "backward scaled masked", "held", kind, "9.0") for kind in DTYPES if kind != "float32"]
    some = [("relu", "backward", "dense"), ("gelu", "value", "dense"), ("gelu", "backward", "dense")]
    some += [("softmax", "value", "held"), ("softmax", "backward scaled masked", "held")]
    found += [(*kernel, "float32", capability) for kernel in some for capability in CAPABILITIES if capability != "9.0"]
    return found


def array(dtype, dimensions, layout):
    """Return Numba's type of an array of the dtype of that name."""
    from numba import types

    from numact.targets import common

    return types.Array(getattr(types, common.storage(dtype).name), dimensions, layout)


def formula_of(name, which):
    function = na.registry[name].common
    return {"value": function._value, "derivative": function._derivative, "backward": function._product}[which]


def compile_ptx(kernel, signature, capability):
    """Return the PTX of a kernel."""
    from numba.cuda import dispatcher

    from numact.targets.cuda_launch import MOST_THREADS

    device = SimpleNamespace(compute_capability=capability)  # what is inlined is asked for it
    with mock.patch.object(dispatcher, "get_current_device", lambda: device):
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
        kernel, *_ = target.vectors_function.__wrapped__(formula, dtype, results)
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


def machine_code(ptx, capability, *options):
    """Assemble PTX with options and return the instructions alone."""
    import llvmlite.binding

    options = core.LinkerOptions(arch="sm_{}{}".format(*capability), ptxas_options=list(options))
    file = bytes(core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin").code)
    return [
        section.data() for section in llvmlite.binding.ObjectFileRef.from_data(file).sections() if section.is_text()
    ]


def kernel_of(name, which, place, dtype):
    """Return the kernel of a case and its signature."""
    from numact.targets import common
    from numact.targets.cuda_row_kernels import Layout

    if place not in PLACES:
        return elementwise_kernel(name, which, dtype, None if place == "dense" else int(place[0]))
    mode, *options = which.split()
    is_wide, *rest = PLACES[place]
    item = common.storage(dtype).itemsize
    layout = Layout(16 // item if is_wide else 1, {2: 32, 4: 16, 8: 8}[item] if is_wide else 8, *rest)
    return row_kernel(name, mode, "scaled" in options, "masked" in options, dtype, layout)


def measure(name, which, place, dtype, capability):
    """Return the PTX of a case, and its line in the table."""
    whole, part = map(int, capability.split("."))
    ptx = compile_ptx(*kernel_of(name, which, place, dtype), (whole, part))
    report = link(ptx, (whole, part))
    return ptx, {
        "registers": int(re.search(r"Used (\d+) registers", report)[1]),
        "spilled bytes": sum(map(int, re.findall(r"(\d+) bytes spill", report))),
        "loads of 16 bytes": len(re.findall(r"ld\.global\.(?:nc\.)?(?:v4\.[fbu]32|v2\.[fbu]64)", ptx)),
        "stores of 16 bytes": len(re.findall(r"st\.global\.(?:v4\.[fbu]32|v2\.[fbu]64)", ptx)),
        "lines asked for": len(re.findall(r"prefetch\.global\.L2 \[", ptx)),
        "float64": ".f64" in ptx,
    }


if __name__ == "__main__":
    lines = [f"{json.dumps(' '.join(case))}: {json.dumps(measure(*case)[1])}" for case in cases()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
