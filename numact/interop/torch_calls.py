"""Calls with PyTorch tensors on the CPU, and with those on any device that require a gradient."""

import torch
from torch.autograd import forward_ad
from torch.autograd.graph import increment_version

from numact.base import Elementwise
from numact.foreign import through_numpy

DISABLED = "it has no gradient of its own; call it under torch.no_grad(), or on x.detach()"


def call(call):
    """Make a call on the tensors' own memory, and note it for the backward pass where a gradient is required."""
    if torch.jit.is_tracing():
        raise TypeError("torch.jit.trace would keep the result as a constant, as numact's calls are no part of a graph")
    if torch.compiler.is_compiling():  # the graph ends before the call, and another one begins behind it
        return torch.compiler.disable(_call)(call)
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        raise TypeError("make_fx would keep the result as a constant, as numact's calls are no part of a graph")
    return _call(call)


def _call(call):
    checked = call.apply(_checked)
    tensors = {place: value for place, value in checked.items() if isinstance(value, torch.Tensor)}
    outs = call.out if isinstance(call.out, tuple) else (call.out,)
    if torch.is_grad_enabled() and any(getattr(value, "requires_grad", False) for value in (*tensors.values(), *outs)):
        if call.method.__name__ != "__call__":
            raise TypeError(f"{call.function.__name__}.{call.method.__name__}: {DISABLED}")
        for place in tensors.keys() - set(_places(call)):
            if tensors[place].requires_grad:
                raise TypeError(f"{call.name(place)} requires a gradient, which numact does not give: detach() it")
        if call.out is not None and call.out is not call.arrays.get(0):
            call.refuse_out("automatic differentiation writes no other tensor than x itself")
        return Differentiated.apply(call, *tensors.values())
    if any(tensor.is_cuda for tensor in tensors.values()):  # refused for its gradient alone
        return call(call.apply(torch.Tensor.detach), call.apply_to_outs(torch.Tensor.detach))
    written = [out for out in outs if isinstance(out, torch.Tensor)]
    if any(step == 0 and size > 1 for out in written for size, step in zip(out.shape, out.stride(), strict=True)):
        raise TypeError("out has elements that lie in the same place; pass clone() of it")
    result = through_numpy(call, view, wrap)
    for out in written:
        increment_version(out)  # autograd refuses a backward pass for which it has kept what was there
    return result


class Differentiated(torch.autograd.Function):
    """A call as autograd sees it: a value of tensors, and its gradient by each."""

    @staticmethod
    def forward(context, call, *tensors):
        """Return the value, and keep what its gradient is computed from."""
        context.call = call
        context.places = [place for place, value in call.arrays.items() if isinstance(value, torch.Tensor)]
        arrays = {place: tensor.detach() for place, tensor in zip(context.places, tensors, strict=True)}
        context.has_output = 0 in context.places and _output_is_enough(call)
        if call.out is None:
            kept, result = list(tensors), call(arrays)
        else:
            kept = [None if context.has_output else arrays[0].clone(), *tensors[1:]]
            call(arrays, arrays[0])
            context.mark_dirty(tensors[0])
            result = tensors[0]
        if context.has_output:
            kept[0] = result
        context.save_for_backward(*kept)
        return result

    @staticmethod
    def backward(context, grad_output):
        """Return the gradients by all tensors, None by those that have none."""
        if torch.is_grad_enabled():  # create_graph=True, which else would leave out a term without a word
            raise RuntimeError(f"{context.call.function.__name__}: numact's gradients have no gradient of their own")
        kept = [tensor.detach() for tensor in context.saved_tensors]
        arguments, keywords = context.call.exchanged(dict(zip(context.places, kept, strict=True)))
        if context.has_output:
            keywords["output"], arguments[0] = arguments[0], None
        found = context.call.function.backward(grad_output, *arguments, **keywords)
        gradients = dict(zip(_places(context.call), found if isinstance(found, tuple) else (found,), strict=False))
        return None, *(gradients.get(place) for place in context.places)


def _output_is_enough(call):
    """Return whether the output gives the gradient: then it is kept for x, as the next layer keeps it anyway."""
    function = call.function
    if not function.takes_output or "bias" in call.arrays:
        return False
    # Of some functions it does so for some values of the parameters alone, the defaults among them.
    return not isinstance(function, Elementwise) or call.options() == function._defaults


def _places(call):
    """Return the places of the arrays by which a call has gradients, in their order."""
    names = call.function._value.inputs if isinstance(call.function, Elementwise) else ("x",)
    return [*(name if name in call.keywords else index for index, name in enumerate(names)), "bias"]


def _checked(tensor):
    """Return a tensor, or raise a TypeError where it stands for others or holds nothing to compute."""
    if not isinstance(tensor, torch.Tensor):
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise TypeError(f"is a {kind}, which is no tensor")
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise TypeError("is inside torch.vmap or torch.func: numact takes whole arrays, batches included, without them")
    if torch._C._functorch.is_legacy_batchedtensor(tensor):
        raise TypeError("is several at once: leave is_grads_batched=True, or a jacobian's vectorize=True, away")
    if isinstance(tensor, torch._subclasses.FakeTensor) or tensor.is_meta:
        raise TypeError("is a fake or meta tensor, which has no elements to compute")
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None:
        raise TypeError("has a tangent of torch's forward-mode differentiation, which numact does not carry on")
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        raise TypeError("is sparse, nested or quantized; pass a dense tensor")
    if not (tensor.is_cpu or tensor.is_cuda):
        raise TypeError(f"lives on the device {tensor.device}; numact knows CPUs and CUDA GPUs")
    return tensor


def view(tensor):
    """Return a NumPy array in the memory of a tensor on the CPU."""
    tensor = _checked(tensor)
    tensor = tensor.detach() if tensor.requires_grad else tensor
    if tensor.is_neg():
        raise TypeError("is a negated view of another tensor; pass resolve_neg() of it")
    if tensor.dtype is not torch.bfloat16:
        try:
            return tensor.numpy()  # the same memory as by DLPack, in 0.5 us for 1.9
        except TypeError:
            raise TypeError(f"has dtype {tensor.dtype}, which NumPy does not have; convert it first") from None
    return tensor.view(torch.int16).numpy().view(_bfloat16())


def wrap(array):
    """Return a tensor in the memory of a NumPy array."""
    if array.dtype.kind == "V":  # bfloat16
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def _bfloat16():
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise ImportError("bfloat16 tensors on the CPU need ml_dtypes: pip install 'numact[torch]'") from error
    return bfloat16
