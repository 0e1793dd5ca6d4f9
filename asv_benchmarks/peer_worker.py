"""The process of one library for peers.py: it prepares a case when told to, then times it each time it is told to."""

import gc
import importlib
import json
import math
import os
import signal
import sys
import time
from functools import lru_cache, partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
from scipy import special

LIBRARIES = {"numact": ["numact", "numba"], "torch": ["torch"], "jax": ["jax"], "numpy": ["numpy", "scipy"]}
SHORTEST = 1e-3  # seconds of calls a round; the clock and the loop are then below 0.1 %
UNHURRIED = 1e-2  # seconds of a call beside which cold caches and sleeping threads are nothing
CHECKED = 100_000  # elements up to which the results are compared as well


class Case(NamedTuple):
    """What is timed: one function, direction, dtype and array, into an array given or a new one."""

    function: str
    direction: str
    dtype: str
    size: int
    shape: tuple[int, ...]
    axis: int | None
    out: bool


@lru_cache(maxsize=1)
def values(dtype, size):
    """Return an input, a gradient and an output of so many elements, filled: a page never written to is not there."""
    normal = [np.random.default_rng(seed).standard_normal(size, dtype) for seed in range(2)]
    return normal[0] * np.dtype(dtype).type(3), normal[1], np.ones(size, dtype)


def arrays(case):
    """Return the input, the gradient and the output of a case."""
    count = math.prod(case.shape)
    x, grad, out = (array[:count].reshape(case.shape) for array in values(case.dtype, case.size))
    if case.function != "logsumexp":
        return x, grad, out
    one_a_row = np.asarray(np.take(grad, 0, case.axis))  # of a single row an array, too
    return x, one_a_row, out if case.direction == "backward" else np.ones_like(one_a_row)


# --- a call of each library, or None where it has none ------------------------------------------------------------


def numact_call(case, x, grad, out):
    """Return numact's call."""
    import numact as na

    function = na.registry[case.function]
    keywords = {} if out is None else {"out": out}
    if case.axis is not None:
        keywords["axis"] = case.axis
    if case.direction == "forward":
        return partial(function, x, **keywords)
    if function.takes_output:  # it is there after the forward pass
        axes = () if case.axis is None else (case.axis,)
        return partial(function.backward, grad, output=function(x, *axes), **keywords)
    return partial(function.backward, grad, x, **keywords)


@lru_cache(maxsize=1)
def copied(dtype, count):
    """Return two arrays of so many elements."""
    return np.ones(count, dtype), np.ones(count, dtype)


