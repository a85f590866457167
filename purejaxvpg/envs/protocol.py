"""The protocol: one environment as pure functions, its parameters, and checks of its contract.

An adapter (one file per library) makes an `Environment` from a library's own object.
"""

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Step(NamedTuple):
    """One step of one environment.  All arrays; obs and final_obs float32 of one shape."""

    state: Any  # after the step; already of the next episode if the library resets by itself
    obs: Array  # [*obs_shape], observation of `state`
    final_obs: Array  # [*obs_shape], after the step and before any reset
    reward: Array  # [], float32
    terminated: Array  # [], bool: nothing follows
    truncated: Array  # [], bool: the clock cut it; never together with terminated


class Environment(NamedTuple):
    """One environment as pure functions.  `params` is a pytree whose leaves may be traced."""

    name: str
    reset: Callable[[Array, Any], tuple[Array, Any]]  # (key, params) -> (obs, state)
    step: Callable[[Array, Any, Array, Any], Step]  # (key, state, action, params)
    default_params: Any
    action_space: Callable[[Any], Any]  # params -> gymnax space
    observation_space: Callable[[Any], Any]  # params -> gymnax space, as declared
    obs_shape: tuple[int, ...]  # as observed, which is what counts
    resets_itself: bool  # step returns the state and obs of a new episode after an end


def resolve_params(env: Environment, overrides: Any) -> Any:
    """The environment's parameters: its defaults, with those named in `overrides` replaced.

    Args:
      overrides: None, a mapping from field names to (traced) values, or a whole parameter
        object, which is used as it is.

    Raises: ValueError for a field that the environment does not have, with the close ones, and
    for a value of another shape than the default's.
    """
    if overrides is None:
        return env.default_params
    if not isinstance(overrides, Mapping):
        return overrides
    names = param_names(env.default_params)
    for name, value in overrides.items():
        if name not in names:
            raise ValueError(
                f"env_params.{name} is not a parameter of {env.name}; {suggest(name, names)}"
            )
        given, expected = jnp.shape(value), jnp.shape(get_param(env.default_params, name))
        if given != expected:
            raise ValueError(
                f"env_params.{name} has shape {given} where one run takes {expected}; sweep it "
                f"with jax.vmap"
            )
    if isinstance(env.default_params, Mapping):
        return {**env.default_params, **overrides}
    return dataclasses.replace(env.default_params, **overrides)


def param_names(params: Any) -> tuple[str, ...]:
    """Names of an environment's parameters (fields of a dataclass, or keys of a mapping)."""
    if isinstance(params, Mapping):
        return tuple(params)
    if dataclasses.is_dataclass(params):
        return tuple(field.name for field in dataclasses.fields(params))
    return ()


def get_param(params: Any, name: str) -> Any:
    """An environment's parameter of that name, or None."""
    return params.get(name) if isinstance(params, Mapping) else getattr(params, name, None)


def suggest(name: str, names: tuple[str, ...] | list[str]) -> str:
    """Advice for an unknown name: the close ones, or else all that are known."""
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names) or 'none'}"


def check_contract(name: str, reset: Any, step: Any, params: Any, action: Array) -> tuple:
    """Shape of the observations; ValueError, in one line, if reset and step do not fit."""

    def first_step(key: Array) -> tuple[Array, Step]:
        obs, state = reset(key, params)
        return obs, step(key, state, action, params)

    obs, out = jax.eval_shape(first_step, jax.random.key(0))
    for field in ("reward", "terminated", "truncated"):
        shape = getattr(out, field).shape
        if shape != ():
            raise ValueError(
                f"{name}.step returned {field} of shape {shape}; expected a scalar, shape () "
                f"(squeeze it: an extra axis would broadcast [N] to [N, N])"
            )
    for field in ("obs", "final_obs"):
        shape = getattr(out, field).shape
        if shape != obs.shape:
            raise ValueError(
                f"{name}.step returned {field} of shape {shape}, and reset one of {obs.shape}; "
                f"expected the same shape"
            )
    return obs.shape


def zero_action(space: Any) -> Array:
    """Some action of a space, to trace a step with."""
    return jnp.zeros(getattr(space, "shape", ()), getattr(space, "dtype", jnp.float32))
