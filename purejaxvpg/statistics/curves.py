"""Learning curves: the trailing return at each update, and the update where a run diverged."""

import numpy as np
from numpy.typing import ArrayLike

LAST_EPISODES = 20  # a score is the mean return of a run's last so many episodes


def trailing_return(
    return_sum: ArrayLike, count: ArrayLike, episodes: int = LAST_EPISODES
) -> np.ndarray:
    """Mean return of the last `episodes` episodes that ended up to each update.

    The metrics hold sums over the episodes of an update, not single episodes.  So the window at
    update u is the shortest span of updates that ends at u and has at least `episodes` episodes.

    Args: return_sum, count: `[S, U]`, the metrics episode_return_sum and episode_count.
    Returns: `[S, U]`; NaN until `episodes` episodes have ended.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes} is out of range; accepted: an integer >= 1")
    sums, counts = (
        np.cumsum(np.pad(np.asarray(x, np.float64), ((0, 0), (1, 0))), axis=1)
        for x in (return_sum, count)
    )  # [S, U + 1] each; column u sums the first u updates
    out = np.full(np.shape(return_sum), np.nan)
    for s in range(len(out)):
        # first[u]: the first update of the window that ends with update u; -1: too few episodes
        first = np.searchsorted(counts[s], counts[s, 1:] - episodes, side="right") - 1
        last = np.flatnonzero(first >= 0)  # updates that end a window
        total = sums[s, 1 + last] - sums[s, first[last]]
        out[s, last] = total / (counts[s, 1 + last] - counts[s, first[last]])
    return out


def diverged_at(finite: ArrayLike) -> np.ndarray:
    """First update, counted from 1, at which a run is not finite; 0 if there is none.

    Args: finite: `[..., U]`, a field of `Metrics`; NaN for updates that were not run.
    Returns: `[...]` int.
    """
    diverged = np.asarray(finite) == 0  # NaN == 0 is False: no divergence
    return np.where(diverged.any(-1), diverged.argmax(-1) + 1, 0)
