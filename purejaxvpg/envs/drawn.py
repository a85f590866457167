"""An environment whose ranged parameters are drawn at each reset: domain randomisation.

The state of an episode carries its own draws, so a step needs no other parameters than those that
its run was given.  Without ranges every function is the environment's own.

Keys: a reset splits its key once.  One half is the environment's; each parameter folds its name
into the other, so its draws do not change when another parameter gets a range.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs.params import get_param, replace_params
from purejaxvpg.envs.protocol import BrokenContract, Environment, Step
from purejaxvpg.envs.ranged import Ranged
from purejaxvpg.ranges import Choice, LogUniform, Range, Uniform


class Drawn(NamedTuple):
    """An environment's state, and the parameters of the running episode that were drawn for it."""

    inner: Any
    values: dict[str, Array]  # by name, [] each


def drawn(env: Environment) -> Environment:
    """The environment that also takes `Ranged` parameters, drawn anew at each reset.

    Spaces and time limits are those of its default parameters and not asked for here.
    Raises (when traced): BrokenContract for a state of other ranges than the parameters.
    """

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        if not isinstance(params, Ranged):
            return env.reset(key, params)
        draw_key, key = jax.random.split(key)
        values = draw(draw_key, params)
        obs, inner = env.reset(key, replace_params(params.default, values))
        return obs, Drawn(inner, values)

    def step(key: Array, state: Any, action: Any, params: Any) -> Step:
        inner, params = _of_episode(env.name, state, params)
        out = env.step(key, inner, action, params)
        if not isinstance(state, Drawn):
            return out
        return out._replace(state=Drawn(out.state, state.values))

    def of_state(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if function is None:
            return None
        return lambda state, params: function(*_of_episode(env.name, state, params))

    return env._replace(
        reset=reset, step=step, action_mask=of_state(env.action_mask), render=of_state(env.render)
    )


def draw(key: Array, params: Ranged) -> dict[str, Array]:
    """A value from each range, `[]` each, of the type of the parameter's default."""
    keys = {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in params.ranges}
    return {
        name: _one(keys[name], span, jnp.asarray(get_param(params.default, name)).dtype)
        for name, span in params.ranges.items()
    }


def _one(key: Array, span: Range, dtype: Any) -> Array:
    if isinstance(span, Choice):
        options = jnp.stack([jnp.asarray(option).astype(dtype) for option in span.options])
        return options[jax.random.randint(key, (), 0, len(span.options))]
    if jnp.issubdtype(dtype, jnp.integer):
        return _whole(key, span, dtype)
    exact = jnp.promote_types(dtype, jnp.float32)  # narrower types are rounded at the end
    low, high = (jnp.asarray(end).astype(exact) for end in (span.low, span.high))
    value = _between(key, span, low, high, exact)
    return jnp.clip(value, low, high).astype(dtype)  # rounding may have left the range


def _whole(key: Array, span: Uniform | LogUniform, dtype: Any) -> Array:
    """A whole number from `low` to `high`, both included."""
    low, high = jnp.asarray(span.low), jnp.asarray(span.high)
    low, high = jnp.ceil(low).astype(jnp.int32), jnp.floor(high).astype(jnp.int32)
    if not isinstance(span, LogUniform):
        return jax.random.randint(key, (), low, high + 1).astype(dtype)
    # Of k, as much as a continuous draw has between k and k + 1.
    ends = low.astype(jnp.float32), high.astype(jnp.float32) + 1
    value = jnp.floor(_between(key, span, *ends, jnp.float32)).astype(jnp.int32)
    return jnp.clip(value, low, high).astype(dtype)


def _between(key: Array, span: Range, low: Array, high: Array, dtype: Any) -> Array:
    fraction = jax.random.uniform(key, (), dtype)
    if isinstance(span, LogUniform):
        return jnp.exp(jnp.log(low) * (1 - fraction) + jnp.log(high) * fraction)
    return low * (1 - fraction) + high * fraction  # high - low may overflow


def _of_episode(name: str, state: Any, params: Any) -> tuple[Any, Any]:
    """The environment's own state, and its parameters in this episode."""
    ranges = set(params.ranges) if isinstance(params, Ranged) else set()
    values = state.values if isinstance(state, Drawn) else {}
    if ranges != set(values):
        raise BrokenContract(
            f"the state of {name} has draws of {_listed(values)}, and env_params ranges of "
            f"{_listed(ranges)}; go on with a state of the same ranges"
        )
    if not ranges:
        return state, params
    return state.inner, replace_params(params.default, values)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
