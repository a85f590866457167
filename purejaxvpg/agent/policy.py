"""From an action space to a distribution over its actions.

    Discrete        categorical                              (categorical.py)
    MultiDiscrete   a categorical for each integer
    Box of floats   Gaussian, clipped or squashed by tanh    (gaussian.py)
    Dict, Tuple     the product of the distributions of its parts

Of a product, log pi, the entropy and the KL divergence are sums over its parts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.agent.categorical import categorical, multi_categorical
from purejaxvpg.agent.distribution import Policy, over_leading_axes
from purejaxvpg.agent.gaussian import box_bounds, gaussian
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.spaces import children, kind_of

__all__ = ["Policy", "categorical", "describe_actions", "make_policy", "policy_for"]


def make_policy(config: VPGConfig, space: Any, default_space: Any = None) -> Policy:
    """The policy for an action space.

    Args:
      space: Discrete, MultiDiscrete, Box of floats, or a Dict or Tuple of these; the bounds of a
        Box may be traced, for they may depend on swept environment parameters.
      default_space: the same space with concrete bounds, by which it is decided which
        dimensions are bounded; `space` itself if None.

    Raises: ValueError for any other space, and for bounding="tanh" without finite bounds.
    """
    return over_leading_axes(
        _policy(config, space, space if default_space is None else default_space)
    )


def _policy(config: VPGConfig, space: Any, default_space: Any) -> Policy:
    kind = kind_of(space)
    if kind == "discrete" and not int(getattr(space, "start", 0)):
        return _in_dtype(categorical(int(space.n)), space.dtype)
    elif kind == "multi":
        return _in_dtype(multi_categorical(np.asarray(space.nvec)), space.dtype)
    elif kind == "box" and jnp.issubdtype(space.dtype, jnp.floating):
        low, high, bounded = box_bounds(space, default_space)
        if config.bounding == "tanh" and not bounded.all():
            raise ValueError(
                f"bounding='tanh' needs finite bounds in every dimension of the action space "
                f"{space}; use bounding='clip'"
            )
        return _in_dtype(gaussian(config, space.shape, low, high, bounded), space.dtype)
    elif kind in ("dict", "tuple") and children(space):
        defaults = children(default_space)
        parts = {k: _policy(config, x, defaults[k]) for k, x in children(space).items()}
        return product(parts if kind == "dict" else tuple(parts.values()))
    else:
        raise ValueError(
            f"action space {space} is not supported; supported are Discrete (from 0), "
            f"MultiDiscrete, Box of floats, and Dict and Tuple of these"
        )


def _in_dtype(policy: Policy, dtype: Any) -> Policy:
    """The policy, whose actions reach the environment in the dtype that its space says."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)  # float64 is float32 unless x64 is on
    cast = policy._replace(to_env=lambda raw: policy.to_env(raw).astype(dtype))
    return policy if dtype == jnp.float32 else cast  # float32: as the networks compute


