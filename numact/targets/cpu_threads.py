"""Loops that hand a CPU kernel's work to Numba's threads, and the safety of the threads that call them.

A loop calls the kernel by its address. So all kernels that take arguments of the same types share one loop, and a
formula compiles to one plain function: softmax took 5 s to compile with its own `prange` loops around it.
"""

import hashlib
import os
import threading
from contextlib import contextmanager
from functools import cache, cached_property, partial

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from numact.binding import INNER_OPTIONS, JIT_OPTIONS
from numact.targets import common

# A kernel of tasks takes the number of one, its first argument; the loop takes how many there are. An input that the
# one result overlaps, but does not take the place of, is copied: a task would write what another has to read. Where a
# kernel is told a phase, all tasks go through that one and the next ones together: all end it before another begins.
LOOP = """
def tasks(address, {names}):
    {apart}
    {phases}for task in prange({count}):
        call(address, (task, {others}))
"""
PHASES = 3


@numba.njit(**JIT_OPTIONS)
def is_shifted(array, out):
    """Return whether two arrays overlap, and one begins elsewhere than the other."""
    distance = np.int64(array.ctypes.data) - np.int64(out.ctypes.data)
    return distance != 0 and abs(distance) < out.nbytes


@intrinsic
def call(typing_context, address, arguments):
    """Call a compiled function that returns nothing by its address, with a tuple of arguments."""

    def generate(context, builder, signature, values):
        kinds = tuple(signature.args[1])
        kind = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(values[0], kind.as_pointer())
        given = cgutils.unpack_tuple(builder, values[1])
        status, _ = context.call_conv.call_function(builder, function, types.none, kinds, given)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, arguments), generate


class Kernel:
    """A compiled function of a task's number and of arrays and numbers, and the loops that call it for all tasks.

    Compiled at the first call for the types of its arguments, and cached on disk. Then `serial` does all the work for
    such arguments on one thread, and `parallel` by many; neither is there before.

    Parameters
    ----------
    function : callable
        Plain Python. Arrays whose names begin with "out" are written, all others only read.
    """

    def __init__(self, function):
        self._plain, self.pool = function, pool
        self.serial = self.parallel = None

    @cached_property
    def function(self):
        """The function for Numba to compile; to look for its place on disk takes 1 ms."""
        return common.cached(numba.njit, self._plain, **INNER_OPTIONS)

    def run(self, pays, *arguments):
        """Do all the work, by many threads where that pays and the process has threads for it."""
        if pays and _thread.only_compiles:
            self.compile(arguments)
            return
        if pays and not pool.is_lost:
            with pool.lock:
                parallel = self.parallel  # once compiled it runs on one thread, too: to ask how many takes 0.7 us
                if not parallel and numba.get_num_threads() > 1:
                    parallel = self.ready(arguments, True)
                if parallel:
                    parallel(*arguments)
                    return
        serial = self.serial or self.ready(arguments, False)
        serial(*arguments)

    def compile(self, arguments):
        """Compile all that arguments like these may need."""
        self.ready(arguments, True)
        self.ready(arguments, False)

    def ready(self, arguments, is_parallel):
        """Return `serial` or `parallel` for arguments like these, compiled."""
        with pool.lock:
            names = self.function.py_func.__code__.co_varnames[: len(arguments)]
            made = self._compiled(names, arguments, is_parallel)
            if is_parallel:
                self.parallel = made
            else:
                self.serial = made
            return made

    def _compiled(self, names, arguments, is_parallel):
        kinds = tuple(map(_type_in_kernels, arguments))
        return partial(_loop(names, kinds, is_parallel), compiled_address(self.function, kinds))


def compiled_address(function, kinds):
    """Return the address of a function of arguments of these types, compiled if it is not yet."""
    with pool.lock:
        if not function.overloads:
            function.compile(kinds)
        (compiled,) = function.overloads.values()
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _type_in_kernels(value):
    """Return the type of an argument. All arrays are writable, as those are that kernels make themselves.

    Else each loop in them would be compiled for both.
    """
    kind = numba.typeof(value)
    return kind.copy(readonly=False) if isinstance(kind, types.Array) else kind


