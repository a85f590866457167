"""Environments named by where their code is: `module:Name`.

Such a name needs no registration, so files that hold it can be read by another process.  Files
come from other people, and name what is imported and called: so only what is plainly an
environment is.
"""

import typing
from typing import Any

from purejaxvpg import by_name
from purejaxvpg.envs.protocol import Environment

PARTS = ("default_params", "reset", "step", "action_space", "observation_space")


def load(path: str, kwargs: dict[str, Any]) -> Any:
    """The environment at `module:Name`: an `Environment`, or an object in gymnax's style.

    Name is a class in gymnax's style, which is called with the keyword arguments; a function
    annotated `-> Environment`, likewise; or a value that is an environment.

    Raises: ValueError for a module or a name that is not there; TypeError for anything else than
    an environment, and for arguments that it does not take.
    """
    try:
        target = by_name.load("env", path)
    except ImportError as error:
        raise ValueError(str(error)) from error
    if isinstance(target, Environment) or (not isinstance(target, type) and _in_style(target)):
        if kwargs:
            raise TypeError(f"environment {path!r} is an object, and takes no keyword arguments")
        return target
    if not (isinstance(target, type) and _in_style(target)) and not _makes_one(target):
        raise TypeError(
            f"environment {path!r} is no class in gymnax's style, no Environment and no function "
            f"annotated `-> purejaxvpg.envs.Environment`"
        )
    try:
        return target(**kwargs)
    except TypeError as error:
        raise TypeError(f"environment {path!r} cannot be made with {kwargs}: {error}") from error


def _in_style(target: Any) -> bool:
    return all(hasattr(target, part) for part in PARTS)


def _makes_one(target: Any) -> bool:
    try:
        return typing.get_type_hints(target).get("return") is Environment
    except Exception:  # a target of any kind may be named
        return False
