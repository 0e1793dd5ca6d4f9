"""GPU arrays as kernels see them, and how kernels are launched: on the array's device, on the caller's stream."""

import ctypes
import itertools
import struct
import threading
import warnings
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda, types
from numba.core.errors import NumbaPerformanceWarning

from numact.targets import common
from numact.targets.cuda_memory import SIMULATED, VECTOR

if not SIMULATED:
    from cuda.bindings import driver

MOST_THREADS = 512  # of any block: the compiler gives none of them more than 128 registers
_loading = threading.RLock()  # held by who loads a kernel or finds a context: of two threads at once Numba fails in one
WAVES = 4  # how often the blocks of a large array's grid fill the device; more elements go round the kernel's loop


def check_driver():
    """Raise if no CUDA driver or GPU can be used."""
    if not cuda.is_available():
        raise RuntimeError("this array is on a GPU, but Numba finds no CUDA driver or no device: see `numba -s`")


class View(NamedTuple):
    """An array in GPU memory, as kernels need it: the library's array, its dtype's name, and where its elements are."""

    array: object
    dtype: str
    shape: tuple
    strides: tuple
    pointer: int
    read_only: bool

    @property
    def contiguous(self):
        """Whether the elements lie one after the other, the last axis fastest."""
        return self.strides == _contiguous_strides(self.shape, common.storage(self.dtype).itemsize)

    @property
    def aligned(self):
        """Whether the first element lies where 16 bytes can be read at once."""
        return self.pointer % VECTOR == 0

    @property
    def extent(self):
        """The first address and the one behind the last."""
        reach = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        low, high = sum(min(step, 0) for step in reach), sum(max(step, 0) for step in reach)
        return self.pointer + low, self.pointer + high + common.storage(self.dtype).itemsize

    def broadcast(self, shape):
        """Return the view with that shape, stretched axes with stride 0."""
        if self.shape == tuple(shape):
            return self
        missing = len(shape) - len(self.shape)
        own = [0 if size == 1 else stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return self._replace(shape=shape, strides=(0,) * missing + tuple(own))

    def reshape(self, shape):
        """Return a contiguous view with another shape of the same size."""
        return self._replace(shape=shape, strides=_contiguous_strides(shape, common.storage(self.dtype).itemsize))

    def argument(self):
        """Return the array that a kernel is launched with."""
        kind = common.storage(self.dtype)
        if SIMULATED:
            from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

            return FakeCUDAArray(np.lib.stride_tricks.as_strided(self.array._ary.view(kind), self.shape, self.strides))
        described = {"shape": self.shape, "strides": self.strides, "typestr": kind.str, "version": 3}
        described["data"] = (self.pointer, False)
        return cuda.from_cuda_array_interface(described, owner=self.array, sync=False)


@lru_cache(maxsize=4096)
def _contiguous_strides(shape, itemsize):
    strides = list(itertools.accumulate(shape[:0:-1], int.__mul__, initial=itemsize))[: len(shape)]
    return tuple(strides[::-1])


def view(interop, array):
    """Return the `View` of an array of that library."""
    if plain := interop.plain(array):
        pointer, (dtype, shape, _) = plain
        strides = _contiguous_strides(shape, common.storage(dtype).itemsize)
        return View(array, dtype, tuple(shape), strides, pointer, False)
    dtype = interop.dtype(array)
    if SIMULATED:
        host = array._ary
        return View(array, dtype, host.shape, host.strides, host.ctypes.data, not host.flags.writeable)
    described = interop.interface(array)
    shape, kind = tuple(described["shape"]), np.dtype(described["typestr"])
    strides = described.get("strides") or _contiguous_strides(shape, kind.itemsize)
    pointer, read_only = described["data"]
    if not kind.isnative or pointer % kind.itemsize:
        raise ValueError(f"a GPU array of {dtype} is byte-swapped or not aligned to its elements; copy it first")
    return View(array, dtype, shape, tuple(strides), pointer, read_only)


def view_to_write(interop, array):
    """Return the `View` of an array that is about to be written."""
    interop.note_write(array)
    return view(interop, array)


def merged(shape, views):
    """Return the shape of the fewest axes that step through views of a shape alike, and the strides of each by axis.

    The axes come in the order of the last view's strides, so that neighbouring threads write to neighbouring elements.
    """
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda axis: -abs(views[-1].strides[axis]))
    sizes, steps = [], []
    for axis in axes:
        step = [item.strides[axis] for item in views]
        if sizes and steps[-1] == [stride * shape[axis] for stride in step]:
            sizes[-1] *= shape[axis]
            steps[-1] = step
        else:
            sizes.append(shape[axis])
            steps.append(step)
    return sizes, steps


