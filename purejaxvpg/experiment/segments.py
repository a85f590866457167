"""A chunk of runs in segments: compiled calls, with a look, a hook and a checkpoint between them.

One program serves segments of any number of updates.  Their length is chosen by the clock: short
enough to stop, report and keep in time, long enough that the host costs nothing.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.compute.layout import fetch, fetched_like, restore
from purejaxvpg.experiment.checkpoints import Checkpoint, Checkpoints
from purejaxvpg.experiment.record import made_with
from purejaxvpg.loggers.segment import Segment
from purejaxvpg.state import Evaluation, Metrics, TrainResult, TrainState

SECONDS = 2.0  # of a segment, if its updates are shorter
MOST_UPDATES = 1024  # of a segment; bounds the memory that its metrics take
__all__ = ["Outcome", "Segment", "capacity", "run_segments"]


class Outcome(NamedTuple):
    """Rows after their segments: S of them, or those of this process."""

    updates: int  # done; less than asked for if the chunk was stopped
    state: TrainState  # [S, ...]
    metrics: Metrics  # [S, updates - start], numpy
    evaluations: Evaluation | None  # [S, V, E], numpy
    seconds: float  # running, before an interruption included


def capacity(num_updates: int) -> int:
    """The most updates of a segment: about a tenth of the run."""
    return min(-(-num_updates // 10), MOST_UPDATES)


def run_segments(
    advance: Callable[[TrainState, int, int], TrainResult],
    state: TrainState,
    span: tuple[int, int],
    most: int,
    eval_every: int = 0,
    checkpoints: Checkpoints | None = None,
    on_start: Callable[[Checkpoint | None], None] | None = None,
    on_segment: Callable[[int, float, TrainResult], bool] | None = None,
) -> Outcome:
    """From update `span[0]` to `span[1]`, or from where it was kept on the way.

    Args:
      advance: (state, updates done, count) -> result of `count` updates; rows beyond mean nothing.
      state: at `span[0]`.
      most: updates of a segment.
      on_start: told the checkpoint that it goes on from, or None.
      on_segment: told the updates done, the seconds they took, and the segment's result (its
        metrics as numpy arrays); returns whether to stop, with everything kept.

    Raises: OSError if it was stopped and could not be kept.
    """
    done, end = span
    seconds, pieces, pace = 0.0, [], _Pace(most, checkpoints)
    checkpoint = checkpoints.newest(fetched_like(state)) if checkpoints else None
    if on_start:
        on_start(checkpoint)
    if checkpoint is not None:
        done, seconds = checkpoint.update, checkpoint.seconds
        pieces = [(checkpoint.metrics, checkpoint.evaluations)]
        leaves = jax.tree.unflatten(jax.tree.structure(state), checkpoint.state)
        state = restore(state, leaves)
    stop = False
    while done < end and not stop:
        begun, count = time.perf_counter(), pace.count(done, end)
        result = advance(state, done, count)
        every = eval_every or end + 1
        pieces.append(_rows(result, count, (done + count) // every - done // every))
        state, done = result.state, done + count
        elapsed = time.perf_counter() - begun
        seconds += elapsed
        pace.measured(count, elapsed)
        if on_segment:
            stop = on_segment(done, seconds, TrainResult(state, *pieces[-1]))
        if checkpoints and done < end and (stop or checkpoints.due(done)):
            pieces = [_joined(pieces)]
            leaves = jax.tree.leaves(fetch(state))  # now: the next segment takes its memory
            checkpoints.save(Checkpoint(done, leaves, *pieces[0], seconds, made_with()))
            if stop:
                checkpoints.wait()
    if checkpoints:
        checkpoints.settle()
    return Outcome(done, state, *_joined(pieces), seconds)


class _Pace:
    """How many updates the next segment has."""

    def __init__(self, most: int, checkpoints: Checkpoints | None):
        self.most, self.checkpoints = most, checkpoints
        self.seconds_per_update = 0.0

    def count(self, done: int, end: int) -> int:
        """Updates until the end, the next checkpoint, or `SECONDS`, whichever comes first."""
        if jax.process_count() > 1:  # all processes must agree, and their clocks do not
            return min(self.most, end - done)
        most, seconds = min(self.most, end - done), SECONDS
        if self.checkpoints:
            most = min(most, self.checkpoints.updates_left(done))
            seconds = min(seconds, self.checkpoints.seconds_left())
        if not self.seconds_per_update:
            return 1  # to measure
        return int(max(min(most, seconds / self.seconds_per_update), 1))

    def measured(self, count: int, seconds: float) -> None:
        """Told what a segment took."""
        self.seconds_per_update = seconds / count


def _rows(result: TrainResult, count: int, evaluations: int) -> tuple[Metrics, Any]:
    """The rows of a result that mean something, as numpy arrays."""
    metrics = jax.tree.map(lambda x: x[:, :count], fetch(result.metrics))
    unmeasured: Any = np.full(metrics.finite.shape, np.nan, np.float32)
    metrics = Metrics(*[unmeasured if x is None else x for x in metrics])
    return metrics, jax.tree.map(lambda x: x[:, :evaluations], fetch(result.evaluations))


def _joined(pieces: list[tuple[Metrics, Any]]) -> tuple[Metrics, Any]:
    """Metrics and evaluations of spans of updates, laid end to end."""
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *pieces)