def copy_call(case, x, grad, out):
    """Return a copy that moves the bytes of the case: two arrays forward, three backward."""
    from numact.commands.hardware import copy_tiles

    return partial(copy_tiles, *copied(case.dtype, x.size if case.direction == "forward" else x.size * 3 // 2 or 1))


def numpy_call(case, x, grad, out):
    """Return the expression one would write with NumPy and SciPy; their ufuncs alone take out=."""
    from numact.references import REFERENCES

    if out is not None:
        ufuncs = {"relu": (np.maximum, x, 0), "sigmoid": (special.expit, x), "tanh": (np.tanh, x)}
        forward = ufuncs.get(case.function) if case.direction == "forward" else None
        return forward and partial(*forward, out=out)
    if case.axis is not None:
        function = partial(REFERENCES[case.function].value, x, case.axis)
        if case.direction == "forward":
            return function
        return lambda: row_gradient(case.function, x, function(), grad, case.axis)
    reference = REFERENCES[case.function]
    return partial(reference.value, x) if case.direction == "forward" else lambda: grad * reference.derivative(x)


def row_gradient(name, x, y, grad, axis):
    """Return the gradient by the input of a function of rows, whose output is y."""
    if name == "logsumexp":
        return np.expand_dims(grad, axis) * np.exp(x - np.expand_dims(y, axis))
    if name == "log_softmax":
        return grad - np.exp(y) * grad.sum(axis, keepdims=True)
    if name == "sparsemax":
        support = y > 0
        return support * (grad - (support * grad).sum(axis, keepdims=True) / support.sum(axis, keepdims=True))
    gradient = y * (grad - (grad * y).sum(axis, keepdims=True))
    return -gradient if name == "softmin" else gradient


WITHOUT_OUT = {("softsign", "forward"), ("tanhshrink", "forward"), ("mish", "backward")}  # in torch


def torch_call(case, x, grad, out):
    """Return torch's call on NumPy's arrays."""
    import torch

    # NumPy's large arrays lie in huge pages: sigmoid of 16M float32 takes 2.37 ms in them and 2.50 ms in torch's own
    return tensor_call(case, *(None if array is None else torch.from_numpy(array) for array in (x, grad, out)))


def tensor_call(case, x, grad, out):
    """Return torch's call: its own kernels, forward and backward, so that no autograd graph is timed.

    Backward, sigmoid, tanh, softmax and log_softmax take the value, which torch keeps from the forward pass.
    """
    keywords = {"approximate": "tanh"} if case.function == "gelu_tanh" else {}
    kernels = torch_kernels(x, grad, None, case.axis).get(case.function)
    if kernels is None:
        return None
    if out is not None and (case.function, case.direction) in WITHOUT_OUT:
        return None
    forward, *arguments = kernels[0]
    if case.direction == "forward":
        return partial(forward, *arguments, **keywords, **({} if out is None else {"out": out}))
    y = forward(*arguments, **keywords)
    kernel = torch_kernels(x, grad, y, case.axis)[case.function][1]
    if kernel is None:
        return None
    operator, *arguments = kernel
    if out is None:
        return partial(getattr(operator, "default", operator), *arguments, **keywords)
    overload = getattr(operator, "grad_input", None) or getattr(operator, "out", operator)
    named = "out" if overload is operator or case.function in ("log_softmax", "hardswish") else "grad_input"
    return partial(overload, *arguments, **keywords, **{named: out})


def torch_kernels(x, grad, y, axis):
    """Return torch's forward and its backward kernel with their arguments, by function."""
    import torch

    aten, nn = torch.ops.aten, torch._C._nn

    def elu(*constants):  # alpha, scale, input_scale
        return (nn.elu, x, *constants), (aten.elu_backward, grad, *constants, False, x)

    def clamp(low, high):
        return (nn.hardtanh, x, low, high), (aten.hardtanh_backward, grad, x, low, high)

    gelu = (nn.gelu, x), (aten.gelu_backward, grad, x)
    from_output = grad, y, axis, x.dtype
    return {
        # torch.relu has no out=, and aten.relu.out computes into new memory and copies: 18 ms against 2.4
        "relu": ((torch.clamp_min, x, 0), (aten.threshold_backward, grad, x, 0)),
        "leaky_relu": ((nn.leaky_relu, x, 0.01), (aten.leaky_relu_backward, grad, x, 0.01, False)),
        "sigmoid": ((torch.sigmoid, x), (aten.sigmoid_backward, grad, y)),
        "tanh": ((torch.tanh, x), (aten.tanh_backward, grad, y)),
        "exponential": ((torch.exp, x), (torch.mul, grad, y)),
        "elu": elu(1.0, 1.0, 1.0),
        "celu": elu(1.0, 1.0, 1.0),
        "selu": elu(1.6732632423543772, 1.0507009873554805, 1.0),
        "relu6": clamp(0.0, 6.0),
        "hardtanh": clamp(-1.0, 1.0),
        "hardsigmoid": ((nn.hardsigmoid, x), (aten.hardsigmoid_backward, grad, x)),
        "hardswish": ((nn.hardswish, x), (aten.hardswish_backward, grad, x)),
        "hardshrink": ((torch.hardshrink, x, 0.5), (aten.hardshrink_backward, grad, x, 0.5)),
        "softshrink": ((nn.softshrink, x, 0.5), (aten.softshrink_backward, grad, x, 0.5)),
        "softplus": ((nn.softplus, x, 1, 20), (aten.softplus_backward, grad, x, 1, 20)),
        "log_sigmoid": (
            (nn.log_sigmoid, x),
            (aten.log_sigmoid_backward, grad, x, None if y is None else aten.log_sigmoid_forward(x)[1]),
        ),
        "silu": ((nn.silu, x), (aten.silu_backward, grad, x)),
        "mish": ((nn.mish, x), (aten.mish_backward, grad, x)),
        "softsign": ((torch.nn.functional.softsign, x), None),  # their backward passes are made of others
        "tanhshrink": ((torch.nn.functional.tanhshrink, x), None),
        "gelu": gelu,
        "gelu_tanh": gelu,
        "softmax": ((torch._softmax, x, axis, False), (aten._softmax_backward_data, *from_output)),
        "log_softmax": ((torch._log_softmax, x, axis, False), (aten._log_softmax_backward_data, *from_output)),
        "logsumexp": ((torch.logsumexp, x, axis), None),  # its backward is made of others
    }


def jax_call(case, x, grad, out):
    """Return JAX's compiled call; backward it computes the forward pass too, as vjp does.

    JAX has no out=: a donated buffer is the input's, whose values are then lost.
    """
    import jax

    named = {"gelu": partial(jax.nn.gelu, approximate=False), "gelu_tanh": partial(jax.nn.gelu, approximate=True)}
    named |= {"softsign": jax.nn.soft_sign, "hardtanh": jax.nn.hard_tanh, "exponential": jax.numpy.exp}
    named |= {"hardsigmoid": jax.nn.hard_sigmoid, "hardswish": jax.nn.hard_swish}
    function = named.get(case.function) or getattr(jax.nn, case.function, None)
    if function is None or out is not None:
        return None
    if case.axis is not None:
        function = partial(function, axis=case.axis)
    x, grad = jax.device_put(x), jax.device_put(grad)
    if case.direction == "forward":
        compiled = jax.jit(function)
        return lambda: compiled(x).block_until_ready()
    compiled = jax.jit(lambda grad, x: jax.vjp(function, x)[1](grad)[0])
    return lambda: compiled(grad, x).block_until_ready()


def cupy_call(case, x, grad, out):
    """Return CuPy's own function, where it has one that writes to an array that exists, else None."""
    import cupy
    from cupyx.scipy import special as cupy_special

    if case.direction == "backward" or case.dtype == "bfloat16":
        return None
    x, out = cupy.asarray(x), cupy.asarray(out)
    if case.function in ("softmax", "log_softmax"):
        return partial(getattr(cupy_special, case.function), x, axis=case.axis)
    ufuncs = {"relu": (cupy.maximum, x, 0), "tanh": (cupy.tanh, x), "exponential": (cupy.exp, x)}
    ufuncs |= {"sigmoid": (cupy_special.expit, x), "log_sigmoid": (cupy_special.log_expit, x)}
    return partial(*ufuncs[case.function], out=out) if case.function in ufuncs else None


CALLS = {"numact": numact_call, "copy": copy_call, "numpy": numpy_call, "torch": torch_call, "jax": jax_call}

# --- timing -------------------------------------------------------------------------------------------------------


def timed(call, repetitions):
    """Return the wall and the processor time of so many calls, the garbage collector off."""
    gc.disable()
    processor, start = time.process_time(), time.perf_counter()
    for _ in repeat(None, repetitions):
        call()
    wall = time.perf_counter() - start
    processor = time.process_time() - processor
    gc.enable()
    return wall, processor


def check(case, result, x, grad):
    """Raise unless a result is that of the reference: a kernel that computes something else is no peer."""
    expected = numpy_call(case._replace(out=False), x.astype(np.float64), grad.astype(np.float64), None)
    if expected is not None:
        np.testing.assert_allclose(np.asarray(result), expected(), rtol=1e-3, atol=1e-4)


def prepare(name, case):
    """Return a call of a case, compiled and warm, and how many take a round; or None where the library has none."""
    gc.collect()
    x, grad, out = arrays(case)
    call = CALLS[name](case, x, grad, out if case.out else None)
    if call is None:
        return None
    result = call()
    if name != "copy" and x.size <= CHECKED:
        check(case, result, x, grad)
    repetitions, (seconds, _) = 1, timed(call, 1)
    while seconds < SHORTEST:
        repetitions *= 2
        seconds, _ = timed(call, repetitions)
    return call, repetitions, seconds / repetitions


def measure(call, repetitions, seconds):
    """Return the time of a call in this round, and the cores that were busy meanwhile."""
    if seconds < UNHURRIED:
        call()  # another library has had the caches
    wall, processor = timed(call, repetitions)
    return {"seconds": wall / repetitions, "cores": processor / wall}


def introduce(library):
    """Import a library; return its versions, or what is missing."""
    try:
        modules = [importlib.import_module(name) for name in LIBRARIES[library]]
    except ImportError as error:
        return {"absent": str(error)}
    found = {"versions": {module.__name__: module.__version__ for module in modules}}
    if library == "torch":
        modules[0].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        modules[0].inference_mode().__enter__()  # for the life of the process: nothing is recorded for autograd
    if library == "numact":
        from numact.commands.hardware import hardware

        found["hardware"] = hardware("")
    return found


def main():
    """Answer requests, a line of JSON each, until the pipe closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[: int(os.environ["OMP_NUM_THREADS"])]
        os.sched_setaffinity(0, cores)
    prepared = {}
    for line in sys.stdin:
        action, name, *case = json.loads(line)
        if action == "introduce":
            answer = introduce(name)
        elif action == "prepare":
            prepared.pop(name, None)
            prepared[name] = prepare(name, Case(*case))
            answer = prepared[name] is not None
        else:
            answer = measure(*prepared[name])
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