def overlaps(target, inputs):
    """Return whether writing the target could change an input that another thread has still to read."""
    low, high = target.extent
    for item in inputs:
        same = (item.pointer, item.shape, item.strides) == (target.pointer, target.shape, target.strides)
        start, stop = item.extent
        if start < high and low < stop and not same:
            return True
    return False


def launch(interop, x, function, blocks, threads, views, numbers=()):
    """Launch a kernel of arrays on the stream and the device of x, and return at once; no blocks, no launch.

    Raises
    ------
    RuntimeError
        If CUDA refuses the launch, or if the kernel would have to be compiled while the stream is captured; the message
        names the kernel.
    """
    if not blocks:
        return
    if SIMULATED:
        _kernel(function)[blocks, threads](*(item.argument() for item in views), *numbers)
        return
    device, stream = interop.device(x), interop.stream(x)
    key = function, device, *((len(item.shape), item.contiguous) for item in views)
    is_first = key not in _launched
    with on_device(device), _loading if is_first else _NOTHING, warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small arrays make small grids
        if is_first:
            _check_capture(function, stream)
        try:
            kernel = _kernel(function)[blocks, threads, cuda.external_stream(stream) if stream else 0]
            kernel(*(item.argument() for item in views), *numbers)
        except Exception as error:
            raise RuntimeError(f"the CUDA kernel {function.__qualname__} on GPU {device}: {error}") from error
    _launched.add(key)


_launched: set[tuple] = set()  # kernels of arrays that are compiled and loaded, by what they were compiled for


class Launcher:
    """A kernel of addresses and sizes, then of numbers of one type, compiled and loaded on a device.

    Numba's own launch takes 45 us, most of it for what was the same in the call before.

    Parameters
    ----------
    function : callable
        The kernel as a Python function.
    integers, numbers : int
        How many arguments of each kind it has.
    number : type
        NumPy's type of its numbers.
    device : int
        The index of the GPU.
    stream : int
        The handle of the stream for which it is wanted: the kernel cannot be compiled while that is captured.
    """

    def __init__(self, function, integers, numbers, number, device, stream):
        self.name, self.device, self._integers = function.__qualname__, device, integers
        self._context = _context(device)
        signature = (types.int64,) * integers + (getattr(types, number.__name__),) * numbers
        with on_device(device):  # of a new thread no device is the current one
            _check_capture(function, stream)
            try:
                self._kernel = _kernel(function).compile(signature)._codelibrary.get_cufunc()
            except Exception as error:
                raise RuntimeError(f"the CUDA kernel {self.name} on GPU {device}: {error}") from error
        self._handle = int(self._kernel.handle)
        size = np.dtype(number).itemsize
        self._packer = struct.Struct(f"={integers}q{numbers}{'f' if size == 4 else 'd'}")
        self._arguments = ctypes.create_string_buffer(self._packer.size)
        begin = ctypes.addressof(self._arguments)
        places = [begin + 8 * place for place in range(integers)]
        places += [begin + 8 * integers + size * place for place in range(numbers)]
        self._pointers = (ctypes.c_void_p * len(places))(*places)
        self._pointer, self._lock = ctypes.addressof(self._pointers), threading.Lock()

    def __call__(self, blocks, threads, stream, *arguments):
        """Launch the kernel and return at once."""
        if int(driver.cuCtxGetCurrent()[1]) != self._context:
            with cuda.gpus[self.device]:
                return self(blocks, threads, stream, *arguments)
        with self._lock:  # CUDA has read the arguments when the launch returns
            try:
                self._packer.pack_into(self._arguments, 0, *arguments)
            except OverflowError:  # a number beyond the largest float32 is infinite, as on the CPU
                numbers = [ctypes.c_float(number).value for number in arguments[self._integers :]]
                self._packer.pack_into(self._arguments, 0, *arguments[: self._integers], *numbers)
            (error,) = driver.cuLaunchKernel(self._handle, blocks, 1, 1, threads, 1, 1, 0, stream, self._pointer, 0)
        if error:
            _, text = driver.cuGetErrorString(error)
            raise RuntimeError(f"the CUDA kernel {self.name} on GPU {self.device}: {text.decode()} ({error.name})")


