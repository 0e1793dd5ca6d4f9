"""Numba device arrays, and any other array with `__cuda_array_interface__`, for which Numba makes the results."""

import numpy as np
from numba import cuda


def device(array):
    """Return the index of the GPU that holds an array."""
    if hasattr(array, "gpu_data"):
        return array.gpu_data.context.device.id
    return getattr(cuda.get_current_device(), "id", 0)  # the simulator's only device has none


def dtype(array):
    """Return the name of an array's dtype."""
    return np.dtype(array.dtype if hasattr(array, "dtype") else interface(array)["typestr"]).name


def interface(array):
    """Return an array's CUDA array interface."""
    return array.__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new Numba device array."""
    return cuda.device_array(shape, np.dtype(dtype))


def stream(array):
    """Return the handle of the stream that the array names, or 0, the default stream."""
    named = getattr(array, "stream", None) or interface(array).get("stream") or 0
    return int(getattr(named, "handle", named))
