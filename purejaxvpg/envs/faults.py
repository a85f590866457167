"""Exceptions of a user's own code as one line that names its place."""

import traceback
from typing import Any

import chex
import flax
import jax
import numpy as np

from purejaxvpg.envs.protocol import BrokenContract


class user_code:
    """Context in which an exception of a user's own code becomes one line.

    The line names the file and the line of that code.  Args: name: of what it is the code.
    """

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, stack: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, BrokenContract):
            return
        message = (str(error).strip().splitlines() or [""])[0]
        frames = [f for f in traceback.extract_tb(stack) if not _in_library(f.filename)]
        where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        line = f" ({frames[-1].line})" if frames and frames[-1].line else ""
        raise BrokenContract(
            f"{self.name} raised {type(error).__name__}{where}{line}: {message}"
        ) from error


def _in_library(filename: str) -> bool:
    return filename.startswith(_LIBRARIES) or filename.endswith(
        "gymnax/environments/environment.py"
    )


_LIBRARIES = (
    *[f"{path}/" for library in (jax, flax, np, chex) for path in library.__path__],
    __file__.rpartition("envs/")[0],
    "<",
)
