"""Calls with CPU arrays of any library that speaks DLPack and is not known by name."""

import numpy as np

from numact.foreign import loaded, module_for, through_numpy

ON_CPU = (1, 3)  # DLPack's kDLCPU and kDLCUDAHost


def call(call):
    """Make a call on the arrays' own memory; results are arrays of the first one's library."""
    arrays = [value for value in (*call.arrays.values(), call.out) if module_for(type(value)) is not None]
    namespace = namespace_of(arrays[0])
    return through_numpy(call, view, namespace.from_dlpack)


def namespace_of(array):
    """Return what has `from_dlpack` for an array: its array namespace, or its package."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    package = loaded(type(array).__module__.partition(".")[0])
    if not hasattr(package, "from_dlpack"):
        name = f"{type(array).__module__}.{type(array).__qualname__}"
        raise TypeError(f"numact reads a {name}, but cannot make one: pass numpy.from_dlpack(x)")
    return package


def view(array):
    """Return a NumPy array in an array's memory, or raise a TypeError where that is on no CPU."""
    kind, _ = array.__dlpack_device__()
    if kind not in ON_CPU:
        raise TypeError(f"lives on a device of DLPack's kind {int(kind)}; numact knows CPUs and CUDA GPUs")
    return np.from_dlpack(array)