def product(policies: Mapping[str, Policy] | tuple[Policy, ...]) -> Policy:
    """Independent distributions side by side: pi(a|s) = prod_i pi_i(a_i|s).

    Outputs lie side by side, in order.  Raw actions are a tuple; the environment is given a dict or
    a tuple, as `policies` is.
    """
    parts = list(policies.values()) if isinstance(policies, Mapping) else list(policies)
    sizes = [part.num_outputs for part in parts]
    starts = [sum(sizes[:i]) for i in range(len(parts))]

    def split(outputs: Array) -> list[Array]:
        return jnp.split(outputs, starts[1:], axis=-1)

    def total(name: str) -> Callable[[Array, Any], Array]:
        def added(outputs: Array, others: Any) -> Array:
            others = split(others) if name == "kl" else others
            each = zip(parts, split(outputs), others, strict=True)
            return sum(getattr(part, name)(x, y) for part, x, y in each)  # type: ignore[return-value]

        return added

    def noise(key: Array, rows: tuple) -> tuple:
        keys = jax.random.split(key, len(parts))
        return tuple(part.noise(key, rows) for part, key in zip(parts, keys, strict=True))

    def masked(outputs: Array, mask: Any) -> Array:
        masks = [mask[key] for key in policies] if isinstance(policies, Mapping) else mask
        each = zip(parts, split(outputs), masks, strict=True)
        after = [x if m is None or p.masked is None else p.masked(x, m) for p, x, m in each]
        return jnp.concatenate(after, axis=-1)

    def to_env(raw: tuple) -> Any:
        actions = tuple(part.to_env(x) for part, x in zip(parts, raw, strict=True))
        return (
            dict(zip(policies, actions, strict=True)) if isinstance(policies, Mapping) else actions
        )

    def parameters(outputs: Array) -> dict[str, Array]:
        names = list(policies) if isinstance(policies, Mapping) else range(len(parts))
        named = zip(names, parts, split(outputs), strict=True)
        each = [_of_part(str(name), part.parameters(x)) for name, part, x in named]
        return {name: x for named in each for name, x in named.items()}

    return Policy(
        num_outputs=sum(sizes),
        noise=noise,
        sample=lambda outputs, noise: tuple(
            p.sample(x, y) for p, x, y in zip(parts, split(outputs), noise, strict=True)
        ),
        mode=lambda outputs: tuple(p.mode(x) for p, x in zip(parts, split(outputs), strict=True)),
        log_prob=total("log_prob"),
        entropy=total("entropy"),
        kl=total("kl"),
        to_env=to_env,
        masked=masked,
        parameters=parameters,
        free_outputs=tuple(
            start + i for part, start in zip(parts, starts, strict=True) for i in part.free_outputs
        ),
    )


def _of_part(part: str, parameters: dict[str, Array]) -> dict[str, Array]:
    """Parameters with the part's name behind the first word: `logits.0` -> `logits.pair.0`."""
    split = {name: name.partition(".") for name in parameters}
    return {f"{a}.{part}{dot}{b}": parameters[name] for name, (a, dot, b) in split.items()}


# --------------------------------------------------------------------------------------- JSON


def describe_actions(space: Any) -> dict[str, Any]:
    """An action space as JSON has it."""
    kind = kind_of(space)
    if kind == "discrete":
        return {"kind": "discrete", "number": int(space.n)}
    if kind == "multi":
        return {"kind": "multi", "numbers": np.asarray(space.nvec).tolist()}
    if kind in ("dict", "tuple"):
        parts = [[str(key), describe_actions(x)] for key, x in children(space).items()]
        return {"kind": kind, "parts": parts}  # in a list, for their order counts
    low, high, bounded = (np.asarray(x).tolist() for x in box_bounds(space, space))
    return {"kind": "box", "shape": list(space.shape), "low": low, "high": high, "bounded": bounded}


def policy_for(config: VPGConfig, actions: dict[str, Any]) -> Policy:
    """The policy for the action space that `describe_actions` wrote."""
    return over_leading_axes(_policy_for(config, actions))


def _policy_for(config: VPGConfig, actions: dict[str, Any]) -> Policy:
    if actions["kind"] == "discrete":
        return categorical(actions["number"])
    elif actions["kind"] == "multi":
        return multi_categorical(np.asarray(actions["numbers"]))
    elif actions["kind"] in ("dict", "tuple"):
        parts = {key: _policy_for(config, x) for key, x in actions["parts"]}
        return product(parts if actions["kind"] == "dict" else tuple(parts.values()))
    elif actions["kind"] == "box":
        low, high = (jnp.asarray(actions[name], jnp.float32) for name in ("low", "high"))
        return gaussian(config, tuple(actions["shape"]), low, high, np.asarray(actions["bounded"]))
    else:
        raise ValueError(f"actions of kind {actions['kind']!r} are unknown")
