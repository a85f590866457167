"""Comparisons of scores: how likely one algorithm beats another, and the best of many settings."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # importing scipy.stats takes 0.5 s; scipy loads it at the first use
from numpy.typing import ArrayLike

from purejaxvpg.statistics.aggregates import (
    Estimate,
    bootstrap,
    checked_scores,
    checked_tasks,
    estimate,
    interquartile_mean,
)


class Best(NamedTuple):
    """The setting that one half of the seeds selects, with an estimate from each half."""

    index: int  # into the H settings
    selected: Estimate  # on the half that selects: biased upward
    held_out: Estimate  # on the other half: the number to report


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2 of one task: `[..., S]` and `[..., S']` -> `[...]`."""
    n, m = x.shape[-1], y.shape[-1]
    # Equal values share their mean rank, so an equal pair counts 1/2 in Mann and Whitney's U.
    ranks = scipy.stats.rankdata(np.concatenate([x, y], axis=-1), axis=-1)
    wins = ranks[..., :n].sum(-1) - n * (n + 1) / 2
    return wins / (n * m)


def probability_of_improvement(
    x: Any, y: Any, paired: bool = False, resamples: int = 2000
) -> Estimate:
    """P(X > Y) + P(X = Y) / 2: how likely a run of x beats a run of y, averaged over tasks.

    The value compares every run of x with every run of y of the same task, paired or not.
    `paired` changes only the interval.  Use it for common random numbers: there seed s of x and
    seed s of y are not independent runs, so they are resampled together.  The interval is then
    narrower if the seed moves both in the same direction.

    Args: x, y: `[S]` or `[K, S]`, or K lists whose S may differ; if unpaired, S of x and y too.
    Raises: ValueError: a score that is not finite, or shapes that do not fit.
    """

    def improvement(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([_improvement(*task) for task in zip(xs, ys, strict=True)], axis=0)

    return _compared(improvement, x, y, paired, resamples)


def difference(
    x: Any,
    y: Any,
    statistic: Callable = interquartile_mean,
    paired: bool = False,
    resamples: int = 2000,
) -> Estimate:
    """A statistic of x less the same of y, averaged over tasks, with its interval.

    Where the interval contains 0, the scores do not tell the two apart.

    Args: x, y, paired: as of `probability_of_improvement`.  statistic: one of this package, called
    as `statistic(scores, axis=-1)`.
    Raises: ValueError: a score that is not finite, or shapes that do not fit.
    """

    def less(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> np.ndarray:
        pairs = zip(xs, ys, strict=True)
        return np.mean([statistic(a, axis=-1) - statistic(b, axis=-1) for a, b in pairs], axis=0)

    return _compared(less, x, y, paired, resamples)


def _compared(statistic: Callable, x: Any, y: Any, paired: bool, resamples: int) -> Estimate:
    """A statistic of two sides, K arrays `[..., S]` each; paired: seeds are resampled together."""
    x, y = checked_tasks(x, "x"), checked_tasks(y, "y")
    lengths = [[len(task) for task in side] for side in (x, y)]
    if len(x) != len(y) or (paired and lengths[0] != lengths[1]):
        fit = "the same tasks and seeds" if paired else "the same tasks"
        shown = [f"({len(n)}, {n[0]})" if len(set(n)) == 1 else f"(K, {n})" for n in lengths]
        raise ValueError(f"x has shape {shown[0]} and y {shown[1]} as [K, S]; both need {fit}")

    def of_seeds(*seeds: np.ndarray, axis: int) -> np.ndarray:  # K arrays [..., S]
        drawn = [[task[s] for task, s in zip(side, seeds, strict=True)] for side in (x, y)]
        return statistic(*drawn)

    def of_scores(*tasks: np.ndarray, axis: int) -> np.ndarray:  # 2 K arrays [..., S], x first
        return statistic(tasks[: len(x)], tasks[len(x) :])

    if paired:
        return estimate([np.arange(n) for n in lengths[0]], of_seeds, resamples)
    return estimate([*x, *y], of_scores, resamples)


def improvements_over(scores: ArrayLike, reference: ArrayLike, resamples: int = 2000) -> Estimate:
    """`probability_of_improvement(scores[h], reference, paired=True)` of many settings at once.

    Resampling seeds is weighting them by counts c, so a resample of the S x S table W of wins (1,
    and 1/2 for equal scores) has the mean c W c / S^2.

    Args: scores: `[H, S]`; reference: `[S]`, the same seeds.
    Returns: an `Estimate` of arrays `[H]`.
    Raises: ValueError: a score that is not finite, or shapes that do not fit.
    """
    scores, reference = checked_scores(scores), checked_scores(reference, "reference")
    seeds = scores.shape[1]
    if reference.shape != (1, seeds):
        raise ValueError(f"reference has shape {reference.shape[1:]}; give one of {seeds} seeds")
    drawn = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))  # as scipy draws
    counts = (drawn[:, :, None] == np.arange(seeds)).sum(1).astype(np.float64)  # [R, S]
    value, low, high = (np.full(len(scores), np.nan) for _ in range(3))
    for h, x in enumerate(scores):
        wins = (x[:, None] > reference) + (x[:, None] == reference) / 2  # [S, S]
        value[h] = wins.mean()
        if seeds > 1:
            means = ((counts @ wins) * counts).sum(1) / seeds**2
            low[h], high[h] = np.quantile(means, [0.025, 0.975])
    return Estimate(value, low, high)


