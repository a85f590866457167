"""Operations that move numbers: jax's name -> nodes of a graph (see elementwise.py)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from purejaxvpg.onnx.elementwise import Translation
from purejaxvpg.onnx.graph import Graph, Tensor, Untranslatable

ENDLESS = np.iinfo(np.int64).max  # an end of a slice that is the end of its axis


def _reshape(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    if params.get("dimensions") is not None:
        raise Untranslatable("reshape with an order of axes")
    return graph.reshape(inputs[0].name, out[0].shape)


def _broadcast(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    (x, *_), sizes = inputs, out[0].shape
    aligned = [1] * len(sizes)
    for axis, place in enumerate(params["broadcast_dimensions"]):
        aligned[place] = x.shape[axis]
    name = x.name if tuple(aligned) == x.shape else graph.reshape(x.name, aligned)
    return name if tuple(aligned) == tuple(sizes) else graph.add("Expand", name, graph.shape(sizes))


def _transpose(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    return graph.transpose(inputs[0].name, params["permutation"])


def _concatenate(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    return graph.add("Concat", *[x.name for x in inputs], axis=int(params["dimension"]))


def _stack(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    axis = graph.integers([params["axis"]])
    each = [graph.add("Unsqueeze", x.name, axis) for x in inputs]
    return graph.add("Concat", *each, axis=int(params["axis"]))


def _unstack(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> Any:
    axis = int(params["axis"])
    each = [graph.constant(place, np.int64) for place in range(len(out))]
    return [graph.add("Gather", inputs[0].name, place, axis=axis) for place in each]


def _split(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> Any:
    sizes = params["sizes"]
    axis = {"axis": int(params["axis"]), "number": len(sizes)}
    return graph.add("Split", inputs[0].name, graph.integers(sizes), **axis)


def sliced(
    graph: Graph, x: Tensor, starts: Sequence[Any], sizes: Sequence[Any], steps: Sequence[int]
) -> str:
    """The slice that begins at `starts` and has `sizes` numbers, each `steps` from the last.

    Raises: Untranslatable for a part of the batch.
    """
    axes, bounds = [], []
    for axis, (start, size, step) in enumerate(zip(starts, sizes, steps, strict=True)):
        if size == x.shape[axis] and step == 1:
            continue
        if graph.times_batch(size) is not None or graph.times_batch(x.shape[axis]) is not None:
            raise Untranslatable("a slice of the batch")
        start, size = int(start), int(size)
        last = start + (size - 1) * step + 1
        axes.append(axis)
        bounds.append((start, max(last, start), step))
    if not axes:
        return x.name
    first, end, step = (graph.integers(each) for each in zip(*bounds, strict=True))
    return graph.add("Slice", x.name, first, end, graph.integers(axes), step)


def _slice(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    steps = params["strides"] or [1] * len(out[0].shape)
    return sliced(graph, inputs[0], params["start_indices"], out[0].shape, steps)


def _dynamic_slice(graph: Graph, inputs: Sequence[Any], params: Any, out: Sequence[Any]) -> str:
    x, *starts = inputs
    if any(isinstance(start, Tensor) for start in starts):
        raise Untranslatable("a slice whose place is computed")
    sizes = params["slice_sizes"]
    clipped = [
        0 if size == whole else min(max(int(start), 0), whole - size)
        for start, size, whole in zip(starts, sizes, x.shape, strict=True)
    ]
    return sliced(graph, x, clipped, sizes, [1] * len(sizes))


def padded(
    graph: Graph, x: Tensor, edges: Sequence[tuple[int, int]], value: str
) -> tuple[str, list[Any]]:
    """The array with numbers added at its edges (taken away, where negative), and its shape."""
    sizes = [n + low + high for n, (low, high) in zip(x.shape, edges, strict=True)]
    if any(max(edge) > 0 for edge in edges):
        pads = [max(low, 0) for low, _ in edges] + [max(high, 0) for _, high in edges]
        name = graph.add("Pad", x.name, graph.integers(pads), value)
    else:
        name = x.name
    if all(min(edge) >= 0 for edge in edges):
        return name, sizes
    between = [
        n + max(low, 0) + max(high, 0) for n, (low, high) in zip(x.shape, edges, strict=True)
    ]
    starts = [max(-low, 0) for low, _ in edges]
    wide = Tensor(name, tuple(between), x.dtype)
    return sliced(graph, wide, starts, sizes, [1] * len(sizes)), sizes


def _pad(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    x, value = inputs
    if any(inner for _, _, inner in params["padding_config"]):
        raise Untranslatable("padding between numbers")
    edges = [(low, high) for low, high, _ in params["padding_config"]]
    return padded(graph, x, edges, value.name)[0]


def _reverse(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    axes = params["dimensions"]
    if not axes:
        return inputs[0].name
    each = ([-1] * len(axes), [-ENDLESS] * len(axes), axes, [-1] * len(axes))
    return graph.add("Slice", inputs[0].name, *[graph.integers(numbers) for numbers in each])


def _gather(graph: Graph, inputs: Sequence[Any], params: Any, out: Sequence[Any]) -> str:
    """Two forms: a slice at a constant place, and `take` along one axis."""
    x, indices = inputs
    how, sizes = params["dimension_numbers"], params["slice_sizes"]
    if how.operand_batching_dims:
        raise Untranslatable("gather with an index for each row")
    if not isinstance(indices, Tensor) and np.ndim(indices) == 1:
        starts = [0] * len(sizes)
        for axis, start in zip(how.start_index_map, np.asarray(indices), strict=True):
            starts[axis] = int(start)
        return graph.reshape(sliced(graph, x, starts, sizes, [1] * len(sizes)), out[0].shape)
    axes = how.start_index_map
    whole = all(n == x.shape[axis] for axis, n in enumerate(sizes) if axis not in axes)
    if len(axes) != 1 or tuple(how.collapsed_slice_dims) != tuple(axes) or not whole:
        raise Untranslatable("gather of more than one axis")
    return _take(graph, x, indices, axes[0], params, out[0])


def _take(graph: Graph, x: Tensor, indices: Any, axis: int, params: Any, out: Any) -> str:
    if not isinstance(indices, Tensor):
        array = np.asarray(indices)
        indices = Tensor(graph.constant(array), array.shape, array.dtype)
    batch, size = indices.shape[:-1], x.shape[axis]  # the last axis has one index
    if graph.times_batch(size) is not None:
        raise Untranslatable("gather from the batch")
    # As int64: not every type of integer has each of these operations.
    place = graph.cast(graph.reshape(indices.name, batch), np.int64)
    last, zero = graph.constant(size - 1, np.int64), graph.constant(0, np.int64)
    clipped = graph.add("Min", graph.add("Max", place, zero), last)
    name = graph.add("Gather", x.name, clipped, axis=int(axis))
    if params["mode"] == lax.GatherScatterMode.FILL_OR_DROP:
        inside = graph.add("Equal", place, clipped)
        sizes = [*[1] * axis, *batch, *[1] * (len(x.shape) - axis - 1)]
        value = params["fill_value"]
        if value is None:
            value = np.nan if np.issubdtype(x.dtype, np.floating) else _extreme(x.dtype)
        name = graph.add(
            "Where", graph.reshape(inside, sizes), name, graph.constant(value, x.dtype)
        )
    offsets = list(params["dimension_numbers"].offset_dims)
    rows = [place for place in range(len(out.shape)) if place not in offsets]
    places = [*offsets[:axis], *rows, *offsets[axis:]]  # in the result, of the axes as they are now
    return graph.transpose(name, np.argsort(places).tolist())


def _extreme(dtype: Any) -> Any:
    """The value that jax gives integers that are out of bounds."""
    if np.dtype(dtype).kind == "b":
        return True
    return np.iinfo(dtype).max if np.issubdtype(dtype, np.unsignedinteger) else np.iinfo(dtype).min


def _iota(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    """0, 1, 2, ... along one axis, the same along the others, one of them the batch."""
    axis, sizes = int(params["dimension"]), out[0].shape
    if graph.times_batch(sizes[axis]) is not None:
        raise Untranslatable("numbers of the rows of a batch")
    numbers = np.arange(sizes[axis], dtype=params["dtype"])
    column = numbers.reshape([-1 if place == axis else 1 for place in range(len(sizes))])
    return graph.add("Expand", graph.constant(column), graph.shape(sizes))


def _tile(graph: Graph, inputs: Sequence[Tensor], params: Any, out: Sequence[Any]) -> str:
    return graph.add("Tile", inputs[0].name, graph.shape(params["reps"]))


SHAPES: dict[str, Translation] = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "split": _split,
    "stack": _stack,
    "unstack": _unstack,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "rev": _reverse,
    "gather": _gather,
    "iota": _iota,
    "tile": _tile,
}
# Operations whose inputs after the first stay numbers where they are constant.
WITH_PLACES = ("dynamic_slice", "gather")
