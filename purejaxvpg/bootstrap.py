"""V(final_obs) where a time limit cut the episode, and only there."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax


def replace_truncated(
    next_values: Array, truncated: Array, final_obs: Array, value: Callable[[Array], Array]
) -> Array:
    """`next_values` with V(final_obs) at the truncated steps.

    Few steps are truncated, so evaluating V on all T N final observations would waste nearly
    all of it; and `lax.cond` would not help under vmap, where it computes both branches.  A
    `while_loop` over N truncated rows at a time does no work where there are none.

    Args:
      next_values, truncated: `[T, N]`.  final_obs: `[T, N, *obs_shape]`.
      value: observations `[M, *obs_shape]` -> `[M]`.

    Returns: `[T, N]`.
    """
    num_steps, num_envs = next_values.shape
    num_rows = num_steps * num_envs
    observations = final_obs.reshape(num_rows, *final_obs.shape[2:])

    def some_left(carry: tuple[Array, Array]) -> Array:
        _, left = carry
        return left.any()

    def replace_some(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, left = carry  # [T N] each
        # N rows at a time; where fewer are left, the rest point past the end and are dropped.
        rows = jnp.nonzero(left, size=num_envs, fill_value=num_rows)[0]  # [N]
        found = value(observations.at[rows].get(mode="clip"))  # [N]
        values = values.at[rows].set(found, mode="drop")
        return values, left.at[rows].set(False, mode="drop")

    start = (next_values.reshape(num_rows), truncated.reshape(num_rows))
    return lax.while_loop(some_left, replace_some, start)[0].reshape(next_values.shape)
