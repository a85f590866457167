"""Optional libraries, imported when they are used."""

import importlib
from types import ModuleType


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
