"""TensorBoard: a folder of event files for each run, so that each seed is a curve."""

import itertools
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.loggers.base import Logger
from purejaxvpg.loggers.names import every, rows
from purejaxvpg.loggers.segment import Segment

MODULE = "tensorboardX.event_file_writer"
FILES = itertools.count()  # of this process: one that is written twice would lose the first


class TensorBoard(Logger):
    """Event files in `folder/seed_<seed>`, of a sweep in `folder/<setting>/seed_<seed>`.

    A run that goes on from a checkpoint tells TensorBoard to forget its points after it.

    Args: points: points of a curve at most, evaluations aside; TensorBoard shows 1,000.  None: one
      for every update.

    Raises: ImportError, in one line, without the extra `tensorboard`.
    """

    def __init__(self, folder: str | os.PathLike, points: int | None = 1000):
        self.folder, self.points = Path(folder), points
        self.name = f"the log for TensorBoard in {self.folder}"
        # The writer beneath SummaryWriter, which has a thread: were the disk full, the thread would
        # end, and the training would wait for it for ever.
        self._writer = require(MODULE, "tensorboard").EventsWriter
        self._events = require("tensorboardX.proto.event_pb2", "tensorboard")
        self._summaries = require("tensorboardX.proto.summary_pb2", "tensorboard")
        self._open: dict[int, Any] = {}  # run -> its writer
        self._last: dict[int, int] = {}  # run -> updates written

    def write(self, segment: Segment) -> None:
        """Add the points of a segment to the files of its runs.  Raises: OSError."""
        table, now = rows(segment, every(segment, self.points)), time.time()
        for i, run in enumerate(map(int, segment.runs)):
            if self._last.get(run, segment.first) != segment.first:
                self._close(run)
            if run not in self._open:
                self._begin(run, self.folder / label(segment, i), segment)
            for j, step in enumerate(table.steps.tolist()):
                points = [
                    self._summaries.Summary.Value(tag=name, simple_value=float(values[i, j]))
                    for name, values in table.series.items()
                    if np.isfinite(values[i, j])
                ]
                summary = self._summaries.Summary(value=points)
                self._add(run, summary=summary, step=step, wall_time=now)
            self._open[run].flush()
            self._last[run] = segment.updates
            if segment.updates == segment.num_updates:
                self._close(run)

    def end(self) -> None:
        """Close all files."""
        for run in list(self._open):
            self._close(run)

    def _begin(self, run: int, folder: Path, segment: Segment) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        suffix = f".{os.getpid()}.{next(FILES):06d}"  # TensorBoard reads files in order of names
        self._open[run] = self._writer(str(folder / "events"), suffix)
        steps = (segment.first + 1) * segment.config.steps_per_update
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._add(run, session_log=start, step=steps, wall_time=time.time())

    def _add(self, run: int, **event: Any) -> None:
        self._open[run].write_event(self._events.Event(**event))

    def _close(self, run: int) -> None:
        if writer := self._open.pop(run, None):
            writer.close()


def label(segment: Segment, place: int) -> str:
    """A name for a run as a path: `seed_3`, or of a sweep `2-gamma=0.9/seed_3`."""
    seed = f"seed_{segment.seeds[place]}"
    values = ",".join(f"{name}={_short(x)}" for name, x in segment.values[place].items())
    if not values:
        return seed
    return re.sub(r"[^\w.=,+-]+", "_", f"{segment.settings[place]}-{values}")[:100] + f"/{seed}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
