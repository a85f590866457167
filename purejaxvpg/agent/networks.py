"""Networks: a torso that turns observations into features, and two heads on features.

A torso is a flax module that maps observations `[B, *obs_shape]` float32 to features `[B, F]`.
That is the whole contract for a module of the user's own; the heads are added here.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.compute import dot
from purejaxvpg.config import VPGConfig
from purejaxvpg.state import Params

ACTIVATIONS = ("celu", "elu", "gelu", "hard_tanh", "leaky_relu", "relu", "selu", "sigmoid",
               "silu", "softplus", "swish", "tanh")  # fmt: skip
INITIALIZERS = ("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal",
                "lecun_uniform", "orthogonal", "xavier_normal", "xavier_uniform")  # fmt: skip


def _dot(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`dot`, as flax calls it: with the dimensions to contract, and a precision."""
    return dot(x, kernel)


class MLP(nn.Module):
    """Dense layers over the flattened observation: `[B, ...]` -> `[B, hidden_sizes[-1]]`."""

    hidden_sizes: tuple[int, ...]
    activation: Callable
    kernel_init: Callable

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        x = obs.reshape(obs.shape[0], -1)  # [B, prod(obs_shape)]
        for size in self.hidden_sizes:
            x = nn.Dense(size, kernel_init=self.kernel_init, dot_general=_dot)(x)
            x = self.activation(x)
        return x


class MinAtarCNN(nn.Module):
    """One 3x3 convolution of 16 channels, then dense layers: `[B, H, W, C]` -> `[B, F]`.

    Source: Young and Tian 2019, "MinAtar", section 4.
    """

    hidden_sizes: tuple[int, ...]
    activation: Callable
    kernel_init: Callable

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        x = nn.Conv(16, (3, 3), padding="VALID", kernel_init=self.kernel_init)(obs)
        return MLP(self.hidden_sizes, self.activation, self.kernel_init)(self.activation(x))


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
            return nn.Dense(self.num_outputs, kernel_init=init, dot_general=_dot)(features)
        half = self.num_outputs // 2
        mean = nn.Dense(half, kernel_init=init, dot_general=_dot)(features)
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

    Raises: ValueError for an unknown network, activation or initializer, and, when traced,
    for a torso whose features are not `[B, F]`.
    """
    policy_torso, value_torso = _make_torso(config, obs_shape), _make_torso(config, obs_shape)
    policy_head, value_head = PolicyHead(num_outputs, free_std), ValueHead()

    def features(torso: nn.Module, params: Any, obs: Array) -> Array:
        x: Any = torso.apply(params, obs)
        shape = getattr(x, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != obs.shape[0]:
            returned = type(x).__name__ if shape is None else f"features of shape {shape}"
            raise ValueError(
                f"network {type(torso).__name__} returned {returned} for "
                f"observations {obs.shape}; a torso must return [B, F], here [{obs.shape[0]}, F]"
            )
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
        torso = policy_torso.init(key_torso, obs)
        hidden = features(policy_torso, torso, obs)
        policy_params = {"torso": torso, "head": policy_head.init(key_head, hidden)}
        value_params = {}
        if not config.shared_torso:
            value_params["torso"] = value_torso.init(key_value_torso, obs)
            hidden = features(value_torso, value_params["torso"], obs)
        value_params["head"] = value_head.init(key_value_head, hidden)
        return Params(policy_params, value_params)

    return Networks(init, policy, value_inputs, value)


def _make_torso(config: VPGConfig, obs_shape: tuple[int, ...]) -> nn.Module:
    network = config.network
    if isinstance(network, nn.Module):
        return network
    if network == "auto":
        network = "cnn" if _fits_cnn(obs_shape) else "mlp"
    arguments = (config.hidden_sizes, _activation(config.activation), _kernel_init(config))
    if network == "mlp":
        return MLP(*arguments)
    elif network == "cnn":
        if not _fits_cnn(obs_shape):
            raise ValueError(
                f"network='cnn' needs observations (H, W, C) of at least 3x3, and this "
                f"environment's have shape {obs_shape}; use network='mlp'"
            )
        return MinAtarCNN(*arguments)
    else:
        raise ValueError(
            f"network={network!r} is unknown; choose auto, mlp, cnn, or pass a flax module or "
            f"its module:Name"
        )


def _fits_cnn(obs_shape: tuple[int, ...]) -> bool:
    return len(obs_shape) == 3 and min(obs_shape[:2]) >= 3


def _activation(name: str) -> Callable:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is unknown; choose one of: {', '.join(ACTIVATIONS)}")
    return getattr(nn, name)


def _kernel_init(config: VPGConfig) -> Callable:
    init = config.kernel_init
    if callable(init):
        return init
    if init not in INITIALIZERS:
        raise ValueError(
            f"kernel_init={init!r} is unknown; pass an initializer or one of: "
            f"{', '.join(INITIALIZERS)}"
        )
    if init == "orthogonal":
        return nn.initializers.orthogonal(math.sqrt(2))
    return getattr(nn.initializers, init)()
