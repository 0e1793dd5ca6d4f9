"""PyTorch tensors on CUDA devices."""

import torch


def device(array):
    """Return the index of the GPU that holds a tensor."""
    return array.device.index


def dtype(array):
    """Return the name of a tensor's dtype."""
    return str(array.dtype).removeprefix("torch.")


def interface(array):
    """Return a tensor's CUDA array interface; its dtype is not to be trusted, as bfloat16 poses as float16."""
    array = array.detach()
    return (array.view(torch.int16) if array.dtype == torch.bfloat16 else array).__cuda_array_interface__


def empty(like, shape, dtype):
    """Return a new tensor on the device of `like`, from PyTorch's caching allocator."""
    return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)


def stream(array):
    """Return the handle of PyTorch's current stream on the tensor's device."""
    return torch.cuda.current_stream(array.device).cuda_stream


def on_stream(array, handle):
    """Return a context in which a stream is PyTorch's current one."""
    return torch.cuda.stream(torch.cuda.ExternalStream(handle, array.device))


def follow(array, others):
    """Do nothing: tensors name no stream."""
