"""Where does each array live, and which target serves it?"""

import importlib
import math
import operator
from functools import cache, lru_cache

import numpy as np
from numpy import ndarray

from numact import memory
from numact.result_types import broadcast_shape, check_out, common_dtype, compute_dtype

PLAIN = {np.dtype(name): name for name in ("float16", "float32", "float64")}  # and bfloat16 once one has come in
BITS = np.dtype(np.uint16)  # what kernels see of a half type
DLPACK_CUDA = (2, 13)  # DLPack's numbers for memory on a GPU and for managed memory
PYTHON_TYPES = (bool, int, float, list, tuple)
STREAM = """stream : int or stream of Numba, CuPy or PyTorch, optional
    The CUDA stream to work on, for arrays on a GPU: else the current one of the arrays' library, or for other arrays
    the one that they name."""  # for the documentation of every call
seen: dict[type, object] = {}  # the types of GPU arrays that have come in, and the module for their library
PART = 262_144  # elements converted or made contiguous at a time, where an array cannot be read in place


def one_or_two(formula, first, x, parameters, out):
    """Apply a formula to x and, unless it is None, an array before it: `elementwise`, sooner where all are alike.

    NumPy itself hands arrays of one shape and dtype to the kernel, small ones of one axis at any stride; parameters it
    takes 0.2 us sooner as arrays of no axes than as numbers. Each condition is written out, and so a call takes 0.25 us
    less of its 1.3. Comparing shapes takes longer: where they differ in spite of as many axes and elements, NumPy
    refuses `out`. Of a kernel for many threads every line counts more: 100,000 elements drive Python's own out of the
    caches, and two more functions on the way to it took 1 to 2 us of 13 to 21.
    """
    kernel = formula.direct.get(dtype := x.dtype) if type(x) is ndarray else None
    if kernel:
        size, axes = x.size, x.ndim
        pays = size >= kernel.parallel_from
        if (
            (out is None or (type(out) is ndarray and out.dtype is dtype and out.size == size and out.ndim == axes))
            and (
                first is None
                or (type(first) is ndarray and first.dtype is dtype and first.size == size and first.ndim == axes)
            )
            and (
                (axes < 2 and not pays)
                or (
                    (flags := x.flags).c_contiguous
                    and flags.aligned
                    and (out is None or ((flags := out.flags).c_contiguous and flags.aligned))
                    and (first is None or ((flags := first.flags).c_contiguous and flags.aligned))
                )
            )
        ):
            try:
                if not pays:
                    if serial := kernel.serial:
                        if first is None:
                            return serial(x, *parameters, out) if parameters else serial(x, out)
                        return serial(first, x, *parameters, out) if parameters else serial(first, x, out)
                elif (parallel := kernel.parallel) and size < kernel.large_from and (pool := kernel.pool).is_open:
                    with pool.lock:
                        if first is None:
                            return parallel(x, *parameters, out) if parameters else parallel(x, out)
                        return parallel(first, x, *parameters, out) if parameters else parallel(first, x, out)
                result = memory.empty_like(x) if out is None else out
                kernel.run(pays, *((x,) if first is None else (first, x)), *parameters, result)
                return result
            except ValueError:
                pass
    return elementwise(formula, (x,) if first is None else (first, x), parameters, out)


def elementwise(formula, arrays, parameters, out):
    """Apply a formula to a tuple of arrays, its first arguments, and to numbers, on the device where they live."""
    x, parameters = arrays[-1], tuple(map(float, parameters))
    if name := _plain_dtype(arrays, x, out):
        kernel = cpu_target().kernel(formula, name)
        result = memory.empty_like(x) if out is None else out
        if x.ndim == 1 and x.itemsize > 2:
            kernel.fill(arrays, parameters, result)
            return result
        kernel.fill(map(flattened, arrays), parameters, flattened(result))
        return deliver(result, out)
    if library := seen.get(type(x)):
        result = cuda_target().plain(library, formula, arrays, parameters, out)
        if result is not None:
            return result
    named = dict(zip(formula.inputs, arrays, strict=True))
    interop = find_interop(named, out)
    if interop is None:
        return numpy_arrays().elementwise(formula, named, parameters, out)
    return cuda_target().elementwise(interop, formula, named, parameters, out)


