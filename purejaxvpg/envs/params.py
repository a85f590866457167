"""Parameters of an environment by name: mappings, dataclasses and NamedTuples, nested at will.

The name of a parameter inside another is dotted: `inner.g`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from purejaxvpg.by_name import suggest
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.fields import short


def resolve_params(env: Environment, overrides: Any) -> Any:
    """The environment's parameters: its defaults, with those named in `overrides` replaced.

    Args:
      overrides: None, a mapping from names to (traced) values, or a whole parameter object,
        which is used as it is.

    Raises: ValueError for a name that the environment does not have, with the close ones, and
    for a value of another shape than the default's; TypeError for another kind of object.
    """
    if overrides is None:
        return env.default_params
    if not isinstance(overrides, Mapping):
        _check_object(env, overrides)
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
    return replace_params(env.default_params, overrides)


def _check_object(env: Environment, params: Any) -> None:
    """TypeError for what is no parameter object of an environment whose parameters have names."""
    kind = type(env.default_params)
    if _children(env.default_params) is not None and not isinstance(params, kind):
        raise TypeError(
            f"env_params={short(params)} is a {type(params).__name__}; accepted: a mapping from "
            f"parameter names to values, or {env.name}'s parameter object ({kind.__name__})"
        )


def param_names(params: Any) -> tuple[str, ...]:
    """Names of an environment's parameters, in order; dotted for those inside another."""
    return tuple(flat_params(params))


def flat_params(params: Any) -> dict[str, Any]:
    """Parameters by name; dotted for those inside another."""
    return dict(_leaves(params))


def get_param(params: Any, name: str) -> Any:
    """An environment's parameter of that name, or None."""
    children = _children(params)
    if children is None:
        return getattr(params, name, None)
    if name in children:
        return children[name]
    for key, child in children.items():
        if name.startswith(f"{key}."):
            return get_param(child, name.removeprefix(f"{key}."))
    return None


def time_limit(env: Environment, params: Any) -> Any:
    """Longest episode in steps under these parameters; None if the environment sets no limit."""
    if env.time_limit is not None:
        return env.time_limit(params)
    return get_param(params, "max_steps_in_episode")


def replace_params(params: Any, values: Mapping[str, Any]) -> Any:
    """The parameters with those named in `values` replaced; of the same types as before."""
    children = _children(params) or {}
    changed = {}
    for key, child in children.items():
        inner = {
            name.removeprefix(f"{key}."): value
            for name, value in values.items()
            if name.startswith(f"{key}.") and name not in children
        }
        if key in values:
            changed[key] = values[key]
        elif inner:
            changed[key] = replace_params(child, inner)
    if isinstance(params, Mapping):
        merged = {**params, **changed}
        return merged if type(params) is dict else type(params)(merged)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(params):
        return dataclasses.replace(params, **changed)  # type: ignore[type-var]
    return params._replace(**changed)


def _leaves(params: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in (_children(params) or {}).items():
        if _children(child) is None:
            yield f"{prefix}{key}", child
        else:
            yield from _leaves(child, f"{prefix}{key}.")


def _children(params: Any) -> dict[str, Any] | None:
    """Parameters one level down, by name; None for a value."""
    if isinstance(params, Mapping):
        return {str(key): child for key, child in params.items()}
    if dataclasses.is_dataclass(params) and not isinstance(params, type):
        return {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    if isinstance(params, tuple) and hasattr(params, "_fields"):
        return params._asdict()  # type: ignore[attr-defined]
    return None
