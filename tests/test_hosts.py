"""Every activation on arrays of other libraries, and labels, masks and dimensions that do not fit together."""

import os
import subprocess
import sys

import array_api_strict
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import read_only

import numact as na
from numact.base import Elementwise
from numact.rows import Reduction

X = read_only(np.random.default_rng(3).normal(0, 2, (4, 6)).astype(np.float32))
MASK = np.array([[0, 1, 0, 0, 0, 1], [0] * 6, [1] * 6, [0, 0, 0, 1, 1, 1]], bool)
FRAME = pd.DataFrame(X, index=list("abcd"), columns=list("uvwxyz"))
ARRAY = xr.DataArray(X, dims=("time", "cell"), coords={"time": [1, 2, 3, 5]}, attrs={"unit": "mV"}, name="potential")
# What is masked out of a row's sum has no part in any other entry.
ON_ROWS = [name for name, function in na.registry.items() if not isinstance(function, Elementwise)]


@pytest.fixture(params=list(na.registry))
def function(request):
    """Each activation in turn."""
    return na.registry[request.param]


def same(result, expected):
    """Assert that two results have the same dtype and the same bits."""
    result = np.asarray(result)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected, strict=True)


def test_a_frame_keeps_its_labels(function):
    result, expected = function(*function._sample(FRAME)), function(*function._sample(X))
    same(result, expected)
    assert result.index.equals(FRAME.index)
    if expected.ndim == 2:
        assert result.columns.equals(FRAME.columns[: expected.shape[1]])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["softmax", "logsumexp"])  # each compiles kernels of its own for columns, in 3 s
def test_rows_of_a_frame_along_either_axis(name, axis):
    function = na.registry[name]
    result = function(FRAME, axis=axis)
    same(result, function(X, axis=axis))
    assert result.axes[0].equals(FRAME.axes[1 - axis if isinstance(function, Reduction) else 0])
    same(function.backward(result, FRAME, axis=axis), function.backward(np.asarray(result), X, axis=axis))


def test_rows_of_columns_of_several_dtypes():
    mixed = pd.DataFrame({"a": [1, 2], "b": [True, False], "c": [0.5, -1.5]})
    expected = na.softmax(mixed.astype("float64"))
    for frame in (mixed, mixed.convert_dtypes(), mixed.astype({"a": "Int64", "b": "boolean"})):
        pd.testing.assert_frame_equal(na.softmax(frame), expected)
    whole = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, dtype="Int64")
    pd.testing.assert_frame_equal(na.softmax(whole), na.softmax(whole.astype("int64")))
    mask = pd.DataFrame({"a": [True, False], "b": [True, True]}, dtype="boolean")
    pd.testing.assert_frame_equal(na.softmax(whole, mask=mask), na.softmax(whole, mask=mask.astype(bool)))
    whole.iloc[0, 0] = pd.NA
    assert na.softmax(whole).isna().to_numpy().tolist() == [[True, True], [False, False]]
    series = pd.Series([1.0, None, 2.0], dtype="Float32")
    assert na.logsumexp(series[::2]).dtype == np.float32
    with pytest.raises(TypeError, match="dtype object"):
        na.softmax(pd.DataFrame({"number": [1], "word": ["gelu"]}))


def test_axes_of_a_frame_by_name_and_those_that_are_kept():
    pd.testing.assert_frame_equal(na.softmax(FRAME, axis="columns"), na.softmax(FRAME, axis=1))
    pd.testing.assert_frame_equal(na.softmax(FRAME, axis="index"), na.softmax(FRAME, axis=0))
    kept = na.logsumexp(FRAME, axis="columns", keepdims=True)
    same(kept, na.logsumexp(X, axis=1, keepdims=True))
    assert (list(kept.index), list(kept.columns)) == (list("abcd"), [0])
    assert list(na.logsumexp(FRAME["u"], keepdims=True).index) == [0]
    with pytest.raises(TypeError, match="axis must be an integer, not 'rowz'"):
        na.softmax(FRAME, axis="rowz")
    with pytest.raises(TypeError, match=r"a DataFrame and a Series at once; pass the Series' \.to_numpy\(\)"):
        na.gelu(FRAME, bias=FRAME.iloc[0])


