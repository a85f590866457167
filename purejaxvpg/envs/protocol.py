"""The protocol: one environment as pure functions.

An adapter (one file per library) makes an `Environment` from a library's own object, and hands on
what the library returns; `contract.settle` checks it and gives it the types below.

Observations and actions are pytrees.  Observations keep the types that the environment gives them
(`bool` and `uint8` stay so in a batch); they become float32 where the networks look
(agent/encoding.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array


class BrokenContract(ValueError):
    """An environment, or another part that a user wrote, that breaks its contract.  One line."""


class Step(NamedTuple):
    """One step of one environment.  All arrays; obs and final_obs alike in structure and types."""

    state: Any  # after the step; already of the next episode if the library resets by itself
    obs: Any  # pytree, observation of `state`
    final_obs: Any  # pytree, after the step and before any reset
    reward: Array  # [], float32
    terminated: Array  # [], bool: nothing follows
    truncated: Array  # [], bool: the clock cut it; never together with terminated


class Masked(NamedTuple):
    """An observation, and the actions that are possible after it.

    Environments with an `action_mask` are observed in this form once they are made.
    """

    obs: Any  # pytree
    mask: Any  # of the action space: bool, see `spaces.check_mask`


class Environment(NamedTuple):
    """One environment as pure functions.  `params` is a pytree whose leaves may be traced.

    `make` gives the values of a hand-made one the types of `Step`: rewards become float32, flags
    bool, and the state keeps the types of its reset.
    """

    name: str
    reset: Callable[[Array, Any], tuple[Any, Any]]  # (key, params) -> (obs, state)
    step: Callable[[Array, Any, Any, Any], Step]  # (key, state, action, params)
    default_params: Any
    action_space: Callable[[Any], Any]  # params -> space (see envs/spaces.py)
    observation_space: Callable[[Any], Any]  # params -> space, as declared
    obs_shape: Any = None  # tuple of int, if observations are one array; None: `make` looks
    resets_itself: bool = False  # step returns the state and obs of a new episode after an end
    # params -> longest episode in steps, or None; by default the parameter max_steps_in_episode.
    time_limit: Callable[[Any], Any] | None = None
    # (state, params) -> mask of the actions that are possible now (True: possible).
    action_mask: Callable[[Any, Any], Any] | None = None
    reset_cost: str = "cheap"  # or "dear": a reset takes far longer than a step
    render: Callable[[Any, Any], Any] | None = None  # (state, params) -> uint8 [H, W, 3]
    observed: Any = None  # pytree of jax.ShapeDtypeStruct; `make` looks

    # By identity: parameters may be arrays or dicts, which have no hash, and equal functions do
    # not exist.  A config holds environments, and must have a hash.
    def _identity(self) -> tuple:
        functions = (*self[1:6], self.time_limit, self.action_mask, self.render)
        return (self.name, *map(id, functions), self.obs_shape, self.resets_itself, self.reset_cost)

    def __hash__(self) -> int:
        return hash(self._identity())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Environment):
            return NotImplemented
        return self._identity() == other._identity()

    def __ne__(self, other: object) -> bool:
        return not self == other
