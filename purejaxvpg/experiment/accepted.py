"""Arguments that a saved policy takes: observations (observed.py), masks and memory.

Each is given for one observation or, with a leading axis `[B]` in every array, for B of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purejaxvpg.agent.encoding import Encoder


class Accepted(NamedTuple):
    """Arguments that a policy takes."""

    encoder: Encoder  # of the parts that the policy sees
    names: tuple[str, ...]  # of all parts that the environment observes
    mask: Any = None  # shapes, as a card has them (cards.py); None: no mask
    zero: Callable[[Any], Any] = lambda rows: ()  # B -> memory where an episode begins

    @property
    def memory(self) -> Any:
        """Shapes and types of the memory of one; () without."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.zero(1))


class Rows(NamedTuple):
    """Arrays `[B, ...]`, and how many were given by the name of each."""

    arrays: Any
    batches: dict[str, Any]  # B, or None where one was given, without the axis


def fits(x: Any, shape: tuple[int, ...]) -> bool:
    """Whether an array is one of a shape, or B of them."""
    return x.shape == shape or (x.ndim == len(shape) + 1 and x.shape[1:] == shape)


def as_rows(x: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """An array that fits as `[B, ...]`, and B; None for one."""
    return (x[None], None) if x.shape == shape else (x, x.shape[0])


def common_batch(batches: Mapping[str, Any]) -> Any:
    """B; None if one of each was given.  Raises: ValueError if they differ, naming two."""
    (first, number), *others = batches.items()
    for name, other in others:
        if (other is None) != (number is None) or other != number:
            counts = [f"{k} is {_many(n)}" for k, n in ((first, number), (name, other))]
            raise ValueError(
                f"{counts[0]} and {counts[1]}; accepted: one of each, or [B, ...] with the same B"
            )
    return number


def _many(number: Any) -> str:
    return "one" if number is None else f"a batch of {number}"


# -------------------------------------------------------------------------- MASKS AND MEMORY


def mask_rows(accepted: Accepted, mask: Any) -> Rows:
    """Masks of possible actions, bool `[B, ...]`, in the structure of the actions.

    Raises: ValueError or TypeError, in one line, for one that is missing, is not needed, or does
    not fit.
    """
    if accepted.mask is None and mask is not None:
        raise ValueError("mask is given, and this policy takes none; accepted: None")
    if accepted.mask is not None and mask is None:
        raise ValueError(
            f"mask is missing; accepted: {_mask_words(accepted.mask)}, True for actions that are "
            f"possible"
        )
    batches: dict[str, Any] = {}

    def one(label: str, spec: Any, given: Any) -> Any:
        if spec is None:
            if given is not None:
                raise ValueError(f"{label} is given, and these actions have none; accepted: None")
            return None
        if isinstance(spec, dict):
            parts = {key: one(f"{label}[{key!r}]", x, _item(label, spec, given, key))
                     for key, x in spec["parts"]}  # fmt: skip
            return parts if spec["kind"] == "dict" else tuple(parts.values())
        array = given if isinstance(given, Tracer) else np.asarray(given)
        if array.dtype.kind not in "biu" or not fits(array, tuple(spec)):
            was = f"{array.dtype}{list(array.shape)}" if given is not None else "missing"
            raise ValueError(f"{label} is {was}; accepted: {_mask_words(spec)}")
        rows, batches[label] = as_rows(array.astype(bool), tuple(spec))
        return rows

    return Rows(one("mask", accepted.mask, mask), batches)


def _item(label: str, spec: dict[str, Any], given: Any, key: str) -> Any:
    keys = [key for key, _ in spec["parts"]]
    if spec["kind"] == "dict" and isinstance(given, Mapping) and set(given) <= set(keys):
        return given.get(key)
    if spec["kind"] == "tuple" and isinstance(given, tuple | list) and len(given) == len(keys):
        return given[int(key)]
    structure = f"a dict of {keys}" if spec["kind"] == "dict" else f"a tuple of {len(keys)}"
    raise TypeError(f"{label} is a {type(given).__name__} of other parts; accepted: {structure}")


def _mask_words(spec: Any) -> str:
    if isinstance(spec, dict):
        return "{" + ", ".join(f"{key}: {_mask_words(x)}" for key, x in spec["parts"]) + "}"
    return "None" if spec is None else f"bool{spec} or [B, ...] of them"


def memory_rows(like: Any, memory: Any) -> Rows:
    """Memory `[B, ...]` that `act` gave before.

    Args: like: `Accepted.memory`.
    Raises: ValueError or TypeError, in one line.
    """
    if jax.tree.structure(memory) != jax.tree.structure(like):
        given = type(memory).__name__
        raise TypeError(f"memory is a {given}; accepted: what act gave, or None: an episode begins")
    arrays, batches = [], {}
    for (path, x), expected in zip(
        jax.tree.leaves_with_path(memory), jax.tree.leaves(like), strict=True
    ):
        label, shape = f"memory{jax.tree_util.keystr(path)}", expected.shape
        dtype = getattr(x, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
            raise TypeError("memory is a key; accepted: act(obs, memory, key)")
        array = x if isinstance(x, Tracer) else np.asarray(x)
        if not fits(array, shape):
            raise ValueError(
                f"{label} has shape {array.shape}; accepted: {shape}, or [B, ...] of them"
            )
        rows, batches[label] = as_rows(array.astype(expected.dtype), shape)
        arrays.append(rows)
    return Rows(jax.tree.unflatten(jax.tree.structure(like), arrays), batches)
