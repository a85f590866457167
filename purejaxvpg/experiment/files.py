"""Files that are whole or not there, and that tell when they are damaged.

A summed file is an .npz whose last 64 bytes, the comment of the zip, are the SHA-256 of all bytes
before them: zip has a sum for each array, and none for the directory of their names and places.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SUM = 64  # characters of a SHA-256


def write_whole(path: Path, data: bytes) -> None:
    """A file that takes its name only when it is whole and on the disk."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_summed(path: Path, arrays: Mapping[str, Any]) -> None:
    """Arrays as an .npz with its own sum."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = bytes(SUM)
    data = buffer.getvalue()[:-SUM]
    write_whole(path, data + hashlib.sha256(data).hexdigest().encode())


def read_summed(path: Path) -> dict[str, np.ndarray]:
    """The arrays of such a file.  Raises: ValueError if a single bit of it is not as written."""
    data = path.read_bytes()
    if hashlib.sha256(data[:-SUM]).hexdigest().encode() != data[-SUM:]:
        raise ValueError("damaged, or of another make: its sum is wrong")
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    """Those whose name begins so, by the rest of it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
