"""Completion scripts for bash, zsh and fish, made of the table of commands.

They are lists of words, so that a shell needs no Python while somebody types.  (tyro's scripts
start it for each completion.)
"""

import dataclasses
import re
import types
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import tyro

from purejaxvpg import __version__, envs
from purejaxvpg.cli import flags
from purejaxvpg.cli.self_flags import SHELLS
from purejaxvpg.envs import suites

MARK = "# Completion of purejaxvpg"
_FIRST = f"{MARK} {__version__}, written by: purejaxvpg completion"


class Flag(NamedTuple):
    """A flag as a shell completes it."""

    name: str  # with its dashes
    text: str  # the help's first sentence
    values: tuple[str, ...]  # to choose from; () of any other value
    switch: bool  # it takes no value


class Command(NamedTuple):
    """A command as a shell completes it."""

    name: str
    text: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]  # of its positional argument; (): files and folders


def script(shell: str) -> str:
    """The completion script of a shell."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands())


def commands() -> list[Command]:
    """Commands, with the flags and words that complete them."""
    names = [*envs.registered(), *(name for suite in suites.SUITES for name in suites.names(suite))]
    words = {
        "ENV": tuple(names),
        "SUITE | NAME": (*suites.SUITES, *names),
        "SHELL": SHELLS,
    }
    return [_command(cls, name, text, words) for cls, name, text in flags.COMMANDS]


def _command(cls: type, name: str, text: str, words: dict[str, tuple[str, ...]]) -> Command:
    each, places = [], ()
    for field in dataclasses.fields(cls):
        kind, *marks = get_args(field.type)
        arg: Any = marks[-1]
        if tyro.conf.Positional in marks:
            places = words.get(arg.metavar, ())
        else:
            each += _flag(field.name, kind, marks, arg)
    return Command(name, text, tuple(each), places)


def _flag(name: str, kind: Any, marks: Sequence[Any], arg: Any) -> list[Flag]:
    flag = f"--{flags.SPELT.get(name, name).replace('_', '-')}"
    text = _short(arg.help or "")
    if kind is bool:
        both = [flag] if tyro.conf.FlagCreatePairsOff in marks else [flag, f"--no-{flag[2:]}"]
        return [Flag(each, text, (), True) for each in both]
    return [Flag(flag, text, _values(kind, arg.metavar), False)]


def _values(kind: Any, metavar: str | None) -> tuple[str, ...]:
    """Words to choose from: of a Literal, or those in lower case of `auto | mlp | MODULE:NAME`."""
    if get_origin(kind) is Literal:
        return tuple(str(x) for x in get_args(kind) if x != "")
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(x for inner in get_args(kind) for x in _values(inner, metavar))
    words = (metavar or "").split(" | ")
    return tuple(dict.fromkeys(x for x in words if re.fullmatch(r"[a-z_0-9]+", x)))


def _short(text: str) -> str:
    """One sentence, at most 70 characters, without characters that shells read."""
    plain = re.sub(r"[^\w .,+/=<>-]", "", re.split(r"[.;:](?= |$)| \(", text)[0])
    return plain if len(plain) <= 70 else f"{plain[:67]}..."


# --------------------------------------------------------------------------------------- SHELLS


def _bash(commands: list[Command]) -> str:
    values = [
        f"    '{c.name} {f.name}') words='{' '.join(f.values)}' ;;"
        for c in commands
        for f in c.flags
        if f.values
    ]
    free = [f"    '{c.name} {f.name}') return ;;" for c in commands for f in c.flags
            if not f.values and not f.switch]  # fmt: skip
    names = [
        f"      {c.name}) words='{' '.join(f.name for f in c.flags)} --help' ;;" for c in commands
    ]
    places = [f"      {c.name}) words='{' '.join(c.words)}' ;;" for c in commands if c.words]
    return "\n".join([
        f"{_FIRST} bash",
        "_purejaxvpg() {",
        "  local words='' cur=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]}",
        "  local command=${COMP_WORDS[1]}",
        "  COMPREPLY=()",
        "  if ((COMP_CWORD == 1)); then",
        f"    COMPREPLY=($(compgen -W '{' '.join(c.name for c in commands)} --help --version' "
        '-- "$cur"))',
        "    return",
        "  fi",
        '  if [[ $cur == "=" ]]; then',
        "    cur=''",
        '  elif [[ $last == "=" ]]; then',
        "    last=${COMP_WORDS[COMP_CWORD-2]}",
        "  fi",
        '  case "$command $last" in',
        *values,
        *free,
        "  esac",
        "  if [[ -z $words && $cur == -* ]]; then",
        "    case $command in",
        *names,
        "    esac",
        "  elif [[ -z $words ]]; then",
        "    case $command in",
        *places,
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "}",
        "complete -o default -F _purejaxvpg purejaxvpg",
        "",
    ])  # fmt: skip


def _zsh(commands: list[Command]) -> str:
    def spec(flag: Flag) -> str:
        value = "" if flag.switch else f":value:({' '.join(flag.values)})" if flag.values else ""
        value = value or ("" if flag.switch else ":value:_files")
        return f"      '{flag.name}[{flag.text}]{value}' \\"

    lines = []
    for command in commands:
        place = f"({' '.join(command.words)})" if command.words else "_files"
        lines += [f"    {command.name})", "      _arguments \\"]
        lines += [spec(flag) for flag in command.flags]
        lines += ["      '--help[Show the flags]' \\", f"      '*:argument:{place}' ;;"]
    return "\n".join([
        "#compdef purejaxvpg",
        f"{_FIRST} zsh",
        "_purejaxvpg() {",
        "  if (( CURRENT == 2 )); then",
        "    local -a commands",
        "    commands=(",
        *[f"      '{c.name}:{_short(c.text)}'" for c in commands],
        "    )",
        "    _describe command commands",
        "    return",
        "  fi",
        "  local command=$words[2]",
        "  shift words",
        "  (( CURRENT-- ))",
        "  case $command in",
        *lines,
        "  esac",
        "}",
        'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then',
        '  _purejaxvpg "$@"',
        "else",
        "  compdef _purejaxvpg purejaxvpg",
        "fi",
        "",
    ])  # fmt: skip


def _fish(commands: list[Command]) -> str:
    lines = []
    for command in commands:
        lines.append(
            f"complete -c purejaxvpg -n __fish_use_subcommand -f -a {command.name} "
            f"-d '{_short(command.text)}'"
        )
        inside = f"complete -c purejaxvpg -n '__fish_seen_subcommand_from {command.name}'"
        for flag in command.flags:
            values = f" -x -a '{' '.join(flag.values)}'" if flag.values else " -r"
            value = "" if flag.switch else values
            lines.append(f"{inside} -l {flag.name[2:]}{value} -d '{flag.text}'")
        if command.words:
            lines.append(f"{inside} -f -a '{' '.join(command.words)}'")
    return "\n".join([f"{_FIRST} fish", *lines, ""])
