"""Runs of a study by number: run = setting * S + place of its seed.  H settings, S seeds."""

from collections.abc import Sequence
from operator import index
from typing import Any, NamedTuple

import numpy as np

MOST_RUNS = 1_000_000  # of a study: each is named, and has its rows in every result
Shard = tuple[int, int]  # (i, n): the i-th of n independent processes' runs, i from 0


class RunIndex(NamedTuple):
    """The H * S runs of a study, in their order."""

    num_settings: int  # H
    num_seeds: int  # S

    def __len__(self) -> int:
        return self.num_settings * self.num_seeds

    def of_settings(self, settings: Sequence[int] | np.ndarray) -> np.ndarray:
        """All runs of these settings.  `[len(settings) * S]`"""
        first = np.asarray(settings, int)[:, None] * self.num_seeds
        return (first + np.arange(self.num_seeds)).ravel()

    def settings(self, runs: np.ndarray) -> np.ndarray:
        """The setting of each run."""
        return np.asarray(runs) // self.num_seeds

    def seed_places(self, runs: np.ndarray) -> np.ndarray:
        """The place of each run's seed among the S."""
        return np.asarray(runs) % self.num_seeds

    def in_shard(self, runs: np.ndarray, shard: Shard) -> np.ndarray:
        """The runs among these that a shard computes: consecutive, as evenly shared as can be."""
        (i, n), total = shard, len(self)
        return runs[(runs >= total * i // n) & (runs < total * (i + 1) // n)]

    def cube(self, rows: Any) -> np.ndarray:
        """`[H * S, ...]` -> `[H, S, ...]`."""
        return rows.reshape(self.num_settings, self.num_seeds, *rows.shape[1:])


def parse_shard(shard: Any) -> Shard | None:
    """(i, n) from "i/n", (i, n) or None.  Raises: ValueError, in one line."""
    if shard is None:
        return None
    if isinstance(shard, str) and shard in ("runs", "envs"):  # its name in earlier versions
        raise ValueError(f"shard={shard!r} is called split={shard!r} now")
    try:
        pair = map(int, shard.split("/")) if isinstance(shard, str) else map(index, shard)
        i, n = pair
    except (TypeError, ValueError):
        i, n = -1, 0
    if not 0 <= i < n:
        raise ValueError(f"shard={shard!r} is not i/n with 0 <= i < n; write for example 0/4")
    return i, n
