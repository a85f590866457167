"""Imports of optional libraries, and imports that wait until a library is used."""

import contextlib
import importlib
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
