"""How far a study is: counts, rates and the return, told while it runs."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from purejaxvpg.experiment.schedule import Work
from purejaxvpg.experiment.segments import Segment


class Progress(NamedTuple):
    """How far a study is.  Counts are of this shard (of all processes of a cluster) and rung."""

    runs_done: int
    num_runs: int  # fewer after each rung of a pruned study
    steps_done: int  # environment steps of the runs of this call, earlier ones of a resumed run too
    steps_left: int
    steps_per_second: float  # of this call; 0 while the first program is compiled
    mean_return: float  # mean over runs of the episodes that ended in the last segment, or NaN
    status: str  # measuring memory, compiling, running


class Clock:
    """Adds up times and steps of one call, and tells of them."""

    def __init__(self, on_progress: Callable[[Progress], None]):
        self._tell = on_progress
        self.compile_seconds = 0.0
        self._seconds = 0.0  # running, of the chunks that ended
        self._steps_done = self._steps_left = self._runs_done = self._num_runs = 0
        self._steps_earlier = 0  # of the steps done: those of calls that were interrupted
        self._runs = self._updates = 0  # of the running chunk, counted so far
        self._before = self._running = 0.0  # its seconds before it was interrupted, and since
        self._return = float("nan")

    def begin(self, work: Sequence[Work], steps_per_update: Sequence[int]) -> None:
        """A rung begins, with this work."""
        self._num_runs = sum(w.num_runs for w in work)
        self._runs_done = self._num_runs - sum(len(w.runs) for w in work)
        pairs = zip(work, steps_per_update, strict=True)
        self._steps_left = sum(len(w.runs) * (w.end - w.start) * steps for w, steps in pairs)

    @contextlib.contextmanager
    def compiling(self, status: str) -> Iterator[None]:
        """Time spent on compilation, or on measuring memory by it."""
        begun = time.perf_counter()
        self.tell(status)
        yield
        self.compile_seconds += time.perf_counter() - begun

    def chunk(self, runs: int, updates: int, done: int = 0, seconds: float = 0.0) -> None:
        """A chunk of so many runs, of all processes, begins at this update.

        Args: done, seconds: steps of it that a checkpoint had, which are not computed again, and
        what they took.
        """
        self._runs, self._updates = runs, updates
        self._before, self._running = seconds, 0.0
        self._steps_done, self._steps_left = self._steps_done + done, self._steps_left - done
        self._steps_earlier += done

    def segment(self, segment: Segment, steps_per_update: int) -> None:
        """A segment ended."""
        steps = self._runs * (segment.updates - self._updates) * steps_per_update
        self._updates = segment.updates
        self._steps_done, self._steps_left = self._steps_done + steps, self._steps_left - steps
        sums = segment.metrics.episode_return_sum.sum(1, np.float64)  # [k]
        counts = segment.metrics.episode_count.sum(1, np.float64)
        means = sums[counts > 0] / counts[counts > 0]  # runs weigh the same, however long episodes
        self._return = float(means.mean()) if len(means) else self._return
        self._running = segment.seconds - self._before
        self.tell("running", self._running)

    def chunk_ended(self, runs: int) -> None:
        """A chunk is done, and kept."""
        self._seconds += self._running
        self._runs_done += runs
        self.tell("running")

    def tell(self, status: str, running: float = 0.0) -> None:
        """Tell how far it is.  running: seconds of the chunk so far."""
        seconds = self._seconds + running
        steps = self._steps_done - self._steps_earlier
        rate = steps / seconds if seconds and steps else 0.0
        counts = (self._runs_done, self._num_runs, self._steps_done, self._steps_left)
        self._tell(Progress(*counts, rate, self._return, status))
