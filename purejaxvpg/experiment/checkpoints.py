"""Checkpoints: a run between two segments, so that one that is killed goes on to the same bits.

    chunks/<part>/00000420.npz    state, metrics and evaluations of a chunk after 420 updates

Each is one summed file (files.py), so that a damaged one is found, set aside, and the one before it
used.  One that is whole and of no use here (it was made on another number of devices, say) stays as
it is; those written beside it have the chunk's mark in their name: 00000420-1a2b3c4d.npz.

They are written by a thread while training goes on; the newest few are kept, and the best.
"""

import contextlib
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.compute.layout import completed
from purejaxvpg.experiment.files import (
    Damaged,
    Foreign,
    Unusable,
    content,
    digest,
    inside,
    read_summed,
    set_aside,
    write_summed,
)
from purejaxvpg.experiment.packing import pack, unpack
from purejaxvpg.state import Evaluation, Metrics
from purejaxvpg.statistics import trailing_return

NAME = re.compile(r"\d{8}(-[0-9a-f]{8})?\.npz")


class Checkpoint(NamedTuple):
    """A chunk of runs after `update` updates.  S of them."""

    update: int
    state: Sequence[np.ndarray]  # leaves of the TrainState, [S, ...]; keys as their data
    metrics: Metrics  # [S, update]
    evaluations: Evaluation | None  # [S, update / eval_every, E]
    seconds: float  # running, so far
    made_with: Mapping[str, Any]  # versions and device

    @property
    def score(self) -> float:
        """Mean over seeds of the last episodes' return; -inf before any has ended."""
        sums, counts = self.metrics.episode_return_sum, self.metrics.episode_count
        returns = trailing_return(sums, counts)[:, -1]
        return float(returns.mean()) if np.isfinite(returns).all() else -np.inf


class Checkpoints:
    """The checkpoints of one chunk of runs, in a folder.

    Args:
      identity: the chunk's identity, as JSON has it; a checkpoint of another one is not used.
      every_seconds, every_updates: when one is due, whichever comes first; 0: never.
      keep: how many of the newest.  keep_best: the best one too.
      start: the update that the chunk begins at.  on_save: called before one is written.

    A checkpoint that cannot be written (the disk is full) ends no run that goes on without it:
    `on_failure` is told, and it is `unsaved` until another one is written.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        every_seconds: float = 60.0,
        every_updates: int = 0,
        keep: int = 2,
        keep_best: bool = True,
        on_failure: Callable[[str], None] = warnings.warn,
        start: int = 0,
        on_save: Callable[[], None] = lambda: None,
    ):
        self.folder = folder
        self.unusable: list[Unusable] = []  # that `newest` came by
        self.unsaved: Checkpoint | None = None
        self._on_failure, self._on_save = on_failure, on_save
        self._origin, self._mark = digest(identity), ""
        self.every_seconds, self.every_updates = every_seconds, every_updates
        self._keep, self._keep_best = keep, keep_best
        self._last = (time.monotonic(), start)
        self._scores: dict[Path, float] = {}
        self._writer = ThreadPoolExecutor(1)
        self._pending: Future | None = None

    def newest(self, like: Any = ()) -> Checkpoint | None:
        """The newest that is whole and of this chunk.  Damaged ones are set aside; those of another
        make or run stay, and are not written over.

        Args: like: a state as the run has it, for its shapes and types.

        Raises: OtherState if its state has others, and OSError, in one line, for one that cannot be
        read now (that is no damage); every file stays.
        """
        for path in sorted(self._paths(), reverse=True):
            try:
                checkpoint = _from_arrays(read_summed(path), self._origin)
                with content():
                    self._scores[path] = checkpoint.score
            except Damaged as error:
                self.unusable.append(Unusable(path, f"{error}; {set_aside(path, 'damaged')}", True))
            except Foreign as error:
                self.unusable.append(Unusable(path, f"{error}; it stays as it is", False))
                self._mark = f"-{self._origin[:8]}"
            else:
                checkpoint = checkpoint._replace(state=completed(checkpoint.state, like))
                check_fits(str(path), checkpoint.state, jax.tree.leaves(like))
                self._last = (time.monotonic(), checkpoint.update)
                return checkpoint
        return None

    def due(self, update: int) -> bool:
        """Whether it is time for one, after `update` updates."""
        return self.seconds_left() <= 0 or self.updates_left(update) <= 0

    def seconds_left(self) -> float:
        """Until the next one is due by the clock."""
        then, _ = self._last
        return self.every_seconds - (time.monotonic() - then) if self.every_seconds else math.inf

    def updates_left(self, update: int) -> float:
        """Until the next one is due by updates, after `update` updates."""
        _, last = self._last
        return self.every_updates - (update - last) if self.every_updates else math.inf

    def save(self, checkpoint: Checkpoint) -> None:
        """Write one while training goes on."""
        self.settle()
        self._on_save()
        self._last = (time.monotonic(), checkpoint.update)
        self._pending = self._writer.submit(self._write, checkpoint)

    def settle(self) -> None:
        """Return when what was saved is on the disk, or known not to be."""
        try:
            self.wait()
        except OSError as error:
            self._on_failure(f"a checkpoint could not be written ({error}); training goes on")

    def wait(self) -> None:
        """Return when what was saved is on the disk.  Raises: OSError if it could not be."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def remove(self) -> None:
        """Remove them all: the chunk is done."""
        remove_checkpoints(self.folder)
        with contextlib.suppress(OSError):  # other chunks have theirs there
            self.folder.parent.rmdir()

    def write_unsaved(self, folder: Path) -> None:
        """Write the one that could not be written into another folder.  Raises: OSError."""
        if self.unsaved is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{self.unsaved.update:08d}{self._mark}.npz"
            write_summed(path, _to_arrays(self.unsaved, self._origin))

    def _paths(self) -> list[Path]:
        return [path for path in self.folder.glob("*.npz") if NAME.fullmatch(path.name)]

    def _write(self, checkpoint: Checkpoint) -> None:
        self.unsaved = checkpoint  # until it is written
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{checkpoint.update:08d}{self._mark}.npz"
        write_summed(path, _to_arrays(checkpoint, self._origin))
        self.unsaved = None
        self._scores[path] = checkpoint.score
        wanted = set(sorted(self._scores)[-self._keep :])
        if self._keep_best:
            wanted.add(max(self._scores, key=lambda path: (self._scores[path], path)))
        for old in set(self._scores) - wanted:
            old.unlink(missing_ok=True)
            del self._scores[old]