class Simulated:
    """What stands for a `Launcher` in the simulator."""

    def __init__(self, function, integers, numbers, number, device, stream):
        self._function, self._integers, self._number = function, integers, number

    def __call__(self, blocks, threads, stream, *arguments):
        """Run the kernel."""
        integers, numbers = arguments[: self._integers], arguments[self._integers :]
        _kernel(self._function)[blocks, threads](*integers, *map(self._number, numbers))


def start(interop, x, function, blocks, threads, integers, numbers, dtype):
    """Launch a kernel of addresses and sizes on the stream and the device of x, and return at once."""
    if blocks:
        stream = 0 if SIMULATED else interop.stream(x)
        start_on(interop.device(x), stream, function, blocks, threads, integers, numbers, dtype)


def start_on(device, stream, function, blocks, threads, integers, numbers, dtype):
    """Launch a kernel of addresses and sizes, then of numbers that compute a dtype, and return at once."""
    launcher = _launchers.get((function, device))
    if launcher is None:
        counts = len(integers), len(numbers)
        launcher = kept_launcher(function, *counts, common.number(dtype), device, stream)
    launcher(blocks, threads, stream, *integers, *numbers)


_launchers: dict[tuple, object] = {}


def kept_launcher(function, integers, numbers, number, device, stream):
    """Return the launcher of a kernel on a device, made by the first thread that asks for it."""
    with _loading:
        kept = _launchers.get((function, device))
        if kept is None:
            kind = Simulated if SIMULATED else Launcher
            kept = _launchers[function, device] = kind(function, integers, numbers, number, device, stream)
        return kept


def _check_capture(function, stream):
    """Raise if a kernel cannot be compiled and loaded now."""
    if is_capturing(stream):
        raise RuntimeError(
            f"the CUDA kernel {function.__qualname__} is not compiled yet, and cannot be while stream {stream} is "
            "captured: make the same call once before the capture, with arrays of the same shapes and dtypes"
        )


def is_capturing(stream):
    """Return whether work on a stream becomes part of a CUDA graph rather than being done."""
    _, status = driver.cuStreamIsCapturing(stream)
    return status != driver.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE


@cache
def _kernel(function):
    return cuda.jit(function) if SIMULATED else common.cached(cuda.jit, function, launch_bounds=MOST_THREADS)


def on_device(device):
    """Return a context in which a device is the thread's current one; it costs nothing where it is that already.

    Raises
    ------
    RuntimeError
        If there is no such device any more.
    """
    _, current = driver.cuCtxGetCurrent()
    return _NOTHING if int(current) == _context(device) else cuda.gpus[device]


_NOTHING = nullcontext()


@cache
def _context(device):
    """Return the handle of the primary context of a device, which libraries share."""
    with _loading:
        if device >= len(cuda.gpus):
            raise RuntimeError(f"an array is on GPU {device}, but Numba finds only {len(cuda.gpus)} devices")
        return int(cuda.gpus[device].get_primary_context().handle)


@cache
def most_blocks(device, threads, alone=False):
    """Return how many blocks of so many threads a large array's grid has on a device, where blocks go round a loop.

    Those that each fill a multiprocessor alone are as many as there are multiprocessors.
    """
    if SIMULATED:
        return 32
    _context(device)  # raises where the device has gone
    gpu = cuda.gpus[device]
    resident = 1 if alone else WAVES * max(1, gpu.MAX_THREADS_PER_MULTIPROCESSOR // threads)
    return gpu.MULTIPROCESSOR_COUNT * resident


def blocks(interop, x, wanted, threads, alone=False):
    """Return how many blocks of so many threads a grid on the device of x has, where so many are wanted."""
    return min(wanted, most_blocks(interop.device(x), threads, alone))
