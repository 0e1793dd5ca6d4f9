"""Formulas made of formulas: a product with an incoming gradient, a bias added to the input, parameters set."""

from numact.binding import Formula


def product(derivative, count):
    """Return the formula of grad_output times each derivative.

    Parameters
    ----------
    derivative : Formula
        Gives the derivative by its only input, or a tuple of the derivatives by each of several.
    count : int
        How many it gives.
    """
    slopes = [f"slope{index}" for index in range(count)]
    body = f"""
    {", ".join(slopes)} = inner_formula({{arguments}})
    return {", ".join(f"grad_output * {slope}" for slope in slopes)}"""
    return _define("product", ["grad_output", *derivative.inputs], body, derivative)


def biased(formula):
    """Return the formula with a bias added to its first input; the bias is the last input."""
    return _define("biased", [*formula.inputs, "bias"], "    return inner_formula({arguments})", formula, 0)


def biased_product(product, count):
    """Return a product's formula with a bias added to its second input, whose gradient comes last.

    Parameters
    ----------
    product : Formula
        As `product` makes it.
    count : int
        How many gradients it gives.
    """
    gradients = ", ".join(f"gradient{index}" for index in range(count))
    body = f"""
    {gradients} = inner_formula({{arguments}})
    return {gradients}, gradient0"""
    return _define("biased", [*product.inputs, "bias"], body, product, 1)


def plain(formula, numbers):
    """Return the plain function of a formula's inputs alone, its parameters set to these numbers."""
    parameters = dict(zip(formula.parameters, map(float, numbers), strict=True))
    return _define(
        "plain", formula.inputs, "    return inner_formula({arguments})", formula, numbers=parameters
    ).formula


def _define(name, inputs, body, inner, place=None, numbers=None):
    """Return the formula of these inputs and of the parameters of `inner`, which the body calls.

    `place` is where among the inputs of `inner` the one stands that the bias is added to; parameters that `numbers`
    has are these.
    """
    given = [f"{item} + bias" if index == place else item for index, item in enumerate(inner.inputs)]
    name = f"{name}_{inner.__name__}".replace("<lambda>", "lambda")
    numbers = numbers or {}
    free = [item for item in inner.parameters if item not in numbers]
    source = f"def {name}({', '.join([*inputs, '/', *free])}):\n"
    scope = {"inner_formula": inner.formula, **numbers}
    exec(source + body.format(arguments=", ".join([*given, *inner.parameters])), scope)
    return Formula(scope[name])
