"""Dask arrays: on schedulers of threads, and on a real cluster of processes, one of which is killed."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import dask.bag
import distributed
import numba
import numpy as np
import pytest
import xarray as xr
import zarr
from scipy import special

import numact as na
from numact.accuracy import ACCURACY
from numact.base import Elementwise
from numact.references import REFERENCES, ulp_error

SHAPE, CHUNKS = (12, 500), (5, 130)
ON_ROWS = [name for name, function in na.registry.items() if not isinstance(function, Elementwise)]
PROJECTIONS = ["sparsemax", "hardmax"]
SOFTMAXES = ["softmax", "log_softmax", "softmin", "logsumexp"]


def entries(seed, shape=SHAPE, dtype=np.float32):
    return (np.random.default_rng(seed).normal(size=shape) * 5).astype(dtype)


@pytest.fixture(autouse=True)
def one_scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("name", [name for name in na.registry if name not in ON_ROWS])
def test_elementwise_functions_give_the_bits_of_the_whole_array(name):
    function, x = na.registry[name], entries(1)
    lazy = da.from_array(x, CHUNKS)
    made, expected = function(*function._sample(lazy)), function(*function._sample(x))
    assert isinstance(made, da.Array)
    assert isinstance(made._meta, np.ndarray)
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    assert name == "glu" or made.chunks == lazy.chunks
    np.testing.assert_array_equal(made.compute(scheduler="threads"), expected)


@pytest.mark.parametrize("name", ["gelu", "glu", "swiglu"])
def test_elementwise_gradients(name):
    function, x = na.registry[name], entries(1)
    grad_output = function(*function._sample(x))
    found = function.backward(da.from_array(grad_output, (12, 77)), *function._sample(da.from_array(x, CHUNKS)))
    expected = function.backward(grad_output, *function._sample(x))
    for made, exact in zip(*(item if isinstance(item, tuple) else (item,) for item in (found, expected)), strict=True):
        np.testing.assert_array_equal(made.compute(), exact)


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("spread", [5.0, 0.003])  # few entries in the support of sparsemax, or all of them
def test_projections_of_rows_that_are_split(name, spread):
    function, x, grad_output = na.registry[name], entries(2) * np.float32(spread), entries(3)
    x[5, 250:] = x[5].max()
    lazy, lazy_grad = da.from_array(x, CHUNKS), da.from_array(grad_output, (7, 90))
    made = function(lazy)
    assert (made.dtype, made.chunks) == (x.dtype, lazy.chunks)
    exact = REFERENCES[name].value(x.astype(np.float64), 1)
    assert ulp_error(made.compute(scheduler="threads"), exact).max() <= ACCURACY[name].value
    expected = function.backward(grad_output, x)
    for gradient in (function.backward(lazy_grad, lazy), function.backward(lazy_grad, output=made)):
        assert gradient.dtype == x.dtype
        np.testing.assert_allclose(gradient.compute(), expected, rtol=0, atol=1e-6)


def exact_gradient(name, grad_output, x):
    """Return the gradient of functions of rows, in float64."""
    y = special.softmax(-x if name == "softmin" else x, axis=1)
    if name == "logsumexp":
        return y * grad_output[:, None]
    if name == "log_softmax":
        return grad_output - y * grad_output.sum(axis=1, keepdims=True)
    return y * (grad_output - (grad_output * y).sum(axis=1, keepdims=True)) * (-1 if name == "softmin" else 1)


@pytest.mark.parametrize("name", SOFTMAXES)
def test_rows_that_are_split_are_as_exact_as_whole_ones(name):
    function, x = na.registry[name], entries(3)
    lazy = da.from_array(x, CHUNKS)
    made = function(lazy)
    assert made.dtype == np.float32
    assert name == "logsumexp" or made.chunks == lazy.chunks
    wide = x.astype(np.float64)
    exact = special.softmax(-wide, axis=1) if name == "softmin" else getattr(special, name)(wide, axis=1)
    assert ulp_error(made.compute(scheduler="threads"), exact).max() <= ACCURACY[name].value
    grad_output = entries(4, made.shape)
    gradient = function.backward(da.from_array(grad_output, (7,) * made.ndim), lazy)
    assert gradient.chunks == lazy.chunks
    exact = exact_gradient(name, grad_output.astype(np.float64), wide)
    largest = np.abs(grad_output).max() * np.finfo(np.float32).eps
    np.testing.assert_allclose(gradient.compute(), exact, rtol=0, atol=ACCURACY[name].derivative * largest)


@pytest.mark.parametrize("name", SOFTMAXES + PROJECTIONS)
def test_special_values_in_rows_that_are_split(name):
    function, x = na.registry[name], entries(2)
    x[0], x[1, :200], x[2, 3], x[3, 7] = -np.inf, -np.inf, np.inf, np.nan
    lazy = da.from_array(x, CHUNKS)
    found, whole = function(lazy).compute(), function(x)
    np.testing.assert_allclose(found, whole, rtol=1e-6, atol=1e-7)
    if name in PROJECTIONS:
        grad_output = entries(4)
        grad_output[5, 6] = np.nan
        found = function.backward(da.from_array(grad_output, CHUNKS), lazy).compute()
        np.testing.assert_allclose(found, function.backward(grad_output, x), rtol=0, atol=1e-6)


class Largest(dask.callbacks.Callback):
    """Remembers how many entries the largest array has that a task gives."""

    def __init__(self):
        self.entries = 0

    def _posttask(self, key, result, graph, state, worker):
        self.entries = max(self.entries, np.size(result))


@pytest.mark.parametrize("name", SOFTMAXES + PROJECTIONS)
def test_no_task_has_more_of_a_split_row_than_a_chunk(name):
    function, x = na.registry[name], da.random.default_rng(13).normal(size=(5, 2_000), chunks=(5, 100))
    y = function(x)
    for result in (y, function.backward(y, x)):
        with Largest() as largest:
            result.persist(optimize_graph=False)  # to compute joins the chunks
        assert largest.entries == 500


def test_xarray_stays_lazy_along_a_split_dimension():
    x = entries(14)
    labels = {"cell": np.arange(SHAPE[0])}
    array = xr.DataArray(da.from_array(x, CHUNKS), dims=("cell", "time"), coords=labels, attrs={"unit": "mV"})
    for call in (na.gelu, functools.partial(na.softmax, dim="time"), functools.partial(na.logsumexp, dim="time")):
        made, expected = call(array), call(array.compute())
        assert isinstance(made.data, da.Array)
        assert (made.dims, made.attrs) == (expected.dims, array.attrs)
        assert made.indexes["cell"].equals(array.indexes["cell"])
        np.testing.assert_allclose(made.compute(), expected, rtol=1e-6)
    data = na.softmax(xr.Dataset({"one": array, "two": 2 * array}), dim="cell")
    np.testing.assert_allclose(data["two"].compute(), na.softmax(2 * x, axis=0), rtol=1e-6)
    assert all(isinstance(variable.data, da.Array) for variable in data.data_vars.values())


@pytest.mark.parametrize("chunks", [CHUNKS, (5, 500)])
def test_masks_that_are_no_dask_arrays(chunks):
    x, mask = entries(8), np.random.default_rng(9).random(SHAPE) < 0.5
    lazy, exact = da.from_array(x, chunks), na.softmax(x, mask=mask)
    for given in (mask, mask.tolist(), da.from_array(mask, (4, 100))):
        np.testing.assert_allclose(na.softmax(lazy, mask=given).compute(), exact, rtol=1e-6)
        np.testing.assert_allclose(na.softmax(lazy, -1, given).compute(), exact, rtol=1e-6)
    for given in (False, np.False_):
        assert (na.softmax(lazy, mask=given).compute() == 0).all()
    for given in (mask.astype(np.int64), 1):
        with pytest.raises(TypeError, match="mask has dtype int64; it must be bool"):
            na.softmax(lazy, mask=given)


@pytest.mark.parametrize("name", SOFTMAXES + PROJECTIONS)
def test_chunks_without_entries(name):
    x, function = entries(10, (4, 30)), na.registry[name]
    lazy = da.concatenate([da.from_array(part, -1) for part in (x[:, :0], x[:, :17], x[:, 17:17], x[:, 17:])], axis=1)
    np.testing.assert_allclose(function(lazy).compute(), function(x), rtol=1e-6)
    found = function.backward(function(lazy), lazy).compute()
    np.testing.assert_allclose(found, function.backward(function(x), x), rtol=1e-5, atol=1e-7)
    rows = lazy[x[:, 0] > np.inf]  # none
    assert function(rows).compute().shape[0] == 0
    np.testing.assert_allclose(
        function.backward(1.0, lazy).compute(), function.backward(np.float32(1.0), x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", SOFTMAXES + PROJECTIONS)
@pytest.mark.parametrize("axis", [0, 1])
def test_masked_chunks_along_a_split_axis(name, axis):
    function, x = na.registry[name], np.ma.MaskedArray(entries(15), entries(16) > 4)
    lazy, whole = da.from_array(x, CHUNKS), function(x, axis=axis)
    gradients = function.backward(function(lazy, axis=axis), lazy, axis=axis), function.backward(whole, x, axis=axis)
    for made, expected in ((function(lazy, axis=axis), whole), gradients):
        assert made.dtype == expected.dtype
        found = made.compute()
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
        np.testing.assert_allclose(found.filled(0), expected.filled(0), rtol=1e-5, atol=1e-6)
    if name == "softmax":
        mask = da.from_array(np.ma.MaskedArray(x > -3, x.mask), CHUNKS)
        found = function(da.from_array(x.data, CHUNKS), axis=axis, mask=mask).compute()
        np.testing.assert_allclose(found, function(x.data, axis=axis, mask=(x > -3).filled(False)), rtol=1e-6)


def test_chunks_of_unknown_size():
    x = entries(17)
    lazy = da.from_array(x, CHUNKS)[da.from_array(x[:, 0], 5) > -np.inf]
    assert np.isnan(lazy.shape[0])
    for function in (na.glu, na.softmax, na.logsumexp, na.hardmax):
        y = function(x)
        np.testing.assert_allclose(function(lazy).compute(), y, rtol=1e-6)
        found = function.backward(function(lazy), lazy).compute()
        np.testing.assert_allclose(found, function.backward(y, x), rtol=1e-5, atol=1e-6)
    for found, exact in zip(na.swiglu.backward(lazy, lazy, lazy), na.swiglu.backward(x, x, x), strict=True):
        np.testing.assert_array_equal(found.compute(), exact)
    for call in (na.hardmax, na.glu):
        with pytest.raises(ValueError, match=r"not known along axis 0; call x\.compute_chunk_sizes\(\) first"):
            call(lazy, axis=0)
    with pytest.raises(ValueError, match="not known along axis 0"):
        na.prelu.backward(lazy, lazy, 0.25)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_masks_and_scales_along_a_split_axis(name):
    scale = -2.0
    function, x, grad_output = na.registry[name], entries(5), entries(6)
    mask = np.random.default_rng(7).random(SHAPE) < 0.5
    mask[3] = False
    lazy_mask, parts = da.from_array(mask, (12, 90)), [da.from_array(item, CHUNKS) for item in (grad_output, x)]
    found = function(parts[1], mask=lazy_mask, scale=scale).compute()
    np.testing.assert_allclose(found, function(x, mask=mask, scale=scale), rtol=1e-6)
    found = function.backward(*parts, mask=lazy_mask, scale=scale).compute()
    exact = function.backward(grad_output, x, mask=mask, scale=scale)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_logsumexp_along_several_split_axes():
    x = entries(8)
    lazy = da.from_array(x, CHUNKS)
    for axis, keepdims in [((0, 1), True), (None, False)]:
        whole = na.logsumexp(x, axis=axis, keepdims=keepdims)
        made = na.logsumexp(lazy, axis=axis, keepdims=keepdims)
        assert made.shape == np.shape(whole)
        np.testing.assert_allclose(made.compute(), whole, rtol=1e-6)
    gradient = na.logsumexp.backward(2.0, lazy, axis=None).compute()
    np.testing.assert_allclose(gradient, na.logsumexp.backward(2.0, x, axis=None), rtol=1e-5)


def test_gradients_by_numbers_and_by_what_repeats():
    x, weight = entries(9), entries(10, (500,))
    lazy = da.from_array(x, CHUNKS)
    calls = [(na.prelu.backward, weight, {}), (na.prelu.backward, 0.25, {}), (na.gelu.backward, None, {"bias": weight})]
    for backward, second, keywords in calls:
        rest = [] if second is None else [second]
        found, exact = backward(lazy, lazy, *rest, **keywords), backward(x, x, *rest, **keywords)
        for made, expected in zip(found, exact, strict=True):
            assert (made.dtype, made.shape) == (expected.dtype, np.shape(expected))
            np.testing.assert_allclose(made.compute(), expected, rtol=1e-5)


def test_half_types_are_rounded_once():
    x = entries(11, dtype=np.float16)
    made = na.log_softmax(da.from_array(x, CHUNKS))
    assert made.dtype == np.float16
    np.testing.assert_array_equal(made.compute(), na.log_softmax(x.astype(np.float32)).astype(np.float16))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: na.gelu(x, out=x), TypeError, "leave out= away"),
        (lambda x: na.softmax(x, axis=2), np.exceptions.AxisError, "axis 2 is out of bounds"),
        (lambda x: na.glu(x[:, :3]), ValueError, "needs an even size"),
        (lambda x: na.softmax_cross_entropy(x, x), TypeError, "use log_softmax"),
        (lambda x: na.gelu(x.astype(complex)), TypeError, "complex128"),
        (lambda x: na.gelu(dask.bag.from_sequence([1])), TypeError, "x is a Dask Bag, no array"),
    ],
)
def test_errors_come_with_the_call(call, error, message):
    with pytest.raises(error, match=message):
        call(da.ones(SHAPE, chunks=CHUNKS))


class ThreadsOfChunks(Elementwise):
    """Has the count of Numba's threads for its value."""

    def __call__(self, x, /, **keywords):
        return np.full(x.shape, numba.get_num_threads()) if isinstance(x, np.ndarray) else super().__call__(x)


