"""NumPy ufuncs of CPU kernels: arrays that NumPy hands to them as they are, and the processor's exceptions."""

import os
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

import numact as na
from numact import dispatch
from numact.targets import cpu, cpu_row_ufuncs, cpu_rows, cpu_threads, cpu_tiles, cpu_ufuncs

KINDS = cpu_ufuncs.DTYPES


@pytest.fixture
def only_directly(monkeypatch):
    """Let calls fail that do not hand their arrays to a ufunc as they are, once the ufunc is there."""

    def forbid():
        monkeypatch.setattr(dispatch, "_plain_dtype", None)

    return forbid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "gelu", "leaky_relu"])
def test_small_arrays_go_directly(name, kind, only_directly):
    function = na.registry[name]
    x, grad = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(kind)
    value, gradient, sloping = function(x), function.backward(grad, x), na.leaky_relu(x, 0.25)
    only_directly()
    out = np.full_like(x, 7)
    assert function(x, out=out) is out
    for index in (..., 0, (slice(None), 3), (2, slice(None, None, -3)), (slice(4, 4), 1), 3):
        np.testing.assert_array_equal(function(x[index]), value[index])
        np.testing.assert_array_equal(function.backward(grad[index], x[index]), gradient[index])
    np.testing.assert_array_equal(out, value)
    np.testing.assert_array_equal(na.leaky_relu(x, 0.25), sloping)
    np.testing.assert_array_equal(na.leaky_relu(x, negative_slope=0.25), sloping)
    column = np.full_like(x, 7)
    function(x[:, 2], out=column[:, 5])
    np.testing.assert_array_equal(column[:, 5], value[:, 2])
    assert (np.delete(column, 5, axis=1) == 7).all()
    assert function(np.array(1, kind)).dtype == np.dtype(kind)
    copy = x[0].copy()
    function(copy[:-1], out=copy[1:])
    np.testing.assert_array_equal(copy[1:], value[0, :-1])


def test_what_a_ufunc_would_take_otherwise_is_refused_as_ever():
    x = np.ones(3, np.float32)
    for _ in range(2):
        na.relu(x)
        with pytest.raises(ValueError, match="out has shape"):
            na.relu(x, out=np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match="read-only"):
            na.relu(x, out=np.broadcast_to(np.float32(0), 3))
        with pytest.raises(TypeError, match="out must be a NumPy array"):
            na.relu(x, out=[0.0, 0.0, 0.0])
        with pytest.raises(ValueError, match="out has shape"):
            na.relu(np.ones((2, 3), np.float32), out=np.ones((3, 2), np.float32))
        assert na.relu(np.ones(3, ">f4")).dtype.isnative
        assert na.relu.backward(np.ones(3), x).dtype == np.float64


def test_rows_that_no_ufunc_takes():
    x = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    value = na.softmax(x)
    for strided in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(na.softmax(strided), value)
    np.testing.assert_array_equal(na.softmax(np.repeat(x[0], 2)[::2]), value[0])
    np.testing.assert_array_equal(na.softmax(x[:, :, np.newaxis], axis=1)[..., 0], value)
    with pytest.raises(np.exceptions.AxisError):
        na.softmax(np.float32(1))
    for shape in ((0, 5), (5, 0), (0,)):
        assert na.softmax(np.ones(shape, np.float32)).shape == shape


