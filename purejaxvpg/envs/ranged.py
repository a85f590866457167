"""Parameters of an environment under a run's settings: fixed ones, and ranges to draw them from."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purejaxvpg.by_name import suggest
from purejaxvpg.compute import memoized
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.params import (
    children,
    flat_params,
    get_param,
    param_names,
    replace_params,
)
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.envs.spaces import map_space, zero_action
from purejaxvpg.fields import MOST, first_line, short
from purejaxvpg.ranges import Choice, Range, numbers_of


class Ranged(NamedTuple):
    """Parameters of which some are drawn at each reset."""

    default: Any  # all of them; the environment's defaults where there is a range
    ranges: dict[str, Range]  # by name


def resolve_params(env: Environment, overrides: Any) -> Any:
    """The environment's parameters: its defaults, with those named in `overrides` replaced.

    Args:
      overrides: None, a mapping from names to (traced) values or ranges, or a whole parameter
        object, which is used as it is.

    Returns: the environment's parameter object; `Ranged` where a value is a range.

    Raises: ValueError for a name that the environment does not have, with the close ones, for a
    value of another shape than the default's, and for a range of a parameter that cannot differ
    between episodes; TypeError for another kind of object.
    """
    if overrides is None:
        return env.default_params
    if isinstance(overrides, Ranged):
        return overrides
    ranges = ranges_of(overrides)
    if not isinstance(overrides, Mapping):
        _check_object(env, overrides)
        defaults = {name: get_param(env.default_params, name) for name in ranges}
        params = replace_params(overrides, defaults) if ranges else overrides
    else:
        _check_names(env, overrides)
        fixed = {name: value for name, value in overrides.items() if name not in ranges}
        params = replace_params(env.default_params, fixed)
    for name, span in ranges.items():
        _check_range(env, name, span)
    return Ranged(params, ranges) if ranges else params


def ranges_of(params: Any) -> dict[str, Range]:
    """The ranges among parameters, by name."""
    if isinstance(params, Ranged):
        return params.ranges
    return {name: x for name, x in flat_params(params).items() if isinstance(x, Range)}


def without_ranges(params: Any) -> Any:
    """The parameters with the environment's defaults in place of ranges."""
    return params.default if isinstance(params, Ranged) else params


def like_default(env: Environment, name: str, span: Range) -> Range:
    """A range with the default of that parameter in place of each of its numbers."""
    default = get_param(env.default_params, name)
    return jax.tree.map(lambda _: default, span)


def time_limit(env: Environment, params: Any) -> Any:
    """Longest episode in steps under these parameters; None if the environment sets no limit.

    Where parameters are ranges: the larger of the limits with all of them at their low and at their
    high ends.
    """
    if isinstance(params, Ranged):
        ends = [
            {name: _end(span, largest) for name, span in params.ranges.items()}
            for largest in (False, True)
        ]
        limits = [time_limit(env, replace_params(params.default, values)) for values in ends]
        return None if limits[0] is None else _extreme(limits, largest=True)
    if env.time_limit is not None:
        return env.time_limit(params)
    return get_param(params, LIMIT)


def _end(span: Range, largest: bool) -> Any:
    if not isinstance(span, Choice):
        return span.high if largest else span.low
    return _extreme(list(span.options), largest)


def _extreme(values: list[Any], largest: bool) -> Any:
    if any(isinstance(value, Tracer) for value in values):
        return functools.reduce(jnp.maximum if largest else jnp.minimum, values)
    return max(values) if largest else min(values)


# ------------------------------------------------------------------------------------ REFUSALS


def _check_object(env: Environment, params: Any) -> None:
    """TypeError for what is no parameter object of an environment whose parameters have names."""
    kind = type(env.default_params)
    if children(env.default_params) is not None and not isinstance(params, kind):
        raise TypeError(
            f"env_params={short(params)} is a {type(params).__name__}; accepted: a mapping from "
            f"parameter names to values, or {env.name}'s parameter object ({kind.__name__})"
        )


def _check_names(env: Environment, overrides: Mapping[str, Any]) -> None:
    """ValueError for names that are no parameters, and values of other shapes."""
    names = param_names(env.default_params)
    for name, value in overrides.items():
        if name not in names:
            raise ValueError(
                f"env_params.{name} is not a parameter of {env.name}; {suggest(name, names)}"
            )
        if isinstance(value, Range):
            continue
        given, expected = jnp.shape(value), jnp.shape(get_param(env.default_params, name))
        if given != expected:
            raise ValueError(
                f"env_params.{name} has shape {given} where one run takes {expected}; sweep it "
                f"with jax.vmap"
            )


def _check_range(env: Environment, name: str, span: Range) -> None:
    """ValueError for a range of a parameter that cannot be drawn, or not so."""
    default, label = np.asarray(get_param(env.default_params, name)), f"env_params.{name}"
    if default.shape or default.dtype.kind not in "biuf":
        raise ValueError(
            f"{label} ~ {span} is a range, and that of {env.name} is no single number "
            f"({short(default.tolist(), 40)}); give it a value"
        )
    if default.dtype.kind == "b" and not isinstance(span, Choice):
        raise ValueError(
            f"{label} ~ {span} is a range of numbers, and that of {env.name} is a truth value; "
            f"accepted: Choice((False, True))"
        )
    numbers = [x for x in numbers_of(span) if not isinstance(x, Tracer)]
    shapes = [np.shape(x) for x in numbers_of(span)]
    if any(shapes):
        raise ValueError(
            f"{label} has a range with bounds of shape {next(filter(None, shapes))} where one run "
            f"takes scalars; sweep them with jax.vmap"
        )
    if default.dtype.kind in "iu":
        if any(float(x) != np.floor(float(x)) for x in numbers):
            raise ValueError(
                f"{label} ~ {span} has numbers that are not whole, and that of {env.name} is"
            )
        if any(abs(float(x)) >= MOST for x in numbers):
            raise ValueError(f"{label} ~ {span} is out of range; accepted: below {MOST:,}")
    if reason := _why_not_drawn(env, name):
        raise ValueError(
            f"{label} ~ {span} cannot differ between episodes: {reason}; give it one value, or "
            f"sweep it (--grid {label}=...)"
        )


@memoized(256)
def _why_not_drawn(env: Environment, name: str) -> str | None:
    """Why a parameter must be the same in all episodes, or None."""
    default = jnp.asarray(get_param(env.default_params, name))

    def params(value: Any) -> Any:
        return replace_params(env.default_params, {name: value})

    def one_step(value: Any, key: Any) -> Any:
        _, state = env.reset(key, params(value))
        action = zero_action(env.action_space(params(value)))
        return env.step(key, state, action, params(value))

    try:
        jax.eval_shape(one_step, default, jax.eval_shape(lambda: jax.random.key(0)))
    except Exception as error:  # whatever the environment's code raises where it meets a tracer
        return f"{env.name} needs it for a branch or a shape ({first_line(error)})"
    if _reaches(lambda value: _bounds(env.action_space(params(value))), default):
        return f"the action space of {env.name} depends on it"
    return None


def _bounds(space: Any) -> Any:
    """Bounds of the boxes in a space."""
    return map_space(lambda leaf: [getattr(leaf, end, None) for end in ("low", "high")], space)


def _reaches(function: Callable[[Any], Any], value: Any) -> bool:
    """Whether anything that the function computes depends on its argument."""
    try:
        jax.vmap(function, out_axes=None)(jnp.stack([value, value]))
    except ValueError:  # a result that differs along the axis has no place where none is
        return True
    return False
