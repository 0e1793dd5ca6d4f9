"""Numba device arrays, and any other array with `__cuda_array_interface__`, for which Numba makes the results."""

import contextlib
import contextvars
from functools import cache

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


def plain(array):
    """Return (pointer, (dtype's name, shape, device's index)) of a device array that lies dense, else None."""
    memory = None if SIMULATED else getattr(array, "gpu_data", None)
    if memory is None or not array.is_c_contiguous() or not array.size:
        return None
    return memory.device_pointer_value, (_name(array.dtype), array.shape, memory.context.device.id)


@cache
def _name(kind):
    return kind.name


def dtype(array):
    """Return the name of an array's dtype."""
    return np.dtype(array.dtype if hasattr(array, "dtype") else interface(array)["typestr"]).name


def interface(array):
    """Return an array's CUDA array interface."""
    return array.__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new Numba device array on the stream of `like`."""
    return cuda.device_array(shape, np.dtype(dtype), stream=_stream(like))


def stream(array):
    """Return the handle of the stream of the call, else of that which the array names, or 0, the default stream."""
    return _handle(_stream(array))


@contextlib.contextmanager
def on_stream(array, handle):
    """Return a context in which all work is done on a stream."""
    token = _chosen.set(cuda.external_stream(handle))
    try:
        yield
    finally:
        _chosen.reset(token)


def follow(array, others):
    """Let the work on an array wait for the streams that it and others name; the host does not wait."""
    own = _stream(array)
    if all(_named_stream(other) is own for other in others):
        return
    named = {_handle(item): item for item in map(_named_stream, (array, *others))}
    for handle, other in named.items():
        if handle != _handle(own):
            event = cuda.event(timing=False)
            event.record(other or cuda.default_stream())
            event.wait(own or cuda.default_stream())


def _stream(array):
    """Return the Numba stream of the call, else the one that an array names, or 0."""
    chosen = _chosen.get()
    return _named_stream(array) if chosen is None else chosen


def _named_stream(array):
    if hasattr(array, "gpu_data"):
        return array.stream
    handle = getattr(array, "__cuda_array_interface__", {}).get("stream")  # the simulator's arrays have neither
    return cuda.external_stream(handle) if handle else 0


def _handle(stream):
    return int(getattr(stream, "handle", stream))


_chosen: contextvars.ContextVar = contextvars.ContextVar("stream", default=None)


def note_write(array):
    """Do nothing: nobody asks whether an array has changed."""
