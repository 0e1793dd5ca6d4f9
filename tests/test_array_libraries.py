"""CPU arrays of other libraries: what comes in comes back, in its own memory, with its labels and its mask."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import array_api_strict as xp
import numpy as np
import pandas as pd
import pytest
import scipy.special
import xarray as xr
from packaging.requirements import Requirement

import numact as na

X = np.array([[-1.5, 0.3, 2.0], [0.7, -0.2, 1.1]])
MASK = np.array([[False, True, False], [False, False, False]])


def softmax(x, axis=-1):
    return scipy.special.softmax(x, axis)


def test_any_library_that_speaks_dlpack():
    x, out = xp.asarray(X), xp.zeros(X.shape)
    result = na.relu(x)
    assert type(result) is type(x)
    assert np.array_equal(np.from_dlpack(result), np.maximum(X, 0))
    assert na.softmax(x, 0, out=out) is out
    np.testing.assert_allclose(np.from_dlpack(out), softmax(X, 0), rtol=1e-15)
    gradients = na.reglu.backward(x, x, x)
    assert [type(item) for item in gradients] == [type(x)] * 2


def test_results_of_dlpack_lie_in_the_memory_that_was_computed():
    x = xp.asarray(X)
    views = []

    class Watched:
        __array_namespace__ = x.__array_namespace__

        def __dlpack_device__(self):
            return x.__dlpack_device__()

        def __dlpack__(self, **keywords):
            views.append(np.from_dlpack(x))
            return x.__dlpack__(**keywords)

    na.relu(Watched(), out=x)
    assert len(views) == 1
    assert np.array_equal(views[0], np.maximum(X, 0))


def test_an_array_on_a_device_that_is_no_cpu_or_gpu_of_cuda_is_refused():
    class OnMetal:
        def __dlpack_device__(self):
            return 8, 0

        def __dlpack__(self, **keywords):
            raise AssertionError("read from a device that cannot be read")

        def __array_namespace__(self):
            return xp

    with pytest.raises(TypeError, match="x lives on a device of DLPack's kind 8; numact knows CPUs and CUDA GPUs"):
        na.relu(OnMetal())


def test_arrays_of_jax():
    jax = pytest.importorskip("jax", reason="jax is not installed; it is too heavy for the test extra")
    jnp = jax.numpy
    for kind in (jnp.float16, jnp.bfloat16, jnp.float32):
        x = jnp.asarray(X, kind)
        for function, expected in ((na.relu, jax.nn.relu), (na.softmax, jax.nn.softmax)):
            result = function(x)
            assert isinstance(result, jax.Array)
            assert result.dtype == kind
            bound = 2 * float(jnp.finfo(kind).eps)
            np.testing.assert_allclose(*(np.float64(item) for item in (result, expected(x))), rtol=bound)
    x = jnp.asarray(X, jnp.float32)
    expected = jax.grad(lambda x: (jax.nn.silu(x) * x).sum())(x)
    np.testing.assert_allclose(sum(na.swiglu.backward(jnp.ones_like(x), x, x)), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match=r"relu: a JAX array cannot be written.*; leave out= away"):
        na.relu(x, out=x)
    for transformed in (jax.jit(na.relu), jax.vmap(na.softmax), jax.grad(lambda x: na.relu(x).sum())):
        with pytest.raises(TypeError, match=r"x is a JAX tracer.*outside of jax.jit.*or through jax.pure_callback"):
            transformed(x)
    kind = jax.ShapeDtypeStruct(x.shape, x.dtype)
    called = jax.jit(lambda x: jax.pure_callback(na.relu, kind, x))
    assert np.array_equal(called(x), np.maximum(X.astype(np.float32), 0))


def test_two_libraries_in_one_call_are_refused():
    message = r"different libraries: array_api_strict.*Array, numpy.ma.MaskedArray; convert them to one"
    with pytest.raises(TypeError, match=message):
        na.reglu(xp.asarray(X), np.ma.MaskedArray(X, MASK))


def test_a_memory_map_is_read_and_written(tmp_path):
    x, out = (np.memmap(tmp_path / name, np.float64, "w+", shape=X.shape) for name in ("x", "out"))
    x[:] = X
    assert na.relu(x, out=out) is out
    out.flush()
    assert np.array_equal(np.fromfile(tmp_path / "out").reshape(X.shape), np.maximum(X, 0))


# pandas


def test_series_and_frames_keep_their_labels():
    frame = pd.DataFrame(X, index=["first", "second"], columns=list("abc"))
    frame.attrs["unit"] = "volt"
    frame["narrow"] = X[:, 0].astype(np.float32)
    expected = frame.clip(lower=0)
    pd.testing.assert_frame_equal(na.relu(frame), expected)
    assert na.relu(frame).attrs == {"unit": "volt"}
    series = pd.Series([-1.0, 2.0], index=["u", "v"], name="voltage")
    pd.testing.assert_series_equal(na.relu(series), series.clip(lower=0))
    pd.testing.assert_series_equal(na.relu.backward(series, series), series.clip(lower=0))
    pd.testing.assert_series_equal(na.reglu(series, series[::-1]), (series.clip(lower=0) * series))
    nullable = pd.Series([-1.0, None, 2.0], dtype="Float64")
    pd.testing.assert_series_equal(na.relu(nullable), nullable.clip(lower=0))


def test_rows_and_columns_of_frames():
    frame = pd.DataFrame(X, index=["first", "second"], columns=list("abc"))
    for axis in (0, 1, -1):
        expected = pd.DataFrame(softmax(X, axis), frame.index, frame.columns)
        pd.testing.assert_frame_equal(na.softmax(frame, axis=axis), expected, rtol=1e-15)
        labels = frame.index if axis else frame.columns
        expected = pd.Series(scipy.special.logsumexp(X, axis), labels)
        pd.testing.assert_series_equal(na.logsumexp(frame, axis), expected, rtol=1e-15)
    loss = na.softmax_cross_entropy(frame, pd.Series([0, 2], frame.index), reduction="none")
    expected = -np.log(softmax(X))[[0, 1], [0, 2]]
    pd.testing.assert_series_equal(loss, pd.Series(expected, frame.index), rtol=1e-15)


def test_what_pandas_cannot_do_is_said():
    series = pd.Series([1.0])
    with pytest.raises(TypeError, match="relu: pandas makes the results itself; leave out= away"):
        na.relu(series, out=series)
    with pytest.raises(TypeError, match="x has dtype object"):
        na.relu(pd.Series(["one"], dtype=object))


# xarray

LABELLED = xr.DataArray(X, dims=("time", "unit"), coords={"time": [10, 20]}, attrs={"source": "probe"}, name="voltage")


def test_data_arrays_keep_coordinates_and_attributes():
    xr.testing.assert_identical(na.relu(LABELLED), LABELLED.copy(data=np.maximum(X, 0)))
    first, second = na.prelu.backward(LABELLED, LABELLED, LABELLED[0])
    assert first.dims == LABELLED.dims
    assert second.dims == ("unit",)
    np.testing.assert_allclose(second, (X * np.minimum(X, 0)).sum(0), rtol=1e-15)
    dataset = xr.Dataset({"a": LABELLED, "b": LABELLED[0].drop_vars("time").astype(np.float32)})
    xr.testing.assert_identical(na.relu(dataset), dataset.clip(min=0, keep_attrs=True))
    with pytest.raises(TypeError, match="relu: xarray makes the results itself; leave out= away"):
        na.relu(LABELLED, out=LABELLED)


@pytest.mark.parametrize("dim", ["time", "unit"])
def test_rows_along_a_dimension_by_its_name(dim):
    axis = LABELLED.dims.index(dim)
    xr.testing.assert_allclose(na.softmax(LABELLED, dim=dim), LABELLED.copy(data=softmax(X, axis)), rtol=1e-15)
    gradient = na.softmax.backward(LABELLED, LABELLED.T, dim=dim)
    y = softmax(X, axis)
    expected = y * (X - (X * y).sum(axis, keepdims=True))
    np.testing.assert_allclose(gradient.transpose(*LABELLED.dims), expected, rtol=1e-13, atol=1e-15)
    reduced = na.logsumexp(LABELLED, dim=dim)
    xr.testing.assert_allclose(reduced, LABELLED.reduce(scipy.special.logsumexp, dim, keep_attrs=True), rtol=1e-15)
    masked = na.softmax(LABELLED, dim="unit", mask=LABELLED > 0)
    np.testing.assert_allclose(masked, softmax(np.where(X > 0, X, -np.inf)), rtol=1e-15)
    dataset = na.softmax(LABELLED.to_dataset(), dim=dim)
    xr.testing.assert_allclose(dataset["voltage"], na.softmax(LABELLED, dim=dim))


def test_a_dimension_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="x has no dimension 'channel'; it has 'time', 'unit'"):
        na.softmax(LABELLED, dim="channel")
    with pytest.raises(TypeError, match="no parameter 'dim'"):
        na.softmax(X, dim="time")


# NumPy's masked arrays


def test_masks_are_kept():
    masked = np.ma.MaskedArray(X, MASK)
    result = na.relu(masked)
    assert isinstance(result, np.ma.MaskedArray)
    assert np.array_equal(result.mask, MASK)
    assert np.array_equal(result.filled(9), np.ma.maximum(masked, 0).filled(9))
    assert na.relu(np.ma.masked) is np.ma.masked
    out = np.ma.zeros(X.shape)
    assert na.relu(masked, out=out) is out
    assert np.array_equal(out.mask, MASK)
    _, gradient = na.prelu.backward(masked, masked, np.full(3, 0.5))
    assert np.array_equal(gradient, (np.where(MASK, 0, X * np.minimum(X, 0))).sum(0))


def test_masked_entries_take_no_part_in_their_rows():
    masked = np.ma.MaskedArray(np.where(MASK, 1e300, X), MASK)
    expected = np.ma.MaskedArray(softmax(np.where(MASK, -np.inf, X)), MASK)
    result = na.softmax(masked)
    assert np.array_equal(result.mask, MASK)
    np.testing.assert_allclose(result.filled(0), expected.filled(0), rtol=1e-15)
    np.testing.assert_allclose(na.log_softmax(masked).filled(0), np.ma.log(expected).filled(0), rtol=1e-14)
    np.testing.assert_allclose(na.softmin(-masked).filled(0), expected.filled(0), rtol=1e-15)
    assert na.sparsemax(masked)[0].filled(0).tolist() == [0.0, 0.0, 1.0]
    whole = np.exp(X).sum(-1, where=~MASK)
    np.testing.assert_allclose(na.logsumexp(masked), np.log(whole), rtol=1e-15)
    loss = na.softmax_cross_entropy(masked, np.array([2, 0]), reduction="none")
    np.testing.assert_allclose(loss, -np.log(expected.filled(0)[[0, 1], [2, 0]]), rtol=1e-14)
    gradient = na.softmax.backward(masked, masked)
    y, upstream = expected.filled(0), np.where(MASK, 0, X)
    wanted = y * (upstream - (upstream * y).sum(-1, keepdims=True))
    np.testing.assert_allclose(gradient.filled(0), wanted, rtol=1e-13, atol=1e-15)


# Without any of them


OPTIONAL = {"torch", "jax", "pandas", "xarray", "dask", "distributed", "zarr", "matplotlib", "rich", "ml_dtypes"}


def distributions(*names):
    """Yield the installed distributions of some names and of all that they need, extras left out."""
    waiting, found = list(names), set()
    while waiting:
        distribution = metadata.distribution(waiting.pop())
        if distribution.name not in found:
            found.add(distribution.name)
            yield distribution
            needed = [Requirement(text) for text in distribution.requires or []]
            waiting += [item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]


def test_the_core_works_with_no_optional_package(tmp_path):
    """Run tests of the core where nothing is installed but what numact and the tests themselves need."""
    links = tmp_path / "installed"
    links.mkdir()
    found = distributions("numact", "pytest", "hypothesis", "mpmath", "scipy")
    folders = {one.locate_file(file.parts[0]) for one in found for file in one.files if file.parts[0] != ".."}
    for folder in folders:
        (links / folder.name).symlink_to(folder)
    root = Path(__file__).parent.parent
    installed = {path.name.partition("-")[0] for path in links.iterdir()}
    assert {"numba", "numpy", "llvmlite", "pytest"} < installed
    assert not installed & OPTIONAL
    files = ["tests/test_errors.py", "tests/test_layouts.py"]
    options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "-k", "not bfloat16"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (links, root)))}
    command = [sys.executable, "-S", "-m", "pytest", *options, *files]  # -S: without the folder of what is installed
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) > 1000, done.stdout
