"""CuPy arrays."""

import cupy


def device(array):
    """Return the index of the GPU that holds an array."""
    return array.device.id


def dtype(array):
    """Return the name of an array's dtype."""
    return array.dtype.name


def interface(array):
    """Return an array's CUDA array interface."""
    return array.__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new array on the device of `like`, from CuPy's memory pool."""
    with like.device:
        kind = like.dtype if like.dtype.name == dtype else cupy.dtype(dtype)
        return cupy.empty(shape, kind)


def stream(array):
    """Return the handle of CuPy's current stream on the array's device."""
    with array.device:
        return cupy.cuda.get_current_stream().ptr


def on_stream(array, handle):
    """Return a context in which a stream is CuPy's current one."""
    return cupy.cuda.ExternalStream(handle, array.device.id)


def follow(array, others):
    """Do nothing: CuPy's arrays name no stream."""
