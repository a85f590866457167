"""Statistics over seeds: means with intervals, comparisons, the best setting, learning curves.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice".  scipy does the arithmetic.

Scores have shape `[S]`, one score per seed, or `[K, S]`: K tasks (strata) with S seeds each, all
on one scale.

Every interval is a 95% percentile bootstrap over seeds.  It is stratified: the seeds of each task
are resampled within that task, so every resample has the same share of easy tasks.  The resampling
has a fixed seed, so the same scores give the same interval.  One seed has no spread, so its
interval is NaN.

A diverged run has no finite score.  Dropping it would make the other runs look better than they
are, so a score that is not finite is an error; `with_diverged_as_worst` counts it as a failure.
`bootstrap` and the plain statistics do not check their input.  The trap there: before version
1.17, scipy's trimmed mean treats NaN as the highest score.
"""

from purejaxvpg.statistics.aggregates import (
    BATCH,
    Estimate,
    aggregate,
    bootstrap,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
    performance_profile,
    with_diverged_as_worst,
)
from purejaxvpg.statistics.comparisons import (
    Best,
    best_setting,
    difference,
    improvements_over,
    mean_rank,
    probability_of_improvement,
)
from purejaxvpg.statistics.curves import LAST_EPISODES, diverged_at, trailing_return

__all__ = [
    "BATCH",
    "LAST_EPISODES",
    "Best",
    "Estimate",
    "aggregate",
    "best_setting",
    "bootstrap",
    "difference",
    "diverged_at",
    "improvements_over",
    "interquartile_mean",
    "mean",
    "mean_rank",
    "median",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "trailing_return",
    "with_diverged_as_worst",
]
