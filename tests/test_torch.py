"""PyTorch's tensors on the CPU, its automatic differentiation and its modules."""

import copy
import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import numact as na
from numact.base import Elementwise

torch = pytest.importorskip("torch", reason="torch is not installed; it is too heavy for the test extra")
nt = pytest.importorskip("numact.torch", reason="torch is not installed")
proxy_tensor = pytest.importorskip("torch.fx.experimental.proxy_tensor", reason="torch is not installed")
nn = torch.nn

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# Between the kinks of all functions, which lie at multiples of 1/2.
POINTS = torch.tensor([-6.3, -2.7, -1.2, -0.7, -0.3, 0.2, 0.6, 1.3, 2.8, 4.4], dtype=torch.float64)
MODULES = {name: [{}] for name in nt.__all__ if name != "Activation"} | {
    "CELU": [{"alpha": 0.5}],
    "ELU": [{"alpha": 0.7}],
    "GELU": [{}, {"approximate": "tanh"}],
    "GLU": [{"dim": 1}],
    "Hardshrink": [{"lambd": 0.7}],
    "Hardtanh": [{"min_val": -0.5, "max_val": 2.0}],
    "LeakyReLU": [{"negative_slope": 0.2}],
    "LogSoftmax": [{"dim": 1}],
    "PReLU": [{}, {"num_parameters": 4}],
    "Softmax": [{"dim": 1}],
    "Softmax2d": [{}],
    "Softmin": [{"dim": 1}],
    "Softplus": [{}, {"beta": 2.0}],
    "Softshrink": [{"lambd": 0.7}],
    "Threshold": [{"threshold": 0.1, "value": 20.0}],
}
# torch multiplies by 1/6 in float32, whatever the dtype (and by celu's 1/alpha, hence 0.5 above).
TOLERANCES = {"Hardsigmoid": 6e-8}
CASES = [(name, options) for name, given in MODULES.items() for options in given]


def arrays(function, dtype=torch.float64):
    """Return tensors and numbers to call a function with."""
    count = len(function._value.inputs) if isinstance(function, Elementwise) and function is not na.glu else 1
    x = POINTS.to(dtype)
    tensors = [x.roll(shift) for shift in range(count)]
    return tensors, function._sample(0.5)[count:]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", na.registry)
def test_a_tensor_is_read_and_written_where_it_lies(name, dtype):
    function = na.registry[name]
    tensors, numbers = arrays(function, dtype)
    result = function(*tensors, *numbers)
    assert type(result) is torch.Tensor
    assert result.dtype is dtype
    # float32 arrays, rounded: what numact documents for the half types.
    wide = [tensor.double().numpy() if dtype is torch.float64 else tensor.float().numpy() for tensor in tensors]
    expected = torch.from_numpy(np.asarray(function(*wide, *numbers))).to(dtype)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    out = torch.empty_like(result)
    assert function(*tensors, *numbers, out=out) is out
    assert torch.equal(out, result)


@pytest.mark.parametrize("name", na.registry)
def test_gradients_are_those_of_differences(name):
    function = na.registry[name]
    tensors, numbers = arrays(function)
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *given: function(*given, *numbers), tensors)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradients_of_the_loss_are_those_of_differences(reduction):
    logits, labels = POINTS.reshape(2, 5).clone().requires_grad_(), torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda x: na.softmax_cross_entropy(x, labels, reduction=reduction), [logits])


def test_gradients_by_a_broadcast_weight_a_bias_and_a_shared_input():
    x, weight = POINTS.reshape(5, 2).clone().requires_grad_(), torch.tensor([0.3, -0.2]).double().requires_grad_()
    assert torch.autograd.gradcheck(na.prelu, [x, weight])
    assert torch.autograd.gradcheck(lambda x, bias: na.gelu(x, bias=bias), [x, weight])
    assert torch.autograd.gradcheck(lambda x: na.swiglu(x, x), [x])
    assert torch.autograd.gradcheck(lambda x: na.softmax(x, 0, x.detach() > 0, scale=0.5), [x])


def test_what_a_gradient_does_not_go_through_is_refused():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(TypeError, match=r"relu.grad: it has no gradient of its own; call it under torch.no_grad"):
        na.relu.grad(x)
    with pytest.raises(TypeError, match="writes no other tensor than x itself; leave out= away"):
        na.relu(x, out=torch.empty(3))
    with pytest.raises(TypeError, match="writes no other tensor than x itself; leave out= away"):
        na.relu(torch.ones(3), out=x)
    with pytest.raises(RuntimeError, match="tanh: numact's gradients have no gradient of their own"):
        torch.autograd.grad(na.tanh(x).sum(), x, create_graph=True)
    with torch.no_grad():
        assert na.relu.grad(x).tolist() == [1.0, 1.0, 1.0]


