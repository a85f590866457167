"""Passes over the rows of a batch, in chunks that fit the cache.

On large batches one pass over all rows streams every layer's activations through memory; chunks
of some thousand rows stay in the cache of a core.  Two chunks at a time: they do not depend on
each other, and XLA runs independent work on several cores.  (2048 x 32 on two cores: 1.05x; on one:
1.1x.)  Large observations make large activations, so there are fewer of them in a chunk: of
MinAtar's pictures 256 (its CNN: 29 us of processor time a step instead of 45, on two busy cores).
An accelerator wants few large passes instead: there a chunk only bounds the memory
(65536 x 32 on an H200: 1.2x in two chunks of 2**20 rows over eight of 2**18).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute.platform import on_cpu
from purejaxvpg.compute.varying import vary_like

CPU_ROWS, ACCELERATOR_ROWS = 4096, 2**20
_CPU_NUMBERS, _FEWEST_ROWS = 2**17, 64  # in the rows of a chunk; of a chunk
AT_A_TIME = 2  # chunks
# The smallest network for pictures makes 4 KiB of each (MinAtar's, 10 x 10: 8 x 8 numbers of 16
# channels).  Smaller observations are not what takes a run's memory.
_LARGE_BYTES = 4 * 2**10


def map_rows(
    function: Callable[[Any], Any],
    rows: Any,
    chunk_rows: int | None,
    at_a_time: int = AT_A_TIME,
) -> Any:
    """`function(rows)`, of a function that treats every row by itself.

    Args:
      function: rows -> pytree of arrays `[B, ...]`.
      rows: pytree of arrays `[B, ...]`.
      chunk_rows: most rows of one chunk; None: 4,096 on a CPU (fewer if a row is longer than 32
        numbers), 1,048,576 elsewhere.
      at_a_time: chunks whose work is done side by side, each with memory of its own.
    """
    chunks = _split(rows, chunk_rows)
    if chunks is None:
        return function(rows)
    one = lambda _, chunk: (None, function(chunk))  # noqa: E731
    out = lax.scan(one, None, chunks, unroll=at_a_time)[1]
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: _size(rows)], out)


def summed_grad(
    loss: Callable[[Any, Any], tuple[Array, Any]],
    params: Any,
    rows: Any,
    chunk_rows: int | None,
    at_a_time: int = AT_A_TIME,
) -> tuple[tuple[Array, Any], Any]:
    """`jax.value_and_grad` of a loss that is a sum over rows.

    Args:
      loss: (params, rows) -> (sum over rows, pytree of sums over rows).  A row of zeros must
        add nothing, for the last chunk is padded with such rows.
      rows, chunk_rows, at_a_time: as in `map_rows`.

    Returns: `((loss, sums), grads)`, equal to the unchunked up to the order of summation.
    """
    grad = jax.value_and_grad(loss, has_aux=True)
    chunks = _split(rows, chunk_rows)
    if chunks is None:
        return grad(params, rows)

    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, grad(params, chunk)), None

    first = jax.tree.map(lambda x: x[0], chunks)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(grad, params, first))
    return lax.scan(add, vary_like(zeros, (params, rows)), chunks, unroll=at_a_time)[0]


def select(mask: Array, on_true: Any, on_false: Any) -> Any:
    """`jnp.where` over pytrees, row by row; mask: `[]`, `[N]`, `[T, N]`; leaves `[*mask, ...]`."""

    def where(x: Array, y: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, y)

    return jax.tree.map(where, on_true, on_false)


def flatten(tree: Any) -> Any:
    """`[A, B, ...]` -> `[A * B, ...]`.  Pytrees."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), tree)


def is_large(observed: Any) -> bool:
    """Whether one observation has more than 4 KiB, so that batches of it take a run's memory.

    Args: observed: its arrays, or their shapes and types.  Pytree.
    """
    sizes = [math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(observed)]
    return sum(sizes) > _LARGE_BYTES


def _size(rows: Any) -> int:
    """B."""
    return jax.tree.leaves(rows)[0].shape[0]


def _default_rows(rows: Any) -> int:
    """Most rows of a chunk, where nobody chose: a power of two.

    With fewer than 64 a matrix product would read more of its kernel than of the rows.
    """
    if not on_cpu():
        return ACCELERATOR_ROWS
    numbers = max(math.prod(x.shape[1:]) for x in jax.tree.leaves(rows))
    fitting = max(_FEWEST_ROWS, _CPU_NUMBERS // max(1, numbers))
    return min(CPU_ROWS, 2 ** int(math.log2(fitting)))


def _split(rows: Any, chunk_rows: int | None) -> Any:
    """`[B, ...]` -> `[chunks, size, ...]`, the last padded with zeros; None if it is one chunk."""
    num_rows = _size(rows)
    num_chunks = math.ceil(num_rows / (chunk_rows or _default_rows(rows)))
    if num_chunks == 1:
        return None
    size = math.ceil(num_rows / num_chunks)
    padding = num_chunks * size - num_rows

    def split(x: Array) -> Array:
        if padding:
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(num_chunks, size, *x.shape[1:])

    return jax.tree.map(split, rows)
