"""Comparisons of scores: how likely one algorithm beats another, and the best of many settings."""

from typing import NamedTuple

import numpy as np
import scipy  # importing scipy.stats takes 0.5 s; scipy loads it at the first use
from numpy.typing import ArrayLike

from purejaxvpg.statistics.aggregates import (
    Estimate,
    bootstrap,
    checked_scores,
    estimate,
    interquartile_mean,
)


class Best(NamedTuple):
    """The setting that one half of the seeds selects, with an estimate from each half."""

    index: int  # into the H settings
    selected: Estimate  # on the half that selects: biased upward
    held_out: Estimate  # on the other half: the number to report


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2, mean over tasks: `[K, ..., S]` and `[K, ..., S']` -> `[...]`."""
    n, m = x.shape[-1], y.shape[-1]
    # Equal values share their mean rank, so an equal pair counts 1/2 in Mann and Whitney's U.
    ranks = scipy.stats.rankdata(np.concatenate([x, y], axis=-1), axis=-1)
    wins = ranks[..., :n].sum(-1) - n * (n + 1) / 2
    return (wins / (n * m)).mean(0)


def probability_of_improvement(
    x: ArrayLike, y: ArrayLike, paired: bool = False, resamples: int = 2000
) -> Estimate:
    """P(X > Y) + P(X = Y) / 2: how likely a run of x beats a run of y, averaged over tasks.

    The value compares every run of x with every run of y of the same task, paired or not.
    `paired` changes only the interval.  Use it for common random numbers: there seed s of x and
    seed s of y are not independent runs, so they are resampled together.  The interval is then
    narrower if the seed moves both in the same direction.

    Args: x, y: `[S]` or `[K, S]`; if unpaired, their S may differ.
    Raises: ValueError: a score that is not finite, or shapes that do not fit.
    """
    x, y = checked_scores(x, "x"), checked_scores(y, "y")
    if len(x) != len(y) or (paired and x.shape != y.shape):
        fit = "the same tasks and seeds" if paired else "the same tasks"
        raise ValueError(f"x has shape {x.shape} and y {y.shape} as [K, S]; both need {fit}")

    def paired_statistic(*seeds: np.ndarray, axis: int) -> np.ndarray:  # K arrays [..., S]
        drawn = [np.stack([task[s] for task, s in zip(z, seeds, strict=True)]) for z in (x, y)]
        return _improvement(*drawn)

    def statistic(*tasks: np.ndarray, axis: int) -> np.ndarray:  # 2 K arrays [..., S], x first
        return _improvement(np.stack(tasks[: len(x)]), np.stack(tasks[len(x) :]))

    if paired:
        return estimate([np.arange(x.shape[1])] * len(x), paired_statistic, resamples)
    return estimate([*x, *y], statistic, resamples)


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


def mean_rank(scores: ArrayLike, resamples: int = 2000) -> Estimate:
    """Rank of each of H settings, averaged over tasks; 1 is the best, equal ones share their rank.

    Within a task the settings are ranked by interquartile mean over seeds.  Ranks need no common
    scale, so no task outweighs the others, but they do not say by how much a setting is better.
    Each resample takes the same seeds of a task for all settings (common random numbers).

    Source: Demsar 2006, "Statistical comparisons of classifiers over multiple data sets".

    Args: scores: `[H, K, S]`, K tasks with S seeds each.
    Returns: an `Estimate` of arrays `[H]`.
    Raises: ValueError: a score that is not finite, or another shape.
    """
    if np.ndim(scores) != 3:
        raise ValueError(f"scores has shape {np.shape(scores)}; give [H, K, S]")
    scores = np.asarray(scores, np.float64)
    tasks, seeds = scores.shape[1:]
    checked_scores(scores.reshape(-1, seeds))

    def ranks(drawn: np.ndarray) -> np.ndarray:  # [H, K, S] -> [H]
        means = interquartile_mean(drawn, axis=2)
        return scipy.stats.rankdata(-means, axis=0).mean(1)

    value = ranks(scores)
    if seeds == 1:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rng, samples = np.random.default_rng(0), []
    for _ in range(resamples):
        places = rng.integers(seeds, size=(1, tasks, seeds))
        samples.append(ranks(np.take_along_axis(scores, places, axis=2)))
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    return Estimate(value, low, high)


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
