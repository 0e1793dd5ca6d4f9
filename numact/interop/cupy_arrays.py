"""CuPy arrays."""

import operator
from functools import cache

import cupy


def device(array):
    """Return the index of the GPU that holds an array."""
    return array.device.id


def plain(array):
    """Return (pointer, (dtype's name, shape, device's index)) of an array that lies dense, else None."""
    if not _is_dense(array):
        return None
    memory = array.data
    return memory.ptr, (_name(array.dtype), array.shape, memory.device_id)


def _public_is_dense(array):
    return array.flags.c_contiguous


# What CuPy's own kernels ask: the flags are an object made anew, which takes a third of a microsecond.
_is_dense = operator.attrgetter("_c_contiguous") if hasattr(cupy.ndarray, "_c_contiguous") else _public_is_dense


@cache
def _name(kind):
    return kind.name


def dtype(array):
    """Return the name of an array's dtype."""
    return array.dtype.name


def interface(array):
    """Return an array's CUDA array interface."""
    return array.__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new array on the device of `like`, from CuPy's memory pool."""
    kind, device = like.dtype if _name(like.dtype) == dtype else cupy.dtype(dtype), like.device
    if device.id == cupy.cuda.runtime.getDevice():
        return cupy.empty(shape, kind)
    with device:
        return cupy.empty(shape, kind)


def stream(array):
    """Return the handle of CuPy's current stream on the array's device."""
    return cupy.cuda.get_current_stream(array.data.device_id).ptr


class _Named:
    """A stream of a handle."""

    def __init__(self, handle):
        self._handle = handle

    def __cuda_stream__(self):
        """Return the protocol's version and the handle."""
        return 0, self._handle


def on_stream(array, handle):
    """Return a context in which a stream is CuPy's current one."""
    if hasattr(cupy.cuda.Stream, "from_external"):  # from CuPy 14 on
        return cupy.cuda.Stream.from_external(_Named(handle))
    return cupy.cuda.ExternalStream(handle)


def follow(array, others):
    """Do nothing: CuPy's arrays name no stream."""


def note_write(array):
    """Do nothing: nobody asks whether an array has changed."""
