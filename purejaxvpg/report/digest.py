"""Numbers of a report: scores, ranks and labels of the settings of a study.

Letters: H settings, S seeds, K settings that are compared.

Settings are compared within a condition: a study of several has a digest for each.

A run that diverged, or that had a return that is not finite, counts as the worst of its condition.
A run that was not run, or that ended no episode, has no score; it is left out and reported.
Settings are ranked by interquartile mean over all their seeds. Settings that pruning stopped come
after those that ran to their end, because their scores are from an earlier update.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg import statistics
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.labels import BASE, setting_labels
from purejaxvpg.statistics import Best, Estimate

HIGHLIGHTED = 5  # settings shown in colour; more colours cannot be told apart
FEWER = " (of all, where fewer ended)"
BLOCK = 512  # settings that are resampled at once
MAX_DRAWS = 2_000_000  # bootstrap resamples x settings x seeds of a table: bounds its time


class Row(NamedTuple):
    """One setting in the table."""

    setting: int  # index in the design
    seeds: int  # with a score, diverged ones included
    diverged: int  # seeds
    updates: int  # done by the seed that is furthest
    stopped: bool  # by pruning
    iqm: Estimate | None = None  # None: no seed has a score
    mean: Estimate | None = None
    median: Estimate | None = None
    gap: Estimate | None = None  # None also without a target
    against_first: Estimate | None = None  # P(beats a run of the first row); None: no shared seed


class Digest(NamedTuple):
    """A condition of a study (or all of a study that has none): scores, labels, ranked settings."""

    study: Study  # its settings alone
    condition: str  # its values as text; "" where there is one condition
    target: float | None
    settings: list[dict[str, Any]]  # [H], without the names that the conditions of the study are
    labels: list[str]  # [H]
    scores: np.ndarray  # [H, S]; diverged runs as the worst, NaN: no score
    overflown: np.ndarray  # [H, S] bool: did not diverge, but had a return that is not finite
    unscored: np.ndarray  # [H, S] bool: ran, did not fail, but ended no episode (or evaluation)
    rows: list[Row]  # best first
    score_format: str

    @property
    def highlighted(self) -> list[int]:
        """Indices of the settings that plots show in colour, best first."""
        return [row.setting for row in self.rows if row.iqm is not None][:HIGHLIGHTED]

    @property
    def unfinished(self) -> np.ndarray:
        """Runs that began and did not reach their end, though not pruned.  [H, S] bool"""
        return unfinished(self.study)

    @property
    def score_name(self) -> str:
        """Description of a score."""
        return score_name(self.study)

    def name_of(self, setting: int) -> str:
        """Label of a setting among those of all conditions."""
        label = self.labels[setting]
        if not self.condition:
            return label
        return self.condition if label == BASE else f"{self.condition}, {label}"

    def number(self, value: float | np.ndarray) -> str:
        """A score as text; "-" if it is not finite."""
        return format(value, self.score_format) if math.isfinite(value) else "-"

    def interval(self, estimate: Estimate) -> str | None:
        """Interval as text, "[low, high]"; None if there is none, as for one seed."""
        if not np.isfinite(estimate.low):
            return None
        return f"[{self.number(estimate.low)}, {self.number(estimate.high)}]"


def unfinished(study: Study) -> np.ndarray:
    """Runs that began and did not reach their end, though not pruned.  [H, S] bool"""
    return (study.updates > 0) & ~study.done & ~study.pruned[:, None]


def digests(study: Study, target: float | None = None) -> list[Digest]:
    """Scores, labels and ranks of a study, by condition.

    Args: target: the score to reach; the optimality gap is measured from it.
    """
    conditions = study.design.by_condition()
    if len(conditions) == 1:
        return [_digest(study, target)]
    labels = setting_labels([condition.values for condition in conditions])
    views = zip(map(study.within, conditions), labels, strict=True)
    return [_digest(view, target, label) for view, label in views]


def digest(study: Study, target: float | None = None) -> Digest:
    """The digest of a study of one condition.  Raises: ValueError if there are several."""
    if (number := len(study.design.by_condition())) > 1:
        raise ValueError(f"the study has {number} conditions; compare within each, by digests")
    return _digest(study, target)


def _digest(study: Study, target: float | None, condition: str = "") -> Digest:
    raw, overflown = raw_scores(study)
    scored = np.isfinite(raw) | study.diverged | overflown
    scores = np.where(scored, statistics.with_diverged_as_worst(raw), np.nan)
    hidden = study.design.conditions if condition else ()
    settings = [
        {name: value for name, value in setting.items() if name not in hidden}
        for setting in study.design.settings()
    ]
    return Digest(
        study=study,
        condition=condition,
        target=target,
        settings=settings,
        labels=setting_labels(settings),
        scores=scores,
        overflown=overflown,
        unscored=(study.updates > 0) & ~scored,
        rows=_rows(study, scores, target),
        score_format=score_format(scores),
    )


def score_name(study: Study) -> str:
    """Description of the scores of a study."""
    if study.evaluations:
        episodes = study.evaluations["returns"].shape[-1]
        count = "" if "eval_episodes" in study.design.names else f" ({episodes} episodes)"
        return f"mean return of the last evaluation{count}"
    fewer = np.nansum(study.metrics["episode_count"], -1) < statistics.LAST_EPISODES
    note = FEWER * bool(fewer.any())
    return f"mean return of the last {statistics.LAST_EPISODES} training episodes{note}"


def raw_scores(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Scores, NaN for a run without one; and the runs that overflew: they did not diverge, but had
    a return that is not finite.  [H, S] each"""
    raw, sums = study.scores(), study.metrics["episode_return_sum"]
    recorded = ~np.isnan(study.metrics["episode_count"])
    overflown = ((recorded & ~np.isfinite(sums)).any(-1) | np.isinf(raw)) & ~study.diverged
    return np.where(overflown, np.nan, raw), overflown


