"""A function of few rows among many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute.rows import flatten


def replace_where(
    values: Array,
    mask: Array,
    inputs: Any,
    function: Callable[[Any], Array],
    at_a_time: int | None = None,
) -> Array:
    """`values` with `function(inputs)` where `mask` is true.

    Made for V(final_obs) at truncated steps.  Few steps are truncated, so evaluating V at all
    T N of them would waste nearly all of the work, and under vmap `lax.cond` computes both
    branches.  A `while_loop` over some rows at a time does no work where there are none.

    Args:
      values, mask: `[T, N]`.  inputs: `[T, N, ...]`, a pytree.
      function: `[M, ...]` -> `[M]`.
      at_a_time: M, rows of one turn of the loop; N if None.

    Returns: `[T, N]`.
    """
    num_steps, num_envs = values.shape
    num_rows = num_steps * num_envs
    size = num_envs if at_a_time is None else at_a_time
    flat_inputs = flatten(inputs)

    def some_left(carry: tuple[Array, Array]) -> Array:
        _, left = carry
        return left.any()

    def replace_some(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, left = carry  # [T N] each
        # M rows at a time; where fewer are left, the rest point past the end and are dropped.
        rows = jnp.nonzero(left, size=size, fill_value=num_rows)[0]  # [M]
        chosen = jax.tree.map(lambda x: x.at[rows].get(mode="clip"), flat_inputs)
        replacements = function(chosen)  # [M]
        values = values.at[rows].set(replacements, mode="drop")
        return values, left.at[rows].set(False, mode="drop")

    start = (values.reshape(num_rows), mask.reshape(num_rows))
    return lax.while_loop(some_left, replace_some, start)[0].reshape(values.shape)
