"""The protocol: one environment as pure functions.

An adapter (one file per library) makes an `Environment` from a library's own object, and hands on
what the library returns; `contract.settle` checks it and gives it the types below.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array


class BrokenContract(ValueError):
    """An environment, or another part that a user wrote, that breaks its contract.  One line."""


class Step(NamedTuple):
    """One step of one environment.  All arrays; obs and final_obs float32 of one shape."""

    state: Any  # after the step; already of the next episode if the library resets by itself
    obs: Array  # [*obs_shape], observation of `state`
    final_obs: Array  # [*obs_shape], after the step and before any reset
    reward: Array  # [], float32
    terminated: Array  # [], bool: nothing follows
    truncated: Array  # [], bool: the clock cut it; never together with terminated


class Environment(NamedTuple):
    """One environment as pure functions.  `params` is a pytree whose leaves may be traced.

    `make` gives the values of a hand-made one the types of `Step`: numbers become float32,
    a scalar observation of a Discrete space one-hot, and the state keeps the types of its reset.
    """

    name: str
    reset: Callable[[Array, Any], tuple[Array, Any]]  # (key, params) -> (obs, state)
    step: Callable[[Array, Any, Array, Any], Step]  # (key, state, action, params)
    default_params: Any
    action_space: Callable[[Any], Any]  # params -> gymnax space
    observation_space: Callable[[Any], Any]  # params -> gymnax space, as declared
    obs_shape: Any = None  # tuple of int, as observed; None: `make` looks
    resets_itself: bool = False  # step returns the state and obs of a new episode after an end

    # By identity: parameters may be arrays or dicts, which have no hash, and equal functions do
    # not exist.  A config holds environments, and must have a hash.
    def __hash__(self) -> int:
        return hash((self.name, *map(id, self[1:6]), self.obs_shape, self.resets_itself))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Environment):
            return NotImplemented
        same_parts = all(x is y for x, y in zip(self[1:6], other[1:6], strict=True))
        return same_parts and (self.name, *self[6:]) == (other.name, *other[6:])

    def __ne__(self, other: object) -> bool:
        return not self == other