def mean_rank(scores: Any, resamples: int = 2000, paired: bool = True) -> Estimate:
    """Rank of each of H settings, averaged over tasks; 1 is the best, equal ones share their rank.

    Within a task the settings are ranked by interquartile mean over seeds.  Ranks need no common
    scale, so no task outweighs the others, but they do not say by how much a setting is better.
    Each resample takes the same seeds of a task for all settings (common random numbers); unpaired,
    the seeds of each setting are resampled by themselves.

    Source: Demsar 2006, "Statistical comparisons of classifiers over multiple data sets".

    Args: scores: `[H, K, S]`, K tasks with S seeds each; unpaired also H lists of K lists whose S
    may differ.
    Returns: an `Estimate` of arrays `[H]`.
    Raises: ValueError: a score that is not finite, or another shape.
    """

    def ranks(means: np.ndarray) -> np.ndarray:  # [H, K, ...] -> [H, ...]
        return scipy.stats.rankdata(-means, axis=0).mean(1)

    if paired and np.ndim(scores) != 3:
        raise ValueError(f"scores has shape {np.shape(scores)}; give [H, K, S]")
    rows, rng = [checked_tasks(row) for row in scores], np.random.default_rng(0)
    value = ranks(np.asarray([[interquartile_mean(task) for task in row] for row in rows]))
    if min(len(task) for row in rows for task in row) == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    if paired:
        cube, samples = np.asarray(rows), []
        for _ in range(resamples):
            places = rng.integers(cube.shape[2], size=(1, *cube.shape[1:]))
            drawn = np.take_along_axis(cube, places, axis=2)
            samples.append(ranks(interquartile_mean(drawn, axis=2)))
    else:
        means = [[_resampled_means(task, rng, resamples) for task in row] for row in rows]
        samples = ranks(np.asarray(means)).T
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    return Estimate(value, low, high)


def _resampled_means(scores: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    drawn = scores[rng.integers(len(scores), size=(resamples, len(scores)))]
    return interquartile_mean(drawn, axis=-1)


def best_setting(scores: ArrayLike) -> Best:
    """Best of H settings, with an estimate of its score that the selection does not bias.

    The largest of many noisy means is too high: E[max_h mean_h] >= max_h E[mean_h].  Its setting
    is good or lucky, and the bias grows with the number of settings.  Sample splitting removes
    it.  The seeds at even positions select the setting with the largest interquartile mean.  The
    seeds at odd positions take no part in the selection and give the number to report.

    Args: scores: `[H, S]`, S >= 2; with S < 4 one seed is held out, so its interval is NaN.
    Raises: ValueError: fewer than two seeds, a score that is not finite, or another shape.
    """
    if np.ndim(scores) != 2:
        raise ValueError(f"scores has shape {np.shape(scores)}; give [H, S], settings by seeds")
    scores = checked_scores(scores)
    if scores.shape[1] < 2:
        raise ValueError("scores has 1 seed a setting; give 2 or more: half choose, half report")
    choosing, held_out = scores[:, ::2], scores[:, 1::2]
    index = int(np.argmax(interquartile_mean(choosing, axis=1)))
    return Best(index, bootstrap(choosing[index]), bootstrap(held_out[index]))
