"""Operations that combine numbers: jax's name -> nodes of a graph (see elementwise.py)."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from purejaxvpg.onnx.elementwise import Translation
from purejaxvpg.onnx.graph import Graph, Tensor, Untranslatable
from purejaxvpg.onnx.shapes import padded


def _dot(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    (x, y), dtype = inputs, np.dtype(out[0].dtype)
    names = [z.name if z.dtype == dtype else graph.cast(z.name, dtype) for z in inputs]
    contracted, batched = params["dimension_numbers"]
    (of_x, of_y), (rows_x, rows_y) = contracted, batched
    plain = not rows_x and (tuple(of_x), tuple(of_y)) == ((len(x.shape) - 1,), (0,))
    if plain and len(y.shape) == 2:
        return graph.add("MatMul", *names)
    letters = iter(string.ascii_letters)
    of_left = [next(letters) for _ in x.shape]
    of_right = [next(letters) for _ in y.shape]
    for left, right in (*zip(of_x, of_y, strict=True), *zip(rows_x, rows_y, strict=True)):
        of_right[right] = of_left[left]
    result = [of_left[axis] for axis in rows_x]
    result += [of_left[a] for a in range(len(x.shape)) if a not in (*of_x, *rows_x)]
    result += [of_right[a] for a in range(len(y.shape)) if a not in (*of_y, *rows_y)]
    left, right, after = map("".join, (of_left, of_right, result))
    return graph.add("Einsum", *names, equation=f"{left},{right}->{after}")


def _conv(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    """ONNX has the channels before the sizes."""
    (x, kernel), layout = inputs, params["dimension_numbers"]
    if set(params["lhs_dilation"]) - {1} or params["batch_group_count"] != 1:
        raise Untranslatable("transposed convolutions, and convolutions with groups of rows")
    edges = params["padding"]
    if min((0, *(side for edge in edges for side in edge))) < 0:
        raise Untranslatable("convolutions with negative padding")
    name = graph.add(
        "Conv",
        graph.transpose(x.name, layout.lhs_spec),
        graph.transpose(kernel.name, layout.rhs_spec),
        strides=[int(n) for n in params["window_strides"]],
        dilations=[int(n) for n in params["rhs_dilation"]],
        pads=[int(edge[side]) for side in (0, 1) for edge in edges],
        group=int(params["feature_group_count"]),
    )
    return graph.transpose(name, np.argsort(layout.out_spec).tolist())


def _reduced(operation: str) -> Translation:
    def reduce(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
        (x,), axes = inputs, params["axes"]
        if any(graph.times_batch(x.shape[axis]) is not None for axis in axes):
            raise Untranslatable("sums over the batch, whose rows are to be independent")
        return graph.add(operation, x.name, graph.integers(axes), keepdims=0)

    return reduce


def _any_or_all(operation: str) -> Translation:
    def reduce(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
        (x,) = inputs
        number = Tensor(graph.cast(x.name, np.int32), x.shape, np.dtype(np.int32))
        return graph.cast(_reduced(operation)(graph, [number], params, out), bool)

    return reduce


def _place_of(operation: str) -> Translation:
    def place(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
        (axis,) = params["axes"]
        x = inputs[0]
        name = graph.cast(x.name, np.int32) if x.dtype == bool else x.name
        return graph.cast(
            graph.add(operation, name, axis=int(axis), keepdims=0), params["index_dtype"]
        )

    return place


def _cumsum(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    axis = graph.constant(params["axis"], np.int64)
    return graph.add("CumSum", inputs[0].name, axis, reverse=int(params["reverse"]))


def _windows(operation: str) -> Translation:
    """Pooling: the largest number, or the sum, of each window of pictures `[B, ..., C]`."""

    def pool(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
        (x,) = inputs
        window, steps, edges = (
            params[n] for n in ("window_dimensions", "window_strides", "padding")
        )
        dilated = set(params["base_dilation"]) | set(params["window_dilation"])
        inner = range(1, len(window) - 1)
        outer = [
            params[n][axis] for n in ("window_dimensions", "window_strides") for axis in (0, -1)
        ]
        if dilated != {1} or set(outer) != {1} or any(any(edges[axis]) for axis in (0, -1)):
            raise Untranslatable("windows that are no pooling of pictures (B, ..., C)")
        least = -np.inf if operation == "MaxPool" else 0
        name, _ = padded(graph, x, edges, graph.constant(least, x.dtype))
        last = len(window) - 1
        pooled = graph.add(
            operation,
            graph.transpose(name, [0, last, *inner]),
            kernel_shape=[int(window[axis]) for axis in inner],
            strides=[int(steps[axis]) for axis in inner],
        )
        if operation == "AveragePool":
            size = np.prod([window[axis] for axis in inner])
            pooled = graph.add("Mul", pooled, graph.constant(size, x.dtype))
        return graph.transpose(pooled, [0, *[axis + 1 for axis in inner], 1])

    return pool


PRODUCTS: dict[str, Translation] = {
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "reduce_sum": _reduced("ReduceSum"),
    "reduce_prod": _reduced("ReduceProd"),
    "reduce_max": _reduced("ReduceMax"),
    "reduce_min": _reduced("ReduceMin"),
    "reduce_or": _any_or_all("ReduceMax"),
    "reduce_and": _any_or_all("ReduceMin"),
    "argmax": _place_of("ArgMax"),
    "argmin": _place_of("ArgMin"),
    "cumsum": _cumsum,
    "reduce_window_max": _windows("MaxPool"),
    "reduce_window_sum": _windows("AveragePool"),
}
