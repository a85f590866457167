"""Numbers of runs that are computed from their metrics: means over episodes, and scores.

Letters: H settings, S seeds, U updates, V evaluations, E episodes of each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from purejaxvpg.statistics import LAST_EPISODES, trailing_return

# Means over the episodes that ended, and the metrics that are their sums.
MEANS = {"episode_return": "episode_return_sum", "episode_length": "episode_length_sum"}


def episode_mean(metrics: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Mean over the episodes that ended in each update.  Shape and type of the metrics

    It is the sum of the update divided by its count.  NaN where no episode ended, which includes
    updates that were not run and those after a divergence; infinite where a return was.

    Args: metrics: by the names of Metrics.  name: one of `MEANS`.
    """
    sums, counts = metrics[MEANS[name]], metrics["episode_count"]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def with_means(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics, and `episode_return` and `episode_length` before them."""
    return {**{name: episode_mean(metrics, name) for name in MEANS}, **metrics}


def trailing_mean(
    metrics: Mapping[str, np.ndarray], name: str, episodes: int = LAST_EPISODES
) -> np.ndarray:
    """Mean over the last `episodes` episodes by each update.  `[..., U]`

    NaN before so many ended, after the last update done, and from an infinite sum or a divergence
    on: held at its last value, the curve of a run that is lost would flatter it.
    """
    sums, counts = metrics[MEANS[name]], metrics["episode_count"]
    recorded = ~np.isnan(counts)
    broken = ~np.isfinite(sums) | (np.asarray(metrics["finite"]) == 0)
    lost = np.logical_or.accumulate(recorded & broken, axis=-1)
    usable, rows = recorded & ~lost, (-1, sums.shape[-1])
    flat_sums, flat_counts = (np.where(usable, x, 0).reshape(rows) for x in (sums, counts))
    means = trailing_return(flat_sums, flat_counts, episodes).reshape(sums.shape)
    return np.where(usable, means, np.nan)


def evaluation_mean(evaluations: Mapping[str, np.ndarray], name: str = "returns") -> np.ndarray:
    """Mean over the episodes of each evaluation.  `[..., V]`; NaN where there was none.

    Settings with fewer evaluations, or fewer episodes of each, have NaN beyond theirs.
    """
    played = ~np.isnan(evaluations["finished"])  # [..., V, E]
    sums, episodes = np.where(played, evaluations[name], 0).sum(-1), played.sum(-1)
    return np.where(episodes > 0, sums / np.maximum(episodes, 1), np.nan)


def evaluation_steps(study: Any) -> np.ndarray:
    """Environment steps of one run up to each evaluation.  `[H, V]`; NaN after a setting's last."""
    most = study.evaluations["returns"].shape[2] if study.evaluations else 0
    steps = np.full((study.design.size, most), np.nan)
    for h, setting in enumerate(study.design.settings()):
        every = setting.get("eval_every", study.config.eval_every)
        taken = study.steps[h, every - 1 : study.num_updates[h] : every] if every else []
        steps[h, : len(taken)] = taken
    return steps


def scores(study: Any) -> np.ndarray:
    """See `Study.scores`."""
    last = np.maximum(study.updates - 1, 0)[..., None]  # [H, S, 1]
    if study.evaluations:
        evaluated = (~np.isnan(study.evaluations["finished"])).any(-1)  # [H, S, V]
        place = evaluated.shape[-1] - 1 - np.argmax(evaluated[..., ::-1], axis=-1)
        means = evaluation_mean(study.evaluations)
        score = np.take_along_axis(means, place[..., None], -1)[..., 0]
    else:
        score = np.take_along_axis(study.trailing_returns(), last, -1)[..., 0]
        counts = np.nansum(study.metrics["episode_count"], -1)
        sums = np.nansum(study.metrics["episode_return_sum"], -1, np.float64)
        few = (counts > 0) & (counts < LAST_EPISODES)
        score = np.where(few, sums / np.maximum(counts, 1), score)
    return np.where(study.diverged | (study.updates == 0), np.nan, score)
