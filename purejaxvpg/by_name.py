"""Objects of a user by `module:Name`: named where a config is written, imported where it is used;
and advice for names that are misspelt.

A config keeps the text.  So reading a folder imports nothing; training, evaluating and loading a
policy import the modules that they need.
"""

import dataclasses
import importlib
import re
import sysconfig
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_path(value: Any) -> bool:
    """True for text of the form `module:Name` or `package.module:Class.name`."""
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def load(field: str, path: str) -> Any:
    """The object that `module:Name` names.

    Raises: ImportError, in one line, if the module cannot be imported or has no such name.
    """
    module_name, _, name = path.partition(":")
    start = f"{field}={path!r} cannot be imported"
    if module_name.endswith(".py"):  # as an environment may be named
        named = f"{module_name.removesuffix('.py')}:{name}"
        raise ImportError(
            f"{start}: {field} takes a module and not a file; write {named}, with the folder of "
            f"the file on the path (PYTHONPATH=FOLDER)"
        )
    try:
        value: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is run
        reason = reason_of(error)
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            reason = (
                f"there is no module {missing}; install it, or put the folder that holds it on "
                f"the path (PYTHONPATH=FOLDER)"
            )
        raise ImportError(f"{start}: {reason}") from None
    for part in name.split("."):
        if not hasattr(value, part):
            close = did_you_mean(part, dir(value))
            hint = f"; {close}" if close else ""
            raise ImportError(f"{start}: {module_name} has no {name}{hint}")
        value = getattr(value, part)
    return value


def reason_of(error: BaseException, through: str = __file__) -> str:
    """Kind, place and message of an error of imported code, on one line.

    Args: through: a file of ours that imported it, and is no place to name.
    """
    text = error.msg if isinstance(error, SyntaxError) else error  # without file and line
    return " ".join(f"{type(error).__name__}{_place(error, through)}: {text}".split())


def _place(error: BaseException, through: str) -> str:
    """ " at FILE:LINE (code)" of the innermost line of the user's own; "" if there is none."""
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno} ({(error.text or '').strip()})"
    stack = traceback.extract_tb(error.__traceback__)
    importing = (through, importlib.__file__)
    frames = [f for f in stack if f.filename not in importing and f.filename[:1] != "<"]
    apart = [f for f in frames if not f.filename.startswith(_LIBRARIES)]
    for frame in (apart or frames)[-1:]:
        return f" at {frame.filename}:{frame.lineno} ({frame.line})"
    return ""


_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def path_of(value: Any) -> str | None:
    """`module:Name` that gives this very object, or None if there is none.

    A class or function is looked for where it was defined, an instance where its class was, and
    both in the package that shows them (`optax:sgd`, not one of optax's private modules).
    """
    module_name = getattr(value, "__module__", None) or type(value).__module__
    qualified = getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or module_name == "__main__":
        return None  # a script or a notebook: there is nothing to import
    for place in (module_name, module_name.partition(".")[0]):
        if any(part.startswith("_") for part in place.split(".")):
            continue
        try:
            module = importlib.import_module(place)
        except Exception:  # made from a file, say: no name leads to it
            continue
        names = [qualified] if qualified else []
        names += [name for name, other in list(vars(module).items()) if other is value]
        for name in names:
            path = f"{place}:{name}"
            if is_path(path) and _get(module, name) is value:
                return path
    return None


def path_of_equal(value: Any) -> str | None:
    """`module:Class` whose instance without arguments equals this dataclass, or None."""
    path = path_of(type(value))
    if path is None or not dataclasses.is_dataclass(value):
        return None
    try:
        return path if type(value)() == value else None
    except Exception:  # it needs arguments
        return None


def _get(value: Any, name: str) -> Any:
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


# ------------------------------------------------------------------------------ MISSPELT NAMES


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """ "did you mean a or b?" with the close names; "" if there are none."""
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""


def suggest(name: str, names: Sequence[str]) -> str:
    """Advice for an unknown name: the close ones, or else all that are known."""
    return did_you_mean(name, names) or f"known: {', '.join(names) or 'none'}"
