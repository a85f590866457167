"""A time limit of our own, for environments whose library has none, or none that it reports.

`clocked` gives an environment the parameter `max_steps_in_episode`, which may be traced, and counts
its steps.  An episode that reaches the limit is truncated; one that ends there by itself is
terminated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs.protocol import Environment, Step

LIMIT = "max_steps_in_episode"
NEVER = 2**30  # steps that no episode takes: a library's own limit, lifted


class Clocked(NamedTuple):
    """An environment's state, and its steps since the reset."""

    inner: Any
    time: Array  # [] int32


def clocked(env: Environment, limit: int) -> Environment:
    """The environment with a time limit, as a parameter beside its own.

    Args:
      env: one whose `step` does not reset itself, and whose parameters are a dict or None.
      limit: steps of an episode, the parameter's default.
    """

    def inner_params(params: Any) -> Any:
        if env.default_params is None:
            return None
        return {name: value for name, value in params.items() if name != LIMIT}

    def reset(key: Array, params: Any) -> tuple[Any, Clocked]:
        obs, inner = env.reset(key, inner_params(params))
        return obs, Clocked(inner, jnp.zeros((), jnp.int32))

    def step(key: Array, state: Clocked, action: Any, params: Any) -> Step:
        out = env.step(key, state.inner, action, inner_params(params))
        time = state.time + 1
        ended = jnp.asarray(out.terminated, bool)
        truncated = jnp.asarray(out.truncated, bool) | (time >= params[LIMIT])
        return out._replace(state=Clocked(out.state, time), truncated=truncated & ~ended)

    def of_inner(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if function is None:
            return None
        return lambda state, params: function(state.inner, inner_params(params))

    return env._replace(
        reset=reset,
        step=step,
        default_params={**(env.default_params or {}), LIMIT: limit},
        action_space=lambda params: env.action_space(inner_params(params)),
        observation_space=lambda params: env.observation_space(inner_params(params)),
        time_limit=lambda params: params[LIMIT],
        action_mask=of_inner(env.action_mask),
        render=of_inner(env.render),
    )
