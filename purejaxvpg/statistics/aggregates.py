"""Statistics of scores over seeds and tasks, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # importing scipy.stats takes 0.5 s; scipy loads it at the first use
from numpy.typing import ArrayLike

BATCH = 2**20  # values resampled at once: 8 MB, less memory and time than all resamples at once


class Estimate(NamedTuple):
    """A statistic over seeds with its 95% bootstrap interval."""

    value: np.ndarray  # [...]
    low: np.ndarray  # [...]
    high: np.ndarray  # [...]


# ------------------------------------------------------------------------------- statistics


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean along an axis."""
    return np.mean(values, axis=axis)


def median(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median along an axis.

    In `aggregate` it is the median of all K * S scores.  Agarwal et al. (and rliable) use the
    name for another number: the median of the K task means.
    """
    return np.median(values, axis=axis)


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half: without the lowest and the highest quarter (rounded down)."""
    return scipy.stats.trim_mean(values, 0.25, axis=axis)


def optimality_gap(scores: np.ndarray, target: float, axis: int = 0) -> np.ndarray:
    """E[max(target - score, 0)]: mean shortfall; a score above the target counts as 0.

    For `aggregate`, set the target first: `functools.partial(optimality_gap, target=500)`.
    """
    return np.maximum(target - scores, 0).mean(axis)


# ------------------------------------------------------------- scores that are not finite


def with_diverged_as_worst(scores: ArrayLike) -> np.ndarray:
    """Scores in which every diverged run (NaN or infinite) gets the lowest finite score.

    The lowest is taken over the whole array.  Pass all scores of one comparison (x and y) in one
    call.  Pass tasks whose scores differ in level one at a time.

    Args: scores: any shape.
    Returns: the same shape; all NaN if no score is finite.
    """
    scores = np.asarray(scores, np.float64)
    finite = np.isfinite(scores)
    worst = scores[finite].min() if finite.any() else np.nan
    return np.where(finite, scores, worst)


def checked_scores(scores: ArrayLike, name: str = "scores") -> np.ndarray:
    """Scores as `[K, S]`, from `[S]` or `[K, S]`.

    Raises: ValueError: another shape, or a score that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"{name} has shape {scores.shape}; give [S] or [K, S], none of them 0")
    if not_finite := int((~np.isfinite(scores)).sum()):
        raise ValueError(
            f"{name} has {not_finite} values that are not finite; count those runs as the worst of "
            "all that is compared, by with_diverged_as_worst(...), rather than drop them"
        )
    return np.atleast_2d(scores)


def checked_tasks(scores: Any, name: str = "scores") -> list[np.ndarray]:
    """Scores of each task, K arrays `[S]`; from `[S]`, `[K, S]`, or K lists of any lengths.

    Raises: as `checked_scores`.
    """
    if isinstance(scores, list | tuple) and len({np.shape(task) for task in scores}) > 1:
        return [checked_scores(task, name)[0] for task in scores]
    return list(checked_scores(scores, name))


# ------------------------------------------------------------------------------- intervals


def _interval(samples: Sequence[np.ndarray], statistic: Callable, resamples: int):
    """(low, high) of `statistic(*samples, axis=-1)`.

    Each sample `[..., S]` is resampled independently of the others.
    """
    result = scipy.stats.bootstrap(
        samples,
        statistic,
        axis=-1,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=max(1, BATCH // sum(sample.size for sample in samples)),
    )
    return result.confidence_interval


def estimate(samples: Sequence[np.ndarray], statistic: Callable, resamples: int) -> Estimate:
    """Estimate of `statistic(*samples, axis=-1)`; each sample `[..., S]` is resampled by itself.

    The interval is NaN if a sample has one seed.
    """
    value = np.asarray(statistic(*samples, axis=-1))
    if min(sample.shape[-1] for sample in samples) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    return Estimate(value, *_interval(samples, statistic, resamples))


def bootstrap(values: np.ndarray, statistic=interquartile_mean, resamples: int = 2000) -> Estimate:
    """A statistic over the first axis (seeds) with its 95% percentile-bootstrap interval.

    Args:
      values: `[S, ...]`; with S = 1 there is no spread, so the interval is NaN.
      statistic: called as `statistic(values, axis=...)`, with axis 0 or -1.
    """
    values = np.asarray(values, np.float64)
    value = statistic(values, axis=0)
    if len(values) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    return Estimate(value, *_interval([np.moveaxis(values, 0, -1)], statistic, resamples))


def aggregate(
    scores: Any, statistic: Callable = interquartile_mean, resamples: int = 2000
) -> Estimate:
    """A statistic of all K * S scores together, with its stratified interval.

    Args:
      scores: `[S]` or `[K, S]`, or K lists whose S may differ.  With K > 1 use one scale
        (normalise), else the task with the largest scores dominates.
      statistic: one of this module, called as `statistic(scores, axis=-1)`.

    Raises: ValueError: a score that is not finite, or another shape.
    """

    def pooled(*tasks: np.ndarray, axis: int) -> np.ndarray:  # K arrays [..., S]
        return statistic(np.concatenate(tasks, axis=axis), axis=axis)

    return estimate(checked_tasks(scores), pooled, resamples)


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike, resamples: int = 2000
) -> Estimate:
    """Fraction of runs that score more than each threshold: 1 - the distribution function.

    The intervals are pointwise: each one holds at its own threshold, not for the whole curve.

    Args: scores: `[S]` or `[K, S]`.  thresholds: `[L]`; infinite ones are allowed.
    Returns: an `Estimate` of arrays `[L]`.
    Raises: ValueError: a score that is not finite, a threshold that is NaN, or another shape.
    """
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim != 1 or thresholds.size == 0 or np.isnan(thresholds).any():
        raise ValueError(f"thresholds={thresholds.tolist()}; give one or more numbers, [L], no NaN")
    above = checked_scores(scores)[:, None, :] > thresholds[:, None]  # [K, L, S]

    def fraction(*tasks: np.ndarray, axis: int) -> np.ndarray:  # K arrays [L, ..., S]
        return np.concatenate(tasks, axis=axis).mean(axis)

    return estimate(list(above), fraction, resamples)
