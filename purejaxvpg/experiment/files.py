"""Files that are whole or not there, and that tell when they are damaged.

A summed file is an .npz whose last 64 bytes, the comment of the zip, are the SHA-256 of all bytes
before them: zip has a sum for each array, and none for the directory of their names and places.
"""

import contextlib
import hashlib
import io
import json
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.fields import first_line
from purejaxvpg.serialize import from_json, to_strict_json

SUM = 64  # characters of a SHA-256


class Damaged(ValueError):
    """A file that is not as it was written: its sum is wrong."""


class Foreign(ValueError):
    """A file that is whole, and of no use here: of another run or study, or of another version."""


class Unusable(NamedTuple):
    """A file that is left out."""

    path: Path
    reason: str
    damaged: bool  # False: it is whole, and of something else


# ------------------------------------------------------------------------------------ WRITING

NEW = r"\.[a-z0-9_]+"  # what `write_whole` puts behind a name until the file is whole


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


UMASK = _umask()  # read once: reading it sets it, for all threads


def write_whole(path: Path, data: bytes, first: bool = False) -> None:
    """A file that takes its name only when it is whole and on the disk.  A link of that name is
    replaced, and not written through.

    Args: first: only if no file has the name yet.
    Raises: OSError; FileExistsError with `first`.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~UMASK)  # as any new file; mkstemp's is for its owner alone
        (_link if first else os.replace)(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _link(partial: str, path: Path) -> None:
    """Give a file its name if no other has it: of two processes, one."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here
        if os.path.lexists(path):
            raise FileExistsError(f"{path} is there already") from None
        os.replace(partial, path)
    else:
        os.unlink(partial)


def _sync(folder: Path) -> None:
    """Names are on the disk when their folder is.  Not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def inside(folder: Path, *names: str) -> Path:
    """The path of something that is in a folder itself.

    Raises: OSError, in one line, if a link leads out of it: a folder may come from somebody else.
    """
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink():
            raise OSError(
                f"{path} is a link, and nothing is written through links; put a folder (or "
                f"nothing) in its place"
            )
    return path


def set_aside(path: Path, ending: str) -> str:
    """Take a file out of the way, under a name that none has.  Returns: how to take it back."""
    aside, number = path.with_suffix(f".{ending}"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_suffix(f".{ending}-{number}")
    try:
        path.rename(aside)
    except OSError as error:  # read only, say
        return f"it could not be set aside ({error.strerror})"
    return f"set aside as {aside.name}, rename it to take it back"


def write_summed(path: Path, arrays: Mapping[str, Any]) -> None:
    """Arrays as an .npz with its own sum."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = bytes(SUM)
    data = buffer.getvalue()[:-SUM]
    write_whole(path, data + hashlib.sha256(data).hexdigest().encode())


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors that say nothing of the content (of the disk, of memory, of rights) as one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OSError(
            f"{path} cannot be read now ({reason}); it may well be whole, so nothing was changed: "
            f"try again once it can be read"
        ) from error


# Raised by json, zip and numpy for content of another make.
CONTENT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError,
           NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error)  # fmt: skip


@contextlib.contextmanager
def content() -> Iterator[None]:
    """Errors of content, of a file whose sum is right, as `Foreign`.  Others come through."""
    try:
        yield
    except Foreign:
        raise
    except CONTENT as error:
        raise Foreign(f"of another make: {first_line(error)}") from error


def read_bytes(path: Path) -> bytes:
    """All of a file.  Raises: Foreign for what is no file; OSError, in one line."""
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise Foreign("it is no regular file")
        return path.read_bytes()


def read_summed(path: Path) -> dict[str, np.ndarray]:
    """The arrays of such a file.

    Raises: Damaged if a single bit of it is not as written; OSError, in one line, if it cannot be
    read now.
    """
    data = read_bytes(path)
    if hashlib.sha256(data[:-SUM]).hexdigest().encode() != data[-SUM:]:
        raise Damaged("damaged, or of another make: its sum is wrong")
    with reading(path), content(), np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, by meaning: 1 is 1.0, and the order of names does not count."""
    normal = json.loads(json.dumps(value), parse_int=float)
    return hashlib.sha256(json.dumps(normal, sort_keys=True).encode()).hexdigest()


def write_described(path: Path, fields: Mapping[str, Any], first: bool = False) -> None:
    """JSON with its own sum.  first: as in `write_whole`."""
    text = to_strict_json({**fields, "sha256": digest(fields)}, indent=2) + "\n"
    write_whole(path, text.encode(), first)


def read_described(path: Path, formats: Sequence[int]) -> dict[str, Any]:
    """The fields that `write_described` wrote, less the sum.

    Args: formats: those that can be read.
    Raises: ValueError if it is of another format, or not as written; OSError.
    """
    fields = from_json(read_bytes(path).decode())
    if not isinstance(fields, dict) or "format" not in fields:
        raise ValueError("it is no description of a run or study")
    if fields["format"] not in formats:
        readable = " and ".join(map(str, formats))
        raise ValueError(f"format {fields['format']}, and this version reads {readable}")
    if fields.pop("sha256", None) != digest(fields):
        raise ValueError("it was changed or damaged: its sum is wrong")
    return fields


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of nested dicts and named tuples by their path, as files name them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        "/".join(str(getattr(step, "key", getattr(step, "name", step))) for step in path): leaf
        for path, leaf in leaves
    }
