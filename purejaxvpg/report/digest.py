"""What a report says about a study, as numbers: each is computed here, once.

Letters: H settings, S seeds, U updates.

A run counts by its score; one that diverged, or had a return that is not finite, counts as the
worst of all runs; one that was not run, or ended no episode, has no score and is left out, and
counted by name.  Settings are ranked by interquartile mean over all their seeds; those that were
stopped early come after those that ran to their end, for their score is that of an earlier day.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.experiment.study import LAST_EPISODES, Study
from purejaxvpg.statistics import (
    Best,
    Estimate,
    best_setting,
    bootstrap,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
    with_diverged_as_worst,
)

HIGHLIGHTED = 5  # settings shown in colour: more cannot be told apart
DRAWN = 2_000_000  # bootstrap resamples x settings x seeds that a table may cost


class Row(NamedTuple):
    """One setting in the table."""

    setting: int  # place in the design
    iqm: Estimate | None  # None: no seed has a score
    mean: Estimate | None
    median: Estimate | None
    gap: Estimate | None  # None also without a target
    against_first: Estimate | None  # P(a run of it beats a run of the first row); None: no pairs
    seeds: int  # that have a score or diverged
    diverged: int
    updates: int  # done, of the seed that is furthest
    stopped: bool  # by pruning


class Digest(NamedTuple):
    """A study, judged."""

    study: Study
    target: float | None
    settings: list[dict[str, Any]]  # [H]
    labels: list[str]  # [H]
    scores: np.ndarray  # [H, S]: diverged as worst, NaN where there is none
    diverged_at: np.ndarray  # [H, S] int: first update with `finite` 0, from 1; 0: none
    overflown: np.ndarray  # [H, S] bool: did not diverge, but had a return that is not finite
    without: np.ndarray  # [H, S] bool: ran, did not fail, and ended no episode (or evaluation)
    rows: list[Row]  # best first
    decimals: int  # of a score

    @property
    def order(self) -> list[int]:
        """Settings, best first."""
        return [row.setting for row in self.rows]

    @property
    def highlighted(self) -> list[int]:
        """The settings that plots show in colour, best first."""
        return [row.setting for row in self.rows if row.iqm is not None][:HIGHLIGHTED]

    @property
    def unfinished(self) -> np.ndarray:
        """Runs begun and not at their end, though nothing stopped them.  [H, S] bool"""
        begun = (self.study.updates > 0) & ~self.study.done
        return begun & ~self.study.pruned[:, None]

    @property
    def score_name(self) -> str:
        """What a score is."""
        if self.study.evaluations:
            episodes = self.study.evaluations["returns"].shape[-1]
            many = "" if "eval_episodes" in self.study.design.names else f" ({episodes} episodes)"
            return f"mean return of the last evaluation{many}"
        return f"mean return of the last {LAST_EPISODES} training episodes"

    def number(self, value: float) -> str:
        """A score as text; "-" for none."""
        if not math.isfinite(value):
            return "-"
        scale = float(np.nanmax(np.abs(self.scores))) if np.isfinite(self.scores).any() else 1.0
        return f"{value:,.{self.decimals}f}" if scale >= 1e-2 else f"{value:.3g}"


def digest(study: Study, target: float | None = None) -> Digest:
    """Judge a study.

    Args: target: the score to reach; the optimality gap is measured from it.
    """
    raw, diverged = study.scores(), study.diverged
    sums = study.metrics["episode_return_sum"]
    known = ~np.isnan(study.metrics["episode_count"])
    overflown = ((known & ~np.isfinite(sums)).any(-1) | np.isinf(raw)) & ~diverged
    valued = np.isfinite(raw) | diverged | overflown
    raw = np.where(overflown, np.nan, raw)
    scores = np.where(valued, with_diverged_as_worst(raw), np.nan)
    settings = study.design.settings()
    judged = Digest(
        study=study,
        target=target,
        settings=settings,
        labels=setting_labels(settings),
        scores=scores,
        diverged_at=study.diverged_at,
        overflown=overflown,
        without=(study.updates > 0) & ~valued,
        rows=[],
        decimals=_decimals(scores),
    )
    return judged._replace(rows=_rows(judged))


def choose_best(digest: Digest) -> tuple[Best, list[int], np.ndarray] | None:
    """The best setting as half of the seeds choose it and the other half sees it.

    Only settings that ran all seeds to the end take part; if there are none, all that were run,
    on the seeds they share.

    Returns: the choice, its index a place in the design; the settings it was made among; the
    places of the seeds [S'].  None if fewer than two seeds are shared.
    """
    known = np.isfinite(digest.scores)
    whole = known.all(1) & digest.study.done.all(1)
    among = np.flatnonzero(whole if whole.any() else known.any(1))
    shared = np.flatnonzero(known[among].all(0)) if len(among) else np.array([], int)
    if len(shared) < 2:
        return None
    best = best_setting(digest.scores[np.ix_(among, shared)])
    return best._replace(index=int(among[best.index])), among.tolist(), shared


def pooled(scores: np.ndarray) -> np.ndarray | None:
    """Settings x seeds without holes: settings that were run, and the seeds all of them ran.

    Args: scores: `[K, S]`.  Returns: `[K', S']`, or None if nothing is left.
    """
    rows = scores[np.isfinite(scores).any(1)]
    rows = rows[:, np.isfinite(rows).all(0)]
    return rows if rows.size else None


# ------------------------------------------------------------------------------------- ROWS


def _rows(digest: Digest) -> list[Row]:
    study, scores = digest.study, digest.scores
    resamples = int(np.clip(DRAWN // max(scores.size, 1), 200, 2000))
    target = digest.target
    shortfall = None if target is None else functools.partial(optimality_gap, target=target)
    rows = []
    for h in range(len(scores)):
        own = scores[h][np.isfinite(scores[h])]
        iqm, center, middle, gap = (
            bootstrap(own, statistic, resamples) if statistic and len(own) else None
            for statistic in (interquartile_mean, mean, median, shortfall)
        )
        rows.append(
            Row(
                setting=h,
                iqm=iqm,
                mean=center,
                median=middle,
                gap=gap,
                against_first=None,
                seeds=len(own),
                diverged=int((digest.diverged_at[h] > 0).sum()),
                updates=int(study.updates[h].max()),
                stopped=bool(study.pruned[h]),
            )
        )
    rows.sort(key=_rank)
    best = scores[rows[0].setting]
    return [rows[0]] + [
        row._replace(against_first=_compare(scores[row.setting], best, resamples))
        for row in rows[1:]
    ]


def _rank(row: Row) -> tuple[bool, bool, float]:
    if row.iqm is None:
        return True, True, 0.0
    return False, row.stopped, -float(row.iqm.value)


def _compare(x: np.ndarray, y: np.ndarray, resamples: int) -> Estimate | None:
    """P(x beats y), drawn by seeds, over the seeds that both have."""
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return None
    return probability_of_improvement(x[both], y[both], paired=True, resamples=resamples)


def _decimals(scores: np.ndarray) -> int:
    """As many as show four digits of the largest score, at most four."""
    known = np.abs(scores[np.isfinite(scores)])
    if not known.size or known.max() == 0:
        return 1
    return int(np.clip(4 - math.ceil(math.log10(known.max())), 0, 4))


# ------------------------------------------------------------------------------------ NAMES


def value_labels(values: list[Any]) -> list[str]:
    """Each value as text, short unless that makes two different ones look the same."""
    short = [_value(v) for v in values]
    if len(set(short)) < len({repr(v) for v in values}):
        return [v if isinstance(v, str) else repr(v) for v in values]
    return short


def setting_labels(settings: list[dict[str, Any]]) -> list[str]:
    """Each setting on a line; "base setting" where nothing varies.  [H]"""
    if not settings or not settings[0]:
        return ["base setting"] * len(settings)
    names = list(settings[0])
    columns = [value_labels([setting[name] for setting in settings]) for name in names]
    rows = zip(*columns, strict=True)
    return [", ".join(f"{n}={v}" for n, v in zip(names, row, strict=True)) for row in rows]


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"
