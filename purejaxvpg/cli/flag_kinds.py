"""A flag, a switch or a positional argument, as `dataclasses.make_dataclass` takes a field."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any, get_args

import tyro

from purejaxvpg.cli.numbers import AS_TYPED

Flag = tuple[str, Any, Any]
AXES = tuple[str, ...]  # several words behind one flag


def flag(
    name: str,
    kind: Any,
    default: Any,
    text: str,
    metavar: str | None = None,
    aliases: tuple[str, ...] | None = None,
) -> Flag:
    """A flag.  Args: kind: its type.  text: its help.  aliases: other spellings, with dashes."""
    mark = tyro.conf.arg(help=text, metavar=metavar, aliases=aliases)
    return name, Annotated[AS_TYPED.get(kind, kind), mark], dataclasses.field(default=default)


def switch(name: str, text: str) -> Flag:
    """A flag that is off unless given, and has no --no- form."""
    mark = tyro.conf.arg(help=text, help_behavior_hint="")
    kind = Annotated[bool, tyro.conf.FlagCreatePairsOff, mark]
    return name, kind, dataclasses.field(default=False)


SEVERAL = ("import", "log")  # flags that `several` makes


def several(name: str, field: str, metavar: str, text: str) -> Flag:
    """A flag that may be given again and again, each time with another value.

    Args: name: as typed.  field: its field, whose name Python must accept.
    """
    mark = tyro.conf.arg(name=name, metavar=metavar, help=text)
    kind = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, mark]
    return field, kind, dataclasses.field(default=())


def place(metavar: str, text: str, kind: Any = str) -> Any:
    """The type of a positional argument."""
    return Annotated[kind, tyro.conf.Positional, tyro.conf.arg(metavar=metavar, help=text)]


def with_hints(command: type, values: Iterable[str], hint: str) -> type:
    """The command with another hint behind the help of these flags: {} stands for the default."""
    fields = []
    for field in dataclasses.fields(command):
        kind, *marks = get_args(field.type)
        if field.name in values:
            arg = marks.pop()  # tyro's, behind what tells how an integer is read
            hinted = {"help": arg.help, "metavar": arg.metavar, "help_behavior_hint": hint.format}
            marks.append(tyro.conf.arg(**hinted))
        again = dataclasses.field(default=field.default)
        fields.append((field.name, Annotated[kind, *marks], again))
    return dataclasses.make_dataclass(command.__name__, fields)
