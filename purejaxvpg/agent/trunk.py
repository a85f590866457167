"""A trunk: torso and, if there is one, memory; what a head reads features from.

Its variables are a dict: `torso`, and with memory `cell`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import unfreeze
from jax import Array

from purejaxvpg.agent.encoding import Encoder, unmasked
from purejaxvpg.agent.flax_torsos import Torso
from purejaxvpg.agent.memory import Cell, make_cell
from purejaxvpg.agent.torsos import make_torso
from purejaxvpg.compute import flatten
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.faults import user_code
from purejaxvpg.variables import TRAINED


class Trunk(NamedTuple):
    """Pure functions from observations to features.  Without memory, h is ()."""

    init: Callable[[Array, Array, Any], Any]  # (torso's key, cell's key, obs [B, ...])
    zero: Callable[[int], Any]  # n -> h where an episode begins
    features: Callable[[Any, Any], Array]  # (variables, obs [B, ...]) -> [B, F]; without memory
    step: Callable[[Any, Any, Any], tuple[Any, Array]]  # (variables, obs [n, ...], h) -> h, [n, F]
    # (variables, obs [n, T, ...], starts, h, and as `Cell.replay`) -> h after each step
    # [n, T, ...], [n, T, F]
    replay: Callable[..., tuple[Any, Array]]


def make_trunk(config: VPGConfig, encoder: Encoder) -> Trunk:
    """The torso and memory of a config, for observations that an encoder takes.

    Raises: ValueError or TypeError for an unknown network, activation, initializer or memory, and,
    when traced, for a torso that breaks its contract.
    """
    torso = make_torso(config, encoder.shapes)

    def features(variables: Any, obs: Any) -> Array:
        return _applied(torso, variables["torso"], encoder(obs))

    def without_memory(variables: Any, obs: Any, memory: Any) -> tuple[Any, Array]:
        return memory, features(variables, obs)

    def init_torso(key: Array, _: Array, obs: Any) -> Any:
        return {"torso": _variables(torso, key, encoder(obs))}

    if config.memory is None:
        refuse: Any = _no_memory
        return Trunk(init_torso, lambda _: (), features, without_memory, refuse)
    cell = make_cell(config, _width(torso, encoder))

    def init(key: Array, cell_key: Array, obs: Any) -> Any:
        variables = init_torso(key, cell_key, obs)
        return variables | {"cell": _cell_variables(cell, cell_key, features(variables, obs))}

    def step(variables: Any, obs: Any, memory: Any) -> tuple[Any, Array]:
        return cell.step(variables["cell"], memory, features(variables, obs))

    def replay(
        variables: Any, obs: Any, starts: Array, memory: Any, after: Any = None
    ) -> tuple[Any, Array]:
        x = features(variables, flatten(unmasked(obs))).reshape(*starts.shape, -1)
        return cell.replay(variables["cell"], memory, x, starts, after)

    return Trunk(init, cell.zero, features, step, replay)


def _no_memory(*_: Any) -> Any:
    raise AssertionError("a trunk without memory has nothing to replay")


def _width(torso: Torso, encoder: Encoder) -> int:
    """F, traced."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def features(key: Array, obs: Any) -> Array:
        return _applied(torso, _variables(torso, key, obs), obs)

    return jax.eval_shape(features, key, encoder.example(1)).shape[-1]


def _cell_variables(cell: Cell, key: Array, x: Array) -> Any:
    return nn.unbox(unfreeze(cell.init(key, x)))


def _applied(torso: Torso, variables: Any, obs: Any) -> Array:
    """Features `[B, F]` of encoded observations."""
    with _code_of(torso, obs):
        x: Any = torso.apply(variables, obs)
    _check_features(torso, x, obs)
    return x


def _code_of(torso: Torso, obs: Any) -> user_code:
    """Context in which a torso's exception becomes one line, with what the torso was given."""
    return user_code(f"network {torso.name}, given {_described(obs)},")


def _described(obs: Any) -> str:
    """Shapes of encoded observations, by name if they are several arrays."""
    if not isinstance(obs, dict):
        return f"observations {obs.shape}"
    parts = ", ".join(f"{name!r}: {x.shape}" for name, x in obs.items())
    return f"observations {{{parts}}}, a dict of arrays by name"


def _check_features(torso: Torso, x: Any, obs: Any) -> None:
    """Refuse what is no features.  Raises: ValueError or TypeError, in one line."""
    shape, rows = getattr(x, "shape", None), jax.tree.leaves(obs)[0].shape[0]
    if shape is None or len(shape) != 2 or shape[0] != rows:
        returned = type(x).__name__ if shape is None else f"features of shape {shape}"
        raise ValueError(
            f"network {torso.name} returned {returned} for "
            f"{_described(obs)}; a torso must return [B, F], here [{rows}, F]"
        )
    if shape[1] == 0:  # the policy would see nothing
        raise ValueError(
            f"network {torso.name} returned features of shape {shape}, which are none; a "
            f"torso must return [B, F] with F >= 1"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):  # no gradient passes through integers
        raise TypeError(
            f"network {torso.name} returned features of type {x.dtype}; a torso must return floats"
        )


def _variables(torso: Torso, key: Array, obs: Any) -> Any:
    """A torso's collections at the start, as arrays."""
    with _code_of(torso, obs):
        variables = torso.init(key, obs)

    def checked(path: Any, x: Any) -> Array:
        where = f"network {torso.name} has {jax.tree_util.keystr(path)}"
        if not isinstance(x, jax.Array | np.ndarray | np.generic | int | float):
            raise TypeError(f"{where}, of type {type(x).__name__}; accepted: arrays of numbers")
        array = jnp.asarray(x)
        if jnp.issubdtype(array.dtype, jax.dtypes.extended):
            raise TypeError(f"{where}, of random keys; accepted: arrays of numbers")
        if path[0].key == TRAINED and array.dtype != jnp.float32:
            raise TypeError(
                f"{where}, of type {array.dtype}; accepted: trained parameters of float32 (a "
                f"layer's dtype=jnp.bfloat16 computes in that type all the same)"
            )
        return jnp.asarray(array, array.dtype)  # an explicit dtype makes weak types strong

    return jax.tree.map_with_path(checked, variables)
