# pyright: reportMissingImports=false
"""envelope: a bridge to what its adapters reach, and to suites that others register with it.

Names are envelope's own, `SUITE::NAME`: `envelope/brax::ant`.  Where a library has an adapter here
too, that one knows more of it: masks of actions, pictures, parameters that may be traced.  A suite
that another package registers with envelope is listed by `envelope.registered_environments`, and
any of its names is made.

Traps of envelope 0.6:

- It needs Python 3.12.
- A limit is its `TruncationWrapper`'s, and `create` puts it on.  It is left out, and the number,
  `default_max_steps`, is the default of our parameter `max_steps_in_episode`.
- `step` takes no key: environments that draw carry one in their state.
- `reset(state, key)` may keep something from one episode to the next.  Episodes here begin with
  `init(key)`, independent of each other.
- An environment is a pytree.  Its floats (gymnax's `gravity`) are parameters, which may be traced.
- A mask is a part of the observation, as integers, and stays one.
"""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs import (
    brax_adapter,
    craftax_adapter,
    gymnax_adapter,
    jumanji_adapter,
    mujoco_pictures,
    navix_adapter,
    playground_adapter,
)
from purejaxvpg.envs.arguments import construct
from purejaxvpg.envs.clock import LIMIT, NEVER, clocked
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.quiet import quietly
from purejaxvpg.envs.spaces import MultiDiscrete
from purejaxvpg.fields import check_count

_SUITES = {
    "brax": brax_adapter,
    "craftax": craftax_adapter,
    "jumanji": jumanji_adapter,
    "navix": navix_adapter,
    "mujoco_playground": playground_adapter,
}
NAMES = (
    *(f"gymnax::{name}" for name in gymnax_adapter.REGISTERED),
    *(f"{suite}::{name}" for suite, module in _SUITES.items() for name in module.NAMES),
)
DOWNLOADS = (
    *(f"gymnax::{name}" for name in gymnax_adapter.DOWNLOADS),
    *(f"{suite}::{name}" for suite, module in _SUITES.items() for name in module.DOWNLOADS),
)
REFUSED = {f"jumanji::{name}": reason for name, reason in jumanji_adapter.REFUSED.items()}


def accepts(name: str) -> bool:
    """Whether a name that is not listed may be one of a suite registered by another package."""
    suite, colons, rest = name.partition("::")
    return bool(colons and rest) and suite not in ("gymnax", *_SUITES)


def make(name: str, /, **kwargs: Any) -> Environment:
    """An environment of envelope.

    Args:
      name: `SUITE::NAME`.
      kwargs: `max_steps_in_episode`; floats of the environment (such as gravity); all others go to
        the constructor of its library.

    Raises: ValueError, in one line, if it cannot be made with these.
    """
    import envelope

    limit = kwargs.pop(LIMIT, None)

    def create(**kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of JAX's physics in the place of Warp's
            if name.startswith(("brax::", "mujoco_playground::")):
                stack.enter_context(mujoco_pictures.without_log())
            return envelope.create(name, env_kwargs=kwargs, max_episode_steps=None)

    try:  # floats of the environment are known when it is made: first without the others
        plain = construct(name, create, {})
        values = {key: kwargs.pop(key) for key in _numbers(plain) if key in kwargs}
        made = construct(name, create, kwargs) if kwargs else plain
        if name.startswith("brax::"):
            brax_adapter.mend_fluid()
    except ImportError as error:
        raise ImportError(f"{name} needs its own library: {error}") from error
    return bridge(made, limit, name, **values)


def bridge(
    instance: Any, limit: int | None = None, name: str | None = None, **values: float
) -> Environment:
    """An `envelope.Environment` as one of this package, without its wrappers for batches.

    Args:
      instance: an environment that does not reset itself, nor holds several.
      limit: steps of an episode; None: its `default_max_steps`, if it has one.
      name: of the result; by default that of its class.
      values: of its floats, by name.

    Raises: ValueError, in one line, for a value of another kind.
    """
    name = name or type(instance).__name__
    numbers = _numbers(instance)
    for key, value in values.items():
        if isinstance(value, str):
            raise ValueError(f"{name}'s parameter {key}={value!r} is not a number")
    if limit is None:
        limit = instance.default_max_steps
    else:
        check_count(LIMIT, limit, NEVER)
    env = _adapt(name, instance, {key: float(leaf) for key, leaf in (numbers | values).items()})
    return env if limit is None else clocked(env, limit)


def _adapt(name: str, instance: Any, params: dict[str, float]) -> Environment:
    action_space, observation_space = map(
        _as_ours, (instance.action_space, instance.observation_space)
    )

    @quietly
    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        state, info = _with_numbers(instance, params).init(key)
        return info.obs, state

    @quietly
    def step(key: Array, state: Any, action: Any, params: Any) -> Step:
        action = _shaped(instance.action_space, action)
        state, info = _with_numbers(instance, params).step(state, action)
        return Step(state, info.obs, info.obs, info.reward, info.terminated, info.truncated)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=params or None,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
    )


# ---------------------------------------------------------------------------------- PARAMETERS


def _names(instance: Any) -> list[str | None]:
    """A name for each leaf that is a parameter, a finite float; None for the other leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(instance)
    short = [jax.tree_util.keystr(path[-1:], simple=True) for path, _ in leaves]
    whole = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    return [
        (short[i] if short.count(short[i]) == 1 else whole[i])
        if isinstance(leaf, float) and math.isfinite(leaf)
        else None
        for i, (_, leaf) in enumerate(leaves)
    ]


def _numbers(instance: Any) -> dict[str, float]:
    leaves = jax.tree.leaves(instance)
    return {name: leaf for name, leaf in zip(_names(instance), leaves, strict=True) if name}


def _with_numbers(instance: Any, params: Any) -> Any:
    """The environment with other floats in it."""
    leaves, structure = jax.tree.flatten(instance)
    names = _names(instance)
    new = [params[name] if name else leaf for name, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)


# -------------------------------------------------------------------------------------- SPACES


def _parts(tree: Any) -> dict[Any, Any]:
    """Spaces inside a dict, named tuple, dataclass or tuple, by key or index."""
    if isinstance(tree, Mapping):
        return dict(tree)
    if hasattr(tree, "_fields"):
        return tree._asdict()
    if dataclasses.is_dataclass(tree):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return dict(enumerate(tree))


def _as_ours(space: Any) -> Any:
    """A space of envelope as one of this package."""
    from gymnax.environments import spaces

    if hasattr(space, "tree"):
        return _as_ours(space.tree)
    if hasattr(space, "n"):
        one = space.shape == ()
        return spaces.Discrete(int(space.n)) if one else MultiDiscrete(space.n, space.dtype)
    if hasattr(space, "low"):
        low, high = map(jnp.asarray, (space.low, space.high))
        return spaces.Box(low, high, space.shape, space.dtype)
    parts = {key: _as_ours(part) for key, part in _parts(space).items()}
    unnamed = isinstance(space, tuple | list) and not hasattr(space, "_fields")
    return spaces.Tuple(list(parts.values())) if unnamed else spaces.Dict(parts)


def _shaped(space: Any, action: Any) -> Any:
    """An action, dicts and tuples, in the structure that a space of envelope has."""
    if hasattr(space, "tree"):
        return _shaped(space.tree, action)
    if hasattr(space, "n") or hasattr(space, "low"):
        return action
    parts = {key: _shaped(part, action[key]) for key, part in _parts(space).items()}
    if isinstance(space, Mapping):
        return parts
    if hasattr(space, "_fields") or dataclasses.is_dataclass(space):
        return type(space)(**parts)
    return type(space)(parts.values())
