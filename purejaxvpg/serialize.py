"""Configs, hyperparameters and parameters of environments as JSON has them, and back.

JSON (RFC 8259) has no infinity and no NaN, which Python writes all the same.  Here they are objects
of one entry, `{"$float": "inf"}`.
"""

import dataclasses
import json
import math
from typing import Any

import jax
import numpy as np

from purejaxvpg import by_name, ranges
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import flat_params
from purejaxvpg.user_code import note_read

# Fields of objects that are imported by module:Name.
OBJECTS = ("env", "network", "memory", "kernel_init", "estimator", "optimizer")
MODULES = ("network", "memory")  # flax modules, which equal those of the same arguments


def config_to_json(config: VPGConfig) -> dict[str, Any]:
    """The fields of a config as JSON has them; objects of a user as `module:Name`.

    Raises: TypeError for an object (an environment, a network, an estimator of your own) that
    cannot be imported by a name.
    """
    fields = {f.name: _numbers(getattr(config, f.name)) for f in dataclasses.fields(config)}
    for name, value in fields.items():
        try:
            json.dumps(value)
        except TypeError:
            fields[name] = _path(name, value)
    return fields | {"env_kwargs": dict(fields["env_kwargs"])}


def _path(field: str, value: Any) -> str:
    """`module:Name` of an object.  Raises: TypeError if importing that would give another."""
    if field in OBJECTS:
        path = by_name.path_of(value)
        path = by_name.path_of_equal(value) if path is None and field in MODULES else path
        if path is not None:
            return path
    text = " ".join(repr(value).split())  # flax shows a module on many lines
    more = ", or purejaxvpg.envs.register" if field == "env" else ""
    raise TypeError(
        f"{field}={text} cannot be written to a folder; give it by name: module:Name of a module "
        f"that can be imported (not of a script or notebook){more}"
    )


def config_from_json(fields: dict[str, Any]) -> VPGConfig:
    """The config that `config_to_json` wrote.

    Raises: as VPGConfig; ValueError for an environment in a file without its whole path.
    """
    note_read(fields.get("env"))
    return VPGConfig(**lists_to_tuples(fields))


def hyperparams_from_json(fields: dict[str, Any]) -> Hyperparams:
    """The hyperparameters that `plain` made JSON of; a parameter object comes as a mapping.

    Raises: as Hyperparams.
    """
    params = fields.get("env_params")
    if isinstance(params, dict):  # JSON has no arrays
        values = {k: with_ranges(v) for k, v in params.items()}
        arrays = {k: np.asarray(v) if isinstance(v, list) else v for k, v in values.items()}
        fields = {**fields, "env_params": arrays}
    return Hyperparams(**fields)


KIND, NUMBERS = "kind", "numbers"  # of a range: {"kind": "uniform", "numbers": [8, 12]}


def with_ranges(value: Any) -> Any:
    """A value that `plain` made JSON of; the range, if it was one.  Raises: as the range."""
    if not isinstance(value, dict) or set(value) != {KIND, NUMBERS}:
        return value
    kind, numbers = value[KIND], value[NUMBERS]
    made = isinstance(kind, str) and isinstance(numbers, list)
    return ranges.of_numbers(kind, numbers) if made else value


def plain(value: Any) -> Any:
    """Numbers, arrays, ranges and parameter objects as JSON has them; nested parameters by dotted
    names."""
    if isinstance(value, ranges.Range):
        return {KIND: ranges.kind_of(value), NUMBERS: plain(ranges.numbers_of(value))}
    if isinstance(value, Hyperparams):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_fields") or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        return plain(flat_params(value))
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    return value


NOT_FINITE = "$float"  # the entry that stands for a number which JSON does not have


def to_strict_json(value: Any, indent: int | None = None) -> str:
    """JSON text that every reader takes.

    Raises: TypeError for a value that JSON does not have.
    """
    return json.dumps(_marked(value), indent=indent, allow_nan=False)


def from_json(text: str) -> Any:
    """The value that `to_strict_json` wrote; also of text that says Infinity or NaN.

    Raises: ValueError if it is no JSON.
    """
    return json.loads(text, object_hook=_unmarked)


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _marked(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: str(float(value))}
    return value


def _unmarked(fields: dict[str, Any]) -> Any:
    return float(fields[NOT_FINITE]) if list(fields) == [NOT_FINITE] else fields


def lists_to_tuples(value: Any) -> Any:
    """The same with tuples for lists: JSON has no tuples, and a config no lists."""
    if isinstance(value, dict):
        return {k: lists_to_tuples(v) for k, v in value.items()}
    return tuple(map(lists_to_tuples, value)) if isinstance(value, list) else value


def _numbers(value: Any) -> Any:
    """Numpy's numbers as Python's; objects as they are."""
    if isinstance(value, tuple):
        return tuple(map(_numbers, value))
    return value.item() if isinstance(value, np.generic) else value
