"""Locks: one owner for a folder, or for a shard of the work in it.

    .lock, .lock-0-of-4     locked while their owner lives; the files stay, for a lock that is
                            removed when it is released can be had by two
    .owner, .owner-0-of-4   the owner, by name, for the line that others get

The owner of the whole folder keeps every shard out, and a shard the owner of the whole.
"""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import filelock
import jax

from purejaxvpg.experiment.files import NEW, write_whole
from purejaxvpg.experiment.runs import Shard

SHARD_LOCKS = ".lock-*-of-*"
PATIENCE = 1.0  # seconds: others look whether a lock is free, by having it for a moment

# Every name under which `write_whole` writes into the folder of a study, until the file is whole.
_NAMES = (r"run\.json", r"study\.json", r"metrics\.npz", r"metrics[-\w]*\.jsonl", r"study\.nc",
          r"learning_curve\.png", r"best\.npz", r"\d{8}(-[0-9a-f]{8})?\.npz",
          r"\d{8}-\d{8}-[0-9a-f]{12}\.npz", r"\.owner[-\w]*")  # fmt: skip
_UNFINISHED = re.compile(rf"\.({'|'.join(_NAMES)}){NEW}")
_LOCKS = re.compile(r"\.(lock|owner)(-\d+-of-\d+)?")


class _Lock(NamedTuple):
    """A lock that this process has, and the file that it is."""

    lock: filelock.FileLock
    file: tuple[int, int]


# By folder and part of its work.  Several: of a folder, and of the ones made in its place since.
_locks: dict[tuple[Path, str], list[_Lock]] = {}


@contextlib.contextmanager
def locked(folder: Path, part: str = "") -> Iterator[None]:
    """Keep other processes out of a folder, or out of a part of its work ("-0-of-4").  A lock whose
    process has died is no lock.

    Raises: OSError, naming the owner, if another process has it; OSError if the folder cannot be
    written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    locks = [_acquire(folder, part)]
    _locks[folder, part] = locks
    try:
        yield
    finally:
        del _locks[folder, part]
        with contextlib.suppress(OSError):
            (folder / f".owner{part}").unlink(missing_ok=True)
            if made and [path.name for path in folder.iterdir()] == [f".lock{part}"]:
                (folder / f".lock{part}").unlink()  # nothing began in it
                folder.rmdir()
        for lock, _ in locks:
            lock.release()


def lock_again(folder: Path) -> bool:
    """Lock the folder that is there now, if it is not the one that this process locked: who renamed
    that took our lock along.

    Returns: whether it is another one.
    Raises: OSError, naming the owner, if another process has it by now.
    """
    lost = [
        (part, locks)
        for (place, part), locks in _locks.items()
        if place == folder and locks[-1].file != _file(folder / f".lock{part}")
    ]
    for part, locks in lost:
        locks.append(_acquire(folder, part))
    return bool(lost)


def _acquire(folder: Path, part: str) -> _Lock:
    """The lock of a folder, or of a part of its work, and the owner's name beside it.

    Raises: OSError as `locked`.
    """
    lock, path = _lock(folder, part), folder / f".lock{part}"
    if not _acquired(lock, 0 if part else PATIENCE):
        raise _in_use(folder, part)
    try:
        others = [""] if part else [p.name.removeprefix(".lock") for p in _shards(folder)]
        for other in others:
            if not _free(_lock(folder, other)):
                raise _in_use(folder, other)
        file = _file(path)
    except BaseException:
        lock.release()
        raise
    with contextlib.suppress(OSError):  # only a name: a full disk does not matter
        name = f"process {os.getpid()} on {platform.node()}"
        write_whole(folder / f".owner{part}", name.encode())
    return _Lock(lock, file)


def _file(path: Path) -> tuple[int, int]:
    """The file of that name, whatever it is named later; (0, 0) if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def owning(folder: Path | None, shard: Shard | None, already: bool) -> Iterator[None]:
    """Be alone in the folder of a study, or in a shard of it.

    Args: already: whether this process has the folder.
    Raises: OSError as `locked`.
    """
    if folder is None or already or jax.process_index() > 0:
        yield
        return
    with locked(folder, f"-{shard[0]}-of-{shard[1]}" if shard else ""):
        if shard is None and jax.process_count() == 1:
            remove_unfinished(folder)
        yield


def prepare_lock(folder: Path) -> None:
    """Make the lock of a folder, so that no full disk can come between its first file and that.

    Raises: OSError if it cannot be made.
    """
    _lock(folder, "")
    os.close(os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644))


def is_ours(path: Path) -> bool:
    """Whether it is a lock, or a file whose writing was cut off: neither is work of anybody."""
    return bool(_LOCKS.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name))


def remove_unfinished(folder: Path) -> None:
    """Remove files that a killed process did not come to the end of.  For the owner of the whole
    folder, who alone knows that nobody is writing them."""
    for inner in (folder, folder / "parts", folder / "policies", *(folder / "chunks").glob("*")):
        if inner.is_symlink() or not inner.is_dir():
            continue
        for path in inner.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def _lock(folder: Path, part: str) -> filelock.FileLock:
    path = folder / f".lock{part}"
    if path.is_symlink():  # older versions of filelock empty the file that it leads to
        raise OSError(f"{path} is a link, and no lock of ours; remove it")
    return filelock.FileLock(path, timeout=0)


def _acquired(lock: filelock.FileLock, patience: float) -> bool:
    try:
        lock.acquire(timeout=patience, poll_interval=0.02)
    except filelock.Timeout:
        return False
    return True


def _free(lock: filelock.FileLock) -> bool:
    """Whether nobody has it."""
    if not Path(lock.lock_file).exists():
        return True
    free = _acquired(lock, PATIENCE)
    if free:
        lock.release()
    return free


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob(SHARD_LOCKS))


def _in_use(folder: Path, part: str) -> OSError:
    owner, who = folder / f".owner{part}", "another process"
    with contextlib.suppress(OSError, ValueError):
        who = owner.read_text() if owner.is_file() and not owner.is_symlink() else who
    return OSError(f"{folder} is in use by {who}; wait for it, or stop it")
