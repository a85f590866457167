"""A jax function of a batch -> an ONNX program.

jax traces the function for B rows, B a symbol.  Calls are inlined, and operations on constants are
carried out; every operation that is left becomes nodes of the graph, by the table of its kind.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from purejaxvpg.compute import traced_plainly
from purejaxvpg.onnx.elementwise import ELEMENTWISE, Translation
from purejaxvpg.onnx.graph import Graph, Tensor, Untranslatable
from purejaxvpg.onnx.products import PRODUCTS
from purejaxvpg.onnx.shapes import SHAPES, WITH_PLACES

TRANSLATIONS: dict[str, Translation] = {**ELEMENTWISE, **SHAPES, **PRODUCTS}
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2",
          "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call",
          "custom_lin", "eval_jaxpr")  # fmt: skip
_LONGEST = 256  # turns of a loop that is written out


def to_onnx(
    function: Callable[[dict[str, Any]], Mapping[str, Any]],
    inputs: Mapping[str, tuple[tuple[int, ...], Any]],
    doc: str = "",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A function of a batch as an ONNX program (opset 18) for any number of rows.

    Args:
      function: arrays `[B, ...]` by name -> arrays by name.  Every row is treated by itself.
      inputs: shape (without B) and dtype of each input, by name.  Integers of the results become
        int64, which ONNX counts in.
      doc, metadata: texts to keep in the program.

    Raises: Untranslatable, in one line that names the operation, for one that has no translation;
    ImportError without the extra `onnx`.
    """
    (batch,) = export.symbolic_shape("B")
    names: list[str] = []

    def flat(*values: Any) -> tuple[Any, ...]:
        results = function(dict(zip(inputs, values, strict=True)))
        names[:] = results
        return tuple(results.values())

    graph = Graph(batch)
    given = [graph.input(name, (batch, *shape), dtype) for name, (shape, dtype) in inputs.items()]
    with traced_plainly():
        traced = jax.make_jaxpr(flat)(*[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given])
    results = _walk(graph, traced.jaxpr, traced.consts, given)
    outputs = {name: _counted(graph, x) for name, x in zip(names, results, strict=True)}
    return graph.finish(outputs, doc, dict(metadata or {}))


def _counted(graph: Graph, x: Any) -> Tensor:
    """A result of the program: integers as int64."""
    x = _tensor(graph, x)
    if x.dtype.kind not in "iu" or x.dtype == np.int64:
        return x
    return Tensor(graph.cast(x.name, np.int64), x.shape, np.dtype(np.int64))


def _walk(graph: Graph, jaxpr: Any, consts: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """Results of a jaxpr: a `Tensor` each, or an array where it is constant."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, given, strict=True))

    def read(x: Any) -> Any:
        return x.val if hasattr(x, "val") else values[x]

    for eqn in jaxpr.eqns:
        results = _results(graph, eqn, [read(x) for x in eqn.invars])
        values |= dict(zip(eqn.outvars, results, strict=True))
    return [read(x) for x in jaxpr.outvars]


def _results(graph: Graph, eqn: Any, inputs: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name in _CALLS:
        return _walk(graph, *_inner(eqn), inputs)
    if name == "dim_as_value":
        raise Untranslatable(_refusal(f"`{name}`: the number of rows in a calculation"))
    if name == "scan":
        return _scan(graph, eqn.params, inputs)
    avals = [x.aval for x in eqn.outvars]
    sizes = [size for aval in avals for size in aval.shape]
    if not any(isinstance(x, Tensor) for x in inputs) and all(isinstance(n, int) for n in sizes):
        results = eqn.primitive.bind(*inputs, **eqn.params)
        return list(results) if eqn.primitive.multiple_results else [results]
    if name not in TRANSLATIONS:
        raise Untranslatable(_refusal(f"`{name}`"))
    first = 1 if name in WITH_PLACES else len(inputs)
    tensors = [_tensor(graph, x) for x in inputs[:first]] + inputs[first:]
    try:
        names = TRANSLATIONS[name](graph, tensors, eqn.params, avals)
    except Untranslatable as error:
        raise Untranslatable(_refusal(f"`{name}`: {error}")) from None
    names = [names] if isinstance(names, str) else names
    return [
        Tensor(name, tuple(aval.shape), np.dtype(aval.dtype))
        for name, aval in zip(names, avals, strict=True)
    ]


def _refusal(operation: str) -> str:
    return (
        f"the policy cannot be written as ONNX, for its network uses {operation}, which has no "
        f"translation; use another operation, or policy.jax, which takes every network"
    )


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr that a call calls, and its constants."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call"):
        if (inner := eqn.params.get(name)) is not None:
            return _opened(inner)
    raise Untranslatable(_refusal(f"`{eqn.primitive.name}`"))


def _opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "jaxpr") else (jaxpr, ())


def _parts_of_scan(params: dict[str, Any], inputs: list[Any]) -> list[list[Any]]:
    """Constants, carry and rows."""
    if "ft_in" in params:  # since jax 0.11
        return [list(part) for part in params["ft_in"].update(inputs).unpack()]
    first = params["num_consts"]
    last = first + params["num_carry"]
    return [inputs[:first], inputs[first:last], inputs[last:]]


def _scan(graph: Graph, params: dict[str, Any], inputs: list[Any]) -> list[Any]:
    """A loop of a fixed number of turns, written out."""
    length, body = params["length"], _opened(params["jaxpr"])
    if not isinstance(length, int) or length > _LONGEST:
        raise Untranslatable(_refusal(f"`scan` of {length} turns (at most {_LONGEST} are taken)"))
    consts, carry, xs = _parts_of_scan(params, inputs)
    turns: list[list[Any]] = []
    for turn in range(length):
        place = length - 1 - turn if params["reverse"] else turn
        now = [_row(graph, x, place) for x in xs]
        results = _walk(graph, *body, [*consts, *carry, *now])
        carry, ys = results[: len(carry)], results[len(carry) :]
        turns.append(ys)
    if params["reverse"]:
        turns.reverse()
    return [*carry, *[_stacked(graph, ys) for ys in zip(*turns, strict=True)]]


def _row(graph: Graph, x: Any, place: int) -> Any:
    if not isinstance(x, Tensor):
        return x[place]
    index = graph.constant(place, np.int64)
    return Tensor(graph.add("Gather", x.name, index, axis=0), x.shape[1:], x.dtype)


def _stacked(graph: Graph, ys: Sequence[Any]) -> Any:
    if not any(isinstance(y, Tensor) for y in ys):
        return jnp.stack(ys)
    rows = [_tensor(graph, y) for y in ys]
    names = [graph.add("Unsqueeze", y.name, graph.integers([0])) for y in rows]
    stacked = graph.add("Concat", *names, axis=0)
    return Tensor(stacked, (len(rows), *rows[0].shape), rows[0].dtype)


def _tensor(graph: Graph, x: Any) -> Tensor:
    """The array, as a constant of the graph if it is one."""
    if isinstance(x, Tensor):
        return x
    array = np.asarray(x)
    return Tensor(graph.constant(array), array.shape, array.dtype)
