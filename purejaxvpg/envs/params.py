"""Parameters of an environment by name: mappings, dataclasses and NamedTuples, nested at will.

The name of a parameter inside another is dotted: `inner.g`.  A range is one value.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from purejaxvpg.ranges import Range


def param_names(params: Any) -> tuple[str, ...]:
    """Names of an environment's parameters, in order; dotted for those inside another."""
    return tuple(flat_params(params))


def flat_params(params: Any) -> dict[str, Any]:
    """Parameters by name; dotted for those inside another."""
    return dict(_leaves(params))


def get_param(params: Any, name: str) -> Any:
    """An environment's parameter of that name, or None."""
    parts = children(params)
    if parts is None:
        return getattr(params, name, None)
    if name in parts:
        return parts[name]
    for key, child in parts.items():
        if name.startswith(f"{key}."):
            return get_param(child, name.removeprefix(f"{key}."))
    return None


def replace_params(params: Any, values: Mapping[str, Any]) -> Any:
    """The parameters with those named in `values` replaced; of the same types as before."""
    parts = children(params) or {}
    changed = {}
    for key, child in parts.items():
        inner = {
            name.removeprefix(f"{key}."): value
            for name, value in values.items()
            if name.startswith(f"{key}.") and name not in parts
        }
        if key in values:
            changed[key] = values[key]
        elif inner:
            changed[key] = replace_params(child, inner)
    if isinstance(params, Mapping):
        merged = {**params, **changed}
        return merged if type(params) is dict else type(params)(merged)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(params):
        return dataclasses.replace(params, **changed)  # type: ignore[type-var]
    return params._replace(**changed)


def _leaves(params: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in (children(params) or {}).items():
        if children(child) is None:
            yield f"{prefix}{key}", child
        else:
            yield from _leaves(child, f"{prefix}{key}.")


def children(params: Any) -> dict[str, Any] | None:
    """Parameters one level down, by name; None for a value."""
    if isinstance(params, Range):
        return None
    if isinstance(params, Mapping):
        return {str(key): child for key, child in params.items()}
    if dataclasses.is_dataclass(params) and not isinstance(params, type):
        return {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    if isinstance(params, tuple) and hasattr(params, "_fields"):
        return params._asdict()  # type: ignore[attr-defined]
    return None
