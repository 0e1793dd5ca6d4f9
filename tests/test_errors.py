"""Bad input: a clear error, and `out` untouched."""

import re
import subprocess
import sys

import numpy as np
import pytest

import numact as na

BAD_DTYPES = ["complex64", "complex128", "object", "U3", "S3", "longdouble", "datetime64[s]", "V4"]


def untouched(call, error, message, out):
    """Check that the call fails as described, and leaves out as it was."""
    before = out.copy()
    with pytest.raises(error, match=re.escape(message)):
        call(out)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("kind", BAD_DTYPES)
def test_dtypes_that_are_not_real(activation, kind):
    x = np.zeros(3, kind)
    for call in (lambda out: activation(x, out=out), lambda out: activation.backward(x, x, out=out)):
        untouched(call, TypeError, x.dtype.name, np.full(3, 7.0))
    with pytest.raises(TypeError, match="float16, bfloat16, float32, float64"):
        activation(x)


def test_out_of_the_wrong_shape(activation):
    x = np.zeros((2, 3), np.float32)
    for shape in [(3, 2), (6,), (2, 1), (1, 2, 3)]:
        untouched(lambda out: activation(x, out=out), ValueError, "shape", np.full(shape, 7, np.float32))


@pytest.mark.parametrize("kind", ["int32", "bool", "complex64", "object"])
def test_out_of_the_wrong_dtype(activation, kind):
    x = np.zeros(3, np.float32)
    untouched(lambda out: activation(x, out=out), TypeError, f"{kind} (same_kind)", np.ones(3, kind))


def test_read_only_out(activation):
    out = np.full(3, 7, np.float32)
    out.flags.writeable = False
    untouched(lambda out: activation(np.zeros(3, np.float32), out=out), ValueError, "read-only", out)


def test_out_that_is_no_array(activation):
    with pytest.raises(TypeError, match="out must be a NumPy array"):
        activation(np.zeros(3), out=[0, 0, 0])


def test_shapes_that_do_not_broadcast(activation):
    with pytest.raises(ValueError, match=r"do not broadcast.*grad_output.*x"):
        activation.backward(np.zeros(3), np.zeros(4))


def test_unknown_parameter(activation):
    with pytest.raises(TypeError, match="no parameter 'slope'"):
        activation(np.zeros(3), slope=1.0)


def test_too_many_arguments(activation):
    with pytest.raises(TypeError, match="positional"):
        activation(np.zeros(3), 1, 2, 3, 4)


def test_a_parameter_given_twice():
    with pytest.raises(TypeError, match="two values for 'negative_slope'"):
        na.leaky_relu(np.zeros(3), 0.1, negative_slope=0.1)


@pytest.mark.parametrize("value", ["steep", None, 1j, [1, 2]])
def test_parameters_that_are_no_numbers(value):
    with pytest.raises(TypeError, match="negative_slope"):
        na.leaky_relu(np.zeros(3), value)


@pytest.mark.parametrize("value", ["Tanh", "erf", None, 1, np.ones(3)])
def test_unknown_form_of_gelu(value):
    for call in (na.gelu, na.gelu.grad):
        with pytest.raises(ValueError, match="approximate must be 'none' or 'tanh'"):
            call(np.zeros(3), approximate=value)


@pytest.mark.parametrize("axis", [2, -3, 100])
def test_axis_out_of_range(axis):
    with pytest.raises(ValueError, match=f"axis {axis} is out of bounds"):
        na.softmax(np.zeros((2, 2)), axis=axis)


@pytest.mark.parametrize("axis", [None, 1.0, "1", (0, 1)])
def test_axis_that_is_no_integer(axis):
    with pytest.raises(TypeError):
        na.softmax(np.zeros((2, 2)), axis=axis)


def test_arrays_that_numact_does_not_know(activation):
    class Array:
        def __array__(self, *arguments, **keywords):
            return np.zeros(3)

    with pytest.raises(TypeError, match=r"numpy.asarray\(x\)"):
        activation(Array())


NO_CUDA = """
import sys
import numpy as np
if {blocked}:
    sys.modules["numba.cuda"] = None
import numact as na
class Producer:
    __cuda_array_interface__ = {{"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}}
try:
    na.gelu(Producer())
except (ImportError, RuntimeError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("blocked", "name", "words"), [(True, "ImportError", "numact[cuda13]"), (False, "RuntimeError", "driver")]
)
def test_cuda_array_without_cuda(blocked, name, words):
    if not blocked:
        from numba import cuda

        if cuda.is_available():
            pytest.skip("this machine has a CUDA driver, so the error for its absence cannot be seen")
    script = NO_CUDA.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith(name)
    assert words in done.stdout
