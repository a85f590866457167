"""Types of a config's fields, checked when a config is made."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import numpy as np

from purejaxvpg import by_name


def check_type(field: dataclasses.Field, value: Any, names: Mapping[str, Any]) -> Any:
    """The value in its field's type (numpy integers and whole floats become int).

    Args: names: of the fields that take a name or a function, the names that are known.
    Raises: TypeError or ValueError.
    """
    kind = field.type
    wrong = TypeError(f"{field.name}={value!r} has the wrong type; accepted: {_describe(kind)}")
    if field.name == "env_kwargs":
        return _sorted_pairs(value)
    if field.name in names:
        return _name_or_function(field.name, value, names[field.name])
    if kind is Any:
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise _unknown(field.name, value, get_args(kind))
        return value
    if kind is bool:
        if not isinstance(value, bool | np.bool_):
            raise wrong
        return bool(value)
    if kind is str:
        if not isinstance(value, str):
            raise wrong
        return value
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise wrong
        return float(value)
    if kind == int | None and value is None:
        return None
    if kind in (int, int | None):
        return _whole(value, wrong)
    if kind == tuple[str, ...] | None:
        texts = isinstance(value, tuple | list) and all(isinstance(x, str) for x in value)
        if value is not None and not (texts and value):
            raise wrong
        return None if value is None else tuple(value)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise wrong
        return tuple(_whole(item, wrong) for item in value)
    raise AssertionError(f"field {field.name} has a type that is not checked: {kind}")


def _unknown(name: str, value: Any, choices: Any, more: str = "") -> ValueError:
    return ValueError(f"{name}={value!r} is unknown; choose one of: {', '.join(choices)}{more}")


def _name_or_function(name: str, value: Any, choices: Any) -> Any:
    if callable(value):
        return value
    if by_name.is_path(value) or (isinstance(value, str) and value in choices):
        return value
    raise _unknown(name, value, choices, ", or pass a function or its module:name")


def _sorted_pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    """Sorted pairs of a mapping, or of the pairs that were made of one."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, tuple) or not all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise TypeError(
            f"env_kwargs={value!r} has the wrong type; accepted: a mapping from argument names to "
            f"values"
        )
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _whole(value: Any, wrong: TypeError) -> int:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or isinstance(value, bool) or not math.isfinite(value):
        raise wrong
    if not float(value).is_integer():
        raise wrong
    return int(value)


def _describe(kind: Any) -> str:
    if kind == int | None:
        return "a whole number or None"
    if kind == tuple[str, ...] | None:
        return "a tuple of names or None"
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}
    return names.get(kind, "a tuple of whole numbers")
