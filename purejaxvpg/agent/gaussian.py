"""Gaussian distributions over continuous actions.

The *raw* action is what was drawn, and what log-probabilities are taken of; `to_env` turns it into
what the environment is given:

    bounding="clip"   raw is Gaussian in the units of the space, and is clipped for the
                      environment; log pi is the Gaussian's, of the unclipped action
    bounding="tanh"   raw is Gaussian on the real line, squashed into the space by tanh;
                      log pi is exact, by the change of variables.  Keeping raw spares inverting
                      tanh, which in float32 fails near the bounds

Both are affine to the space: network outputs around 0 lie in its middle, and 1 is half its
range.  A dimension that is not bounded on both sides is left in its own units (and still clipped
on the side that is).
"""

import math
from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.agent.distribution import Policy
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.spaces import ENDLESS


def gaussian(
    config: VPGConfig, shape: tuple[int, ...], low: Array, high: Array, bounded: np.ndarray
) -> Policy:
    """The Gaussian of `config.bounding` over actions of a shape.

    Args: low, high: `[n]`.  bounded: `[n]` bool, the dimensions that have both; for bounding="tanh"
    all of them do.
    """
    if config.bounding == "tanh":
        return _tanh_gaussian(config, shape, low, high)
    return _clipped_gaussian(config, shape, low, high, bounded)


def _clipped_gaussian(
    config: VPGConfig, shape: tuple[int, ...], low: Array, high: Array, bounded: np.ndarray
) -> Policy:
    """log pi(a|s) = -1/2 ( n log 2pi + sum_i [ (a_i - mu_i)^2 / sigma_i^2 + 2 log sigma_i ] )."""
    center = jnp.where(bounded, (low + high) / 2, 0.0)[None]  # [1, n]
    # Where low is high, to_env clips to the one action, and any Gaussian will do.
    half_range = jnp.where(bounded & (high > low), (high - low) / 2, 1.0)[None]  # [1, n]

    def mean_and_std(outputs: Array) -> tuple[Array, Array]:
        mean, std = _mean_and_std(config, outputs)
        return center + half_range * mean, half_range * std

    def distribution(outputs: Array) -> Any:
        return distrax.MultivariateNormalDiag(*mean_and_std(outputs))

    def to_env(raw: Array) -> Array:
        return jnp.clip(raw, low[None], high[None]).reshape(raw.shape[:-1] + shape)

    return Policy(
        num_outputs=2 * math.prod(shape),
        free_outputs=_free(config, shape),
        noise=_normal_noise(math.prod(shape)),
        sample=lambda outputs, noise: _draw(*mean_and_std(outputs), noise),
        mode=lambda outputs: distribution(outputs).mode(),
        log_prob=lambda outputs, raw: distribution(outputs).log_prob(raw),
        # The cast: with x64 on, distrax's constants turn the entropy into float64.
        entropy=lambda outputs, raw: distribution(outputs).entropy().astype(outputs.dtype),
        kl=lambda old, new: distribution(old).kl_divergence(distribution(new)),
        to_env=to_env,
        parameters=lambda outputs: _parameters(shape, *mean_and_std(outputs)),
    )


def _tanh_gaussian(config: VPGConfig, shape: tuple[int, ...], low: Array, high: Array) -> Policy:
    """a = center + half_range tanh(u), u ~ N(mu, sigma):  log pi(a|s) = log N(u) - log |da/du|."""
    half_range = jnp.where(high > low, (high - low) / 2, 1.0)  # [n], see _clipped_gaussian
    affine = distrax.ScalarAffine((low + high) / 2, half_range)
    squash: Any = distrax.Block(distrax.Chain([affine, distrax.Tanh()]), 1)

    def base(outputs: Array) -> Any:
        return distrax.MultivariateNormalDiag(*_mean_and_std(config, outputs))

    def log_prob(outputs: Array, raw: Array) -> Array:
        return base(outputs).log_prob(raw) - squash.forward_log_det_jacobian(raw)

    def entropy(outputs: Array, raw: Array) -> Array:
        # H(a) = H(u) + E[log |da/du|].  The expectation has no closed form; the action that was
        # taken is one sample of it, written as mu + sigma * noise so that the gradient of the
        # estimate is unbiased as well (exactly so at the parameters that drew the action).
        mean, std = _mean_and_std(config, outputs)
        noise = jax.lax.stop_gradient((raw - mean) / std)
        gaussian = base(outputs).entropy().astype(outputs.dtype)  # see _clipped_gaussian
        return gaussian + squash.forward_log_det_jacobian(mean + std * noise)

    def to_env(raw: Array) -> Array:
        # Clipped, for center + half_range may round to one float32 beyond the bound.
        return jnp.clip(squash.forward(raw), low[None], high[None]).reshape(raw.shape[:-1] + shape)

    return Policy(
        num_outputs=2 * math.prod(shape),
        free_outputs=_free(config, shape),
        noise=_normal_noise(math.prod(shape)),
        sample=lambda outputs, noise: _draw(*_mean_and_std(config, outputs), noise),
        mode=lambda outputs: base(outputs).mode(),  # the median of a, not the mode of its density
        log_prob=log_prob,
        entropy=entropy,
        kl=lambda old, new: base(old).kl_divergence(base(new)),  # a bijection leaves it unchanged
        to_env=to_env,
        parameters=lambda outputs: _parameters(shape, *_mean_and_std(config, outputs)),
    )


def _mean_and_std(config: VPGConfig, outputs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation, `[B, n]` each, of outputs `[B, 2n]`."""
    mean, spread = jnp.split(outputs, 2, axis=-1)
    if config.std == "free":
        return mean, config.init_std * jnp.exp(spread)
    # softplus(offset) = init_std - min_std, so that a spread of 0 gives init_std.
    start = config.init_std - config.min_std
    offset = start + math.log(-math.expm1(-start))  # log(exp(start) - 1), without overflow
    return mean, config.min_std + jax.nn.softplus(spread + offset)


def _parameters(shape: tuple[int, ...], mean: Array, std: Array) -> dict[str, Array]:
    """Both `[B, *shape]`, of raw actions."""
    both = {"mean": mean, "log_std": jnp.log(std)}
    return {name: x.reshape(x.shape[:-1] + shape) for name, x in both.items()}


def _normal_noise(size: int) -> Callable[[Array, tuple], Array]:
    return lambda key, rows: jax.random.normal(key, (*rows, size), jnp.float32)


def _draw(mean: Array, std: Array, noise: Array) -> Array:
    return mean + std * noise


def _free(config: VPGConfig, shape: tuple[int, ...]) -> tuple[int, ...]:
    """With a free deviation the second half of the outputs does not depend on the state."""
    size = math.prod(shape)
    return tuple(range(size, 2 * size)) if config.std == "free" else ()


def box_bounds(space: Any, default_space: Any) -> tuple[Array, Array, np.ndarray]:
    """Bounds `[n]`, and which dimensions have them (a static fact, of the default space)."""
    size = math.prod(space.shape)

    def flat(bound: Any) -> Array:
        return jnp.broadcast_to(jnp.asarray(bound, jnp.float32), space.shape).reshape(size)

    limits = [
        np.broadcast_to(np.asarray(bound, np.float32), space.shape).reshape(size)
        for bound in (default_space.low, default_space.high)
    ]
    bounded = (np.abs(limits[0]) < ENDLESS) & (np.abs(limits[1]) < ENDLESS)
    return flat(space.low), flat(space.high), bounded
