"""Spaces: trees of Discrete, Box and MultiDiscrete, read by their attributes.

A space is known by what it has, whatever library made it:

    Discrete        n                            an integer below n
    MultiDiscrete   nvec, an array of integers   an array of integers, each below its own number
    Box             low, high, shape, dtype      an array
    Dict, Tuple     spaces                       several of them, in a dict or a tuple
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

ENDLESS = 1e30  # a bound beyond it is none: gymnax writes float32's largest number for infinity


class MultiDiscrete:
    """Several integers, each below a number of its own.  gymnax has no such space.

    Args: nvec: an array of integers >= 1 of any shape.  dtype: of the integers.
    """

    def __init__(self, nvec: Any, dtype: Any = jnp.int32):
        self.nvec = np.asarray(nvec, np.int64)
        if not self.nvec.size or self.nvec.min() < 1:
            raise ValueError(f"nvec={nvec!r} is not accepted; accepted: integers >= 1")
        self.shape, self.dtype = self.nvec.shape, dtype

    def __repr__(self) -> str:
        numbers = self.nvec.tolist() if self.nvec.size <= 8 else f"{self.shape} of numbers"
        return f"MultiDiscrete({numbers})"

    def sample(self, key: Array) -> Array:
        """Uniform integers, of the shape of `nvec`."""
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.nvec), self.dtype)

    def contains(self, x: Any) -> Any:
        """Whether all integers are within their bounds."""
        return jnp.all((x >= 0) & (x < jnp.asarray(self.nvec)))


def as_gymnax(space: Any) -> Any:
    """gymnax's Discrete or Box for one of another library, whose integers may have 64 bits."""
    from gymnax.environments import spaces  # here, for importing gymnax takes a while

    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    return spaces.Box(space.low, space.high, space.shape, jnp.dtype(space.dtype))


def kind_of(space: Any) -> str | None:
    """dict, tuple, multi, discrete, box; None for another space."""
    if hasattr(space, "spaces"):
        return "dict" if isinstance(space.spaces, Mapping) else "tuple"
    if hasattr(space, "nvec"):
        return "multi"
    if hasattr(space, "n"):
        return "discrete" if getattr(space, "shape", ()) in ((), None) else None
    box = all(hasattr(space, name) for name in ("low", "high", "shape", "dtype"))
    return "box" if box else None


def children(space: Any) -> dict[Any, Any]:
    """Spaces inside a Dict or a Tuple, by key or index."""
    return dict(space.spaces if isinstance(space.spaces, Mapping) else enumerate(space.spaces))


def map_space(function: Callable[..., Any], space: Any, *trees: Any) -> Any:
    """A tree of `function(space, part of each tree)` over the leaves of a space.

    Dicts give dicts and tuples tuples.
    """
    kind = kind_of(space)
    if kind not in ("dict", "tuple"):
        return function(space, *trees)
    parts = {
        key: map_space(function, child, *[tree[key] for tree in trees])
        for key, child in children(space).items()
    }
    return parts if kind == "dict" else tuple(parts.values())


def is_known(space: Any) -> bool:
    """Whether a policy can act in a space: a Discrete, MultiDiscrete or Box, or some of them."""
    kind = kind_of(space)
    if kind in ("dict", "tuple"):
        return all(map(is_known, children(space).values()))
    return kind is not None and not why_empty(space)


def why_empty(space: Any) -> str | None:
    """Why a space has nothing in it; None if it has something.  Traced bounds pass."""
    kind = kind_of(space)
    if kind in ("dict", "tuple"):
        return next(filter(None, map(why_empty, children(space).values())), None)
    if kind == "discrete":
        return "n is below 1" if np.min(space.n) < 1 else None
    if 0 in (shape := getattr(space, "shape", ())):
        return f"shape is {tuple(shape)}"
    low, high = (getattr(space, name, 0.0) for name in ("low", "high"))
    traced = isinstance(low, Tracer) or isinstance(high, Tracer)
    return "low is above high" if not traced and np.any(np.greater(low, high)) else None


def zero_action(space: Any) -> Any:
    """Some action of a space, to trace a step with."""

    def zeros(leaf: Any) -> Array:
        return jnp.zeros(getattr(leaf, "shape", None) or (), getattr(leaf, "dtype", jnp.float32))

    return map_space(zeros, space)


def cast_action(space: Any, action: Any) -> Any:
    """The action in the types that the space says."""
    return map_space(lambda leaf, x: jnp.asarray(x, getattr(leaf, "dtype", None)), space, action)


