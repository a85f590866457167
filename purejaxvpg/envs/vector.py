"""N environments side by side: fresh starts after an end, time limits, episode statistics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.compute import Compute, ResetKeys, Resets, Stack, add, select
from purejaxvpg.envs.drawn import drawn
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.envs.ranged import Ranged
from purejaxvpg.state import EpisodeStats, VectorState

ONE_DEVICE = Compute()


class StepKeys(NamedTuple):
    """Random numbers for one step of N environments."""

    step: Array  # [N] keys
    resets: ResetKeys


class VectorStep(NamedTuple):
    """One step of N environments."""

    obs: Array  # [N, *obs_shape], the observation that the next action answers to
    final_obs: Array  # [N, *obs_shape], after the step and before any reset
    reward: Array  # [N] float32
    terminated: Array  # [N] bool
    truncated: Array  # [N] bool
    episode: EpisodeStats  # of the episode this step belongs to, this step included


class VectorEnv(NamedTuple):
    """N environments as pure functions."""

    reset: Callable[[Array, Any], tuple[VectorState, Array]]  # (key, params) -> (state, obs)
    keys: Callable[[Array, Array], StepKeys]  # (key, index of the step) -> its keys
    step: Callable[[StepKeys, VectorState, Array, Any], tuple[VectorState, VectorStep]]


def vectorize(
    env: Environment,
    num_envs: int,
    max_episode_steps: int | None = None,
    compute: Compute = ONE_DEVICE,
    restart: bool = True,
    renewal: int | None = None,
) -> VectorEnv:
    """N copies of `env` with fresh resets, episode statistics and an optional time limit.

    After an end, an environment continues from a reset of its own with a key of its own: no
    reset state is ever shared or used twice.  Parameters may be `Ranged`: each reset draws them.

    Args:
      num_envs: N, of this device.
      max_episode_steps: truncate episodes after this many steps, on top of the environment's
        own limit; None for no further limit.
      restart: False draws no resets, for one episode each: what follows an end means nothing
        (unless the library resets by itself).
      renewal: steps after which resets drawn ahead are drawn anew; None: as compute/ chooses.
    """
    env = drawn(env)
    draw = jax.vmap(env.reset, in_axes=(0, None))  # ([N] keys, params) -> (obs, state)
    resets = (Stack if env.reset_cost == "dear" else Resets)(draw, num_envs, compute, renewal)

    def reset(key: Array, params: Any) -> tuple[VectorState, Array]:
        obs, inner = draw(compute.keys(key, num_envs), params)
        here = restart and (max_episode_steps is not None or not _resets_itself(env, params))
        spares = resets.empty(obs, inner) if here else None
        return VectorState(inner, _no_steps(num_envs), spares), obs

    def keys(key: Array, index: Array) -> StepKeys:
        step_key, reset_key = jax.random.split(key)
        return StepKeys(compute.keys(step_key, num_envs), resets.keys(reset_key, index))

    def step(
        keys: StepKeys, state: VectorState, action: Array, params: Any
    ) -> tuple[VectorState, VectorStep]:
        out = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys.step, state.inner, action, params)
        steps = state.episode.lengths + 1
        returns, lost = add(state.episode.returns, state.episode.lost, out.reward, steps)
        episode = EpisodeStats(returns, steps, lost)

        truncated = out.truncated
        if max_episode_steps is not None:
            truncated |= ~out.terminated & (episode.lengths >= max_episode_steps)
        done = out.terminated | truncated  # [N]

        inner, obs, spares = out.state, out.obs, state.spares
        if spares is not None:
            already = (out.terminated | out.truncated) if _resets_itself(env, params) else False
            ended = done & ~jnp.asarray(already)  # [N]
            fresh, spares = resets.take(keys.resets, spares, ended, params)
            obs, inner = select(ended, fresh, (obs, inner))
        # `where`, not a product with (1 - done): one NaN reward must not outlive its episode.
        running = select(done, _no_steps(num_envs), episode)
        result = VectorStep(obs, out.final_obs, out.reward, out.terminated, truncated, episode)
        return VectorState(inner, running, spares), result

    return VectorEnv(reset, keys, step)


def _resets_itself(env: Environment, params: Any) -> bool:
    """Whether its own resets count; not with ranges, from which they would draw nothing."""
    return env.resets_itself and not isinstance(params, Ranged)


def _no_steps(num_envs: int) -> EpisodeStats:
    zeros = jnp.zeros(num_envs, jnp.float32)
    return EpisodeStats(zeros, jnp.zeros(num_envs, jnp.int32), zeros)
