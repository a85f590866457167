"""Honest numbers over seeds: means, intervals, comparisons, the best of many settings.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice".  The arithmetic is scipy's.

Scores are `[S]`, one a seed, or `[K, S]`: K tasks (strata), S seeds each, on one scale.  Every
interval is the 95% percentile bootstrap over seeds, stratified: each task's seeds are drawn
again by themselves, so that no resample has more of an easy task.  The draws are seeded: the
same scores give the same interval.  One seed shows no spread, and its interval is NaN.

A run that diverged has no finite score, and dropping it flatters the rest.  Everything that
takes scores refuses such values; `with_diverged_as_worst` counts them as failures instead.
Only `bootstrap` and the statistics it is given check nothing, and beware: the trimmed mean of
scipy before 1.17 takes NaN for the highest score.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # not scipy.stats: it takes half a second, and is imported when it is used
from numpy.typing import ArrayLike

BATCH = 2**20  # numbers drawn at once: 8 MB, faster and smaller than all resamples together


class Estimate(NamedTuple):
    """A statistic over seeds with its 95% bootstrap interval."""

    value: np.ndarray  # [...]
    low: np.ndarray  # [...]
    high: np.ndarray  # [...]


class Best(NamedTuple):
    """The setting that one half of the seeds chose, as each half sees it."""

    index: int  # into the H settings
    selected: Estimate  # on the half that chose it: biased upward
    held_out: Estimate  # on the other half: the number to report


# ------------------------------------------------------------------------------- statistics


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean along an axis."""
    return np.mean(values, axis=axis)


