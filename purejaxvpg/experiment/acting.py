"""A saved policy in a loop that steps an environment on the host: numpy in, numpy out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from purejaxvpg.agent.encoding import Encoder

Rows = Callable[[Array, Any], Array]  # (obs [B, *obs_shape], key or None) -> actions [B, ...]


def describe_observations(encoder: Encoder) -> dict[str, Any]:
    """Observations as JSON has them: integers that networks see one-hot, or numbers."""
    (part,) = [part for _, part in encoder.parts]
    if part.categories is not None and not part.shape:
        return {"kind": "discrete", "number": part.categories}
    return {"kind": "box"}


def make_act(rows: Rows, card: dict[str, Any]) -> Callable[..., Any]:
    """`act(obs, key=None)` of a policy, as `load_policy` describes it."""
    shape = tuple(card["obs_shape"])
    number = card.get("observations", {}).get("number")  # cards of before have no observations
    discrete = card["actions"]["kind"] == "discrete"

    def act(obs: Any, key: Array | None = None) -> Any:
        _check_key(key)
        traced = isinstance(obs, Tracer) or isinstance(key, Tracer)
        given = jnp.asarray(obs) if traced else _numbers(obs, shape, number)
        seen = _encode(given, shape, number)
        single = seen.shape == shape
        batch = seen[None] if single else seen
        # Networks flatten by reshape(B, -1), and 0 rows have none.  (Exported, B is a symbol.)
        empty = isinstance(batch.shape[0], int) and batch.shape[0] == 0
        actions = rows(jnp.zeros((1, *shape), jnp.float32), key)[:0] if empty else rows(batch, key)
        if not traced:  # a copy, for numpy may not write to jax's arrays
            actions = np.array(actions, np.int64 if discrete else np.float32)
        return actions[0] if single else actions

    return act


def _numbers(obs: Any, shape: tuple, number: int | None) -> np.ndarray:
    """Observations as an array of numbers.  Raises: TypeError or ValueError, in one line."""
    try:
        array = np.asarray(obs)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        hint = " (env.reset() returns obs and info)" if isinstance(obs, tuple) else ""
        raise TypeError(
            f"obs is a {type(obs).__name__}, not an array of numbers{hint}; "
            f"accepted: {_accepted(shape, number)}"
        )
    if number is not None and _is_discrete(array) and array.size:
        outside = array[(array < 0) | (array >= number)]
        if outside.size:
            given = int(outside.flat[0])
            raise ValueError(f"obs={given} is out of range; accepted: {_accepted(shape, number)}")
    return array


def _is_discrete(obs: Any) -> bool:
    return obs.dtype.kind in "iu" and obs.ndim <= 1


def _encode(obs: Any, shape: tuple, number: int | None) -> Any:
    """The network's input, float32, of observations as their environment gives them.

    Raises: ValueError, in one line, for another shape.
    """
    if number is not None and _is_discrete(obs):
        numbers = np.arange(number).reshape((1,) * obs.ndim + (number,))
        return (obs[..., None] == numbers).astype(np.float32)
    if obs.shape != shape and (obs.ndim != len(shape) + 1 or obs.shape[1:] != shape):
        raise ValueError(f"obs has shape {obs.shape}; accepted: {_accepted(shape, number)}")
    return obs.astype(np.float32)


def _accepted(shape: tuple, number: int | None) -> str:
    if number is None:
        return f"{shape}, or [B, ...] of them"
    return f"an integer in [0, {number}), [B] of them, or one-hot floats {shape} or [B, {number}]"


def _check_key(key: Any) -> None:
    """TypeError, in one line, for a key that is none.  `jax.random.PRNGKey(0)` is one."""
    if key is None:
        return
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if shape == ():
            return
    elif str(dtype) == "uint32" and shape is not None and len(shape) == 1:
        return
    given = repr(key) if dtype is None else f"{dtype} of shape {shape}"
    raise TypeError(f"key={given} is not one key; pass jax.random.key(seed), or None: greedy")
