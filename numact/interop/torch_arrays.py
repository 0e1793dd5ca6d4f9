"""PyTorch tensors on CUDA devices."""

from functools import cache

import torch
from torch.autograd.graph import increment_version


def device(array):
    """Return the index of the GPU that holds a tensor."""
    return array.device.index


def plain(array):
    """Return (pointer, (dtype's name, shape, device's index)) of a dense tensor that needs no gradient, else None."""
    if not (array.is_cuda and array.is_contiguous()) or array.requires_grad:
        return None
    return array.data_ptr(), (_name(array.dtype), array.shape, array.get_device())


@cache
def _name(kind):
    return str(kind).removeprefix("torch.")


def dtype(array):
    """Return the name of a tensor's dtype."""
    return _name(array.dtype)


def interface(array):
    """Return a tensor's CUDA array interface; its dtype is not to be trusted, as bfloat16 poses as float16."""
    array = array.detach()
    return (array.view(torch.int16) if array.dtype == torch.bfloat16 else array).__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new tensor on the device of `like`, from PyTorch's caching allocator."""
    return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)


def stream(array):
    """Return the handle of PyTorch's current stream on the tensor's device."""
    return _raw_stream(array.get_device())


def _public_stream(device):
    return torch.cuda.current_stream(device).cuda_stream


# What PyTorch's own generated code calls: it makes no stream object, which takes 7 us.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", _public_stream)


def on_stream(array, handle):
    """Return a context in which a stream is PyTorch's current one."""
    return torch.cuda.stream(torch.cuda.ExternalStream(handle, array.device))


def follow(array, others):
    """Do nothing: tensors name no stream."""


def note_write(array):
    """Tell autograd that a tensor changes: it refuses a backward pass for which it has kept what was there."""
    increment_version(array)
