"""Kernels of elements, and the loops that call them, of NumPy ufuncs: on one thread, or for tiles of arrays on many."""

from functools import cache, cached_property

import numba
import numpy as np
from numba import types

from numact import memory
from numact.binding import INNER_OPTIONS, JIT_OPTIONS
from numact.targets import common, cpu_memory, cpu_ufuncs
from numact.targets.cpu_threads import Kernel, compiled_address, define, is_shifted

TILE = 16_384  # elements: two tiles of float64, in and out, fit into a core's L2 cache
PARTS = 8  # tiles at least
MANY = 256  # tiles, from where all have `TILE` elements: 16 million values of gelu take 1.07 of the time in others
CHUNK = 4_096  # elements copied at a time where the result takes the place of an input
# A kernel is called for parts of all arrays: those of the names that begin with "x", and out. LLVM runs a loop that
# writes what it reads as scalar code (gelu in place took 13 times as long): a result that takes the place of an input
# is computed from copies of its parts, one that begins before it (others NumPy copies) from a copy of the whole. Of a
# large array the kernel asks for the memory of steps to come, as long as all of that is the array's, and begins with
# whole cache lines of the result: a vector is stored slower across two of them.
LOOPS = """
def pieces(address, {names}):
    moved = {shifted}
    if moved or {in_place}:
        size = out.size if moved else CHUNK
        for low in range(0, out.size, size):
            high = low + size
            call(address, ({copied}, False))
    elif out.size < LARGE:
        call(address, ({names}, False))
    else:
        head = before_line(out)
        whole = head + (out.size - head - AHEAD) // STEP * STEP
        if head:
            call(address, ({head}, False))
        call(address, ({steps}, True))
        call(address, ({rest}, False))

def tiles(operands, sizes, strides, address):
    kept, count = status(), sizes[0]
    {operands}
    size = min(TILE, (count // tile_count(count) + 64) // 64 * 64)
    if {shifted}:
        size = count  # a tile would write what the next one has still to read
    head = before_line(out)
    for tile in prange(max(1, (count - head + size - 1) // size)):
        low = tile * size + head if tile else 0
        high = min((tile + 1) * size + head, count)
        pieces(address, {tile})
    restore(kept)

def whole(operands, sizes, strides, address):
    kept, count = status(), sizes[0]
    {operands}
    if count == 1 or {dense}:
        pieces(address, {names})
    else:
        part = np.empty(count, out.dtype)
        pieces(address, {gathered}, part)
        apart = as_strided(out, out.shape, (strides[{last}],))
        for i in range(count):  # to assign all at once takes Numba 2 s to compile, for an error's message
            apart[i] = part[i]
    restore(kept)
"""


def tile_count(size):
    """Return how many tiles to cut so many elements into: if few, a multiple of 8, so that each thread has as many."""
    count = size // TILE + 1
    return count if count > MANY else (count + PARTS - 1) // PARTS * PARTS


class ElementKernel(Kernel):
    """What one formula compiles to for one dtype.

    `serial` and `parallel` are ufuncs for dense arrays of that dtype, or of its bits; the first for any of one axis.

    Parameters
    ----------
    function : callable
        Plain Python: arrays, numbers, the result, and whether to ask for memory.
    dtype : str
        The name of the dtype.
    parallel_from : int
        The number of elements from which threads pay; from `large_from` on `run` chooses more than that.
    make_streaming : callable, optional
        Makes the kernel for results that are streamed, where some are.
    """

    def __init__(self, function, dtype, parallel_from, make_streaming=None):
        super().__init__(function)
        self._dtype, self.parallel_from, self._make_streaming = dtype, parallel_from, make_streaming
        self.large_from = min(cpu_memory.STREAMED, memory.LARGE) // common.storage(dtype).itemsize

    @cached_property
    def streaming(self):
        """The kernel for results that are streamed, compiled for the first of them."""
        return self._make_streaming()

    def run(self, pays, *arguments):
        """Do all the work as `Kernel.run` does."""
        if self._make_streaming is None or arguments[-1].nbytes < cpu_memory.STREAMED:
            super().run(pays, *arguments)
        else:
            self.streaming.run(pays, *arguments)

    def compile(self, arguments):
        """Compile all that arguments like these may need."""
        super().compile(arguments)
        if self._make_streaming is not None:
            self.streaming.compile(arguments)

    def fill(self, arrays, parameters, out):
        """Fill `out` from arrays of its size; all are flat, dense, aligned, and of the kernel's dtype, or its bits."""
        self.run(out.size >= self.parallel_from, *arrays, *parameters, out)

    def _compiled(self, names, arguments, is_parallel):
        element = numba.from_dtype(common.storage(self._dtype))
        kinds = [element[::1] if name.startswith("x") else types.float64 for name in names[:-1]] + [element[::1]]
        address = compiled_address(self.function, (*kinds, types.boolean))
        dtypes = {common.storage(self._dtype), *[np.dtype(self._dtype)] * (self._dtype in cpu_ufuncs.DTYPES)}
        operands = [[float if kind is types.float64 else dtype for kind in kinds] for dtype in dtypes]
        loop = _loop(names, element, is_parallel)
        return cpu_ufuncs.make(self._plain.__qualname__, loop, address, operands, self.function)


@cache
def _loop(names, element, is_parallel):
    """Return a compiled loop for kernels of elements whose arguments have these names and their arrays that type."""
    arrays = [name for name in names if name.startswith("x")]
    lying = *arrays, "out"

    def cut(place, copy=""):
        parts = {name: f"{name}[{place}]{copy}" for name in arrays} | {"out": f"out[{place}]"}
        return ", ".join(parts.get(name, name) for name in names)

    source = LOOPS.format(
        names=", ".join(names),
        shifted=" or ".join(f"is_shifted({name}, out)" for name in arrays),
        in_place=" or ".join(f"{name}.ctypes.data == out.ctypes.data" for name in arrays),
        copied=cut("low:high", ".copy()"),
        head=cut(":head"),
        steps=cut("head:whole"),
        rest=cut("whole:"),
        tile=cut("low:high"),
        last=len(names) - 1,
        operands="; ".join(
            f"{name} = carray(operands[{place}], " + ("count, element)" if name in lying else "1, float64)[0]")
            for place, name in enumerate(names)
        ),
        dense=" and ".join(f"strides[{names.index(name)}] == out.itemsize" for name in lying),
        gathered=", ".join(
            f"as_strided({name}, {name}.shape, (strides[{place}],)).copy()" if name in lying else name
            for place, name in enumerate(names[:-1])
        ),
    )
    scope = {"TILE": TILE, "CHUNK": CHUNK, "LARGE": cpu_memory.LARGE}
    scope["STEP"], scope["AHEAD"] = cpu_memory.steps(element.name)
    scope |= {"is_shifted": is_shifted, "tile_count": numba.njit(tile_count, **JIT_OPTIONS), "np": np}
    scope |= {"before_line": cpu_memory.before_line}
    scope |= {"as_strided": np.lib.stride_tricks.as_strided, "carray": numba.carray}
    scope |= {"element": element, "float64": types.float64}
    scope |= {"status": cpu_ufuncs.status, "restore": cpu_ufuncs.restore}
    pieces, tiles, whole = define(source, __name__, scope, element.name, is_parallel)
    scope["pieces"] = numba.njit(pieces, **INNER_OPTIONS)
    return cpu_ufuncs.ufunc_loop(tiles if is_parallel else whole, is_parallel)