@pytest.mark.parametrize("host", [pd.DataFrame, xr.DataArray, np.ma.MaskedArray])
def test_gradients_by_numbers(host):
    x = host(X)
    for method, arguments in ((na.prelu.backward, (x, x)), (na.prelu.grad, (x,))):
        found, exact = method(*arguments, 0.25), method(*[X] * len(arguments), 0.25)
        assert type(found[0]) is host
        for made, expected in zip(found, exact, strict=True):
            same(made, np.asarray(expected))
    if host is xr.DataArray:
        assert na.prelu.grad(x, x[0])[1].dims == x.dims
        assert na.prelu.backward(x, x, x[0])[1].dims == x[0].dims


def test_pandas_aligns_elements_and_refuses_to_mix_up_rows():
    series, turned = FRAME["u"], FRAME["v"][::-1]
    same(na.swiglu(series, turned), na.swiglu(X[:, 0], X[:, 1]))
    gradients = na.swiglu.backward(series, series, turned)
    assert all(gradient.index.equals(series.index) for gradient in gradients)
    assert na.gelu(pd.Series([1.0, None], dtype="Float32")).isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="mask has other labels"):
        na.softmax(FRAME, mask=FRAME[::-1] > 0)
    with pytest.raises(ValueError, match="labels has other labels"):
        na.softmax_cross_entropy(FRAME, pd.Series([0, 1, 2, 3], index=list("bcde")))
    losses = na.softmax_cross_entropy(FRAME, pd.Series([0, 1, 2, 3], index=FRAME.index), reduction="none")
    assert losses.index.equals(FRAME.index)
    with pytest.raises(TypeError, match="dtype object"):
        na.gelu(pd.DataFrame({"number": [1], "word": ["gelu"]}))


def test_a_data_array_keeps_its_labels(function):
    result, expected = function(*function._sample(ARRAY)), function(*function._sample(X))
    same(result, expected)
    assert result.dims == ARRAY.dims[: expected.ndim]
    assert result.indexes["time"].equals(ARRAY.indexes["time"])
    assert (result.name, result.attrs) == (ARRAY.name, ARRAY.attrs)


@pytest.mark.parametrize("dim", ARRAY.dims)
@pytest.mark.parametrize("name", ["softmax", "logsumexp", "glu"])
def test_dimensions_by_name(name, dim):
    function, axis = na.registry[name], ARRAY.dims.index(dim)
    result = function(ARRAY, dim=dim)
    same(result, function(X, axis=axis))
    same(function(ARRAY.T, dim=dim).transpose(*result.dims), np.asarray(result))
    gradient = function.backward(result, ARRAY, dim=dim)
    same(gradient, function.backward(np.asarray(result), X, axis=axis))
    assert gradient.dims == ARRAY.dims


def test_data_sets_and_dimensions_that_do_not_fit():
    data = xr.Dataset({"one": ARRAY, "two": 2 * ARRAY}, attrs={"source": "cortex"})
    result = na.softmax(data, dim="time", mask=data > 0)
    assert result.attrs == data.attrs
    same(result["two"], na.softmax(2 * X, axis=0, mask=X > 0))
    same(na.logsumexp(ARRAY, dim=...), np.asarray(na.logsumexp(X, axis=None)))
    by_gate, by_up = na.swiglu.backward(data, data, data)
    same(by_up["two"], na.swiglu.backward(2 * X, 2 * X, 2 * X)[1])
    assert by_gate.attrs == data.attrs
    with pytest.raises(ValueError, match=r"different variables: \['one', 'two'\] and \['one'\]"):
        na.softmax(data, mask=data[["one"]] > 0)
    with pytest.raises(ValueError, match="x has no dimension 'cell'") as raised:
        na.softmax(data.assign(three=ARRAY[:, 0]), dim="cell")
    assert raised.value.__notes__ == ["in the variable 'three' of the Dataset"]
    with pytest.raises(TypeError, match="a dimension is named by dim='time'"):
        na.softmax(ARRAY, "time")
    with pytest.raises(ValueError, match="x has no dimension 0; it has 'time', 'cell'"):
        na.softmax(ARRAY, dim=0)
    with pytest.raises(ValueError, match="softmax takes one dimension, not 'time', 'cell'"):
        na.softmax(ARRAY, dim=["time", "cell"])
    with pytest.raises(TypeError, match="either dim= or axis="):
        na.softmax(ARRAY, axis=0, dim="time")
    with pytest.raises(xr.AlignmentError):
        na.swiglu(ARRAY, ARRAY.assign_coords(time=[1, 2, 3, 4]))
    labels = xr.DataArray([0, 1, 2, 3], dims="time", coords={"time": ARRAY["time"]})
    assert na.softmax_cross_entropy(ARRAY, labels, reduction="none").dims == ("time",)
    with pytest.raises(xr.AlignmentError):
        na.softmax_cross_entropy(ARRAY, labels.assign_coords(time=[1, 2, 3, 4]))


