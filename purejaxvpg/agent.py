"""The parts that training and evaluation share: an environment, its policy, its networks."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from purejaxvpg import envs
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import Environment
from purejaxvpg.networks import Networks, make_networks
from purejaxvpg.normalize import RunningStats, normalize
from purejaxvpg.policy import Policy, make_policy


class Agent(NamedTuple):
    """What acts, and where.  Pure functions only; parameters are passed in."""

    env: Environment
    networks: Networks
    env_params: Callable[[Hyperparams], Any]  # the environment's parameters under `hp`
    policy: Callable[[Any], Policy]  # env_params -> Policy (bounds may depend on them)
    see: Callable[[RunningStats, Array], Array]  # (stats, obs [..., *obs_shape]) -> network input


def episode_limit(config: VPGConfig, env_params: Any) -> Any:
    """Longest episode in steps: the environment's limit and the config's, whichever is less.

    None where neither sets one.  Traced if the environment's parameters are.
    """
    limits = [envs.get_param(env_params, "max_steps_in_episode"), config.max_episode_steps]
    known = [limit for limit in limits if limit is not None]
    return functools.reduce(jnp.minimum, known) if known else None


@functools.lru_cache(maxsize=256)
def make_agent(config: VPGConfig) -> Agent:
    """The agent of a config; the same object for equal configs.

    Raises: ValueError, TypeError or RuntimeError, in one line, for an environment, an action
    space or a network that cannot be had (see `envs.make`, `make_policy`, `make_networks`), and
    for whole episodes that are longer than a rollout.
    """
    if not isinstance(config, VPGConfig):
        raise TypeError(f"config={config!r} is not a VPGConfig; pass VPGConfig(...)")
    env = envs.make(config.env, **dict(config.env_kwargs))
    check_episodes_fit(config, env, env.default_params)
    default_space = env.action_space(env.default_params)
    policy = make_policy(config, default_space)
    networks = make_networks(config, env.obs_shape, policy.num_outputs, policy.free_std)

    def see(stats: RunningStats, obs: Array) -> Array:
        return normalize(stats, obs, config.obs_clip) if config.normalize_obs else obs

    return Agent(
        env=env,
        networks=networks,
        env_params=lambda hp: envs.resolve_params(env, hp.env_params),
        policy=lambda env_params: make_policy(config, env.action_space(env_params), default_space),
        see=see,
    )


def check_episodes_fit(config: VPGConfig, env: Environment, env_params: Any) -> None:
    """ValueError if rollout="episodes" and episodes may outlast it; concrete parameters only."""
    limit = episode_limit(config, env_params)
    if config.rollout == "episodes" and limit is not None and limit > config.num_steps:
        raise ValueError(
            f"rollout='episodes' with num_steps={config.num_steps} cannot hold whole episodes of "
            f"{env.name}, which last up to {int(limit)} steps; pass num_steps={int(limit)}, "
            f"or max_episode_steps={config.num_steps} to end episodes sooner"
        )
