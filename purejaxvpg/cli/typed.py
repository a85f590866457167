"""Values as they are typed: numbers, lists, ranges, name=value pairs."""

import ast
import contextlib
import itertools
import re
from typing import Any

from purejaxvpg.cli import flags
from purejaxvpg.cli.flag_kinds import SEVERAL
from purejaxvpg.experiment.design import ENV_PARAMS
from purejaxvpg.ranges import KINDS, Range, as_typed, is_typed, of_numbers
from purejaxvpg.serialize import plain


def axis_of_envs(args: Any) -> list[Any]:
    """Values of an axis over environments; [] without one, or if it cannot be read."""
    for flag in ("grid", "zipped", "sample"):
        for item in getattr(args, flag, ()):
            name, _, text = item.partition("=")
            with contextlib.suppress(ValueError):  # which `design_of` raises
                if name == "env":
                    return pieces_of(text)[1:] if flag == "sample" else values_of(text)
    return []


def pieces_of(text: str) -> list[str]:
    """ "log:1e-4:1e-2" in pieces; the colon of mine.py:MyEnv separates none."""
    return re.split(r"(?<!\.py):", text)


def pairs(flag: str, items: tuple[str, ...], example: str = "gravity=9.8") -> dict[str, Any]:
    """("size=10", ...) as {"size": 10, ...}; values are Python literals, or else strings.

    Parameters of environments may be ranges (`gravity=uniform:8:12`).
    """
    prefix = ENV_PARAMS if flag == "env_params" else ""
    return {
        name: value_of(f"--{flag.replace('_', '-')} {name}", text, f"{prefix}{name}")
        for name, text in texts(flag, items, example).items()
    }


def combinations(items: tuple[str, ...]) -> list[dict[str, Any]]:
    """--env-params of "a=1,2", "b=3" as [{"a": 1, "b": 3}, {"a": 2, "b": 3}]; [{}] of nothing."""
    given = texts("env_params", items, "gravity=8,10,12")
    lists = {name: axis_values(f"{ENV_PARAMS}{name}", text) for name, text in given.items()}
    return [dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())]


def axis_values(name: str, text: str) -> list[Any]:
    """Values of an axis; of an environment's parameter also ranges."""
    return [value_of(name, x, name) if isinstance(x, str) else x for x in values_of(text)]


def value_of(flag: str, text: str, name: str) -> Any:
    """A value as typed; of an environment's parameter also a range.  Args: flag: for messages."""
    if name.startswith(ENV_PARAMS) and is_typed(text):
        return range_of(flag, text)
    return literal(text)


def range_of(flag: str, text: str) -> Range:
    """ "uniform:8:12" as a range.  Raises: ValueError or TypeError, which name the flag."""
    kind, *pieces = pieces_of(text)
    numbers = [literal(piece) for piece in pieces]
    if kind not in KINDS or (kind != "choice" and len(numbers) != 2):
        name = flag.rpartition(" ")[2]
        raise ValueError(
            f"{flag}={text} is no range; write {name}=log:LOW:HIGH, "
            f"{name}=uniform:LOW:HIGH or {name}=choice:A:B"
        )
    return of_numbers(kind, numbers)


def flag_words(name: str, value: Any) -> list[str]:
    """A flag and its value as words of a command line."""
    flag = f"--{flags.SPELT.get(name, name).replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if name in flags.PAIRS:
        return [flag, *[f"{key}={_as_typed(x)}" for key, x in dict(value).items()]]
    if name in SEVERAL:
        return [flag, ",".join(dict.fromkeys(value))]
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return [flag, str(plain(value))]


def _as_typed(value: Any) -> str:
    return as_typed(value) if isinstance(value, Range) else repr(plain(value))


def texts(flag: str, items: tuple[str, ...], example: str) -> dict[str, str]:
    """("size=10", ...) as {"size": "10", ...}.  Raises: ValueError."""
    values: dict[str, str] = {}
    flag = flag.replace("_", "-")
    for item in items:
        name, equals, text = item.partition("=")
        if name in values:
            raise ValueError(f"--{flag} gives {name} twice")
        if not (name and equals):
            raise ValueError(f"--{flag} {item} is not name=value; write for example {example}")
        values[name] = text
    return values


def literal(text: str) -> Any:
    """A Python literal, or else the string itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def values_of(text: str) -> list[Any]:
    """ "1e-3,3e-3", "gae,td" or "(64,64),(128,)" as a list of values."""
    try:
        return ast.literal_eval(f"[{text}]")  # commas within brackets belong to the value
    except (ValueError, SyntaxError):
        pieces = [piece.strip() for piece in text.split(",")]
        if not all(pieces):
            raise ValueError(f"{text!r} has an empty value; write for example 0.9,0.99") from None
        return [literal(piece) for piece in pieces]