def test_masks_are_kept(function):
    arguments = function._sample(np.ma.MaskedArray(X, MASK))
    result, data = function(*arguments), function(*function._sample(X))
    assert result.shape == data.shape
    mask = MASK[:, :3] | MASK[:, 3:] if function is na.glu else MASK
    mask = mask.all(axis=-1) if isinstance(function, Reduction) else mask
    np.testing.assert_array_equal(result.mask, mask)
    if function.__name__ not in ON_ROWS:
        same(result.data[~mask], data[~mask])
        return
    for row, hidden, found in zip(X, MASK, result, strict=True):
        if not hidden.all():
            expected = np.ma.MaskedArray(function(row[~hidden]))
            np.testing.assert_allclose(np.ma.compressed(found), expected.reshape(-1), rtol=1e-6)


def test_what_is_masked_has_no_gradient_and_shares_no_memory():
    x = np.ma.MaskedArray([[1.0, np.nan], [3.0, 4.0]], [[0, 1], [0, 0]])
    _, by_bias = na.gelu.backward(np.ones((2, 2)), x, bias=np.zeros(2))
    np.testing.assert_array_equal(by_bias[1], na.gelu.grad(4.0))
    gradients = na.swiglu.backward(x, x, x)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient.mask, x.mask)
        gradient.mask = True
    assert x.mask.sum() == 1


def test_any_library_that_speaks_dlpack(function):
    x = array_api_strict.from_dlpack(X.copy())
    result, expected = function(*function._sample(x)), function(*function._sample(X))
    assert type(result) is type(x)
    same(np.from_dlpack(result), expected)
    out = array_api_strict.empty(expected.shape, dtype=array_api_strict.float32)
    assert function(*function._sample(x), out=out) is out
    same(np.from_dlpack(out), expected)


ON_TWO_DEVICES = """
import jax, numpy as np, numact as na
first, second = jax.devices()
x = jax.device_put(np.arange(8.0), second)
assert na.gelu(x).devices() == na.relu(x[0]).devices() == na.swiglu.backward(x, x, x)[1].devices() == {second}
mesh = jax.sharding.Mesh([first, second], "x")
spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x")))
for call in (lambda: na.gelu(spread), lambda: x.delete() or na.gelu(x)):
    try:
        call()
    except (TypeError, RuntimeError) as error:
        print(error)
"""


def test_jax_arrays_on_several_devices():
    pytest.importorskip("jax", reason="JAX is not installed")
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ON_TWO_DEVICES]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    spread, deleted = done.stdout.splitlines()
    assert spread.startswith("x is spread over several devices; call numact on its addressable_shards")
    assert "deleted" in deleted


def test_jax_arrays(function):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    x = jax.numpy.asarray(X)
    result = function(*function._sample(x))
    assert isinstance(result, jax.Array)
    same(result, function(*function._sample(X)))
    with pytest.raises(TypeError, match="a JAX array cannot be written"):
        function(*function._sample(x), out=x)
    with pytest.raises(TypeError, match=f"{next(iter(function.__signature__.parameters))} is a JAX tracer"):
        jax.jit(lambda x: function(*function._sample(x)))(x)
