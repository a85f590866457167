"""Hooks that a study calls between segments: they stop it, or write down its segments."""

import jax
import numpy as np

from purejaxvpg.experiment import Segment
from support.assertions import as_numpy


def stop_after(updates: int):
    """An on_segment that stops a study once a chunk has been through so many updates."""
    return lambda segment: segment.updates >= updates


class Seen(list):
    """An on_segment that keeps every segment, its state copied to numpy arrays.

    Args: stop: another on_segment, which says when to stop.
    """

    def __init__(self, stop=lambda _: None):
        super().__init__()
        self.stop = stop

    def __call__(self, segment: Segment):
        copied = jax.tree.map(lambda x: np.array(as_numpy(x)), segment.state)
        self.append(segment._replace(state=copied))
        return self.stop(segment)

    @property
    def updates(self) -> list[tuple[list[int], int]]:
        """(runs, updates done) of each segment."""
        return [(segment.runs.tolist(), segment.updates) for segment in self]
