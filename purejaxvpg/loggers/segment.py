"""Segment: some updates of some runs, as loggers and every other hook between segments see them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.state import Evaluation, Metrics, TrainState


class Segment(NamedTuple):
    """Runs between two segments, as `on_segment` sees them.  k runs, n updates of this segment.

    `state` holds device arrays; they are given up to the next segment, so copy what should last.
    """

    runs: np.ndarray  # [k] their numbers in the study: setting * S + place of the seed
    updates: int  # done so far, of each run
    num_updates: int  # U
    seconds: float  # running so far, compilation excluded
    metrics: Metrics  # [k, n] numpy, of this segment
    evaluations: Evaluation | None  # [k, V, E] numpy, those of this segment
    state: TrainState  # [W, ...], W >= k; rows from k on are padding
    config: VPGConfig  # of these runs
    hp: Hyperparams  # [k] numpy
    seeds: np.ndarray  # [k]
    settings: np.ndarray  # [k] their places in the design; 0 of a single setting
    values: Sequence[Mapping[str, Any]]  # [k] what varies of each setting; {} of a single one
    start: int  # update at which these runs began together; `seconds` counts from there

    @property
    def first(self) -> int:
        """Updates done before this segment."""
        return self.updates - self.metrics.finite.shape[1]

    @property
    def steps(self) -> int:
        """Environment steps so far, of each run."""
        return self.updates * self.config.steps_per_update
