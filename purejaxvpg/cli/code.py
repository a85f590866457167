"""Code of the user that a command imports first: modules and files of --import, and those that a
folder was begun with."""

from typing import Any

from purejaxvpg import user_code
from purejaxvpg.cli import arguments, flags, resuming
from purejaxvpg.cli.terminal import say, user_errors
from purejaxvpg.experiment import code
from purejaxvpg.experiment.folder import read_spec

OF_POLICIES = flags.Eval | flags.Export | flags.Render  # commands that act with what was trained


def import_code(args: Any) -> None:
    """Import what --import names and what the command's folder was begun with, which a line says.

    Files that the command line names are the user's.  Raises: UserError, in one line.
    """
    with user_errors():
        for path in arguments.typed_files(args):
            user_code.give(path)
        for name in getattr(args, "imports", ()):
            user_code.import_code(name)
    if folder := _folder(args):
        _import_again(folder, evaluated=isinstance(args, OF_POLICIES))


def _folder(args: Any) -> str:
    """The folder whose environments the command makes; "" if there is none."""
    if isinstance(args, flags.Train | flags.Sweep):
        return args.out if args.resume == resuming.AUTO else args.resume
    uses = isinstance(args, OF_POLICIES) or getattr(args, "execute", False)
    return args.folder if uses else ""


def _import_again(folder: str, evaluated: bool) -> None:
    try:
        spec, record, _ = read_spec(folder)
    except (OSError, ValueError):  # no study, or damaged: the handler says so
        return
    names = [*record.imports, *code.files_of(spec)]
    if names:
        places = [
            text if text.isprintable() else repr(text) for text in map(user_code.where, names)
        ]
        say(f"code that {folder} names, imported now: {', '.join(places)}")
    with user_errors():
        for name in record.imports:
            user_code.import_again(name)
    if evaluated:
        say(*code.changed(record))
