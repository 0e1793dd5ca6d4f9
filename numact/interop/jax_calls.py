"""Calls with JAX arrays on the CPU."""

import jax
import numpy as np
from jax import numpy as jnp

from numact.gated import Halved
from numact.losses import SoftmaxCrossEntropy
from numact.rows import Reduction

ALIGNMENT = 64  # bytes: JAX takes over memory that begins at such an address, and copies any other


def call(call):
    """Make a call on the arrays' own memory; results are JAX arrays."""
    call.refuse_out("a JAX array cannot be written, nor does its result go elsewhere")
    arrays = call.apply(view)
    (device,) = next(value for value in call.arrays.values() if isinstance(value, jax.Array)).devices()
    result = call(arrays, _aligned(next(iter(arrays.values()))) if _keeps_shape(call, arrays) else None)
    return tuple(_wrap(item, device) for item in result) if isinstance(result, tuple) else _wrap(result, device)


def _keeps_shape(call, arrays):
    """Return whether the result is one array like the others, of which memory can be had beforehand."""
    kinds = {(value.shape, value.dtype) for value in arrays.values()}
    if len(kinds) > 1 or isinstance(call.function, Reduction | Halved | SoftmaxCrossEntropy):
        return False
    ((_, dtype),) = kinds
    return not call.gives_several() and dtype.name in ("float16", "float32", "float64")


def _aligned(like):
    memory = np.empty(like.nbytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + like.nbytes].view(like.dtype).reshape(like.shape)


def _wrap(array, device):
    if np.ndim(array) and array.dtype.kind == "f" and device.id == 0:
        return jnp.from_dlpack(array)
    return jax.device_put(array, device)


def view(array):
    """Return a read-only NumPy array in an array's memory, or raise a TypeError where it has none yet."""
    if isinstance(array, jax.core.Tracer):
        raise TypeError(
            "is a JAX tracer, which stands for an array that is not there yet: call numact outside of jax.jit, "
            "jax.vmap and jax.grad, or through jax.pure_callback"
        )
    if not isinstance(array, jax.Array):
        kind = f"{type(array).__module__}.{type(array).__qualname__}"
        raise TypeError(f"is a {kind}, which is no JAX array")
    if places := {device.platform for device in array.devices()} - {"cpu"}:
        raise TypeError(f"lives on a {min(places)}; numact knows CPUs and CUDA GPUs")
    if len(array.devices()) > 1:
        raise TypeError("is spread over several devices; call numact on its addressable_shards, each a whole array")
    # DLPack, as NumPy speaks it, has no bfloat16. numpy.asarray reads the same memory.
    return np.asarray(array)
