"""Folders as users name them: `~` is the home folder, and a new name is one that nobody has."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path


def expanded(folder: str | os.PathLike) -> Path:
    """The path, with the home folder for a leading `~` or `~name`.

    A shell expands them in most places; not in `--out=~/runs`, and not for Python.

    Raises: ValueError, in one line, where that home folder is unknown.
    """
    path, in_home = Path(folder), os.fspath(folder).startswith("~")
    if not path.parts or not path.parts[0].startswith("~"):
        return path
    if not in_home:  # ./~x, which Path shortens to ~x
        return Path.cwd() / path
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(
            f"{folder}: the home folder of {path.parts[0]} is unknown; write the whole path (or "
            f"./{folder} for a folder of that name)"
        ) from None


@contextlib.contextmanager
def reserved(folder: str | os.PathLike) -> Iterator[Path]:
    """A folder of this name, made now and by nobody else; `-2`, `-3`, ... follows a name that is
    taken, so that two jobs which start in one second get two.

    Where an error ends the context before anything is in the folder, it goes again.

    Raises: OSError if it cannot be made.
    """
    path = first = expanded(folder)
    made = [above for above in path.parents if not above.exists()]
    first.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(2):
        try:
            path.mkdir()
            break
        except FileExistsError:
            path = first.with_name(f"{first.name}-{number}")
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # something is in it
            for empty in (path, *made):
                empty.rmdir()
        raise
