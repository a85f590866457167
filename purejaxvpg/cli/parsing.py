"""From the words of a command to its arguments, and from those to config and hyperparameters.

The defaults are those of the environment's preset, if it has one.
"""

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import tyro

from purejaxvpg import presets
from purejaxvpg.cli import flags, typed
from purejaxvpg.cli.flag_kinds import with_hints
from purejaxvpg.cli.terminal import UserError, user_errors
from purejaxvpg.cli.words import check_words
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import canonical
from purejaxvpg.experiment.paths import expanded

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
    if not tunable or not args.preset or canonical(args.env) not in presets.available():
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
            cls = with_hints(cls, tuned, "(preset: {})")
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
    values["env"] = args.env or next(iter(typed.axis_of_envs(args)), "")
    values["env_kwargs"] = typed.pairs("env_kwargs", args.env_kwargs)
    values["env_params"] = typed.pairs("env_params", args.env_params) or None
    config = VPGConfig(**{f.name: values[f.name] for f in dataclasses.fields(VPGConfig)})
    hp = Hyperparams(**{f.name: values[f.name] for f in dataclasses.fields(Hyperparams)})
    return config, hp
