"""Code of a user in files, named as `path/mine.py:Name`, and modules that are imported because
somebody asks for it by name.

Folders of runs come from other people too, and name files.  So a file is `given` if the user named
it in this process (on a command line, by `import_code`), and `read` if only a folder did.  Of one
that is only read, less is called (envs/by_path.py), and nothing is imported that belongs to another
user of the machine.
"""

import importlib
import importlib.util
import ntpath
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from purejaxvpg.by_name import did_you_mean, reason_of

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

_given: dict[str, None] = {}  # whole paths, in the order in which they were named
_read: set[str] = set()  # whole paths
_registered: dict[str, dict[str, Callable[..., Any]]] = {}  # by each file while it was imported
_importing: list[str] = []  # the files that are being imported now, the innermost last


def split_file(text: Any) -> tuple[str, str] | None:
    """Path and name of `path.py:Name`; None for anything else."""
    if not isinstance(text, str):
        return None
    path, _, name = text.rpartition(":")
    return (path, name) if name and is_file(path) else None


def is_file(text: str) -> bool:
    """Whether text names a file of Python code."""
    return text.endswith(".py") and text.isprintable() and ntpath.basename(text) != ".py"


def is_whole(path: str) -> bool:
    """Whether a path says where a file is from everywhere, on this system or another one."""
    return os.path.isabs(path) or bool(ntpath.splitdrive(path)[0])


def whole(path: str) -> str:
    """The path from the root, `~` and `..` resolved; a path of another system as it is."""
    path = os.path.expanduser(path)
    return os.path.abspath(path) if os.path.isabs(path) or not is_whole(path) else path


# ------------------------------------------------------------------------------- WHOSE IT IS


def give(path: str) -> str:
    """The whole path of a file that the user names, which makes it one to be trusted."""
    path = whole(path)
    _given[path] = None
    return path


def note_read(text: Any) -> None:
    """Remember an environment's name that a folder holds, if it is one of a file.

    Raises: ValueError, in one line, for a path that depends on the working directory: it would
    stand for another file in each.
    """
    if file := split_file(text):
        _note_file(file[0])


def _note_file(path: str) -> None:
    if not is_whole(path):
        raise ValueError(f"{path} is named by a folder; accepted there: a path from the root")
    _read.add(whole(path))


def is_trusted(path: str) -> bool:
    """Whether the user named the file in this process, or no folder did."""
    return where(path) in _given or path not in _read


def where(path: str) -> str:
    """The place of a file: the path, or if only a folder named it and nothing is there, that of a
    file of the same name which the user gave.  So `--import NEW/mine.py` gives the new place of a
    file that was moved."""
    name = ntpath.basename(path)
    if path in _read and path not in _given and not os.path.isfile(path):
        for other in reversed(_given):
            if os.path.basename(other) == name and os.path.isfile(other):
                return other
    return path


# ------------------------------------------------------------------------------------ IMPORTS


def import_code(name: str) -> str:
    """Import a module (`package.module`) or a file (`path/mine.py`) now, so that the environments
    which it registers are there.

    Returns: the module's name, or the file's whole path.
    Raises: ValueError for text that names neither; ImportError, in one line.
    """
    if isinstance(name, str) and is_file(name):
        path = give(name)
        load_file(path)
        return path
    if not isinstance(name, str) or not _MODULE.fullmatch(name):
        raise ValueError(
            f"import of {name!r}; accepted: a module such as package.module, or a file such as "
            f"path/mine.py"
        )
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is run
        raise ImportError(
            f"module {name} cannot be imported: {reason_of(error, __file__)}"
        ) from None
    return name


def import_again(name: str) -> None:
    """Import a module or a file that a folder names.  Raises: as `import_code`."""
    if not is_file(name):
        import_code(name)
        return
    _note_file(name)
    load_file(whole(name))


def load_file(path: str) -> ModuleType:
    """The module that a file of Python code makes, the same one again in this process.

    A file beside it can be imported by its name.  A module that was imported from this file in
    another way is taken as it is.

    Raises: ImportError, in one line, if nothing is there, if its code fails, or if only a folder
    named it and it is another user's.
    """
    place = where(path)
    if not os.path.isfile(place):
        raise ImportError(_missing(place))
    if path in _read and place not in _given and (other := _other_owner(place)):
        raise ImportError(
            f"{place} is code of another user ({other}), named by a folder; to run it, name it "
            f"yourself: --import {place} (in Python envs.import_code)"
        )
    if module := _imported(place):
        return module
    specification = importlib.util.spec_from_file_location(place, place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[place] = module  # by its path: no other module is called so
    if (folder := os.path.dirname(place)) not in sys.path:
        sys.path.append(folder)  # last: nothing there hides an installed library
    _importing.append(place)
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[place]
        _registered.pop(place, None)
        raise ImportError(f"{place} cannot be imported: {reason_of(error, __file__)}") from None
    finally:
        _importing.pop()
    return module


def note_registered(name: str, factory: Callable[..., Any]) -> None:
    """Remember which file registered an environment, if one is being imported."""
    if _importing:
        _registered.setdefault(_importing[-1], {})[name] = factory


def registered_by(path: str) -> dict[str, Callable[..., Any]]:
    """Factories by the names that a file registered when it was imported."""
    return _registered.get(where(path), {})


def _imported(place: str) -> ModuleType | None:
    for module in [sys.modules.get(place), *list(sys.modules.values())]:
        file = getattr(module, "__dict__", {}).get("__file__")  # past what loads lazy modules
        if module is not None and isinstance(file, str) and os.path.abspath(file) == place:
            return module
    return None


def _other_owner(place: str) -> str:
    """Number of the user whose file it is, if that is neither this one nor root; else ""."""
    owner = _owner(place)
    mine = os.getuid() if hasattr(os, "getuid") else owner
    return "" if owner in (0, mine) else f"number {owner}"


def _owner(place: str) -> int:
    return os.stat(place).st_uid


def _missing(place: str) -> str:
    folder, name = os.path.split(place)
    names = list(filter(is_file, os.listdir(folder))) if os.path.isdir(folder) else []
    if place not in _read:
        close = did_you_mean(name, names)
        return f"there is no file {place}{close and '; '}{close}"
    return (
        f"there is no file {place}, where it was when the folder was written; if it was moved, "
        f"give its new place: --import NEW/{name} (in Python envs.import_code)"
    )
