# pyright: reportMissingImports=false
"""Brax's environments (brax.envs), without its wrappers: see brax_style.py for their traps.

The numbers of a constructor (`ctrl_cost_weight`, `reset_noise_scale`) are parameters that may be
traced.  The time limit, 1000 steps, is that of `brax.envs.create`.
"""

import copy
import inspect
import numbers
import types
from typing import Any

import jax.numpy as jnp

from purejaxvpg.by_name import suggest
from purejaxvpg.envs import brax_style, mujoco_pictures
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.extras import require

NAMES = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_pendulum",
    "inverted_double_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)
DOWNLOADS = ()
EPISODE_LENGTH = 1000
COMMON = ("backend", "n_frames", "debug")  # arguments of every environment that has physics


def make(name: str, /, **kwargs: Any) -> Environment:
    """One of Brax's environments.

    Args:
      kwargs: arguments of its constructor, such as `backend="mjx"`; or `max_steps_in_episode`.

    Raises: ValueError for a keyword that it does not know, or a value that it does not take.
    """
    with brax_style.without_notices():
        envs = require("brax.envs", "brax")
    mend_fluid()

    limit = kwargs.pop(LIMIT, EPISODE_LENGTH)
    signature = inspect.signature(envs._envs[name]).parameters.values()
    arguments = [p.name for p in signature if p.kind != p.VAR_KEYWORD]
    # `fast` takes those of physics too, and ignores them.
    common = [x for x in COMMON if x not in arguments and name != "fast"]
    names = [*arguments, *common, LIMIT]
    for key in kwargs:
        if key not in names:
            raise ValueError(
                f"brax/{name} has no argument or parameter {key!r}; {suggest(key, names)}"
            )
    title = f"brax/{name}"
    instance = brax_style.construct(title, kwargs, lambda: envs.get_environment(name, **kwargs))
    params = {
        key: float(getattr(instance, f"_{key}"))
        for key in arguments
        if _is_number(getattr(instance, f"_{key}", None))
    }

    def with_params(values: Any) -> Any:
        changed = {key: x for key, x in values.items() if x is not params[key]}
        if not changed:
            return instance
        other = copy.copy(instance)
        for key, value in changed.items():
            setattr(other, f"_{key}", value)
        return other

    if not hasattr(instance, "sys"):
        return brax_style.adapt(title, instance, limit, params, with_params)
    draw = mujoco_pictures.painter(title, instance.sys.mj_model)

    def render(state: Any, params: Any) -> Any:
        return draw({"qpos": state.pipeline_state.q, "qvel": state.pipeline_state.qd})

    return brax_style.adapt(title, instance, limit, params, with_params, render=render)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def mend_fluid() -> None:
    """Brax's forces of a fluid (the swimmer's) call `clip` with `a_min=`, which jax 0.11 refuses;
    they are given a jax.numpy whose `clip` takes it."""
    if "a_min" in inspect.signature(jnp.clip).parameters:
        return
    from brax import fluid

    clip = {"clip": lambda x, a_min: jnp.clip(x, a_min)}
    fluid.jp = types.SimpleNamespace(**vars(jnp) | clip)
