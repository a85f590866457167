"""From an action space to a distribution over its actions.

A `Policy` is a few pure functions of `outputs`, the `[B, O]` numbers that the policy network
emits.  Continuous actions are kept in two forms.  The *raw* action is what was drawn, and what
log-probabilities are taken of; `to_env` turns it into what the environment is given:

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
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.spaces import ENDLESS


class Policy(NamedTuple):
    """Pure functions of `outputs` `[B, O]` and raw actions `[B]` (discrete) or `[B, n]`."""

    num_outputs: int  # O
    free_std: bool  # the second half of the outputs does not depend on the state
    noise: Callable[[Array, tuple], Array]  # (key, shape such as (B,)) -> all chance in actions
    sample: Callable[[Array, Array], Array]  # (outputs, noise) -> raw, a draw from pi
    mode: Callable[[Array], Array]  # outputs -> raw, the greedy action
    log_prob: Callable[[Array, Array], Array]  # (outputs, raw) -> [B]
    entropy: Callable[[Array, Array], Array]  # (outputs, raw) -> [B]
    kl: Callable[[Array, Array], Array]  # (old outputs, new outputs) -> [B], KL(old || new)
    to_env: Callable[[Array], Array]  # raw -> what the environment's step is given


def make_policy(config: VPGConfig, space: Any, default_space: Any = None) -> Policy:
    """The policy for an action space.

    Args:
      space: gymnax Discrete or Box; the bounds of a Box may be traced, for they may depend on
        swept environment parameters.
      default_space: the same space with concrete bounds, by which it is decided which
        dimensions are bounded; `space` itself if None.

    Raises: ValueError for any other space, and for bounding="tanh" without finite bounds.
    """
    from gymnax.environments import spaces  # here, for importing gymnax takes a while

    if isinstance(space, spaces.Discrete):
        return _in_dtype(categorical(space.n), space.dtype)
    if isinstance(space, spaces.Box) and jnp.issubdtype(space.dtype, jnp.floating):
        low, high, bounded = box_bounds(space, default_space or space)
        if config.bounding == "tanh" and not bounded.all():
            raise ValueError(
                f"bounding='tanh' needs finite bounds in every dimension of the action space "
                f"{space}; use bounding='clip'"
            )
        return _in_dtype(gaussian(config, space.shape, low, high, bounded), space.dtype)
    raise ValueError(
        f"action space {space} is not supported; supported are Discrete and Box of floats"
    )


def _in_dtype(policy: Policy, dtype: Any) -> Policy:
    """The policy, whose actions reach the environment in the dtype that its space says."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)  # float64 is float32 unless x64 is on
    cast = policy._replace(to_env=lambda raw: policy.to_env(raw).astype(dtype))
    return policy if dtype == jnp.float32 else cast  # float32: as the networks compute


def categorical(num_actions: int) -> Policy:
    """pi(a|s) = softmax(outputs)_a; an output of -inf is a probability of 0.

    Computed over `[A, B]`, actions first: a row of A = 2 numbers is too short for the vector
    units of a CPU, B of them are not (1.2x for the whole step of the policy).
    """

    def log_probs(outputs: Array) -> Array:  # [B, A] -> [A, B]
        return jax.nn.log_softmax(outputs.T, axis=0)

    def sample(outputs: Array, noise: Array) -> Array:
        # The first action at which the sum of probabilities passes the noise, uniform in [0, 1).
        # (The usual maximum of logits + Gumbel noise takes A random numbers and 2 A logarithms.)
        # Unnormalised: the noise is stretched to their sum instead.
        odds = jnp.exp(outputs.T - outputs.max(-1)[None])  # [A, B]
        sums = jnp.cumsum(odds, axis=0)  # [A, B]
        return (sums[:-1] <= noise[None] * sums[-1:]).sum(0, dtype=jnp.int32)

    def log_prob(outputs: Array, raw: Array) -> Array:
        taken = jnp.arange(num_actions)[:, None] == raw[None]  # [A, B]
        return jnp.where(taken, log_probs(outputs), 0).sum(0)

    def expected(log_p: Array, x: Array) -> Array:
        """sum_a p(a) x(a).  Of an action that is never taken x counts nothing: 0 * inf is NaN."""
        p = jnp.exp(log_p)
        return (p * jnp.where(p > 0, x, 0)).sum(0)

    def entropy(outputs: Array, raw: Array) -> Array:
        log_p = log_probs(outputs)
        return -expected(log_p, log_p)

    def kl(old: Array, new: Array) -> Array:
        log_p, log_q = log_probs(old), log_probs(new)
        return expected(log_p, log_p - log_q)

    return Policy(
        num_outputs=num_actions,
        free_std=False,
        noise=lambda key, rows: jax.random.uniform(key, rows, jnp.float32),
        sample=sample,
        mode=lambda outputs: lax.argmax(outputs.T, 0, jnp.int32),
        log_prob=log_prob,
        entropy=entropy,
        kl=kl,
        to_env=lambda raw: raw,
    )


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
        free_std=config.std == "free",
        noise=_normal_noise(math.prod(shape)),
        sample=lambda outputs, noise: _draw(*mean_and_std(outputs), noise),
        mode=lambda outputs: distribution(outputs).mode(),
        log_prob=lambda outputs, raw: distribution(outputs).log_prob(raw),
        # The cast: with x64 on, distrax's constants turn the entropy into float64.
        entropy=lambda outputs, raw: distribution(outputs).entropy().astype(outputs.dtype),
        kl=lambda old, new: distribution(old).kl_divergence(distribution(new)),
        to_env=to_env,
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
        free_std=config.std == "free",
        noise=_normal_noise(math.prod(shape)),
        sample=lambda outputs, noise: _draw(*_mean_and_std(config, outputs), noise),
        mode=lambda outputs: base(outputs).mode(),  # the median of a, not the mode of its density
        log_prob=log_prob,
        entropy=entropy,
        kl=lambda old, new: base(old).kl_divergence(base(new)),  # a bijection leaves it unchanged
        to_env=to_env,
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


def _normal_noise(size: int) -> Callable[[Array, tuple], Array]:
    return lambda key, rows: jax.random.normal(key, (*rows, size), jnp.float32)


def _draw(mean: Array, std: Array, noise: Array) -> Array:
    return mean + std * noise


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


def describe_actions(space: Any) -> dict[str, Any]:
    """An action space as JSON has it."""
    if hasattr(space, "n"):
        return {"kind": "discrete", "number": int(space.n)}
    low, high, bounded = (np.asarray(x).tolist() for x in box_bounds(space, space))
    return {"kind": "box", "shape": list(space.shape), "low": low, "high": high, "bounded": bounded}


def policy_for(config: VPGConfig, actions: dict[str, Any]) -> Policy:
    """The policy for the action space that `describe_actions` wrote."""
    if actions["kind"] == "discrete":
        return categorical(actions["number"])
    low, high = (jnp.asarray(actions[name], jnp.float32) for name in ("low", "high"))
    return gaussian(config, tuple(actions["shape"]), low, high, np.asarray(actions["bounded"]))