def choose_best(digest: Digest) -> tuple[Best, list[int], np.ndarray] | None:
    """`choose` among all settings of a condition."""
    return choose(digest.scores, digest.study.done)


def choose(scores: np.ndarray, done: np.ndarray) -> tuple[Best, list[int], np.ndarray] | None:
    """Choose the best setting on half of the seeds, and score it on the other half.

    The candidates are the settings that ran all seeds to the end. If there are none, they are all
    settings with a score. The seeds are those that all candidates share; those at odd places of
    them take no part in the choice.

    Args: scores: [H, S], NaN without one.  done: [H, S] bool.
    Returns: the choice, with its index among the H; indices of the candidates; indices of the
    seeds [S'].  None if fewer than two seeds are shared.
    """
    finite = np.isfinite(scores)
    complete = finite.all(1) & done.all(1)
    candidates = np.flatnonzero(complete if complete.any() else finite.any(1))
    shared = np.flatnonzero(finite[candidates].all(0)) if len(candidates) else np.array([], int)
    if len(shared) < 2:
        return None
    best = statistics.best_setting(scores[np.ix_(candidates, shared)])
    return best._replace(index=int(candidates[best.index])), candidates.tolist(), shared


def pooled(scores: np.ndarray) -> np.ndarray | None:
    """Scores without holes: the settings that have any, and the seeds that all of these have.

    Args: scores: `[K, S]`.  Returns: `[K', S']`, or None if nothing is left.
    """
    rows = scores[np.isfinite(scores).any(1)]
    rows = rows[:, np.isfinite(rows).all(0)]
    return rows if rows.size else None


def score_format(scores: np.ndarray) -> str:
    """Format that shows four digits of the largest score, but at most four decimals."""
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    if largest < 1e-2:
        return ".3g"
    return f",.{int(np.clip(4 - math.ceil(math.log10(largest)), 0, 4))}f"


def _rows(study: Study, scores: np.ndarray, target: float | None) -> list[Row]:
    resamples = int(np.clip(MAX_DRAWS // max(scores.size, 1), 200, 2000))
    columns: dict[str, Callable] = {
        "iqm": statistics.interquartile_mean,
        "mean": statistics.mean,
        "median": statistics.median,
    }
    if target is not None:
        columns["gap"] = functools.partial(statistics.optimality_gap, target=target)
    scored, diverged = np.isfinite(scores), study.diverged
    rows = [
        Row(
            setting=h,
            seeds=int(scored[h].sum()),
            diverged=int(diverged[h].sum()),
            updates=int(study.updates[h].max()),
            stopped=bool(study.pruned[h]),
        )
        for h in range(len(scores))
    ]
    for block in _blocks(scored.sum(1)):
        values = np.stack([scores[h][scored[h]] for h in block], axis=1)  # [seeds, block]
        for name, statistic in columns.items():
            estimates = statistics.bootstrap(values, statistic, resamples)
            for h, *estimate in zip(block, *estimates, strict=True):
                rows[h] = rows[h]._replace(**{name: Estimate(*estimate)})
    rows.sort(key=_rank)
    return _compared(rows, scores, resamples)


def _blocks(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Places with the same key, not too many at once; those with key 0 are left out."""
    for key in np.unique(keys[keys > 0]):
        places = np.flatnonzero(keys == key)
        yield from np.split(places, np.arange(BLOCK, len(places), BLOCK))


def _rank(row: Row) -> tuple[bool, bool, float]:
    if row.iqm is None:
        return True, True, 0.0
    return False, row.stopped, -float(row.iqm.value)


def _compared(rows: list[Row], scores: np.ndarray, resamples: int) -> list[Row]:
    """Rows with P(beats the first row), over the seeds that both have; None if there are none."""
    ranked = scores[[row.setting for row in rows]]
    both = np.isfinite(ranked) & np.isfinite(ranked[0])
    _, patterns = np.unique(both, axis=0, return_inverse=True)
    patterns = np.where(both.any(1), patterns.ravel() + 1, 0)
    patterns[0] = 0
    for block in _blocks(patterns):
        seeds = both[block[0]]
        better = statistics.improvements_over(ranked[block][:, seeds], ranked[0][seeds], resamples)
        for place, *estimate in zip(block, *better, strict=True):
            rows[place] = rows[place]._replace(against_first=Estimate(*estimate))
    return rows
