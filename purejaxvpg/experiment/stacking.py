"""Hyperparameters of many settings as arrays `[H, ...]`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg import envs
from purejaxvpg.compute import memoized
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.vpg import make_learner


def stack_hyperparams(config: VPGConfig, hps: Sequence[Hyperparams]) -> Hyperparams:
    """Settings as arrays `[H, ...]`, every leaf of them, the environment's parameters included.

    An environment whose code branches on a parameter cannot have that one traced; there only
    the parameters that `hps` name are.  Of ranges the bounds are; all settings have the same kinds.
    """
    env = envs.make(config.env, **dict(config.env_kwargs))
    numbers = [f.name for f in dataclasses.fields(Hyperparams) if f.name != "env_params"]
    stacked = {name: np.asarray([getattr(hp, name) for hp in hps], np.float32) for name in numbers}

    params, defaults = [hp.env_params for hp in hps], env.default_params
    if _all_traceable(config):
        params = [envs.resolve_params(env, overrides) for overrides in params]
    elif params[0] is None:
        return Hyperparams(**stacked)
    elif isinstance(params[0], Mapping):
        defaults = {name: envs.get_param(defaults, name) for name in params[0]}
    if ranges := envs.ranges_of(params[0]):
        like = {name: envs.like_default(env, name, span) for name, span in ranges.items()}
        whole = isinstance(params[0], envs.Ranged)
        defaults = envs.Ranged(defaults, like) if whole else {**defaults, **like}

    def stack(default: Any, *values: Any) -> np.ndarray:
        # In the default's own type: 10 for a gravity of 9.8 would be an integer otherwise.
        return np.stack([np.asarray(v, jnp.asarray(default).dtype) for v in values])

    return Hyperparams(**stacked, env_params=jax.tree.map(stack, defaults, *params))


def traceable(config: VPGConfig) -> dict[str, bool]:
    """Whether each parameter of the config's environment, by name, may be traced: then a sweep over
    it is one program, and its values need no compilation of their own."""
    env = envs.make(config.env, **dict(config.env_kwargs))
    names = envs.param_names(env.default_params)
    if _all_traceable(config):
        return dict.fromkeys(names, True)
    defaults = {name: envs.get_param(env.default_params, name) for name in names}
    return {name: _update_traces(config, {name: defaults[name]}) for name in names}


@memoized(64)
def _all_traceable(config: VPGConfig) -> bool:
    env = envs.make(config.env, **dict(config.env_kwargs))
    return _update_traces(config, env.default_params)


def _update_traces(config: VPGConfig, params: Any) -> bool:
    """Whether an update can be traced with these parameters as tracers."""
    learner = make_learner(config)

    def one_update(params: Any) -> Any:
        hp = Hyperparams(env_params=params)
        return learner.update(learner.init(jax.random.key(0), hp), hp)

    try:
        jax.eval_shape(one_update, params)
    except Exception:  # whatever an environment's own code raises when a branch meets a tracer
        return False
    return True
