"""Time limits, the environment's own and the config's; rollouts that must hold whole episodes;
renewals."""

import functools
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from purejaxvpg import envs
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs import Environment


def episode_limit(config: VPGConfig, env: Environment, env_params: Any) -> Any:
    """Longest episode in steps: the environment's limit and the config's, whichever is less.

    None where neither sets one.  Traced if the environment's parameters are.
    """
    limits = [envs.time_limit(env, env_params), config.max_episode_steps]
    given = [limit for limit in limits if limit is not None]
    if not any(isinstance(limit, Tracer) for limit in given):
        return min(given, default=None)  # concrete, where `make_train` is called inside `jit` too
    return functools.reduce(jnp.minimum, given)


def check_limit(config: VPGConfig, env: Environment, env_params: Any) -> None:
    """ValueError if max_episode_steps is above the environment's limit; traced parameters pass."""
    asked_for, limit = config.max_episode_steps, envs.time_limit(env, env_params)
    if asked_for is None or limit is None or isinstance(limit, Tracer) or asked_for <= limit:
        return
    raise ValueError(
        f"max_episode_steps={asked_for} does nothing: {env.name} ends episodes after {limit} steps "
        f"itself; raise its own limit instead, the environment parameter "
        f"max_steps_in_episode={asked_for}"
    )


def check_renewal(config: VPGConfig, env: Environment) -> None:
    """ValueError if a renewal is given and no reset is drawn ahead."""
    drawn_here = not env.resets_itself or config.max_episode_steps is not None
    if config.renewal is not None and not drawn_here:
        raise ValueError(
            f"renewal={config.renewal} does nothing: {env.name} draws its resets itself; pass "
            f"renewal=None"
        )


def check_episodes_fit(config: VPGConfig, env: Environment, env_params: Any) -> None:
    """ValueError if rollout="episodes" and episodes may outlast it; concrete parameters only."""
    limit = episode_limit(config, env, env_params)
    if config.rollout == "episodes" and limit is not None and limit > config.num_steps:
        raise ValueError(
            f"rollout='episodes' with num_steps={config.num_steps} cannot hold whole episodes of "
            f"{env.name}, which last up to {int(limit)} steps; pass num_steps={int(limit)}, "
            f"or max_episode_steps={config.num_steps} to end episodes sooner"
        )