def _type_in_loops(name, kind):
    """Return the type of a kernel's argument in the loop that calls it: writable arrays pass for read-only inputs.

    Left to itself Numba would compile a loop over three inputs for each of the eight ways to protect them.
    """
    is_input = isinstance(kind, types.Array) and not name.startswith("out")
    return kind.copy(readonly=True) if is_input else kind


@cache
def _loop(names, kinds, is_parallel):
    """Return a compiled loop for kernels of tasks whose arguments have these names and types."""
    inputs = ("grad", "x") if "out" in names else ()
    apart = [f"if is_shifted({name}, out):\n        {name} = {name}.copy()" for name in inputs if name in names]
    source = LOOP.format(
        names=", ".join(names),
        count=names[0],
        others=", ".join(names[1:]),
        apart="\n    ".join(apart) or "pass",
        phases=f"for phase in range(phase, {PHASES}):\n     " * ("phase" in names),
    )
    (function,) = define(source, __name__, {"is_shifted": is_shifted}, is_parallel)
    return compiled_loop(function, map(_type_in_loops, names, kinds), is_parallel)


def define(source, module, scope, *marks):
    """Run the source of loops over kernels and return them; `marks` tell them from others of the same source."""
    plain = {name: value for name, value in scope.items() if isinstance(value, int)}
    digest = hashlib.sha256(f"{source}{plain}{marks}".encode()).hexdigest()[:16]
    scope |= {"call": call, "prange": numba.prange}
    return common.define(source, module, scope, f"{digest}_{common.VERSION}")


def compiled_loop(function, kinds, is_parallel):
    """Return a loop over kernels, compiled for a kernel's address and arguments of these types."""
    compiled = common.cached(numba.njit, function, nogil=True, parallel=is_parallel, error_model="numpy")
    compiled.compile((types.int64, *kinds))
    compiled.disable_compile()  # else Numba would compile anew for a writable array, rather than pass it as read-only
    return compiled


class _Pool:
    """Numba's threads, and who may use them.

    Attributes
    ----------
    lock : threading.RLock
        Held while a parallel kernel runs or any kernel compiles. So Numba's threads work for one call at a time:
        workqueue would abort the process when a second thread calls, and OpenMP would start another team of threads
        beside the first. Reentrant, as a signal handler or finalizer of the holding thread may call numact. Held during
        a fork, too: a child never starts with a kernel half run or with Numba's compiler locked by a thread that it
        does not have.
    is_lost : bool
        In a child forked after the parent's threads started: there OpenMP ends the process, and TBB deadlocks now and
        then (2 of 80 forks from another thread than the first). Only workqueue starts its threads anew.
    is_open : bool
        Whether any thread may let others share its work, once kernels for them are compiled.
    """

    def __init__(self):
        self.lock, self.is_lost, self.is_open = threading.RLock(), False, True
        self._compiling = 0  # threads that only compile

    def after_fork(self):
        """Begin anew in a child, without the threads of its parent."""
        self.lock, self._compiling = threading.RLock(), int(_thread.only_compiles)
        self.is_lost = self.is_lost or (parallel._is_initialized and numba.threading_layer() != "workqueue")
        self.close_for(0)

    def close_for(self, threads):
        """Count so many more threads that only compile: until there is none the pool is closed."""
        with self.lock:
            self._compiling += threads
            self.is_open = not (self._compiling or self.is_lost)


class _Thread(threading.local):
    """What differs between threads."""

    only_compiles = False


pool, _thread = _Pool(), _Thread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: pool.lock.acquire(), after_in_parent=lambda: pool.lock.release(), after_in_child=pool.after_fork
    )


def needs_pool():
    """Return whether kernels for many threads must be compiled: there are many, or another process will want them."""
    return numba.config.NUMBA_NUM_THREADS > 1 or _thread.only_compiles


@contextmanager
def only_compiling():
    """Let this thread's calls of arrays large enough for threads compile both their kernels and compute nothing."""
    _thread.only_compiles = True
    pool.close_for(1)
    try:
        yield
    finally:
        pool.close_for(-1)
        _thread.only_compiles = False