def median(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median along an axis.  In `aggregate` it is that of all K * S scores together; Agarwal et
    al. (and rliable) call median that of the K task means."""
    return np.median(values, axis=axis)


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half: the lowest and the highest quarter (rounded down) are left out."""
    return scipy.stats.trim_mean(values, 0.25, axis=axis)


def optimality_gap(scores: np.ndarray, target: float, axis: int = 0) -> np.ndarray:
    """E[max(target - score, 0)]: how far runs fall short; beyond the target nothing is gained.

    For `aggregate`, give the target first: `functools.partial(optimality_gap, target=500)`.
    """
    return np.maximum(target - scores, 0).mean(axis)


# --------------------------------------------------------------------------- diverged runs


def with_diverged_as_worst(scores: ArrayLike) -> np.ndarray:
    """Scores in which a diverged run (NaN or infinite) has the lowest finite score of them all.

    The lowest of the whole array: give all that is compared (x and y) in one call, and tasks of
    different levels one by one.

    Args: scores: any shape.
    Returns: the same shape; all NaN where no score is finite.
    """
    scores = np.asarray(scores, np.float64)
    finite = np.isfinite(scores)
    worst = scores[finite].min() if finite.any() else np.nan
    return np.where(finite, scores, worst)


def diverged_at(finite: ArrayLike) -> np.ndarray:
    """The update, from 1, at which a run was not finite for the first time; 0: at none.

    Args: finite: `[..., U]`, of `Metrics`; NaN where a run was not run.
    Returns: `[...]` int.
    """
    lost = np.asarray(finite) == 0
    return np.where(lost.any(-1), lost.argmax(-1) + 1, 0)


def _checked(scores: ArrayLike, name: str = "scores") -> np.ndarray:
    """Scores as `[K, S]`, from `[S]` or `[K, S]`.  Raises: ValueError."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"{name} has shape {scores.shape}; give [S] or [K, S], none of them 0")
    if bad := int((~np.isfinite(scores)).sum()):
        raise ValueError(
            f"{name} has {bad} values that are not finite; count those runs as the worst of all "
            "that is compared, by with_diverged_as_worst(...), rather than drop them"
        )
    return np.atleast_2d(scores)


# ------------------------------------------------------------------------------- intervals


def _interval(samples: Sequence[np.ndarray], statistic: Callable, resamples: int):
    """(low, high) of `statistic(*samples, axis=-1)`; each sample `[..., S]` is drawn by itself."""
    drawn = scipy.stats.bootstrap(
        samples,
        statistic,
        axis=-1,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=max(1, BATCH // sum(sample.size for sample in samples)),
    )
    return drawn.confidence_interval


def _estimate(samples: Sequence[np.ndarray], statistic: Callable, resamples: int) -> Estimate:
    """`statistic(*samples, axis=-1)` with its interval, which is NaN where a sample is one seed."""
    value = np.asarray(statistic(*samples, axis=-1))
    if min(sample.shape[-1] for sample in samples) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    return Estimate(value, *_interval(samples, statistic, resamples))


def bootstrap(values: np.ndarray, statistic=interquartile_mean, resamples: int = 2000) -> Estimate:
    """A statistic over the first axis (seeds) and its 95% percentile-bootstrap interval.

    Args: values: `[S, ...]`; with S = 1 there is no spread, and the interval is NaN.
    """
    values = np.asarray(values, np.float64)
    value = statistic(values, axis=0)
    if len(values) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    return Estimate(value, *_interval([np.moveaxis(values, 0, -1)], statistic, resamples))


def aggregate(
    scores: ArrayLike, statistic: Callable = interquartile_mean, resamples: int = 2000
) -> Estimate:
    """A statistic of the K * S scores of all tasks together, with its stratified interval.

    Args:
      scores: `[S]` or `[K, S]`; with K > 1 on one scale (normalised), or the largest task rules.
      statistic: one of those above, called as `statistic(scores, axis=-1)`.

    Raises: ValueError: a score that is not finite, or another shape.
    """

    def pooled(*tasks: np.ndarray, axis: int) -> np.ndarray:  # K of [..., S]
        return statistic(np.concatenate(tasks, axis=axis), axis=axis)

    return _estimate(list(_checked(scores)), pooled, resamples)


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike, resamples: int = 2000
) -> Estimate:
    """Fraction of runs that score more than each threshold: 1 - the distribution function.

    The intervals are pointwise: each holds for its own threshold, not for the whole curve.

    Args: scores: `[S]` or `[K, S]`.  thresholds: `[L]`, infinities among them if you like.
    Returns: three of `[L]`.
    Raises: ValueError: a score that is not finite, a threshold that is NaN, or another shape.
    """
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim != 1 or thresholds.size == 0 or np.isnan(thresholds).any():
        raise ValueError(f"thresholds={thresholds.tolist()}; give one or more numbers, [L], no NaN")
    above = _checked(scores)[:, None, :] > thresholds[:, None]  # [K, L, S]

    def fraction(*tasks: np.ndarray, axis: int) -> np.ndarray:  # K of [L, ..., S]
        return np.concatenate(tasks, axis=axis).mean(axis)

    return _estimate(list(above), fraction, resamples)


# ----------------------------------------------------------------------------- comparisons


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2, mean over tasks: `[K, ..., S]` and `[K, ..., S']` -> `[...]`."""
    n, m = x.shape[-1], y.shape[-1]
    ranks = scipy.stats.rankdata(
        np.concatenate([x, y], axis=-1), axis=-1
    )  # equals share their mean
    wins = ranks[..., :n].sum(-1) - n * (n + 1) / 2  # Mann and Whitney's U: an equal pair is 1/2
    return (wins / (n * m)).mean(0)


def probability_of_improvement(
    x: ArrayLike, y: ArrayLike, paired: bool = False, resamples: int = 2000
) -> Estimate:
    """P(X > Y) + P(X = Y) / 2: how likely a run of x beats a run of y, averaged over tasks.

    Every run of x meets every run of y of its task, paired or not.  `paired` changes the
    interval alone: with common random numbers seed s of x and seed s of y are no independent
    runs, so they are drawn together, which is narrower where the seed moves both alike.

    Args: x, y: `[S]` or `[K, S]`; unpaired, each may have an S of its own.
    Raises: ValueError: a score that is not finite, or shapes that do not fit.
    """
    x, y = _checked(x, "x"), _checked(y, "y")
    if len(x) != len(y) or (paired and x.shape != y.shape):
        fit = "the same tasks and seeds" if paired else "the same tasks"
        raise ValueError(f"x has shape {x.shape} and y {y.shape} as [K, S]; both need {fit}")

    def paired_statistic(*seeds: np.ndarray, axis: int) -> np.ndarray:  # K of [..., S]
        drawn = [np.stack([task[s] for task, s in zip(z, seeds, strict=True)]) for z in (x, y)]
        return _improvement(*drawn)

    def statistic(*tasks: np.ndarray, axis: int) -> np.ndarray:  # 2 K of [..., S], x's first
        return _improvement(np.stack(tasks[: len(x)]), np.stack(tasks[len(x) :]))

    if paired:
        return _estimate([np.arange(x.shape[1])] * len(x), paired_statistic, resamples)
    return _estimate([*x, *y], statistic, resamples)


def best_setting(scores: ArrayLike) -> Best:
    """The best of H settings, with a number for it that the choosing has not inflated.

    The largest of many noisy means belongs to a setting that is good or lucky, so it lies above
    that setting's true value: E[max_h mean_h] >= max_h E[mean_h], and the more settings, the
    further.  Here the seeds at even positions choose, by the largest interquartile mean, and
    those at odd positions, which had no say, are reported (sample splitting).

    Args: scores: `[H, S]`, S >= 2; with S < 4 the half held out is one seed, without an interval.
    Raises: ValueError: fewer than two seeds, a score that is not finite, or another shape.
    """
    if np.ndim(scores) != 2:
        raise ValueError(f"scores has shape {np.shape(scores)}; give [H, S], settings by seeds")
    scores = _checked(scores)
    if scores.shape[1] < 2:
        raise ValueError("scores has 1 seed a setting; give 2 or more: half choose, half report")
    choosing, held_out = scores[:, ::2], scores[:, 1::2]
    index = int(np.argmax(interquartile_mean(choosing, axis=1)))
    return Best(index, bootstrap(choosing[index]), bootstrap(held_out[index]))


# -------------------------------------------------------------------------- learning curves


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
