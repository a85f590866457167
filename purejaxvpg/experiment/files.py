"""Files that are whole or not there, and that tell when they are damaged.

A summed file is an .npz whose last 64 bytes, the comment of the zip, are the SHA-256 of all bytes
before them: zip has a sum for each array, and none for the directory of their names and places.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from purejaxvpg.serialize import from_json, to_strict_json
from purejaxvpg.state import Evaluation, Metrics

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
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, by meaning: 1 is 1.0, and the order of names does not count."""
    normal = json.loads(json.dumps(value), parse_int=float)
    return hashlib.sha256(json.dumps(normal, sort_keys=True).encode()).hexdigest()


def write_described(path: Path, fields: Mapping[str, Any]) -> None:
    """JSON with its own sum."""
    text = to_strict_json({**fields, "sha256": digest(fields)}, indent=2) + "\n"
    write_whole(path, text.encode())


def read_described(path: Path, formats: Sequence[int]) -> dict[str, Any]:
    """The fields that `write_described` wrote, less the sum.

    Args: formats: those that can be read.
    Raises: ValueError if it is of another format, or not as written; OSError.
    """
    fields = from_json(path.read_text())
    if not isinstance(fields, dict) or "format" not in fields:
        raise ValueError("it is no description of a run or study")
    if fields["format"] not in formats:
        readable = " and ".join(map(str, formats))
        raise ValueError(f"format {fields['format']}, and this version reads {readable}")
    if fields.pop("sha256", None) != digest(fields):
        raise ValueError("it was changed or damaged: its sum is wrong")
    return fields


@contextlib.contextmanager
def locked(folder: Path, part: str = "") -> Iterator[None]:
    """Keep other processes out of a folder, or out of a part of its work.  A lock whose process
    has died is no lock.

    Raises: OSError, naming the owner, if another process has it.
    """
    owner, lock = folder / f".owner{part}", filelock.FileLock(folder / f".lock{part}", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        try:
            who = owner.read_text()
        except OSError:
            who = "another process"
        raise OSError(f"{folder} is in use by {who}; wait for it, or stop it") from None
    try:
        owner.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
        (folder / f".lock{part}").unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """The first line of an error's message, whatever library raised it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of nested dicts and named tuples by their path, as files name them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        "/".join(str(getattr(step, "key", getattr(step, "name", step))) for step in path): leaf
        for path, leaf in leaves
    }


# Version of a state's leaves.  Not written any more: 1 ends before `finite`, and 2 has no
# `episode.lost` (see compute.layout.completed).
STATES = 3


def pack(metrics: Metrics, evaluations: Evaluation | None, state: Any) -> dict[str, Any]:
    """Metrics, evaluations and leaves of a state, if there are any, as arrays by name."""
    arrays = {f"metric.{name}": x for name, x in metrics._asdict().items()}
    arrays["states"] = np.asarray(STATES)
    if evaluations is not None:
        arrays |= {f"evaluation.{name}": x for name, x in evaluations._asdict().items()}
    return arrays | {f"state.{i}": x for i, x in enumerate(state or ())}


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The arguments of `pack` by name; None for those that were not there.

    Raises: ValueError if a later version packed it.
    """
    version = int(arrays.get("states", 1))
    if version > STATES:
        raise ValueError(f"its states have version {version}, and this one reads up to {STATES}")

    def group(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    metrics, evaluations, state = Metrics(**group("metric.")), group("evaluation."), group("state.")
    leaves = [state[name] for name in sorted(state, key=int)]
    if leaves and version == 1:
        leaves.append(np.asarray(metrics.finite).all(1))
    return {
        "metrics": metrics,
        "evaluations": Evaluation(**evaluations) if evaluations else None,
        "state": leaves or None,
    }