def test_a_backward_pass_that_needs_what_was_overwritten_is_refused():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    kept = torch.exp(x)  # its gradient is had from its result
    with torch.no_grad():
        na.relu6(kept, out=kept)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()
    factor = torch.tensor([-1.0, 2.0])
    product = factor * x
    nt.ReLU(inplace=True)(factor)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
    with pytest.raises(TypeError, match="out has elements that lie in the same place"):
        na.relu(torch.ones(4, 6), out=torch.empty(6).expand(4, 6))
    with torch.inference_mode():
        assert na.relu(factor, out=torch.empty(2)).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x, t: na.leaky_relu(x, t), "negative_slope"),
        (lambda x, t: na.softmax(x, scale=t), "scale"),
        (lambda x, t: na.softmax_cross_entropy(x, t.expand(x.shape)), "labels"),
        (lambda x, t: nt.Activation(na.squareplus, b=nn.Parameter(t.detach()))(x), "b"),
    ],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # torch's own, where one is a parameter
def test_a_gradient_that_there_is_not_is_not_left_out_in_silence(make, name):
    with pytest.raises(TypeError, match=f"{name} requires a gradient, which numact does not give"):
        make(torch.ones(3, 4), torch.tensor(0.25, requires_grad=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.to("meta"), "x is a fake or meta tensor"),
        (lambda x: x.to_sparse(), "x is sparse, nested or quantized; pass a dense tensor"),
        (lambda x: torch.nested.nested_tensor([x], layout=torch.jagged), "x is sparse, nested or quantized"),
        (lambda x: x.to(torch.float8_e4m3fn), "x has dtype torch.float8_e4m3fn, which NumPy does not have"),
        (torch._neg_view, r"x is a negated view of another tensor; pass resolve_neg\(\) of it"),
        (lambda x: x.to(torch.complex64), "x has dtype complex64; numact takes"),
    ],
)
def test_a_tensor_whose_memory_is_not_what_it_says_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        na.gelu(make(torch.ones(3)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when forward-mode is first used
@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated")
def test_transforms_of_torch_are_refused():
    with pytest.raises(TypeError, match=r"torch\.jit\.trace would keep the result"):
        torch.jit.trace(na.gelu, (torch.ones(3),))
    with pytest.raises(TypeError, match="make_fx would keep the result as a constant"):
        proxy_tensor.make_fx(na.gelu)(torch.ones(3))
    with pytest.raises(RuntimeError, match="machine code of its own, which is no part of a graph"):
        torch.compile(lambda x: na.softmax(x) + 1, backend="aot_eager", fullgraph=True)(torch.ones(3))
    with pytest.raises(TypeError, match="grad_output is several at once: leave is_grads_batched=True"):
        torch.autograd.functional.jacobian(na.gelu, torch.ones(3), vectorize=True)
    x = torch.ones(2, 3)
    for transformed in (torch.vmap(na.gelu), torch.func.grad(lambda x: na.gelu(x).sum())):
        with pytest.raises(TypeError, match=r"inside torch.vmap or torch.func: numact takes whole arrays"):
            transformed(x)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(TypeError, match="x has a tangent of torch's forward"):
        na.gelu(torch.autograd.forward_ad.make_dual(x, x))
    with torch._subclasses.FakeTensorMode() as mode, pytest.raises(TypeError, match="fake or meta tensor"):
        na.gelu(mode.from_tensor(x))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch asks for it itself while it compiles
def test_a_compiled_function_calls_numact_between_its_graphs():
    compiled = torch.compile(lambda x: na.softmax(na.gelu(2 * x)) + 1, backend="aot_eager")
    x = POINTS.clone().requires_grad_()
    result = compiled(x)
    torch.testing.assert_close(result, torch.softmax(nn.functional.gelu(2 * x), -1) + 1)
    (gradient,) = torch.autograd.grad(result[3], x)
    plain = torch.softmax(nn.functional.gelu(2 * x), -1)[3]
    torch.testing.assert_close(gradient, torch.autograd.grad(plain, x)[0])


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_module_takes_the_place_of_the_one_of_torch(name, options):
    theirs, ours = getattr(nn, name)(**options).double(), getattr(nt, name)(**options).double()
    assert isinstance(ours, getattr(nn, name))
    assert repr(ours) == repr(theirs)
    assert inspect.signature(type(ours)) == inspect.signature(type(theirs))
    if theirs.state_dict():
        theirs.weight.data.uniform_(0.1, 0.4)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    shape = (2, 2, 2) if name == "Softmax2d" else (2, 4)
    values = [(POINTS[:8] * 0.9).reshape(shape).clone().requires_grad_() for _ in range(2)]
    results = [module(x) for module, x in zip((theirs, ours), values, strict=True)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-14, atol=1e-15)
    for result in results:
        (result * torch.arange(result.numel()).reshape(result.shape)).sum().backward()
    torch.testing.assert_close(values[1].grad, values[0].grad, rtol=TOLERANCES.get(name, 1e-13), atol=1e-14)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-13, atol=1e-14)


IN_PLACE = [(name, options) for name, options in CASES if "inplace" in inspect.signature(getattr(nn, name)).parameters]


@pytest.mark.parametrize(("name", "options"), IN_PLACE, ids=str)
def test_a_module_works_in_place(name, options):
    theirs, ours = (getattr(library, name)(**options, inplace=True) for library in (nn, nt))
    assert repr(ours) == repr(theirs)
    leaves, results = [POINTS.clone().requires_grad_() for _ in range(2)], []
    for module, leaf in zip((theirs, ours), leaves, strict=True):
        x = 1.1 * leaf
        results.append(module(x))
        assert results[-1] is x
        results[-1].sum().backward()
    torch.testing.assert_close(results[1], results[0], rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(leaves[1].grad, leaves[0].grad, rtol=TOLERANCES.get(name, 1e-13), atol=1e-14)
    with torch.no_grad():
        x = POINTS.clone()
        assert ours(x) is x
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        ours(POINTS.clone().requires_grad_())


def test_the_examples_of_the_modules():
    assert doctest.testmod(nt).failed == 0
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "numact.torch" in code)
    exec(code, scope := {})
    assert scope["network"](torch.ones(2, 64)).shape == (2, 10)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nt.PReLU(4), (4,), r"x has 1 channels; PReLU\(num_parameters=4\) has another number"),
        (nt.PReLU(4), (2, 3), "x has 3 channels"),
        (nt.Softmax2d(), (2, 3), "x has 2 axes; Softmax2d takes"),
    ],
)
def test_modules_refuse_what_those_of_torch_refuse(module, shape, message):
    x = torch.ones(shape)
    with pytest.raises((RuntimeError, ValueError)):
        getattr(nn, type(module).__name__).forward(module, x)
    with pytest.raises(ValueError, match=message):
        module(x)


