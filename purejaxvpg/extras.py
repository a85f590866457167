"""Optional libraries, imported when they are used."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def require(module: str, extra: str) -> ModuleType:
    """Import a library that an optional extra brings.

    Raises: ImportError, in one line that names the extra, if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the library is there, and broken: say what it says
        raise ImportError(
            f"this needs {module.split('.')[0]}, which is not installed; "
            f"run: pip install 'purejaxvpg[{extra}]'"
        ) from None


@contextlib.contextmanager
def loaded_when_used(*modules: str) -> Iterator[None]:
    """What is imported inside gets these modules as stand-ins, which load when they are used.

    Only there: everyone else imports the real ones.  Modules that are loaded already stay.
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
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
