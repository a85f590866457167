"""Words of a command, checked before they are parsed."""

import dataclasses
import itertools
import shlex
from typing import Any, get_args

import tyro

from purejaxvpg.by_name import suggest
from purejaxvpg.cli import flags
from purejaxvpg.cli.flag_kinds import SEVERAL
from purejaxvpg.cli.terminal import UserError

VALUES_OF_A_SWITCH = ("true", "false", "yes", "no", "on", "off")  # which takes none


def check_words(argv: list[str]) -> None:
    """UserError, in one line, for an unknown command, a flag of another command or of an earlier
    version, a list that is given twice, and a value for a flag that takes none.

    Of a flag of one value that is given twice the last one counts (`repeated`).
    """
    commands = {name: _flags(cls) for cls, name, _ in flags.COMMANDS}
    if not argv:
        return
    command, *words = argv
    if command not in commands and not command.startswith("-"):
        raise UserError(f"unknown command {command}; {suggest(command, list(commands))}")
    mine, given = commands.get(command, {}), set()
    for word, following in itertools.pairwise([*words, ""]):
        if word[:2] != "--":
            continue
        flag, equals, _ = word.partition("=")
        _check_renamed(flag)
        name = flag[2:].replace("-", "_")
        if name not in mine:
            name = name.removeprefix("no_")
        if name not in mine:
            _check_elsewhere(argv, flag, [c for c, others in commands.items() if name in others])
            continue
        kind, *marks = mine[name]
        shown = name.replace("_", "-")
        if kind is bool and (equals or following.lower() in VALUES_OF_A_SWITCH):
            single = tyro.conf.FlagCreatePairsOff in marks
            other = "leave it out" if single else f"--no-{shown}"
            raise UserError(f"--{shown} takes no value; write --{shown}, or {other}")
        again = tyro.conf.UseAppendAction in marks
        if name in given and kind == flags.AXES and not again:  # both may be meant
            raise UserError(f"--{shown} is given twice; give it once with all its values")
        given.add(name)


def repeated(argv: list[str]) -> list[str]:
    """Flags that are given more than once, as scripts do that end in "$@".

    Each of several --import, and --log, counts.
    """
    flags_given = [word.partition("=")[0] for word in argv if word[:2] == "--"]
    names = [flag.replace("_", "-").replace("--no-", "--", 1) for flag in flags_given]
    several = {f"--{flag}" for flag in SEVERAL}
    return [name for name in dict.fromkeys(names) if names.count(name) > 1 and name not in several]


def _flags(command: type) -> dict[str, tuple[Any, ...]]:
    """Each flag of a command by its field's name, with its type and what marks it."""
    annotations = {field.name: get_args(field.type) for field in dataclasses.fields(command)}
    return {name: x for name, x in annotations.items() if tyro.conf.Positional not in x}


def _check_renamed(flag: str) -> None:
    if new := flags.RENAMED.get(flag[2:]):
        raise UserError(f"{flag} is called --{new} now")


def _check_elsewhere(argv: list[str], flag: str, owners: list[str]) -> None:
    """UserError for a flag that other commands have."""
    if not owners:
        return  # tyro names close ones
    command, *words = argv
    *first, last = owners
    listed = f"{', '.join(first)} and {last}" if first else last
    better = f"; write: {shlex.join(['purejaxvpg', 'sweep', *words])}"
    raise UserError(
        f"{flag} is no flag of {command}, but of {listed}"
        f"{better if command == 'train' and 'sweep' in owners else ''}"
    )
