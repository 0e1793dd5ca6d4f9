"""Arrays of any other library that hands out GPU memory by DLPack; Numba makes their results."""

from cuda.core.utils import StridedMemoryView

from numact.interop import numba_arrays
from numact.interop.numba_arrays import empty, note_write, on_stream, stream

__all__ = ["device", "dtype", "empty", "follow", "interface", "note_write", "on_stream", "plain", "stream"]
LEGACY = 1  # DLPack's number of the default stream


def _described(array):
    """Return what DLPack says of an array; its library lets our stream wait for the array's own work."""
    return StridedMemoryView.from_dlpack(array, stream_ptr=stream(array) or LEGACY)


def device(array):
    """Return the index of the GPU that holds an array."""
    if hasattr(array, "gpu_data"):
        return numba_arrays.device(array)
    return array.__dlpack_device__()[1]


def plain(array):
    """Return what is known of a result, which is Numba's; else None: no attribute of the array says how it lies."""
    return numba_arrays.plain(array)


def dtype(array):
    """Return the name of an array's dtype."""
    if hasattr(array, "gpu_data"):
        return numba_arrays.dtype(array)
    return _described(array).dtype.name


def interface(array):
    """Return what an array's CUDA array interface would be."""
    if hasattr(array, "gpu_data"):
        return numba_arrays.interface(array)
    described = _described(array)
    item = described.dtype.itemsize
    strides = described.strides and tuple(step * item for step in described.strides)
    typestr = f"<i{item}" if described.dtype.name == "bfloat16" else described.dtype.str
    pointer = described.ptr, described.readonly
    return {"shape": tuple(described.shape), "strides": strides, "typestr": typestr, "data": pointer, "version": 3}


def follow(array, others):
    """Do nothing: the arrays' library has done it."""
