"""Keyword arguments of an adapter's `make`: constructor arguments, and parameters' defaults."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from purejaxvpg.by_name import suggest
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.fields import first_line


def constructor_arguments(function: Any, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the arguments that a class or function takes, but for those in `without`."""
    wild = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    accepted = inspect.signature(function).parameters.values()
    return tuple(x.name for x in accepted if x.kind not in wild and x.name not in without)


def sort_arguments(
    name: str, given: Mapping[str, Any], arguments: tuple[str, ...], params: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Given keywords as two dicts: constructor arguments, and values of parameters.

    Args:
      name: of the environment.
      arguments, params: names that it accepts; one that is both counts as a parameter.

    Raises: ValueError, in one line, for another name (with the close ones), and for a parameter
    that is no number.
    """
    names = list(dict.fromkeys([*params, *arguments]))
    for key, value in given.items():
        if key not in names:
            raise ValueError(f"{name} has no parameter or argument {key!r}; {suggest(key, names)}")
        if key in params and isinstance(value, str):
            raise ValueError(f"{name}'s parameter {key}={value!r} is not a number")
    values = {key: value for key, value in given.items() if key in params}
    return {key: value for key, value in given.items() if key not in params}, values


def check_one_limit(name: str, given: Mapping[str, Any], library_limit: str) -> None:
    """ValueError if the limit is given by our name and by the library's."""
    if LIMIT in given and library_limit in given:
        raise ValueError(f"{name} takes one of {LIMIT} and {library_limit}, which are the same")


def construct(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """`function(**arguments)`.  Raises: ValueError, in one line, if it refuses them."""
    try:
        return function(**arguments)
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        given = f" with {dict(arguments)}" if arguments else ""
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"{name} cannot be made{given}: {reason}") from error
