"""Imports of optional libraries, imports that wait until a library is used, and the variable of the
environment that an import failed by."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def require(module: str, extra: str) -> ModuleType:
    """Import a module of a library that an optional extra installs.

    Raises: ImportError: the library is not installed; the message, one line, names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the library is installed but broken, so its own error helps more
        raise ImportError(
            f"this needs {module.split('.')[0]}, which is not installed; "
            f"run: pip install 'purejaxvpg[{extra}]'"
        ) from None


READ_AT_IMPORT = ("JAX_", "SOURCE_DATE_EPOCH")  # variables, or the start of their names


def variable_at_fault(error: Exception) -> str:
    """One line on the variable of the environment that an import failed by; "" if none did."""
    message = " ".join(str(error).split())
    if sys.flags.optimize > 1 and isinstance(error, TypeError | AttributeError):
        return (
            "a library that this needs cannot be imported without docstrings, which PYTHONOPTIMIZE="
            f"2 and python -OO strip ({message}); unset it, or use PYTHONOPTIMIZE=1"
        )
    if not isinstance(error, ValueError):
        return ""
    candidates = {n: text for n, text in os.environ.items() if n.startswith(READ_AT_IMPORT)}
    by_name = [name for name in candidates if name.lower() in message.lower()]
    by_value = [name for name, text in candidates.items() if repr(text) in message]
    for name in (*by_name, *by_value):
        return f"{name}={candidates[name]} is not accepted ({message}); correct it, or unset it"
    return ""


@contextlib.contextmanager
def loaded_when_used(*modules: str) -> Iterator[None]:
    """Context in which an import of these modules gives stand-ins, loaded at their first use.

    Imports outside the context get the real modules.  A module that is already loaded gets no
    stand-in.
    """
    stand_ins = {name: _StandIn(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _StandIn(ModuleType):
    """A module that imports the real module of its name when an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
