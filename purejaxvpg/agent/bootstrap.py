"""V of the observation before a reset, which a truncated step goes on from.

Only truncated steps need `final_obs`, and a batch that holds it for all steps is twice as large.
Small observations are stored all the same, and V is taken of the few that matter, after the
rollout.  Of large ones (`compute.is_large`) V is taken in the step itself where an episode is
truncated, and stored in their place.  With memory they are stored whatever their size: V remembers
what it saw, and is replayed after the rollout only.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.agent.setup import Setup
from purejaxvpg.compute import replace_where, vary_like
from purejaxvpg.state import TrainState

_SHARE = 8  # an eighth of the environments is looked at together: few are truncated in one step


def value_after(setup: Setup, state: TrainState, memory: Any, obs: Any) -> Array:
    """V of M observations as they come from the environment.

    Args: memory: `[M, ...]`, of V before them.  obs: `[M, ...]`.
    Returns: `[M]`.
    """
    seen = setup.agent.see(state.obs_stats, obs)
    return setup.agent.networks.value_after(state.params, seen, memory)


def store_final(setup: Setup, state: TrainState, final_obs: Any, truncated: Array) -> Any:
    """The observations before a reset, as a batch stores them; of one step of N environments.

    Args: final_obs: `[N, ...]`.  truncated: `[N]` bool.
    Returns: final_obs, or (large ones) V of it where truncated, `[N]`, and 0 elsewhere.
    """
    if not _stores_values(setup):
        return final_obs
    # Values that vary over a mesh as those will that replace them.
    zeros = vary_like(jnp.zeros((1, setup.num_envs)), (state.params, final_obs, truncated))
    mask, inputs = jax.tree.map(lambda x: x[None], (truncated, final_obs))  # [1, N, ...]
    value = lambda x: value_after(setup, state, (), x)  # noqa: E731
    at_a_time = math.ceil(setup.num_envs / _SHARE)
    return replace_where(zeros, mask, inputs, value, at_a_time)[0]


def bootstrap(
    setup: Setup, state: TrainState, next_values: Array, memory: Any, batch: Any
) -> Array:
    """V(s_{t+1}), with V(final_obs) where a step is truncated.

    Args:
      next_values: `[T, N]`.  memory: `[T, N, ...]`, of V after each step.
      batch: has `truncated` `[T, N]`, and `final_obs` as `store_final` gave it, `[T, N, ...]`.

    Returns: `[T, N]`.
    """
    if _stores_values(setup):
        values: Any = jnp.where(batch.truncated, batch.final_obs, next_values)
        return values
    inputs = (memory, batch.final_obs)
    value = lambda x: value_after(setup, state, *x)  # noqa: E731
    return replace_where(next_values, batch.truncated, inputs, value)


def _stores_values(setup: Setup) -> bool:
    return setup.compute.large and setup.config.memory is None
