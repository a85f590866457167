"""Spaces: actions to trace and to test with, observations as arrays, bounds that are declared."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from purejaxvpg.envs.protocol import BrokenContract

ENDLESS = 1e30  # a bound beyond it is none: gymnax writes float32's largest number for infinity


def zero_action(space: Any) -> Array:
    """Some action of a space, to trace a step with."""
    return jnp.zeros(getattr(space, "shape", ()), getattr(space, "dtype", jnp.float32))


def is_known(space: Any) -> bool:
    """Whether a space is a Discrete or a Box, with something in it."""
    if why_empty(space):
        return False
    box = all(hasattr(space, name) for name in ("low", "high", "shape", "dtype"))
    return hasattr(space, "n") or box


def why_empty(space: Any) -> str | None:
    """Why a Discrete or a Box has nothing in it; None if it has something.  Traced bounds pass."""
    if hasattr(space, "n"):
        return "n is below 1" if np.min(space.n) < 1 else None
    if 0 in (shape := getattr(space, "shape", ())):
        return f"shape is {tuple(shape)}"
    low, high = (getattr(space, name, 0.0) for name in ("low", "high"))
    traced = isinstance(low, Tracer) or isinstance(high, Tracer)
    return "low is above high" if not traced and np.any(np.greater(low, high)) else None


def random_actions(space: Any, rng: np.random.Generator, number: int) -> np.ndarray:
    """Actions `[number, ...]`, uniform over a Discrete or a Box; where it is endless, near 0."""
    if hasattr(space, "n"):
        return rng.integers(0, int(space.n), number).astype(space.dtype)
    low, high = (
        np.broadcast_to(np.asarray(x, float), space.shape) for x in (space.low, space.high)
    )
    low = np.where(np.abs(low) < ENDLESS, low, np.minimum(-1, high))
    high = np.where(np.abs(high) < ENDLESS, high, np.maximum(1, low))
    return rng.uniform(low, high, (number, *space.shape)).astype(space.dtype)


def encoder(name: str, space: Any) -> Callable[[Any], Array]:
    """A function that makes float32 arrays of observations: one-hot for a scalar of a Discrete.

    Raises: BrokenContract for observations in several pieces.  Args: name: of the environment.
    """
    from purejaxvpg.envs.gymnax_adapter import spaces  # here, for importing gymnax takes a while

    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise BrokenContract(
            f"{name}: observation space {space} is not supported; flatten it to one array (a Box) "
            f"in the environment"
        )

    def encode(obs: Any) -> Array:
        if isinstance(obs, tuple | list | dict) or len(jax.tree.leaves(obs)) != 1:
            raise BrokenContract(
                f"{name}: observations of several pieces ({jax.tree.structure(obs)}) are not "
                f"supported; flatten them to one array in the environment"
            )
        if isinstance(space, spaces.Discrete) and jnp.shape(obs) == ():
            return jax.nn.one_hot(obs, space.n, dtype=jnp.float32)
        return jnp.asarray(obs, jnp.float32)

    return encode


def outside(space: Any, shape: tuple[int, ...], low: np.ndarray, high: np.ndarray) -> str | None:
    """How observations between `low` and `high` (of each element) leave a Box, if they do.

    Args: shape: of the observations.
    """
    if not hasattr(space, "low") or not hasattr(space, "high"):
        return None
    declared = tuple(getattr(space, "shape", shape))
    if declared != shape:
        return f"observations have shape {shape}, and observation_space declares {declared}"
    for bound, reached, sign in ((space.low, low, -1), (space.high, high, 1)):
        limit = np.broadcast_to(np.asarray(bound, float), shape)
        slack = 1e-5 * np.maximum(1, np.abs(np.where(np.isfinite(limit), limit, 0)))  # rounding
        beyond = sign * (reached - limit) > slack
        if beyond.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(beyond))
            at = f" at {list(place)}" if place else ""
            return (
                f"an observation of {reached[place]:g}{at} leaves its space, which is bounded by "
                f"{limit[place]:g} there"
            )
    return None
