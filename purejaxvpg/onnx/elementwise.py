"""Operations on each number: jax's name -> nodes of a graph.

Each function takes the graph, the operation's inputs, its parameters and its results' shapes and
types, and returns names of results.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from purejaxvpg.onnx.graph import Graph, Tensor, Untranslatable

Translation = Callable[[Graph, Sequence[Tensor], dict[str, Any], Sequence[Any]], Any]

# The same operation under another name, on the types that ONNX has it for.
_SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "add_any": "Add",
    "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil",
    "cos": "Cos", "cosh": "Cosh", "div": "Div", "erf": "Erf", "exp": "Exp", "floor": "Floor",
    "log": "Log", "logistic": "Sigmoid", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg",
    "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan",
    "tanh": "Tanh",
}  # fmt: skip
_IDENTITY = ("copy", "copy_p", "optimization_barrier", "pvary", "sharding_constraint",
             "stop_gradient", "reshard")  # fmt: skip
_COMPARED = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
             "ge": "GreaterOrEqual"}  # fmt: skip
_LOGICAL = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}
_SMALL = 0.5  # below it log1p and expm1 are computed without cancellation


def _same(operation: str) -> Translation:
    return lambda graph, inputs, params, out: graph.add(operation, *[x.name for x in inputs])


def _compared(operation: str) -> Translation:
    def compare(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
        names = [graph.cast(x.name, np.int32) if x.dtype == bool else x.name for x in inputs]
        return graph.add(operation, *names)

    return compare


def _differ(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Not", _compared("Equal")(graph, inputs, params, out))


def _logical(operation: str) -> Translation:
    """Bits of integers have operations of their own."""

    def combine(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
        prefix = "" if inputs[0].dtype == bool else "Bitwise"
        return graph.add(prefix + operation, *[x.name for x in inputs])

    return combine


def _square(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Mul", inputs[0].name, inputs[0].name)


def _integer_pow(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    (x,), exponent = inputs, int(params["y"])
    if exponent == 2:
        return _square(graph, inputs, params, out)
    return graph.add("Pow", x.name, graph.constant(exponent, x.dtype))


def _pow(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Pow", *[x.name for x in inputs])


def _exp2(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Pow", graph.constant(2, inputs[0].dtype), inputs[0].name)


def _log2(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    (x,) = inputs
    return graph.add("Div", graph.add("Log", x.name), graph.constant(np.log(2), x.dtype))


def _one_minus_square(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    square = _square(graph, inputs, params, out)
    return graph.add("Sub", graph.constant(1, inputs[0].dtype), square)


def _rsqrt(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Reciprocal", graph.add("Sqrt", inputs[0].name))


def _erfc(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Sub", graph.constant(1, inputs[0].dtype), graph.add("Erf", inputs[0].name))


def _where_small(graph: Graph, x: Tensor, small: str, large: str) -> str:
    absolute = graph.add("Abs", x.name)
    return graph.add(
        "Where", graph.add("Less", absolute, graph.constant(_SMALL, x.dtype)), small, large
    )


def _log1p(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    """log(u) x / (u - 1) with u = 1 + x rounded, so that what rounding lost cancels.

    Source: Kahan; Higham 2002, "Accuracy and stability of numerical algorithms", 1.14.1.
    """
    (x,) = inputs
    one, zero = graph.constant(1, x.dtype), graph.constant(0, x.dtype)
    u = graph.add("Add", one, x.name)
    log, difference = graph.add("Log", u), graph.add("Sub", u, one)
    exact = graph.add("Mul", log, graph.add("Div", x.name, difference))
    small = graph.add("Where", graph.add("Equal", difference, zero), x.name, exact)
    return _where_small(graph, x, small, log)


def _expm1(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    """2 t / (1 - t) with t = tanh(x / 2)."""
    (x,) = inputs
    one, two = graph.constant(1, x.dtype), graph.constant(2, x.dtype)
    t = graph.add("Tanh", graph.add("Div", x.name, two))
    small = graph.add("Div", graph.add("Mul", two, t), graph.add("Sub", one, t))
    return _where_small(graph, x, small, graph.add("Sub", graph.add("Exp", x.name), one))


def _round(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    if params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Untranslatable("rounding halves away from zero")
    return graph.add("Round", inputs[0].name)


def _rem(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    return graph.add("Mod", *[x.name for x in inputs], fmod=1)


def _is_finite(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    x = inputs[0].name
    return graph.add("Not", graph.add("Or", graph.add("IsNaN", x), graph.add("IsInf", x)))


def _clamp(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    low, x, high = (x.name for x in inputs)
    return graph.add("Min", graph.add("Max", x, low), high)


def _select(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    which, *cases = inputs
    if which.dtype == bool:
        return graph.add("Where", which.name, cases[1].name, cases[0].name)
    result = cases[0].name
    for number, case in enumerate(cases[1:], 1):
        chosen = graph.add("Equal", which.name, graph.constant(number, which.dtype))
        result = graph.add("Where", chosen, case.name, result)
    return result


def _cast(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> str:
    if inputs[0].dtype == np.dtype(params["new_dtype"]):
        return inputs[0].name
    return graph.cast(inputs[0].name, params["new_dtype"])


def _identity(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Any) -> Any:
    return inputs[0].name if len(inputs) == 1 else [x.name for x in inputs]


ELEMENTWISE: dict[str, Translation] = {
    **{name: _same(operation) for name, operation in _SAME.items()},
    **dict.fromkeys(_IDENTITY, _identity),
    **{name: _compared(operation) for name, operation in _COMPARED.items()},
    **{name: _logical(operation) for name, operation in _LOGICAL.items()},
    "ne": _differ,
    "square": _square,
    "integer_pow": _integer_pow,
    "pow": _pow,
    "exp2": _exp2,
    "log2": _log2,
    "one_minus_square": _one_minus_square,
    "rsqrt": _rsqrt,
    "erfc": _erfc,
    "log1p": _log1p,
    "expm1": _expm1,
    "round": _round,
    "rem": _rem,
    "is_finite": _is_finite,
    "clamp": _clamp,
    "select_n": _select,
    "convert_element_type": _cast,
}
