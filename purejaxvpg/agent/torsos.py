"""Torsos: from observations `[B, *obs_shape]`, or a dict of such, to features `[B, F]`."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.agent.flax_torsos import (
    Torso,
    is_nnx_maker,
    is_nnx_module,
    missing_arguments,
    name_of,
    of_linen,
    of_nnx,
)
from purejaxvpg.compute import convolution, dot
from purejaxvpg.config import VPGConfig
from purejaxvpg.fields import short

ACTIVATIONS = ("celu", "elu", "gelu", "hard_tanh", "leaky_relu", "relu", "selu", "sigmoid",
               "silu", "softplus", "swish", "tanh")  # fmt: skip
INITIALIZERS = ("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal",
                "lecun_uniform", "orthogonal", "xavier_normal", "xavier_uniform")  # fmt: skip


def flax_dot(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`dot`, as flax calls it: `[..., I]`, the dimensions to contract, and a precision."""
    if x.ndim == 2:
        return dot(x, kernel)
    return dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], -1)


class MLP(nn.Module):
    """Dense layers over the flattened observation: `[B, ...]` -> `[B, hidden_sizes[-1]]`.

    Several arrays are laid side by side, in the order of their names.
    """

    hidden_sizes: tuple[int, ...]
    activation: Callable
    kernel_init: Callable

    @nn.compact
    def __call__(self, obs: Any) -> Array:
        x = side_by_side(obs)
        for size in self.hidden_sizes:
            x = nn.Dense(size, kernel_init=self.kernel_init, dot_general=flax_dot)(x)
            x = self.activation(x)
        return x


class Conv(nn.Conv):
    """`flax.linen.Conv`, which is fast on a CPU: the same parameters and, up to rounding, numbers.

    Inside a compiled run XLA's own convolution is up to 20 times slower there
    (compute/convolution.py).  On accelerators it is XLA's.
    """

    conv_general_dilated: Any = convolution


class MinAtarCNN(nn.Module):
    """One 3x3 convolution of 16 channels, then dense layers: `[B, H, W, C]` -> `[B, F]`.

    Of several arrays each picture has a convolution of its own, and the dense layers see all.

    Source: Young and Tian 2019, "MinAtar", section 4.
    """

    hidden_sizes: tuple[int, ...]
    activation: Callable
    kernel_init: Callable

    @nn.compact
    def __call__(self, obs: Any) -> Array:
        def seen(x: Array) -> Array:
            if not _fits_cnn(x.shape[1:]):
                return x
            picture = Conv(16, (3, 3), padding="VALID", kernel_init=self.kernel_init)(x)
            return self.activation(picture)

        parts = {name: seen(x) for name, x in obs.items()} if isinstance(obs, dict) else seen(obs)
        return MLP(self.hidden_sizes, self.activation, self.kernel_init)(parts)


def side_by_side(obs: Any) -> Array:
    """An observation as one row of numbers: `[B, ...]`, or a dict of such -> `[B, F]`."""
    rows = [x.reshape(x.shape[0], -1) for x in jax.tree.leaves(obs)]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=-1)


def make_torso(config: VPGConfig, shapes: Any) -> Torso:
    """The config's torso, for observations of these shapes (a tuple, or a dict of them).

    Raises: ValueError or TypeError, in one line, for a network, activation or initializer that is
    unknown, and for observations that are no pictures, or may be in another layout.
    """
    network = config.network
    if not isinstance(network, str):
        return _users_torso(network)
    parts = list(shapes.values()) if isinstance(shapes, dict) else [shapes]
    for shape in filter(_channels_first, parts if network in ("auto", "cnn") else ()):
        _refuse_or_warn(network, shape)
    if network == "auto":
        network = "cnn" if any(map(_fits_cnn, parts)) else "mlp"
    arguments = (config.hidden_sizes, _activation(config.activation), _kernel_init(config))
    if network == "mlp":
        return of_linen(MLP(*arguments))
    elif network == "cnn":
        if not any(map(_fits_cnn, parts)):
            raise ValueError(
                f"network='cnn' needs observations (H, W, C) of at least 3x3, and this "
                f"environment's have shape {shapes}; use network='mlp'"
            )
        return of_linen(MinAtarCNN(*arguments))
    else:
        raise ValueError(
            f"network={network!r} is unknown; choose auto, mlp, cnn, or pass a flax module or "
            f"its module:Name"
        )


def _users_torso(network: Any) -> Torso:
    """The torso of a user's module of flax.linen, or maker of one of flax.nnx."""
    name = name_of(network)
    if isinstance(network, nn.Module):
        return of_linen(network)
    elif is_nnx_module(network):
        raise TypeError(
            f"network={name} is a module of flax.nnx; pass its class, or a function of rngs that "
            f"makes it (a module of nnx changes, and a config must not)"
        )
    elif is_nnx_maker(network):
        if missing := missing_arguments(network):
            raise TypeError(
                f"network={name} needs arguments ({', '.join(missing)}); pass a function of rngs "
                f"that gives them"
            )
        return of_nnx(network)
    elif isinstance(network, type):
        raise TypeError(f"network={name} is a class; pass an instance of it")
    elif callable(network):
        raise TypeError(
            f"network={name} is a function without an argument rngs; pass a module of flax.linen, "
            f"a class of flax.nnx, or a function of rngs that makes one"
        )
    else:
        raise ValueError(
            f"network={short(network)} is unknown; choose auto, mlp, cnn, or pass a flax module "
            f"or its module:Name"
        )


def _fits_cnn(obs_shape: tuple[int, ...]) -> bool:
    return len(obs_shape) == 3 and min(obs_shape[:2]) >= 3


def _channels_first(obs_shape: tuple[int, ...]) -> bool:
    """Whether a shape looks like (C, H, W): one to four channels, then sides of at least 8."""
    return len(obs_shape) == 3 and obs_shape[0] <= 4 and min(obs_shape[1:]) >= 8


def _refuse_or_warn(network: str, obs_shape: tuple[int, ...]) -> None:
    height, width, channels = obs_shape
    as_they_are = f"{height}x{width} pictures of {channels} channels"
    if network == "cnn":
        warnings.warn(
            f"network='cnn' takes observations {obs_shape} for {as_they_are}; if they have their "
            f"channels first, transpose them in the environment to (H, W, C)",
            stacklevel=2,
        )
        return
    raise ValueError(
        f"network='auto' takes pictures (H, W, C), and observations {obs_shape} look like "
        f"(C, H, W); transpose them in the environment, or choose network='cnn' (then they are "
        f"{as_they_are}) or network='mlp'"
    )


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
