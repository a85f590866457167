"""Lines of a figure: a metric of an entry over steps or seconds.

Letters: S seeds, X recorded points of a run, G points of a line.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from purejaxvpg.by_name import suggest
from purejaxvpg.experiment import scoring
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.curves import last_episodes, window_of
from purejaxvpg.report.entries import Entry
from purejaxvpg.report.plots import POINTS
from purejaxvpg.state import Metrics
from purejaxvpg.statistics import with_diverged_as_worst

EVALUATIONS = {"evaluation_returns": "returns", "evaluation_lengths": "lengths"}
METRICS = (*scoring.MEANS, *EVALUATIONS, *Metrics._fields)
UNITS = {"episode_return": "return", "episode_length": "length"}
RUNS = (5, 50, 95)  # percentiles of the runs to show


class Line(NamedTuple):
    """Values of an entry's seeds at common points."""

    entry: Entry
    x: np.ndarray  # [G]
    values: np.ndarray  # [S', G], no NaN
    seeds: np.ndarray  # [S'] seeds themselves
    notes: tuple[str, ...]  # on seeds that are left out or counted as the worst


def check_metric(name: str) -> None:
    """Raises: ValueError for a name that is none; it lists the close ones."""
    if name not in METRICS:
        raise ValueError(f"metric {name} is unknown; {suggest(name, METRICS)}")


def lines_of(entries: Sequence[Entry], metric: str, x: str) -> tuple[list[Line], str]:
    """A line of each entry, and the name of their values.

    Mean returns and lengths are those of the last episodes by each update, as many for all lines:
    the updates of a short rollout end none.  Other metrics are means over the updates between two
    points of the line, if there are more of them than can be seen.

    Args: metric: one of `METRICS`.  x: steps, or seconds: those of all seeds of a study together,
    at its mean rate, without compilation.
    Raises: ValueError, in one line, for an entry without values of the metric, or without seconds.
    """
    window = min(window_of(e.study, _runs(e)) for e in entries) if metric in scoring.MEANS else 1
    lines = [_line(entry, metric, window, _per_step(entry) if x == "seconds" else 1.0)
             for entry in entries]  # fmt: skip
    if metric in scoring.MEANS:
        return lines, f"{UNITS[metric]} of {last_episodes(window)}"
    return lines, {"evaluation_returns": "mean return of an evaluation",
                   "evaluation_lengths": "mean length of an evaluation's episodes"
                   }.get(metric, metric.replace("_", " "))  # fmt: skip


def _runs(entry: Entry) -> np.ndarray:
    """The runs of an entry, [H, S] bool."""
    runs = np.zeros(entry.study.updates.shape, bool)
    runs[entry.setting, entry.seeds] = True
    return runs


def _per_step(entry: Entry) -> float:
    """Seconds in which all seeds of the setting take one step each, at the study's mean rate."""
    study = entry.study
    batch = study.steps[:, 0]  # [H] steps of an update
    steps = float((study.updates.sum(1) * batch).sum())
    if not study.record.seconds:
        raise ValueError(f"{entry.name} has recorded no seconds; draw it over steps (--x steps)")
    return study.record.seconds / steps * len(study.seeds)


def _line(entry: Entry, metric: str, window: int, scale: float) -> Line:
    study, h = entry.study, entry.setting
    values, steps = _values(study, h, metric, window)  # [S, X], [X]
    updates, notes = study.updates[h, entry.seeds], []
    furthest = entry.seeds[updates == updates.max()]
    if len(furthest) < len(entry.seeds):
        behind = len(entry.seeds) - len(furthest)
        notes.append(f"{behind} of {len(entry.seeds)} seeds are behind, and are left out")
    values, diverged_at = values[furthest], study.diverged_at[h, furthest]
    lost = (diverged_at[:, None] > 0) & (steps >= (diverged_at * study.steps[h, 0])[:, None])
    values = np.where(lost, np.nan, values)
    if number := int((diverged_at > 0).sum()):
        how = "count as the worst seed from then on"
        if metric in (*scoring.MEANS, *EVALUATIONS):
            worst = np.fmin.reduce(values, axis=0)  # of the others, at each point
            values = np.where(lost, worst, values)
        else:
            stay = diverged_at == 0
            values, furthest, how = values[stay], furthest[stay], "are left out"
        notes.append(f"{number} of {len(entry.seeds)} seeds diverged, and {how}")
    places = np.flatnonzero(np.isfinite(values).all(0)) if len(values) else np.zeros(0, int)
    if not len(places):
        raise ValueError(f"{entry.name} has no values of {metric} that all its seeds share"
                         f"{_why(entry, metric)}")  # fmt: skip
    mean = metric not in (*scoring.MEANS, *EVALUATIONS)
    x, read = _thinned(steps[places], values[:, places], mean)
    return Line(entry, x * scale, read, study.seeds[furthest], tuple(notes))


def _why(entry: Entry, metric: str) -> str:
    config = entry.study.setting(entry.setting)[0]
    if metric in EVALUATIONS and not config.eval_every:
        return "; it did not evaluate (eval_every=0)"
    if not config.diagnostics:
        return "; it was trained without diagnostics"
    return ""


def _values(study: Study, h: int, metric: str, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Values `[S, X]` of a setting, and the steps `[X]` that they are of."""
    if metric in EVALUATIONS:
        steps = scoring.evaluation_steps(study)[h]
        there = np.isfinite(steps)
        if not there.any():
            return np.zeros((len(study.seeds), 0)), steps[there]
        evaluated = {n: x[h] for n, x in study.evaluations.items()}  # [S, V, E]
        return scoring.evaluation_mean(evaluated, EVALUATIONS[metric])[:, there], steps[there]
    updates = int(study.num_updates[h])
    steps, rows = study.steps[h, :updates], {n: x[h] for n, x in study.metrics.items()}
    if metric in scoring.MEANS:
        return scoring.trailing_mean(rows, metric, window)[:, :updates], steps
    return np.asarray(rows[metric][:, :updates], np.float64), steps


def _thinned(x: np.ndarray, values: np.ndarray, mean: bool) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points: values at the end of each span, or their mean over it."""
    spans = np.array_split(np.arange(len(x)), min(POINTS, len(x)))
    ends = [span[-1] for span in spans]
    if not mean:
        return x[ends], values[:, ends]
    return x[ends], np.stack([values[:, span].mean(1) for span in spans], axis=1)


def percentile_runs(line: Line) -> dict[int, int]:
    """Rows of a line that are its P5, P50 and P95 run by score, nearest ranks: they are runs, and
    no mixture of several.

    Of fewer than 20 runs P5 is the worst and P95 the best.  A run that failed counts as the worst.
    """
    places = np.searchsorted(line.entry.study.seeds, line.seeds)
    scores = with_diverged_as_worst(line.entry.scores[places])
    failed = line.entry.failed[places]
    order = np.lexsort((np.arange(len(places)), scores, ~failed))  # failed ones first
    ranks = {p: -(-p * len(order) // 100) - 1 for p in RUNS}
    return {p: int(order[rank]) for p, rank in ranks.items()}
