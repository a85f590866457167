"""Observations as the environment gives them: one structure, and types that do not change."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs.protocol import BrokenContract, Environment, Masked
from purejaxvpg.envs.spaces import kind_of, leaves_by_name, spaces_by_name

NARROWER = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}
"""Types of 64 bits, and those that take their place."""


def typed(name: str, space: Any, obs: Any) -> Any:
    """An observation as arrays: floats are float32, integers of 64 bits have 32, all others stay.

    Of a Discrete or MultiDiscrete they are integers.
    """
    obs = obs.obs if isinstance(obs, Masked) else obs
    spaces = spaces_by_name(space)
    leaves = leaves_by_name(obs)
    if not leaves:
        raise BrokenContract(f"{name} returned an observation without an array in it: {obs!r}")

    def with_type(path: str, x: Any) -> Array:
        array = jnp.asarray(x)
        space = spaces.get(path)
        if kind_of(space) in ("discrete", "multi") and array.shape == getattr(space, "shape", ()):
            whole = jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool
            array = array if whole else array.astype(jnp.int32)
        if jnp.issubdtype(array.dtype, jnp.floating):
            return jnp.asarray(array, jnp.float32)
        dtype = NARROWER.get(str(array.dtype), array.dtype)
        return jnp.asarray(array, dtype)  # an explicit dtype makes weak types strong

    arrays = [with_type(path, x) for path, x in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(obs), arrays)


def same_everywhere(env: Environment, reset: Any, obs: Any, final_obs: Any) -> Any:
    """The observation's shapes and types.  Raises: BrokenContract if reset and step disagree."""
    for field, value in (("obs", obs), ("final_obs", final_obs)):
        if jax.tree.structure(value) != jax.tree.structure(reset):
            raise BrokenContract(
                f"{env.name}.step returned {field} of another structure than reset: "
                f"{jax.tree.structure(value)} instead of {jax.tree.structure(reset)}"
            )
        for (path, x), y in zip(leaves_by_name(value).items(), jax.tree.leaves(reset), strict=True):
            at = f" at {path}" if path else ""
            if x.shape != y.shape:
                raise BrokenContract(
                    f"{env.name}.step returned {field}{at} of shape {x.shape}, and reset one of "
                    f"{y.shape}; expected the same shape"
                )
    # A reset may give integers where a step gives floats: the wider type serves both.
    dtypes = jax.tree.map(lambda *x: jnp.result_type(*x), reset, obs, final_obs)
    return jax.tree.map(lambda x, dtype: jax.ShapeDtypeStruct(x.shape, dtype), reset, dtypes)


def check_obs_shape(env: Environment, observed: Any) -> None:
    """BrokenContract if the environment declares another shape than it is observed in."""
    if env.obs_shape is None:
        return
    shape = getattr(observed, "shape", None)
    if shape is None or tuple(env.obs_shape) != shape:
        has = f"have shape {shape}" if shape is not None else "are several arrays"
        raise BrokenContract(
            f"{env.name} has obs_shape={tuple(env.obs_shape)}, and its observations {has}; leave "
            f"obs_shape out, or correct it"
        )