@functools.partial(ThreadsOfChunks, info=na.relu.info)
def threads_of_chunks(x):
    return x


@pytest.fixture(scope="module")
def client():
    """Return a client of two workers, processes of one thread and 400 MB each."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="400MB", dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def workers(client):
    return set(client.run(os.getpid).values())


def test_an_array_larger_than_the_workers_memory(client):
    before, size = workers(client), 220_000_000
    x = da.full(size, np.float32(1.0), chunks=4_000_000)
    assert x.nbytes > 2 * 400e6
    found = client.compute(na.logsumexp(na.gelu(x))).result()
    np.testing.assert_allclose(found, special.ndtr(1.0) + np.log(size), rtol=1e-7)
    assert workers(client) == before


def test_chunks_take_one_thread_each(client):
    lazy, threads = da.ones(SHAPE, np.float32, chunks=CHUNKS), numba.get_num_threads()
    assert (client.compute(threads_of_chunks(lazy)).result() == 1).all()
    assert (threads_of_chunks(lazy).compute(scheduler="threads") == 1).all()
    assert numba.get_num_threads() == threads


def die_once(chunk, mark, block_info=None):
    """Return the chunk; of the second chunk of rows and columns, kill the worker the first time."""
    if block_info[0]["chunk-location"] == (1, 1) and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return chunk


def test_a_worker_killed_in_the_middle(client, tmp_path):
    before, x = workers(client), entries(12)
    lazy = da.from_array(x, CHUNKS).map_blocks(die_once, str(tmp_path / "mark"), dtype=x.dtype, meta=x[:0, :0])
    found = client.compute(na.softmax(lazy, axis=1)).result()
    np.testing.assert_allclose(found, na.softmax(x, axis=1), rtol=1e-6)
    assert (tmp_path / "mark").exists()
    client.wait_for_workers(2)
    assert workers(client) != before


def test_the_example_on_a_zarr_store(tmp_path):
    script = Path(__file__).parent.parent / "examples" / "cluster.py"
    arguments = ["--workers", "1", "--shape", "200", "300", "--chunk", "90", "--output", tmp_path]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "on 1 workers" in done.stdout
    scores, weights = (zarr.open_array(tmp_path / name, mode="r")[:] for name in ("scores.zarr", "weights.zarr"))
    np.testing.assert_allclose(weights, na.softmax(na.gelu(scores), axis=1), rtol=1e-6)
    assert "Dask Performance Report" in (tmp_path / "report.html").read_text()


OWN = """
import dask.array as da, numact as na
from distributed import Client, LocalCluster
from numact.elementary import exp

@na.activation
def bell(x, width=1.0):
    return exp(-width * x * x)

@bell.derivative
def bell_grad(x, width=1.0):
    return -2.0 * width * x * exp(-width * x * x)

def within():
    gain = 0.25
    @na.activation
    def scaled(x):
        return x * gain
    return scaled

if __name__ == "__main__":
    x = da.ones((4, 4), chunks=2)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        with Client(cluster):
            lazy = bell(x, 0.5), bell.backward(x, x), within()(x)
            print(*(float(one.compute()[0, 0]) for one in lazy))
"""


def test_activations_of_a_notebook_reach_the_workers():
    """A worker cannot import what a process without a file has defined, nor what a function has."""
    done = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = list(map(float, done.stdout.split()))
    np.testing.assert_allclose(found, [np.exp(-0.5), -2 * np.exp(-1), 0.25], rtol=1e-15)