def random_actions(space: Any, rng: np.random.Generator, number: int, mask: Any = None) -> Any:
    """Actions `[number, ...]`, uniform over a space; where a Box is endless, near 0.

    Args: mask: of the possible actions, `[number, ...]`.
    """

    def one(leaf: Any, mask: Any) -> np.ndarray:
        if kind_of(leaf) in ("discrete", "multi"):
            nvec = np.asarray(leaf.nvec if hasattr(leaf, "nvec") else leaf.n)
            allowed = np.arange(nvec.max()) < nvec[..., None]  # [..., n]
            allowed = np.broadcast_to(allowed, (number, *allowed.shape))
            if mask is not None:
                allowed = allowed & np.asarray(mask)
            return (rng.random(allowed.shape) * allowed).argmax(-1).astype(leaf.dtype)
        low, high = (
            np.broadcast_to(np.asarray(x, float), leaf.shape) for x in (leaf.low, leaf.high)
        )
        low = np.where(np.abs(low) < ENDLESS, low, np.minimum(-1, high))
        high = np.where(np.abs(high) < ENDLESS, high, np.maximum(1, low))
        return rng.uniform(low, high, (number, *leaf.shape)).astype(leaf.dtype)

    return map_space(one, space, mask_tree(space, mask))


# -------------------------------------------------------------------------------------- MASKS


def mask_tree(space: Any, mask: Any) -> Any:
    """A mask in the structure of the space, None for leaves without one."""
    if kind_of(space) not in ("dict", "tuple"):
        return mask
    if mask is None:
        return map_space(lambda _: None, space)
    get = mask.get if isinstance(mask, Mapping) else lambda key: mask[key]
    parts = {key: mask_tree(child, get(key)) for key, child in children(space).items()}
    return parts if kind_of(space) == "dict" else tuple(parts.values())


def check_mask(space: Any, mask: Any) -> str | None:
    """How a mask does not fit an action space, or None.

    Of a Discrete it is `[n]`; of a MultiDiscrete `[*nvec.shape, max(nvec)]`, whose entries beyond
    an integer's own number count as impossible; of a Dict or Tuple a dict or tuple, None for parts
    that are always possible.  A Box has none.
    """
    faults: list[str] = []

    def one(leaf: Any, mask: Any) -> None:
        kind = kind_of(leaf)
        if mask is None:
            return
        if kind not in ("discrete", "multi"):
            faults.append(f"a mask for {leaf}; accepted: None, for only integers are masked")
            return
        expected = (leaf.n,) if kind == "discrete" else (*leaf.shape, int(leaf.nvec.max()))
        if mask.shape != expected or mask.dtype != bool:
            faults.append(
                f"a mask of {mask.dtype}{list(mask.shape)} for {leaf}; accepted: "
                f"bool{list(expected)}"
            )

    try:
        map_space(one, space, mask_tree(space, mask))
    except (KeyError, IndexError, TypeError, AttributeError):
        return f"a mask of another structure than the action space {space}"
    return faults[0] if faults else None


# ------------------------------------------------------------------------------- OBSERVATIONS


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Leaves by dotted name (`agent.position`, `board.0`); of a single leaf "" is the name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def spaces_by_name(space: Any) -> dict[str, Any]:
    """Leaves of a space by dotted name, as `leaves_by_name`."""
    if kind_of(space) not in ("dict", "tuple"):
        return {"": space}
    named = {}
    for key, child in children(space).items():
        for name, leaf in spaces_by_name(child).items():
            named[f"{key}.{name}" if name else str(key)] = leaf
    return named


def outside(space: Any, shape: tuple[int, ...], low: np.ndarray, high: np.ndarray) -> str | None:
    """How observations between `low` and `high` (of each element) leave a space, if they do.

    Args: shape: of the observations.
    """
    if kind_of(space) in ("discrete", "multi") and shape == getattr(space, "shape", ()):
        number = np.asarray(space.nvec if hasattr(space, "nvec") else space.n)
        if (low < 0).any() or (high >= number).any():
            most = int(number.max()) - 1
            return f"an observation is none of 0 to {most}, the values of its space"
        return None
    if not hasattr(space, "low") or not hasattr(space, "high"):
        return None
    declared = tuple(getattr(space, "shape", shape))
    if declared != shape:
        return f"observations have shape {shape}, and observation_space declares {declared}"
    for bound, reached, sign in ((space.low, low, -1), (space.high, high, 1)):
        limit = np.broadcast_to(np.asarray(bound, float), shape)
        slack = 1e-5 * np.maximum(1, np.abs(np.where(np.isfinite(limit), limit, 0)))  # rounding
        beyond = sign * (reached - limit) > slack
        if beyond.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(beyond))
            at = f" at {list(place)}" if place else ""
            return (
                f"an observation of {reached[place]:g}{at} leaves its space, which is bounded by "
                f"{limit[place]:g} there"
            )
    return None
