"""Environments named by where their code is: `module:Name`, or `path/mine.py:Name`.

Such a name needs no registration, so files that hold it can be read by another process.  Files
come from other people, and name what is imported and called: so only what is plainly an
environment is, unless the user named the file (user_code.py).
"""

import typing
from typing import Any

from purejaxvpg import by_name, user_code
from purejaxvpg.envs.names import canonical
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.envs.suites import is_of_envelope
from purejaxvpg.fields import first_line

PARTS = ("default_params", "reset", "step", "action_space", "observation_space")


def load(path: str, kwargs: dict[str, Any]) -> Any:
    """The environment that a path names: an `Environment`, or an object of gymnax's style or
    envelope's.

    Name is a class of either kind, which is called with the keyword arguments; a function
    annotated `-> Environment`, likewise; or a value that is an environment.  In a file it may be a
    name that the file registers as well; and if the user named the file, any class or function
    that makes an environment.

    Raises: ValueError for a module, a file or a name that is not there; TypeError for anything
    else than an environment, and for arguments that it does not take.
    """
    try:
        target, trusted = _target(path)
    except ImportError as error:
        raise ValueError(str(error)) from error
    if _is_one(target):
        if kwargs:
            raise TypeError(f"environment {path!r} is an object, and takes no keyword arguments")
        return target
    if not _is_plain(target) and not (trusted and callable(target)):
        raise TypeError(
            f"environment {path!r} is no class in gymnax's style, no Environment and no function "
            f"annotated `-> purejaxvpg.envs.Environment`{_remedy(path, target)}"
        )
    try:
        made = target(**kwargs)
    except Exception as error:  # of the user's code
        kind = TypeError if isinstance(error, TypeError) else ValueError
        reason = first_line(error)
        if kind is ValueError and not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise kind(f"environment {path!r} cannot be made with {kwargs}: {reason}") from error
    if not isinstance(made, Environment) and (lacking := _lacking(made)):
        raise TypeError(
            f"environment {path!r} gives a {type(made).__name__}, which is no environment in "
            f"gymnax's style: it has no {' and no '.join(lacking)}"
        )
    return made


def _target(path: str) -> tuple[Any, bool]:
    """The object that a path names, and whether it may be called whatever it is."""
    file = user_code.split_file(path)
    if file is None:
        return by_name.load("env", path), False
    place, name = file
    value: Any = user_code.load_file(place)
    registered = user_code.registered_by(place)
    if name in registered:
        return registered[name], True
    for part in name.split("."):
        if not hasattr(value, part):
            names = [*registered, *(other for other in dir(value) if not other.startswith("_"))]
            close = by_name.did_you_mean(name, names)
            raise ImportError(f"{place} has no {name}, and registers none{close and '; '}{close}")
        value = getattr(value, part)
    return value, user_code.is_trusted(place)


def must_be_given(path: str) -> bool:
    """Whether a name leads to something that is called only if the user names its file: a class or
    a function that does not say that it is, or makes, an environment."""
    try:
        target, _ = _target(canonical(path))
    except ImportError:
        return False
    file = user_code.split_file(canonical(path))
    registered = file and file[1] in user_code.registered_by(file[0])
    return not (registered or _is_one(target) or _is_plain(target))


def _is_one(target: Any) -> bool:
    return isinstance(target, Environment) or (
        not isinstance(target, type) and not _lacking(target)
    )


def _is_plain(target: Any) -> bool:
    """Whether it is a class in gymnax's style, or a function annotated `-> Environment`."""
    return (isinstance(target, type) and not _lacking(target)) or _makes_one(target)


def _remedy(path: str, target: Any) -> str:
    file = user_code.split_file(path)
    if file is None or not callable(target):
        return ""
    return (
        f"; a folder names it, so it is not called: annotate it, or name the file yourself: "
        f"--import {user_code.where(file[0])} (in Python envs.import_code)"
    )


def _lacking(value: Any) -> list[str]:
    if is_of_envelope(value):
        return []
    return [part for part in PARTS if not hasattr(value, part)]


def _makes_one(target: Any) -> bool:
    try:
        return typing.get_type_hints(target).get("return") is Environment
    except Exception:  # a target of any kind may be named
        return False
