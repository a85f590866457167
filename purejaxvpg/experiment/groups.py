"""Settings by compiled program: those that differ in traced names alone share one.

A range of an environment's parameter is another program than a value of it; its bounds are traced.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg import envs
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.design import ENV_PARAMS, STATIC, TRACED, Design
from purejaxvpg.fields import MOST
from purejaxvpg.ranges import Range


class Group(NamedTuple):
    """Settings that differ in traced names alone, and so share one compiled program."""

    config: VPGConfig
    settings: tuple[int, ...]  # places in the design, ascending
    hyperparams: tuple[Hyperparams, ...]  # of each of them, concrete scalars


def resolve(design: Design, config: VPGConfig, hp: Hyperparams) -> list[Group]:
    """Config and hyperparameters of every setting, by compiled program.

    Raises: ValueError or TypeError, one line that names the setting, for a value that the
    field, or the environment, does not accept.
    """
    groups: dict[tuple[VPGConfig, Any], list[tuple[int, Hyperparams]]] = {}
    for place, setting in enumerate(design.settings()):
        try:
            setting_config, setting_hp = apply(setting, config, hp)
        except (ValueError, TypeError) as error:
            values = ", ".join(f"{name}={value!r}" for name, value in setting.items())
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"setting {values or '(base)'}: {error}") from None
        ranges = jax.tree.structure(envs.ranges_of(setting_hp.env_params))
        groups.setdefault((setting_config, ranges), []).append((place, setting_hp))
    return [
        Group(config, *(tuple(column) for column in zip(*members, strict=True)))
        for (config, _), members in groups.items()
    ]


def values_at(design: Design, places: np.ndarray) -> list[dict[str, Any]]:
    """Values that vary, of these settings alone.  `design.settings()` would make all of them."""
    indices = np.unravel_index(np.asarray(places, int), design.shape or (1,))
    points = [
        [axis.points[i] for i in index.tolist()]
        for axis, index in zip(design.axes, indices, strict=False)  # one index where nothing varies
    ]
    names = [name for axis in design.axes for name in axis.names]
    rows = [itertools.chain(*row) for row in zip(*points, strict=True)] or [() for _ in places]
    return [dict(zip(names, row, strict=True)) for row in rows]


def configs(design: Design, config: VPGConfig) -> list[VPGConfig]:
    """The config of each setting, [H].  Makes no environment, so any study can be read anywhere."""
    if not STATIC & set(design.names):
        return [config] * design.size
    return [_with_static(setting, config) for setting in design.settings()]


def _with_static(setting: dict[str, Any], config: VPGConfig) -> VPGConfig:
    static = {name: value for name, value in setting.items() if name in STATIC}
    return dataclasses.replace(config, **static)


def apply(
    setting: dict[str, Any], config: VPGConfig, hp: Hyperparams
) -> tuple[VPGConfig, Hyperparams]:
    """The base with a setting's values put in.  Raises: as `resolve`."""
    traced = {name: value for name, value in setting.items() if name in TRACED}
    for name, value in traced.items():
        if isinstance(value, bool | str | tuple):
            raise TypeError(f"{name}={value!r} is not a number; an axis holds one number a point")
    in_env = {
        name.removeprefix(ENV_PARAMS): np.asarray(value) if isinstance(value, tuple) else value
        for name, value in setting.items()
        if name.startswith(ENV_PARAMS)
    }
    config, hp = _with_static(setting, config), dataclasses.replace(hp, **traced)
    if in_env or "env" in setting or hp.env_params is not None:
        hp = dataclasses.replace(hp, env_params=_env_params(in_env, config, hp.env_params))
    return config, hp


def _env_params(in_env: dict[str, Any], config: VPGConfig, base: Any) -> Any:
    """The environment's parameters of a setting, in the form of `base`; all checked."""
    Hyperparams(env_params=in_env)  # are they numbers?
    env = envs.make(config.env, **dict(config.env_kwargs))
    defaults = env.default_params
    if base is not None and {**envs.ranges_of(base), **envs.ranges_of(in_env)}:
        base = envs.flat_params(base)  # an object would be the default of what is drawn
    if base is not None and not isinstance(base, Mapping):  # a whole parameter object
        if envs.param_names(base) != envs.param_names(defaults):
            raise TypeError(
                f"env_params is a parameter object of another environment than {env.name}; pass a "
                f"mapping of the parameters that differ from the defaults"
            )
        return envs.resolve_params(env._replace(default_params=base), in_env) if in_env else base
    params = {**(base or {}), **in_env}
    envs.resolve_params(env, params)  # known names, right shapes?
    for name, value in params.items():
        if isinstance(value, Range):
            continue  # its bounds are checked by now
        whole = np.asarray(envs.get_param(defaults, name)).dtype.kind in "iu"
        if whole and not (np.isfinite(value).all() and np.equal(np.floor(value), value).all()):
            raise ValueError(f"env_params.{name}={value} is not whole, and that of {env.name} is")
        if whole and np.max(np.abs(np.asarray(value, float))) > MOST:
            raise ValueError(f"env_params.{name}={value} is out of range; accepted: up to {MOST:,}")
    return params or None
