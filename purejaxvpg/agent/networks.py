"""Networks: a torso that turns observations into features, and two heads on features.

A torso is a flax module that maps observations to features `[B, F]`.  Observations are float32
`[B, *obs_shape]` or, of several arrays, a dict of these by name, encoded as encoding.py says
(bytes of pictures from 0 to 1).  That is the whole contract for a module of the user's own; the
heads are added here.  Its `params` are float32 and are trained.  Its other collections are carried
along as they were made, so it may read constants and running statistics, and neither change them
nor draw random numbers.
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

from purejaxvpg.agent.distribution import Policy
from purejaxvpg.agent.encoding import Encoder, unmasked
from purejaxvpg.agent.torsos import flax_dot, make_torso
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.state import Params
from purejaxvpg.variables import TRAINED


class PolicyHead(nn.Module):
    """Features `[B, F]` -> the parameters of a distribution, `[B, num_outputs]`.

    The columns `free_outputs` are parameters of their own, the same for every state: logarithms of
    standard deviations.
    """

    num_outputs: int
    free_outputs: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Array) -> Array:
        # A small gain: the first policy is close to uniform, whatever the features.
        init = nn.initializers.orthogonal(0.01)
        size = self.num_outputs - len(self.free_outputs)
        outputs = nn.Dense(size, kernel_init=init, dot_general=flax_dot)(features)
        if not self.free_outputs:
            return outputs
        free = self.param("log_std", nn.initializers.zeros, (len(self.free_outputs),), jnp.float32)
        free = jnp.broadcast_to(free, (*outputs.shape[:-1], len(self.free_outputs)))
        both = jnp.concatenate([outputs, free], axis=-1)
        order = [i for i in range(self.num_outputs) if i not in self.free_outputs]
        place = np.argsort([*order, *self.free_outputs])
        return both if (place == np.arange(self.num_outputs)).all() else both[..., place]


class ValueHead(nn.Module):
    """Features `[B, F]` -> V `[B]`."""

    @nn.compact
    def __call__(self, features: Array) -> Array:
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(features)[:, 0]


class Networks(NamedTuple):
    """Pure functions of the two networks.  B rows; O = number of outputs of the policy head.

    Observations are those of the environment, pytrees `[B, ...]`, normalised or not, `Masked` or
    not.  Where they are `Masked`, outputs of actions that are not possible are -inf.
    """

    init: Callable[[Array, Any], Params]  # (key, obs [B, ...])
    policy: Callable[[Any, Any], Array]  # (params.policy, obs [B, ...]) -> [B, O]
    value_inputs: Callable[[Any, Any], Any]  # (params.policy, obs [B, ...]) -> [B, ...]
    value: Callable[[Any, Any], Array]  # (params.value, value_inputs [B, ...]) -> [B]


def make_networks(config: VPGConfig, encoder: Encoder, policy: Policy) -> Networks:
    """Policy and value networks for observations that an encoder takes.

    V is computed from `value_inputs`: the observations themselves, or, with a shared torso, the
    features that the policy's torso makes of them.

    Raises: ValueError or TypeError for an unknown network, activation, initializer or name of an
    observation's part, and, when traced, for a torso that breaks its contract.
    """
    policy_sees = encoder.choose(config.policy_obs, "policy_obs")
    value_sees = encoder.choose(config.value_obs, "value_obs")
    policy_torso = make_torso(config, policy_sees.shapes)
    value_torso = make_torso(config, value_sees.shapes)
    policy_head, value_head = PolicyHead(policy.num_outputs, policy.free_outputs), ValueHead()

    def features(torso: nn.Module, params: Any, obs: Any) -> Array:
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

    def policy_features(params: Any, obs: Any) -> Array:
        return features(policy_torso, params["torso"], policy_sees(obs))

    def outputs(params: Any, obs: Any) -> Array:
        x: Any = policy_head.apply(params["head"], policy_features(params, obs))
        return policy.masked(x, obs.mask) if isinstance(obs, Masked) and policy.masked else x

    def value_inputs(policy_params: Any, obs: Any) -> Any:
        return policy_features(policy_params, obs) if config.shared_torso else unmasked(obs)

    def value(params: Any, inputs: Any) -> Array:
        x = inputs
        if not config.shared_torso:
            x = features(value_torso, params["torso"], value_sees(inputs))
        values: Any = value_head.apply(params["head"], x)
        return values

    def init(key: Array, obs: Any) -> Params:
        obs = unmasked(obs)
        key_torso, key_head, key_value_torso, key_value_head = jax.random.split(key, 4)
        torso = _variables(policy_torso, key_torso, policy_sees(obs))
        hidden = features(policy_torso, torso, policy_sees(obs))
        policy_params = {"torso": torso, "head": policy_head.init(key_head, hidden)}
        value_params = {}
        if not config.shared_torso:
            value_params["torso"] = _variables(value_torso, key_value_torso, value_sees(obs))
            hidden = features(value_torso, value_params["torso"], value_sees(obs))
        value_params["head"] = value_head.init(key_value_head, hidden)
        return Params(policy_params, value_params)

    return Networks(init, outputs, value_inputs, value)


def _check_features(torso: nn.Module, x: Any, obs: Any) -> None:
    """Refuse what is no features.  Raises: ValueError or TypeError, in one line."""
    shape, rows = getattr(x, "shape", None), jax.tree.leaves(obs)[0].shape[0]
    if shape is None or len(shape) != 2 or shape[0] != rows:
        returned = type(x).__name__ if shape is None else f"features of shape {shape}"
        given = {name: x.shape for name, x in obs.items()} if isinstance(obs, dict) else obs.shape
        raise ValueError(
            f"network {type(torso).__name__} returned {returned} for "
            f"observations {given}; a torso must return [B, F], here [{rows}, F]"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):  # no gradient passes through integers
        raise TypeError(
            f"network {type(torso).__name__} returned features of type {x.dtype}; a torso "
            f"must return floats"
        )


def param_shapes(networks: Networks, encoder: Encoder, rows: int = 1) -> Params:
    """Shapes and types of the networks' variables; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(networks.init, key, encoder.example(rows))


def check_torso(config: VPGConfig, networks: Networks, encoder: Encoder) -> None:
    """Refuse a user's torso that breaks its contract, by tracing it.

    Raises: ValueError or TypeError, in one line.
    """
    if not isinstance(config.network, nn.Module):
        return
    one, two = (param_shapes(networks, encoder, rows) for rows in (1, 2))
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (one, two)), strict=True):
        if x.shape != y.shape:
            raise ValueError(
                f"network {type(config.network).__name__} has a variable whose shape depends on "
                f"the number of observations, {jax.tree_util.keystr(path)}: {x.shape} for one and "
                f"{y.shape} for two; the number differs between acting, learning and evaluation"
            )


def _variables(torso: nn.Module, key: Array, obs: Any) -> Any:
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
