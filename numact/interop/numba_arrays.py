"""Numba device arrays, and any other array with `__cuda_array_interface__`, for which Numba makes the results."""

import numpy as np
from numba import cuda

from numact.targets.cuda_memory import SIMULATED

if not SIMULATED:
    from cuda.bindings import driver


def device(array):
    """Return the index of the GPU that holds an array."""
    if hasattr(array, "gpu_data"):
        return array.gpu_data.context.device.id
    if not hasattr(array, "__cuda_array_interface__"):
        return 0  # the simulator has one device
    pointer, _ = interface(array)["data"]
    ordinal = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    error, index = driver.cuPointerGetAttribute(ordinal, pointer)
    return cuda.get_current_device().id if error else index  # of an empty array there may be no pointer


def dtype(array):
    """Return the name of an array's dtype."""
    return np.dtype(array.dtype if hasattr(array, "dtype") else interface(array)["typestr"]).name


def interface(array):
    """Return an array's CUDA array interface."""
    return array.__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new Numba device array on the stream of `like`."""
    return cuda.device_array(shape, np.dtype(dtype), stream=_named_stream(like))


def stream(array):
    """Return the handle of the stream that the array names, or 0, the default stream."""
    named = _named_stream(array)
    return int(getattr(named, "handle", named))


def _named_stream(array):
    """Return the Numba stream that an array names, or 0."""
    if hasattr(array, "gpu_data"):
        return array.stream
    handle = getattr(array, "__cuda_array_interface__", {}).get("stream")  # the simulator's arrays have neither
    return cuda.external_stream(handle) if handle else 0
