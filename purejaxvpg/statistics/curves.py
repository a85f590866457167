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

    A run that diverged ends no further episode, so its value stays: leave it out from
    `diverged_at` on, or count it as the worst (`Study.trailing_returns` does the first).

    Args: return_sum, count: `[S, U]`, the metrics episode_return_sum and episode_count.
    Returns: `[S, U]`; NaN until `episodes` episodes have ended.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes} is out of range; accepted: an integer >= 1")
    sums, counts = (np.asarray(x, np.float64) for x in (return_sum, count))  # [S, U]
    ended = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)  # [S, U + 1], before each update
    out = np.full(sums.shape, np.nan)
    for s in range(len(out)):
        # first[u]: the first update of the window that ends with update u; -1: too few episodes
        first = np.searchsorted(ended[s], ended[s, 1:] - episodes, side="right") - 1
        last = np.flatnonzero(first >= 0)  # updates that end a window
        total = _window_sums(sums[s], counts[s] > 0, first[last], last)
        out[s, last] = total / (ended[s, 1 + last] - ended[s, first[last]])
    return out


def _window_sums(x: np.ndarray, counted: np.ndarray, first: np.ndarray, last: np.ndarray):
    """Sum of x over the counted ones of first, ..., last, for each such window.

    Added up anew for each window: less its start, a running sum that has seen 1e16 has lost all
    that is below 1.  A window has as few counted updates as it has episodes.

    Args: x, counted: `[U]`.  first, last: `[W]`, in ascending order.
    """
    places = np.flatnonzero(counted)
    spans = np.searchsorted(places, first), np.searchsorted(places, last, side="right")  # [W] each
    terms = np.append(x[places], 0)  # an end may lie beyond the last place
    return np.add.reduceat(terms, np.stack(spans, axis=1).ravel())[::2] if len(first) else terms[:0]


def diverged_at(finite: ArrayLike) -> np.ndarray:
    """First update, counted from 1, at which a run is not finite; 0 if there is none.

    Args: finite: `[..., U]`, a field of `Metrics`; NaN for updates that were not run.
    Returns: `[...]` int.
    """
    diverged = np.asarray(finite) == 0  # NaN == 0 is False: no divergence
    return np.where(diverged.any(-1), diverged.argmax(-1) + 1, 0)
