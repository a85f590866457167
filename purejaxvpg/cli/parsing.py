"""From the words of a command to its arguments, and from those to config and hyperparameters.

The defaults are those of the environment's preset, if it has one.
"""

import ast
import contextlib
import dataclasses
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import tyro

from purejaxvpg import presets
from purejaxvpg.cli import flags
from purejaxvpg.cli.terminal import UserError, user_errors
from purejaxvpg.cli.words import check_words
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.design import ENV_PARAMS
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.ranges import KINDS, Range, as_typed, is_typed, of_numbers
from purejaxvpg.serialize import plain

HELP = ("-h", "--help")


def parse(argv: list[str]) -> Any:
    """The arguments as an object of a command's class.  Raises: UserError, in one line."""
    check_words(argv)
    words = [word for word in argv if word not in HELP]
    try:
        args = _with_homes(_tyro(words, None))
    except UserError:
        _tyro(argv, None)  # ends here if help is asked for
        raise
    preset = _preset_of(args)
    if preset is None:
        return args if words == argv else _with_homes(_tyro(argv, None))
    # The preset's values become the defaults; values of the command line stay.
    defaults = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    defaults |= {
        field.name: getattr(half, field.name)
        for half in preset
        for field in dataclasses.fields(half)
        if field.name not in ("env", *flags.PAIRS)
    }
    return _with_homes(_tyro(argv, type(args)(**defaults)))


def _preset_of(args: Any) -> presets.Preset | None:
    """The preset whose values are the defaults, or None."""
    tunable = isinstance(args, flags.Train | flags.Sweep | flags.Plan)
    if not tunable or not args.preset or args.env not in presets.available():
        return None
    return presets.load(args.env)


def preset_line(args: Any, varying: Iterable[str] = ()) -> list[str]:
    """A line with the values that come from the preset and are not the usual defaults, if any do.

    Args: varying: names of a design, whose values do not come from the preset.
    """
    values = [
        f"{field.name}={value}"
        for half in _preset_of(args) or ()
        for field in dataclasses.fields(half)
        if field.name not in ("env", *flags.PAIRS, *varying)
        and (value := getattr(half, field.name)) != field.default
        and value == getattr(args, field.name)
    ]
    return [f"preset of {args.env} (--no-preset: none): {', '.join(values)}"] if values else []


def _with_homes(args: Any) -> Any:
    """The arguments with the home folder for `~`, which a shell leaves as it is in `--out=~/x`."""
    for name in ("folder", "out", "resume", "sources"):
        if given := getattr(args, name, None):
            with user_errors():
                several = isinstance(given, tuple)
                paths = tuple(map(str, map(expanded, given))) if several else str(expanded(given))
            if name == "resume" and paths == "auto" != given:
                paths = f".{os.sep}auto"  # a folder of that name, and not the word
            setattr(args, name, paths)
    return args


def _tyro(argv: list[str], defaults: Any) -> Any:
    """One parse by tyro, its message about bad input as one line."""
    commands: Any = None
    for cls, name, text in flags.COMMANDS:
        if isinstance(defaults, cls) and set(HELP) & set(argv):
            tuned = presets.values(defaults.env)
            cls = flags.with_hints(cls, tuned, "(preset: {})")
            defaults = cls(**{f.name: getattr(defaults, f.name) for f in dataclasses.fields(cls)})
            text += f" Values marked preset are {defaults.env}'s; --no-preset: the usual defaults."
        default = {"default": defaults} if isinstance(defaults, cls) else {}
        command = Annotated[cls, tyro.conf.subcommand(name, description=text, **default)]
        commands = command if commands is None else commands | command
    with _plain_and_wide() as printed:
        try:
            return tyro.cli(commands, args=argv, prog="purejaxvpg")
        except SystemExit as stop:
            wrong = stop.code not in (0, None)
    if wrong:
        raise UserError(_one_line(printed.getvalue()))
    return tyro.cli(commands, args=argv, prog="purejaxvpg")  # --help, as wide as the terminal is


class _File(io.StringIO):
    """A file in memory, in which tyro draws its boxes with the one set of characters."""

    encoding = "utf-8"


@contextlib.contextmanager
def _plain_and_wide() -> Iterator[_File]:
    """A file for all output, and no terminal: tyro would colour its boxes there, and wrap them to
    its width."""
    printed, columns = _File(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            yield printed
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _one_line(box: str) -> str:
    """tyro's boxed message as one line: its first paragraph, and the flags it suggests."""
    sides = [line.strip() for line in box.split("\n")]
    lines = [line[1:-1].strip() for line in sides if line[:1] in ("│", "|")]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if len(line) > 9 and set(line) <= {"─", "-"}:  # a rule
            paragraphs.append([])
        elif line:
            paragraphs[-1].append(line)
    first, *rest = [lines for lines in paragraphs if lines]
    suggested = [line for line in rest[0] if line.startswith("--")] if rest else []
    if suggested and rest[0][0].startswith("Perhaps"):
        first.append(f"; perhaps you meant {' or '.join(suggested[:3])}")
    return re.sub(r"\s+", " ", " ".join(first)).replace(" ;", ";")


def config_of(args: Any) -> tuple[VPGConfig, Hyperparams]:
    """The config and hyperparameters that the flags give.

    Raises: ValueError or TypeError, in one line.
    """
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    values["env_kwargs"] = pairs("env_kwargs", args.env_kwargs)
    values["env_params"] = pairs("env_params", args.env_params) or None
    config = VPGConfig(**{f.name: values[f.name] for f in dataclasses.fields(VPGConfig)})
    hp = Hyperparams(**{f.name: values[f.name] for f in dataclasses.fields(Hyperparams)})
    return config, hp


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
    kind, *pieces = text.split(":")
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
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if name in flags.PAIRS:
        return [flag, *[f"{key}={_as_typed(x)}" for key, x in dict(value).items()]]
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