ROWS = [((100, 1000), 1), ((20_000, 5), 1), ((100, 1000), 0), ((500, 2, 100), 1), ((500, 20, 10), 1)]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")
@pytest.mark.parametrize(("shape", "axis"), ROWS)
def test_threads_share_rows_in_a_ufunc(shape, axis, monkeypatch):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    value, gradient = (np.moveaxis(result, -1, axis) for result in (na.softmax(rows), na.softmax.backward(rows, rows)))
    calls, rowwise = [], cpu_rows.rowwise
    monkeypatch.setattr(cpu_rows, "rowwise", lambda *arguments: calls.append(1) or rowwise(*arguments))
    out = np.empty_like(x)
    for result in (na.softmax(x, axis), na.softmax(x, axis=axis, out=out), na.softmax(x[np.newaxis], axis + 1)[0]):
        np.testing.assert_allclose(result, value, 1e-6)
    np.testing.assert_allclose(na.softmax.backward(x, x, axis, out=out), gradient, 1e-4, 1e-7)
    assert not calls
    value, gradient = na.softmax(x, axis), out.copy()
    memory = np.empty((len(x) + 1, *shape[1:]), np.float32)
    for low, high in ((0, 0), (0, 1), (1, 0)):
        array, out = memory[low:][: len(x)], memory[high:][: len(x)]
        array[:] = x
        np.testing.assert_array_equal(na.softmax(array, axis, out=out), value)
        array[:] = x
        np.testing.assert_array_equal(na.softmax.backward(x, array, axis, out=out), gradient)
    assert not calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 250), 0), ((4, 250), 1), ((5, 3, 6, 8), 2), ((5, 3, 6, 8), -3), ((7,), 0)]
)
def test_small_rows_go_directly(shape, axis, kind, monkeypatch):
    x, grad = np.random.default_rng(0).normal(size=(2, *shape)).astype(kind)
    other = np.asfortranarray(x) if x.ndim > 1 else x[::-1].copy()[::-1]
    value, gradient = na.softmax(other, axis), na.softmax.backward(grad, other, axis)
    na.softmax(x, axis), na.softmax.backward(grad, x, axis)
    scaled, scaled_gradient = (
        na.softmax(other, axis, scale=-0.5),
        na.softmax.backward(grad, other, axis, scale=-0.5),
    )
    na.softmax(x, axis, scale=2.0), na.softmax.backward(grad, x, axis, scale=2.0)
    monkeypatch.setattr(cpu_rows, "rowwise", None)
    np.testing.assert_array_equal(na.softmax(x, axis, scale=-0.5), scaled)
    np.testing.assert_array_equal(na.softmax.backward(grad, x, axis, scale=-0.5), scaled_gradient)
    array = x.copy()
    assert na.softmax(array, axis, out=array) is array
    for result in (array, na.softmax(x, axis=axis), na.softmax(x, axis - len(shape) if axis >= 0 else axis)):
        np.testing.assert_array_equal(result, value)
    for place in (0, 1):
        both = grad.copy(), x.copy()
        np.testing.assert_array_equal(na.softmax.backward(*both, axis, out=both[place]), gradient)
    memory = np.empty((len(x) + 1, *shape[1:]), kind)
    for low, high in ((0, 1), (1, 0)):
        array, out = memory[low:][: len(x)], memory[high:][: len(x)]
        array[:] = x
        np.testing.assert_array_equal(na.softmax(array, axis, out=out), value)


def test_ufunc_of_rows_refuses_what_numpy_does_not_hand_over_at_once():
    ufunc = cpu_rows.ufunc(na.softmax._formulas, "value", "float32", False, (3, 40, 1))
    x, out = np.ones((3, 40), np.float32), np.zeros((3, 40), np.float32)
    ufunc(x, out)
    np.testing.assert_array_equal(out, np.float32(1 / 40))
    for other in (x[:2].copy(), np.ones((3, 80), np.float32)[:, ::2]):
        with pytest.raises(RuntimeError, match="dense arrays of one size"):
            ufunc(other)


@numba.njit
def statuses(x):
    """Return the processor's status where nothing has happened yet, after an exception, and restored."""
    before = cpu_ufuncs.status()
    overflow = x * x
    raised = cpu_ufuncs.status()
    cpu_ufuncs.restore(before)
    return before, raised, cpu_ufuncs.status(), overflow


def test_status_is_restored():
    with np.errstate(all="ignore"):
        np.add(1, 1)  # a ufunc begins with no exception raised
        before, raised, after, overflow = statuses(1e200)
    assert overflow == np.inf
    assert before != raised
    assert before == after


ELSEWHERE = """
import llvmlite.binding as llvm
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
llvm.get_process_triple = lambda: "aarch64-unknown-linux-gnu"
import numba
from numact.targets.cpu_ufuncs import restore, status
function = numba.njit(lambda: restore(status()))
function.compile(())
print(*function.inspect_asm().values())
"""


def test_status_on_aarch64():
    environment = {**os.environ, "NUMBA_CPU_NAME": "apple-m1", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = done.stdout.lower()
    assert "mrs\t" in code and "msr\tfpsr" in code


@pytest.mark.parametrize("name", ["gelu", "softmax"])
def test_no_fork_while_a_ufunc_is_made(name, monkeypatch):
    """A child would begin with Numba's compiler locked by a thread that it does not have."""
    held, make = [], cpu_ufuncs.ufunc_loop

    def watch(*arguments):
        def ask():
            held.append(not cpu_threads.pool.lock.acquire(blocking=False))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return make(*arguments)

    monkeypatch.setattr(cpu_ufuncs, "ufunc_loop", watch)
    for module in (cpu_tiles, cpu_row_ufuncs):
        monkeypatch.setattr(module, "_loop", module._loop.__wrapped__)
    if name == "gelu":
        cpu._kernel(na.gelu._value, "float32").ready((np.ones(3, np.float32),) * 2, False)
    else:
        cpu_rows.ufunc(na.softmax._formulas, "value", "float32", False, (3, 40, 1))
    assert held == [True]


def test_eight_threads_make_one_function_ready():
    activation = na.activation(lambda x: x * 1.25 + 0.5)
    x = np.arange(10, dtype=np.float32)
    start, found = threading.Barrier(8), []

    def call():
        start.wait()
        found.extend(activation(x) for _ in range(50))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, np.tile(x * np.float32(1.25) + np.float32(0.5), (400, 1)))