def gradients(formula, arrays, parameters, out, summed=True):
    """Apply a formula of several results, one by each array, to a tuple of arrays.

    Parameters
    ----------
    summed : bool
        Whether the first array is grad_output, which has no result, and each result has the shape of its array, summed
        over the axes along which that repeats. Else all have the shape that the arrays broadcast to.
    """
    named, parameters = dict(zip(formula.inputs, arrays, strict=True)), tuple(map(float, parameters))
    names = formula.inputs[1:] if summed else formula.inputs
    if out is not None and not (isinstance(out, tuple | list) and len(out) == len(names)):
        raise ValueError(f"out must be a tuple of {len(names)}: for {' and '.join(names)} an array each, or None")
    outs = dict(zip(names, out or [None] * len(names), strict=True))
    given = {f"out for {name}": value for name, value in outs.items() if value is not None}
    interop = find_interop(named | given, None)
    if interop is None:
        return numpy_arrays().gradients(formula, named, parameters, outs, summed)
    from numact.targets import cuda_sums

    return cuda_sums.gradients(interop, formula, named, parameters, outs, summed)


def empty_like(x):
    """Return a new array of the library, shape and device of x, and of the dtype of a result."""
    interop = find_interop({"x": x}, None)
    if interop is not None:
        return interop.empty(x, x.shape, compute_dtype("x", interop.dtype(x)))
    _, dtype, shape = prepare({"x": x}, None)
    return memory.empty(shape, dtype)


def _plain_dtype(arrays, x, out):
    """Return the dtype's name if all are C-contiguous NumPy arrays of one shape and floating dtype, else None.

    Then nothing has to be converted; x is the last of the arrays. It costs 0.3 us, where the way for arrays of all
    kinds costs 10.
    """
    if type(x) is not ndarray or (name := PLAIN.get(dtype := x.dtype)) is None:
        return None
    if not ((flags := x.flags).carray or (flags.c_contiguous and flags.aligned)):  # the second for a read-only array
        return None
    if len(arrays) > 1:
        for other in arrays[:-1]:
            if type(other) is not ndarray or other.dtype is not dtype or other.shape != x.shape:
                return None
            if not ((flags := other.flags).carray or (flags.c_contiguous and flags.aligned)):
                return None
    if out is None or (type(out) is ndarray and out.dtype is dtype and out.shape == x.shape and out.flags.carray):
        return name
    return None


def flattened(array):
    """Return a view of a C-contiguous array as a flat one, of a half type as its bits."""
    flat = array.ravel()  # reshape takes 0.1 us longer
    return flat if flat.itemsize > 2 else flat.view(BITS)


@cache
def dtype_name(dtype):
    """Return the name of a dtype, which NumPy takes 2 us to find."""
    return dtype.name


def find_interop(arrays, out):
    """Return the module for the arrays' GPU library, or None where all live on the CPU.

    Raises
    ------
    ValueError
        If the arguments live on different devices; the message names each argument and its device.
    TypeError
        If an argument is no array that numact knows.
    """
    named = arrays if out is None else {**arrays, "out": out}
    if any(getattr(value, "requires_grad", False) for value in named.values()):
        raise TypeError("an array takes part in automatic differentiation")  # which its library's own module knows of
    on_gpu = [name for name, value in named.items() if is_cuda(value)]
    if on_gpu:
        cuda_target()
    if not on_gpu:
        for name, value in named.items():
            _check_cpu_type(name, value)
        return None
    libraries = {name: _interop_of(named[name]) for name in on_gpu}
    for name, library in libraries.items():
        seen.setdefault(type(named[name]), library)
    places = {name: f"GPU {library.device(named[name])}" for name, library in libraries.items()}
    places |= dict.fromkeys(named.keys() - places.keys(), "the CPU")
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{name} on {places[name]}" for name in named)
        raise ValueError(f"the arrays live on different devices: {listed}; move them to one device first")
    if len(set(libraries.values())) > 1:
        listed = ", ".join(
            f"{name} is a {type(named[name]).__module__}.{type(named[name]).__name__}" for name in on_gpu
        )
        raise TypeError(
            f"the GPU arrays are of different libraries: {listed}; convert them to one, which takes no copy"
        )
    return libraries[on_gpu[0]]


def on_stream(stream, call, x, *arguments, **keywords):
    """Return what a call gives whose first array is x, on a stream of the user's choice.

    Raises
    ------
    TypeError
        If that is no stream.
    ValueError
        If x does not live on a GPU.
    """
    interop = find_interop({"x": x}, None)
    if interop is None:
        raise ValueError("stream= is for arrays on a GPU; these live on the CPU")
    with interop.on_stream(x, _stream_handle(stream)):
        return call(x, *arguments, **keywords)


