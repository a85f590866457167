"""Honest numbers over seeds: interquartile means, bootstrap intervals, trailing returns.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice".  The arithmetic is scipy's.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Estimate(NamedTuple):
    """A statistic over seeds with its 95% bootstrap interval."""

    value: np.ndarray  # [...]
    low: np.ndarray  # [...]
    high: np.ndarray  # [...]


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half: the lowest and the highest quarter (rounded down) are left out."""
    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap(values: np.ndarray, statistic=interquartile_mean, resamples: int = 2000) -> Estimate:
    """A statistic over the first axis (seeds) and its 95% percentile-bootstrap interval.

    Args: values: `[S, ...]`; with S = 1 there is no spread, and the interval is NaN.
    """
    values = np.asarray(values, np.float64)
    value = statistic(values, axis=0)
    if len(values) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    interval = stats.bootstrap(
        (values,),
        statistic,
        axis=0,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=200,
    ).confidence_interval
    return Estimate(value, interval.low, interval.high)


def trailing_return(return_sum: ArrayLike, count: ArrayLike, episodes: int = 20) -> np.ndarray:
    """Mean return of the last `episodes` episodes that had ended by each update.

    Episodes come as sums per update, so the window is the shortest span of updates, ending at
    this one, that holds at least `episodes` of them.

    Args: return_sum, count: `[S, U]`, the metrics episode_return_sum and episode_count.
    Returns: `[S, U]`; NaN until that many episodes have ended.
    """
    sums, counts = (
        np.cumsum(np.pad(np.asarray(x, np.float64), ((0, 0), (1, 0))), axis=1)
        for x in (return_sum, count)
    )  # [S, U + 1] each, before the first update and after every one
    out = np.full(np.shape(return_sum), np.nan)
    for s in range(len(out)):
        # first[u]: the latest update to begin at with enough episodes up to and with update u
        first = np.searchsorted(counts[s], counts[s, 1:] - episodes, side="right") - 1
        known = np.flatnonzero(first >= 0)
        total = sums[s, 1 + known] - sums[s, first[known]]
        out[s, known] = total / (counts[s, 1 + known] - counts[s, first[known]])
    return out
