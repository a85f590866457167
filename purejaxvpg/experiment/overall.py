"""The same setting under all conditions: mean rank, and normalised scores where they are asked for.

Letters: C conditions, H settings that ran under all of them, S seeds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from purejaxvpg.experiment.conditions import grouped
from purejaxvpg.statistics import Estimate, aggregate, mean_rank, with_diverged_as_worst

MAX_DRAWS = 5_000_000  # resamples x scores: bounds the time of many settings


class Overall(NamedTuple):
    """One setting under all conditions."""

    values: dict[str, Any]  # name -> value, conditions left out
    settings: np.ndarray  # [C] places in the design, one a condition
    rank: Estimate  # mean over conditions; 1 is the best
    score: Estimate | None  # interquartile mean of all its normalised scores; None without bounds


def over_conditions(study: Any, bounds: ArrayLike | None = None) -> list[Overall]:
    """See `Study.over_conditions`."""
    conditions = study.design.by_condition()
    ends = None if bounds is None else _checked(bounds, len(conditions))
    raw, judged = study.scores(), study.done.all(1)
    scores = np.full(raw.shape, np.nan)
    for condition in conditions:
        places = condition.settings[judged[condition.settings]]
        scores[places] = with_diverged_as_worst(raw[places])
    rows = [row for row in same_settings(study) if np.isfinite(scores[row.settings]).all()]
    if not rows:
        return []
    cube = np.stack([scores[row.settings] for row in rows])  # [H, C, S]
    resamples = int(np.clip(MAX_DRAWS // cube.size, 100, 2000))
    ranks = mean_rank(cube, resamples)
    rows = [row._replace(rank=Estimate(*[x[h] for x in ranks])) for h, row in enumerate(rows)]
    if ends is not None:
        normalised = (cube - ends[:, :1]) / (ends[:, 1:] - ends[:, :1])
        rows = [row._replace(score=aggregate(normalised[h])) for h, row in enumerate(rows)]
    return sorted(rows, key=lambda row: float(row.rank.value))


def same_settings(study: Any) -> list[Overall]:
    """The settings that are there once under every condition, in their order; not judged yet."""
    design = study.design
    place = np.empty(design.size, int)  # of each setting's condition
    for c, condition in enumerate(design.by_condition()):
        place[condition.settings] = c
    conditions = np.arange(len(design.by_condition()))
    names = [name for name in design.names if name not in design.conditions]
    nothing, rows = Estimate(*[np.asarray(np.nan)] * 3), []
    for alike in grouped(design.settings(), names):
        ordered = alike.settings[np.argsort(place[alike.settings], kind="stable")]
        if np.array_equal(place[ordered], conditions):  # one in each, no more
            rows.append(Overall(alike.values, ordered, nothing, None))
    return rows


def _checked(bounds: ArrayLike, conditions: int) -> np.ndarray:
    ends = np.asarray(bounds, np.float64)
    if ends.shape != (conditions, 2) or not (np.isfinite(ends).all() and (np.diff(ends) > 0).all()):
        raise ValueError(
            f"bounds={np.asarray(bounds).tolist()}; accepted: (low, high) of each of the "
            f"{conditions} conditions, finite, low < high"
        )
    return ends
