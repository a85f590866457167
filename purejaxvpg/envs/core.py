"""What an environment is here, and how N of them are stepped: autoreset, limits, statistics.

`Environment` is one environment as pure functions; an adapter (one file per library) makes it
from a library's own object.  `vectorize` turns it into N environments side by side that start
again by themselves, and counts their episodes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.cpu import on_cpu
from purejaxvpg.spread import ALONE, Spread


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
    known = param_names(env.default_params)
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(
                f"env_params.{name} is not a parameter of {env.name}; {suggest(name, known)}"
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
    """One of an environment's parameters; None if it has none of that name."""
    return params.get(name) if isinstance(params, Mapping) else getattr(params, name, None)


def suggest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """What to write instead of an unknown name: the close ones, or else all that are known."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known) or 'none'}"


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


class EpisodeStats(NamedTuple):
    """Running episodes of N environments."""

    returns: Array  # [N] float32, undiscounted sum of the rewards so far
    lengths: Array  # [N] int32, steps so far


class Spares(NamedTuple):
    """Reset states drawn ahead: where each of N environments will go on after an end."""

    inner: Any  # [N, ...] pytree
    obs: Array  # [N, *obs_shape]
    used: Array  # [N] bool: an episode began here, another must not


class VectorState(NamedTuple):
    """State of N environments."""

    inner: Any  # [N, ...] pytree, the library's states
    episode: EpisodeStats
    spares: Spares | None  # None if the library resets by itself


class StepKeys(NamedTuple):
    """What one step of N environments takes of chance."""

    step: Array  # [N] keys
    reset: Array  # [] key; [N] keys on an accelerator
    renew: Array  # [] bool: draw all spares anew


class VectorStep(NamedTuple):
    """One step of N environments."""

    obs: Array  # [N, *obs_shape], what the next action answers to (of a new episode after an end)
    final_obs: Array  # [N, *obs_shape], after the step and before any reset
    reward: Array  # [N] float32
    terminated: Array  # [N] bool
    truncated: Array  # [N] bool
    episode: EpisodeStats  # of the episode this step belongs to, this step included


# A reset costs as much as a step, and few of those drawn would be needed in the step that they are
# drawn for.  So they are kept until they are; and, lest each of many runs under vmap draw in a step
# of its own, where all others would have to as well, all draw together, every so many steps.
# An accelerator draws faster than it hands the host a decision: it draws in every step, and lets
# the spares be.
RENEWAL = 8


class VectorEnv(NamedTuple):
    """N environments as pure functions."""

    reset: Callable[[Array, Any], tuple[VectorState, Array]]  # (key, params) -> (state, obs)
    keys: Callable[[Array, Array], StepKeys]  # (key, index of the step) -> its keys
    step: Callable[[StepKeys, VectorState, Array, Any], tuple[VectorState, VectorStep]]


def vectorize(
    env: Environment,
    num_envs: int,
    max_episode_steps: int | None = None,
    spread: Spread = ALONE,
) -> VectorEnv:
    """N copies of `env` with fresh resets, episode statistics and an optional time limit.

    After an end, an environment continues from a reset of its own with a key of its own: no
    reset state is ever shared or used twice.

    Args:
      max_episode_steps: truncate episodes after this many steps, on top of the environment's
        own limit; None for no further limit.
      spread: of the N environments, only those of this device are stepped; N is theirs then.
    """
    own_envs = num_envs // spread.devices
    resets_here = not env.resets_itself or max_episode_steps is not None

    draw = jax.vmap(env.reset, in_axes=(0, None))  # ([N] keys, params) -> (obs, state)

    def reset(key: Array, params: Any) -> tuple[VectorState, Array]:
        obs, inner = draw(spread.keys(key, num_envs), params)
        none_left = Spares(inner, obs, jnp.ones(own_envs, bool)) if resets_here else None
        return VectorState(inner, _no_steps(own_envs), none_left), obs

    def keys(key: Array, index: Array) -> StepKeys:
        step_key, reset_key = jax.random.split(key)
        if not on_cpu():
            reset_key = spread.keys(reset_key, num_envs)
        return StepKeys(spread.keys(step_key, num_envs), reset_key, index % RENEWAL == 0)

    def renew_if_missing(keys: StepKeys, ended: Array, spares: Spares, params: Any) -> Spares:
        def missing(carry: tuple[Array, Array, Spares]) -> Array:
            due, _, spares = carry
            return due | (ended & spares.used).any()

        def draw_all(carry: tuple[Array, Array, Spares]) -> tuple[Array, Array, Spares]:
            key, draw_key = jax.random.split(carry[1])
            obs, inner = draw(spread.keys(draw_key, num_envs), params)
            return jnp.zeros((), bool), key, Spares(inner, obs, jnp.zeros(own_envs, bool))

        # One turn or none: a `cond` that stays one under vmap.  (The key is handed on, or XLA would
        # see that every turn does the same, and do it once before the loop, needed or not.)
        return lax.while_loop(missing, draw_all, (keys.renew, keys.reset, spares))[-1]

    def step(
        keys: StepKeys, state: VectorState, action: Array, params: Any
    ) -> tuple[VectorState, VectorStep]:
        out = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys.step, state.inner, action, params)
        episode = EpisodeStats(state.episode.returns + out.reward, state.episode.lengths + 1)

        truncated = out.truncated
        if max_episode_steps is not None:
            truncated |= ~out.terminated & (episode.lengths >= max_episode_steps)
        done = out.terminated | truncated  # [N]

        inner, obs, spares = out.state, out.obs, state.spares
        if spares is not None:
            already = (out.terminated | out.truncated) if env.resets_itself else False
            ended = done & ~jnp.asarray(already)  # [N]
            if on_cpu():
                spares = renew_if_missing(keys, ended, spares, params)
                fresh = (spares.obs, spares.inner)
                spares = spares._replace(used=spares.used | ended)
            else:
                fresh = draw(keys.reset, params)
            obs, inner = select(ended, fresh, (obs, inner))
        # `where`, not a product with (1 - done): one NaN reward must not outlive its episode.
        running = select(done, _no_steps(own_envs), episode)
        result = VectorStep(obs, out.final_obs, out.reward, out.terminated, truncated, episode)
        return VectorState(inner, running, spares), result

    return VectorEnv(reset, keys, step)


def _no_steps(num_envs: int) -> EpisodeStats:
    return EpisodeStats(jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32))


def select(mask: Array, on_true: Any, on_false: Any) -> Any:
    """`jnp.where` over pytrees, row by row.  mask: `[N]`, leaves: `[N, ...]`; or mask: `[]`."""

    def where(x: Array, y: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(where, on_true, on_false)
