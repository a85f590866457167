"""The work that is left, as a pure function of what the study is and of the runs that are done.

A study goes through rungs (one, without pruning).  In a rung, every group of settings goes
through a span of updates; a run that has been through it is done.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from purejaxvpg.experiment.runs import RunIndex, Shard


class Track(NamedTuple):
    """The way of a group: its settings, and the updates between which its rungs lie."""

    settings: tuple[int, ...]
    bounds: tuple[int, ...]  # 0, then the end of each rung; the last is U


class Work(NamedTuple):
    """Runs of one group that go through a span of updates."""

    group: int
    runs: np.ndarray  # still to do
    start: int  # updates [start, end)
    end: int
    num_runs: int  # of this shard, the done ones included


def pending(
    tracks: Sequence[Track],
    index: RunIndex,
    rung: int,
    alive: np.ndarray,
    done: Callable[[int, int], set[int]],
    shard: Shard = (0, 1),
) -> list[Work]:
    """The work of a rung, group by group; groups of which the shard has no runs are left out.

    Args:
      alive: settings that pruning has left.
      done: (start, end) -> the runs that have been through just this span.
    """
    work = []
    for place, track in enumerate(tracks):
        start, end = track.bounds[rung : rung + 2]
        runs = index.in_shard(index.of_settings(np.intersect1d(track.settings, alive)), shard)
        if not len(runs):
            continue
        finished = done(start, end)
        left = runs[[int(run) not in finished for run in runs]] if start < end else runs[:0]
        work.append(Work(place, left, start, end, len(runs)))
    return work
