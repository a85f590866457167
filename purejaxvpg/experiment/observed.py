"""Observations as a saved policy takes them: whatever its environment gives, by part."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from purejaxvpg.agent.encoding import Part
from purejaxvpg.experiment.accepted import Accepted, Rows, as_rows, fits


def obs_rows(accepted: Accepted, obs: Any) -> Rows:
    """Observations as an environment gives them, for the encoder to encode.

    Raises: ValueError or TypeError, in one line that names the part.
    """
    several = [name for name, _ in accepted.encoder.parts] != [""]
    given = named_parts(obs, accepted.names) if several else {"": obs}
    arrays, batches = {}, {}
    for name, part in accepted.encoder.parts:
        label = f"obs[{name!r}]" if name else "obs"
        if name not in given:
            raise ValueError(f"{label} is missing; accepted: {_accepted(part)}")
        arrays[name], batches[label] = _part_rows(label, part, given[name])
    return Rows(arrays if several else arrays[""], batches)


def named_parts(obs: Any, names: tuple[str, ...], inside: str = "") -> dict[str, Any]:
    """Parts of an observation by dotted name: of a dict of just these, or of nested dicts, tuples
    and other pytrees.

    Raises: ValueError for a part of another name; TypeError for what has no parts.
    """
    children = _children(obs)
    if children is None:
        label = f"obs[{inside[:-1]!r}]" if inside else "obs"
        raise TypeError(
            f"{label} is a {type(obs).__name__}, which has no parts; accepted: "
            f"{[name for name in names if name.startswith(inside)]}"
        )
    parts: dict[str, Any] = {}
    for key, x in children:
        name = f"{inside}{key}"
        if name in names:
            parts[name] = x
        elif any(other.startswith(f"{name}.") for other in names):
            parts |= named_parts(x, names, f"{name}.")
        else:
            raise ValueError(f"obs has a part {name!r}{_hint(obs)}; accepted: {list(names)}")
    return parts


def _children(x: Any) -> Iterable[tuple[str, Any]] | None:
    """Parts of a container by name, as `leaves_by_name` names them; None for an array."""
    if isinstance(x, Mapping):
        return [(str(key), child) for key, child in x.items()]
    pairs = jax.tree_util.tree_leaves_with_path(x, is_leaf=lambda y: y is not x)
    if [path for path, _ in pairs] != [()]:
        return [(jax.tree_util.keystr(path, simple=True), child) for path, child in pairs]
    if dataclasses.is_dataclass(x):
        return [(field.name, getattr(x, field.name)) for field in dataclasses.fields(x)]
    return None


def _part_rows(label: str, part: Part, x: Any) -> tuple[Any, Any]:
    """An array as the encoder takes it, `[B, ...]`: raw, or floats that have been encoded."""
    array: Any = x if isinstance(x, Tracer) else _numbers(label, part, x)
    whole = array.dtype.kind in "iu" or (array.dtype == bool and part.dtype == "bool")
    raw = part.categories is None or (whole and fits(array, part.shape))
    shape = part.shape if raw else part.seen_shape
    if not fits(array, shape):
        raise ValueError(f"{label} has shape {array.shape}; accepted: {_accepted(part)}")
    if part.categories is not None:
        array = array.astype(np.int32 if raw else np.float32)
    if not isinstance(array, Tracer) and array.size:
        _check_range(label, part, array)
    return as_rows(array, shape)


def _numbers(label: str, part: Part, x: Any) -> np.ndarray:
    """An array of numbers.  Raises: TypeError, in one line."""
    try:
        array = np.asarray(x)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(
            f"{label} is a {type(x).__name__}, not an array of numbers{_hint(x)}; "
            f"accepted: {_accepted(part)}"
        )
    return array


def _hint(obs: Any) -> str:
    return " (env.reset() returns obs and info)" if isinstance(obs, tuple) else ""


def _check_range(label: str, part: Part, array: np.ndarray) -> None:
    """ValueError for a category that is none, and for a picture of floats beyond 1."""
    if part.categories is not None and array.dtype.kind == "i":
        outside = array[(array < 0) | (array >= part.categories)]
        if outside.size:
            given = int(outside.flat[0])
            raise ValueError(f"{label}={given} is out of range; accepted: {_accepted(part)}")
    floats = array.dtype.kind not in "biu"
    if part.bytes and floats and (most := float(array.max())) > 1:
        raise ValueError(f"{label} has floats up to {most:g}; accepted: {_accepted(part)}")


def _accepted(part: Part) -> str:
    """Arrays of a part, in words."""
    shape, number = part.shape, part.categories
    if number is None:
        picture = "bytes from 0 to 255 or floats from 0 to 1, " if part.bytes else ""
        return f"{picture}{shape}, or [B, ...] of them"
    if shape:
        return (
            f"integers in [0, {number}) {shape}, one-hot floats {part.seen_shape}, or [B, ...] of "
            f"them"
        )
    return (
        f"an integer in [0, {number}), [B] of them, or one-hot floats {part.seen_shape} or "
        f"[B, {number}]"
    )
