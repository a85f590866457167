"""Networks: a torso that turns observations into features, and two heads on features.

A torso is a flax module that maps observations `[B, *obs_shape]` float32 to features `[B, F]`.
That is the whole contract for a module of the user's own; the heads are added here.  Its `params`
are float32 and are trained.  Its other collections are carried along as they were made, so it may
read constants and running statistics, and neither change them nor draw random numbers.

Observations arrive in the environment's units: bytes of a picture (uint8) as numbers from 0 to
255.  Scale them in the environment or in the torso (`obs / 255`), or with `normalize_obs`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import errors
from flax.core import unfreeze
from jax import Array

from purejaxvpg.agent.torsos import flax_dot, make_torso
from purejaxvpg.config import VPGConfig
from purejaxvpg.state import Params
from purejaxvpg.variables import TRAINED


class PolicyHead(nn.Module):
    """Features `[B, F]` -> the parameters of a distribution, `[B, num_outputs]`.

    With free_std the second half of them is a parameter of its own, the same for every state.
    """

    num_outputs: int
    free_std: bool

    @nn.compact
    def __call__(self, features: Array) -> Array:
        # A small gain: the first policy is close to uniform, whatever the features.
        init = nn.initializers.orthogonal(0.01)
        if not self.free_std:
            return nn.Dense(self.num_outputs, kernel_init=init, dot_general=flax_dot)(features)
        half = self.num_outputs // 2
        mean = nn.Dense(half, kernel_init=init, dot_general=flax_dot)(features)
        log_std = self.param("log_std", nn.initializers.zeros, (half,), jnp.float32)
        return jnp.concatenate([mean, jnp.broadcast_to(log_std, mean.shape)], axis=-1)


class ValueHead(nn.Module):
    """Features `[B, F]` -> V `[B]`."""

    @nn.compact
    def __call__(self, features: Array) -> Array:
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(features)[:, 0]


class Networks(NamedTuple):
    """Pure functions of the two networks.  B rows; O = number of outputs of the policy head."""

    init: Callable[[Array, Array], Params]  # (key, obs [B, ...])
    policy: Callable[[Any, Array], Array]  # (params.policy, obs [B, ...]) -> [B, O]
    value_inputs: Callable[[Any, Array], Array]  # (params.policy, obs [B, ...]) -> [B, ...]
    value: Callable[[Any, Array], Array]  # (params.value, value_inputs [B, ...]) -> [B]


def make_networks(
    config: VPGConfig, obs_shape: tuple[int, ...], num_outputs: int, free_std: bool
) -> Networks:
    """Policy and value networks for observations of shape `obs_shape`.

    V is computed from `value_inputs`: the observations themselves, or, with a shared torso, the
    features that the policy's torso makes of them.

    Raises: ValueError or TypeError for an unknown network, activation or initializer, and, when
    traced, for a torso that breaks its contract.
    """
    policy_torso, value_torso = make_torso(config, obs_shape), make_torso(config, obs_shape)
    policy_head, value_head = PolicyHead(num_outputs, free_std), ValueHead()

    def features(torso: nn.Module, params: Any, obs: Array) -> Array:
        try:
            x: Any = torso.apply(params, obs)
        except errors.FlaxError as error:
            raise ValueError(
                f"network {type(torso).__name__} cannot be applied: {_sentence(error)}; a torso "
                f"changes no collection (BatchNorm takes use_running_average=True) and draws no "
                f"random numbers (Dropout takes deterministic=True)"
            ) from None
        _check_features(torso, x, obs)
        return x

    def policy(params: Any, obs: Array) -> Array:
        x: Any = policy_head.apply(params["head"], features(policy_torso, params["torso"], obs))
        return x

    def value_inputs(policy_params: Any, obs: Array) -> Array:
        if config.shared_torso:
            return features(policy_torso, policy_params["torso"], obs)
        return obs

    def value(params: Any, inputs: Array) -> Array:
        x = inputs if config.shared_torso else features(value_torso, params["torso"], inputs)
        values: Any = value_head.apply(params["head"], x)
        return values

    def init(key: Array, obs: Array) -> Params:
        key_torso, key_head, key_value_torso, key_value_head = jax.random.split(key, 4)
        torso = _variables(policy_torso, key_torso, obs)
        hidden = features(policy_torso, torso, obs)
        policy_params = {"torso": torso, "head": policy_head.init(key_head, hidden)}
        value_params = {}
        if not config.shared_torso:
            value_params["torso"] = _variables(value_torso, key_value_torso, obs)
            hidden = features(value_torso, value_params["torso"], obs)
        value_params["head"] = value_head.init(key_value_head, hidden)
        return Params(policy_params, value_params)

    return Networks(init, policy, value_inputs, value)


def _check_features(torso: nn.Module, x: Any, obs: Array) -> None:
    """Refuse what is no features.  Raises: ValueError or TypeError, in one line."""
    shape = getattr(x, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != obs.shape[0]:
        returned = type(x).__name__ if shape is None else f"features of shape {shape}"
        raise ValueError(
            f"network {type(torso).__name__} returned {returned} for "
            f"observations {obs.shape}; a torso must return [B, F], here [{obs.shape[0]}, F]"
        )
    if shape[1] == 0:  # the policy would see nothing
        raise ValueError(
            f"network {type(torso).__name__} returned features of shape {shape}, which are none; a "
            f"torso must return [B, F] with F >= 1"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):  # no gradient passes through integers
        raise TypeError(
            f"network {type(torso).__name__} returned features of type {x.dtype}; a torso "
            f"must return floats"
        )


def param_shapes(networks: Networks, obs_shape: tuple[int, ...], rows: int = 1) -> Params:
    """Shapes and types of the networks' variables; nothing is computed."""
    obs = jax.ShapeDtypeStruct((rows, *obs_shape), jnp.float32)
    return jax.eval_shape(networks.init, jax.eval_shape(lambda: jax.random.key(0)), obs)


def check_torso(config: VPGConfig, networks: Networks, obs_shape: tuple[int, ...]) -> None:
    """Refuse a user's torso that breaks its contract, by tracing it.

    Raises: ValueError or TypeError, in one line.
    """
    if not isinstance(config.network, nn.Module):
        return
    one, two = (param_shapes(networks, obs_shape, rows) for rows in (1, 2))
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (one, two)), strict=True):
        if x.shape != y.shape:
            raise ValueError(
                f"network {type(config.network).__name__} has a variable whose shape depends on "
                f"the number of observations, {jax.tree_util.keystr(path)}: {x.shape} for one and "
                f"{y.shape} for two; the number differs between acting, learning and evaluation"
            )


def _variables(torso: nn.Module, key: Array, obs: Array) -> Any:
    """A torso's collections at the start, as arrays."""
    variables = nn.unbox(unfreeze(torso.init(key, obs)))

    def checked(path: Any, x: Any) -> Array:
        where = f"network {type(torso).__name__} has {jax.tree_util.keystr(path)}"
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


def _sentence(error: Exception) -> str:
    """The first sentence of flax's message."""
    return " ".join(str(error).split(" (http")[0].split()).rstrip(".")