def _stream_handle(stream):
    """Return the number by which the CUDA driver knows a stream."""
    if hasattr(stream, "__cuda_stream__"):
        return stream.__cuda_stream__()[1]
    named = [getattr(stream, name) for name in ("ptr", "cuda_stream") if hasattr(stream, name)]  # CuPy's, PyTorch's
    try:
        return operator.index(*named or [stream])
    except TypeError:
        kind = f"{type(stream).__module__}.{type(stream).__qualname__}"
        raise TypeError(f"stream must be a stream of Numba, CuPy or PyTorch or its handle, not a {kind}") from None


def is_cuda(value):
    """Return whether an object is an array in a GPU's memory."""
    if isinstance(value, (np.ndarray, np.generic, *PYTHON_TYPES)):
        return False
    if _library(value) == "torch":  # of a tensor that requires a gradient the interface cannot be asked
        return getattr(value, "is_cuda", False)
    if hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False):
        return True
    try:
        return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] in DLPACK_CUDA
    except (BufferError, TypeError):  # of JAX: it lies on several devices, or was deleted
        return False


def _library(value):
    return type(value).__module__.partition(".")[0]


def _interop_of(value):
    library = _library(value)
    if library in ("cupy", "torch"):
        return _interop_module(library)
    knows = hasattr(value, "__cuda_array_interface__") or hasattr(value, "__cuda_ndarray__")
    return _interop_module("numba" if knows else "dlpack")


@cache
def _interop_module(library):
    return importlib.import_module(f"numact.interop.{library}_arrays")


@cache
def cpu_target():
    """Import the CPU target at the first call, so that `import numact` stays quick."""
    return importlib.import_module("numact.targets.cpu")


@cache
def numpy_arrays():
    """Import what deals with NumPy arrays of all kinds at the first that is not plain."""
    return importlib.import_module("numact.numpy_arrays")


@cache
def cuda_target():
    """Import the CUDA target, or say what is missing."""
    try:
        from numact.targets import cuda
    except ImportError as error:
        raise ImportError(
            "this array is on a GPU, and numact's CUDA kernels need numba-cuda: "
            "pip install 'numact[cuda13]' (or 'numact[cuda12]' for a CUDA 12 driver)"
        ) from error
    cuda.check_driver()
    return cuda


def _check_cpu_type(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array")  # see `numact.foreign`
    if not isinstance(value, (np.ndarray, np.generic, *PYTHON_TYPES)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{name} is a {kind}; numact takes NumPy and GPU arrays: pass numpy.asarray({name})")


def prepare(arrays, out):
    """Check NumPy arguments; return them as arrays by name, with the result's dtype and shape."""
    # As in NumPy, a Python number takes the dtype of the arrays beside it.
    weak = {name for name, value in arrays.items() if isinstance(value, (bool, int, float))}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    strong = arrays.keys() - weak or arrays.keys()
    name = common_dtype({name: dtype_name(arrays[name].dtype) for name in strong})
    shape = broadcast_shape({name: value.shape for name, value in arrays.items()})
    if out is not None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a NumPy array, as the input is, not {type(out).__name__}")
        check_out(out.shape, dtype_name(out.dtype), not out.flags.writeable, shape, name)
    if name != "bfloat16":
        return arrays, np.dtype(name), shape
    dtype = next(value.dtype for value in arrays.values() if dtype_name(value.dtype) == name)
    PLAIN[dtype] = name
    return arrays, dtype, shape


def _parts(shape, whole=1):
    """Yield the indices of parts of about `PART` elements of an array of that shape, its last `whole` axes uncut."""
    last, cut = len(shape) - whole - 1, 0
    if last < 0:
        yield ...
        return
    while cut < last and math.prod(shape[cut + 1 :]) > PART:
        cut += 1
    step = max(1, PART // max(1, math.prod(shape[cut + 1 :])))
    for outer in np.ndindex(*shape[:cut]):
        for low in range(0, shape[cut], step):
            yield *outer, slice(low, low + step)


@lru_cache(maxsize=4096, typed=True)
def split_at(shape, axis):
    """Return the sizes (before, along, after) of an axis.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis is out of range; a ValueError and an IndexError.
    TypeError
        If it is not an integer.
    """
    axis = operator.index(axis)
    if not -len(shape) <= axis < len(shape):
        raise np.exceptions.AxisError(axis, len(shape))
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def deliver(result, out):
    """Return the result, copied to `out` where it was not computed there; 0-d results become scalars."""
    if out is None:
        return result if result.ndim else result[()]
    if out is not result:
        with np.errstate(all="ignore"):
            np.copyto(out, result, casting="same_kind")
    return out


def may_overlap(out, arrays):
    """Return whether writing `out` could change an input that is still to be read."""
    for value in arrays:  # noqa: SIM110 - any() takes 0.2 us more
        if value is not out and np.may_share_memory(out, value):
            return True
    return False
