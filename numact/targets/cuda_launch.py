"""GPU arrays as kernels see them, and how kernels are launched: on the array's device, on the caller's stream."""

import itertools
import warnings
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning

from numact.targets import common
from numact.targets.cuda_memory import SIMULATED, VECTOR

if not SIMULATED:
    from cuda.bindings import driver

MOST_THREADS = 512  # of any block: the compiler gives none of them more than 128 registers
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


def _contiguous_strides(shape, itemsize):
    strides = list(itertools.accumulate(shape[:0:-1], int.__mul__, initial=itemsize))[: len(shape)]
    return tuple(strides[::-1])


def view(interop, array):
    """Return the `View` of an array of that library."""
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
    """Launch a kernel on the stream and the device of x, and return at once; no blocks, no launch.

    Raises
    ------
    RuntimeError
        If CUDA refuses the launch, or if the kernel would have to be compiled while the stream is captured; the message
        names the kernel.
    """
    if not blocks:
        return
    if SIMULATED:
        _configured(function, blocks, threads, 0, 0)(*(item.argument() for item in views), *numbers)
        return
    device, stream = interop.device(x), interop.stream(x)
    key = function, device, *((len(item.shape), item.contiguous) for item in views)
    with on_device(device):
        if key not in _launched and is_capturing(stream):
            raise RuntimeError(
                f"the CUDA kernel {function.__qualname__} is not compiled yet, and cannot be while stream {stream} is "
                "captured: make the same call once before the capture, with arrays of the same shapes and dtypes"
            )
        try:
            _configured(function, blocks, threads, device, stream)(*(item.argument() for item in views), *numbers)
        except Exception as error:
            raise RuntimeError(f"the CUDA kernel {function.__qualname__} on GPU {device}: {error}") from error
    _launched.add(key)


_launched: set[tuple] = set()  # kernels that are compiled and loaded, by what they were compiled for


def is_capturing(stream):
    """Return whether work on a stream becomes part of a CUDA graph rather than being done."""
    _, status = driver.cuStreamIsCapturing(stream)
    return status != driver.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE


@cache
def _kernel(function):
    return cuda.jit(function) if SIMULATED else common.cached(cuda.jit, function, launch_bounds=MOST_THREADS)


@lru_cache(maxsize=1024)
def _configured(function, blocks, threads, device, stream):
    """Return a kernel for a grid and a stream; the device is named as another may have a stream of that handle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small arrays make small grids
        return _kernel(function)[blocks, threads, cuda.external_stream(stream) if stream else 0]


def on_device(device):
    """Return a context in which a device is the thread's current one; it costs nothing where it is that already.

    Raises
    ------
    RuntimeError
        If there is no such device any more.
    """
    if SIMULATED:
        return nullcontext()
    _, current = driver.cuCtxGetCurrent()
    return nullcontext() if int(current) == _context(device) else cuda.gpus[device]


@cache
def _context(device):
    """Return the handle of the primary context of a device, which libraries share."""
    if device >= len(cuda.gpus):
        raise RuntimeError(f"an array is on GPU {device}, but Numba finds only {len(cuda.gpus)} devices")
    return int(cuda.gpus[device].get_primary_context().handle)


@cache
def _most_blocks(device, threads):
    """Return how many blocks of so many threads a large array's grid has on a device."""
    gpu = cuda.gpus[device]
    return WAVES * gpu.MULTIPROCESSOR_COUNT * max(1, gpu.MAX_THREADS_PER_MULTIPROCESSOR // threads)


def blocks(interop, x, wanted, threads):
    """Return how many blocks of so many threads a grid on the device of x has, where so many are wanted.

    It is a power of two, or the most, so that a kernel that is configured once serves arrays of many sizes.
    """
    if SIMULATED:
        return min(wanted, 32)
    return min(1 << (wanted - 1).bit_length() if wanted else 0, _most_blocks(interop.device(x), threads))