def test_a_single_weight_goes_with_tensors_of_any_number_of_axes():
    for shape in ((), (3,), (2, 3), (2, 3, 4)):
        x = -torch.ones(shape)
        assert torch.equal(nt.PReLU()(x), nn.PReLU()(x))
    with pytest.raises(TypeError, match="axis must be an integer, not None"):
        nt.Softmax()(x)


def test_any_function_makes_a_module():
    module = nt.Activation(na.squareplus, b=2.0)
    assert repr(module) == "Activation(squareplus, b=2.0)"
    assert torch.equal(module(POINTS), na.squareplus(POINTS, b=2.0))
    assert copy.deepcopy(module).options == {"b": 2.0}


def test_a_network_of_digits_trains_equally_with_either():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    digits = datasets.load_digits()
    images = torch.from_numpy(digits.images[:, None] / 16).float()
    labels = torch.from_numpy(digits.target)

    def trained(library):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3),
            library.PReLU(8),
            nn.Conv2d(8, 8, 3),
            library.SiLU(inplace=True),
            nn.Flatten(),
            nn.Linear(128, 32),
            library.GELU(),
            nn.Linear(32, 10),
            library.LogSoftmax(dim=-1),
        )
        optimizer, losses = torch.optim.Adam(network.parameters(), 0.01), []
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.nll_loss(network(images[:1200]), labels[:1200])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        right = (network(images[1200:]).argmax(-1) == labels[1200:]).float().mean().item()
        return network, losses, right

    (theirs, losses, right), (ours, own_losses, own_right) = trained(nn), trained(nt)
    assert own_losses[-1] < 0.4 * own_losses[0]
    np.testing.assert_allclose(own_losses, losses, rtol=0.02)
    assert abs(own_right - right) < 0.02
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-5)