class OtherState(ValueError):
    """A checkpoint that is whole, and whose state this process cannot go on from."""


def check_fits(place: str, state: Sequence[np.ndarray], like: Sequence[Any]) -> None:
    """Refuse leaves of other shapes or types than `like`, if it has any.  Raises: OtherState."""
    given, wanted = ([(x.shape, str(x.dtype)) for x in leaves] for leaves in (state, like))
    if like and given != wanted:
        raise OtherState(
            f"{place} holds a state of other shapes or types than this process has (other versions "
            f"or settings of jax made it); go on with those, or train anew in another folder"
        )


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a chunk that is done, and its folder if nothing else is in it: what
    was set aside, or put there by somebody, stays."""
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)
        folder.rmdir()


def remove_chunks(folder: Path) -> None:
    """Remove the checkpoints of a study that is done: of another width, if any are left."""
    with contextlib.suppress(OSError):
        for chunk in inside(folder, "chunks").glob("*"):
            remove_checkpoints(chunk)
        (folder / "chunks").rmdir()


def _to_arrays(checkpoint: Checkpoint, origin: str) -> dict[str, Any]:
    return {
        "origin": np.asarray(origin),
        "update": np.asarray(checkpoint.update),
        "seconds": np.asarray([checkpoint.seconds]),
        "made_with": np.asarray(json.dumps(checkpoint.made_with)),
        **pack(checkpoint.metrics, checkpoint.evaluations, checkpoint.state),
    }


def _from_arrays(arrays: Mapping[str, np.ndarray], origin: str) -> Checkpoint:
    with content():
        if str(arrays["origin"]) != origin:
            raise Foreign(
                "it is of another run, or of this one on another number of devices or at another "
                "width"
            )
        checkpoint = Checkpoint(
            **unpack(arrays),
            update=int(arrays["update"]),
            seconds=float(arrays["seconds"][0]),
            made_with=json.loads(str(arrays["made_with"])),
        )
        if not checkpoint.state:
            raise Foreign("it has no state")
        return checkpoint
