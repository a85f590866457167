"""Comparison of runs, studies and scores of other libraries: one table for each environment.

Letters: n runs of an entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg import statistics
from purejaxvpg.by_name import suggest
from purejaxvpg.report import comparison_text
from purejaxvpg.report.digest import FEWER
from purejaxvpg.report.samples import Sample, read_samples
from purejaxvpg.statistics import Estimate

RESAMPLES = 2000


class Row(NamedTuple):
    """An entry in the table of an environment."""

    label: str
    runs: int  # n, failed ones included
    failed: int  # diverged, or a return that is not finite: counted as the worst of the table
    iqm: Estimate
    median: Estimate
    mean: Estimate
    beats_first: Estimate | None = None  # P(a run scores higher than one of the first entry)
    difference: Estimate | None = None  # its IQM less that of the first entry
    paired: bool = False  # the seeds are those of the first, and are resampled together


class Table(NamedTuple):
    """Entries under one condition, in the order in which they were given."""

    world: str
    rows: list[Row]


class OverallRow(NamedTuple):
    """An entry under all conditions."""

    label: str
    rank: Estimate  # mean over conditions; 1 is the best
    beats_first: Estimate | None  # the mean of the probabilities under each condition
    score: Estimate | None  # IQM of all normalised scores; None without bounds


class Comparison(NamedTuple):
    """Outcome of `compare`."""

    tables: list[Table]
    overall: list[OverallRow]  # of the entries that all tables have; [] for one table
    scores: dict[str, str]  # label -> what a score of it is
    notes: list[str]  # lines on choices, failures, runs that are left out

    def rows(self) -> list[dict[str, Any]]:
        """The tables as flat rows, for pandas or a file; None where there is no number."""
        return comparison_text.flat_rows(self)

    def sentences(self) -> list[str]:
        """Sentences for a paper: one for each table, then how the numbers were made."""
        return comparison_text.sentences(self)


def compare(
    *sources: Any,
    where: Mapping[str, Any] | None = None,
    group_by: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare entries with the first of them, within each environment.

    A run folder is one entry, of all its seeds.  Of a study folder it is the best setting, chosen
    on half of the seeds and scored on the other half.  A score is that of `Study.scores`; of a file
    of another library (score_files.py) it is what the file says.  Intervals are 95% percentile
    bootstraps over seeds; our runs of the same seeds are resampled together.

    Args:
      sources: run and study folders, files of scores; in Python also a Study or a Run.
      where: values that settings of a study must have.
      group_by: names; the best setting of each combination of their values.  ["all"]: every one.
      labels: one for each entry.
      bounds: environment -> (low, high), to put all environments on one scale:
        (score - low) / (high - low).  Without it they are put together by ranks alone.

    Raises: ValueError, FileNotFoundError, OSError, in one line.
    """
    samples = read_samples(sources, where, group_by, labels)
    worlds = list(dict.fromkeys(sample.world for sample in samples))
    _check_bounds(bounds, worlds)
    first, tables, by_world = samples[0].label, [], {}
    for world in worlds:
        here = [sample for sample in samples if sample.world == world]
        failed = [sample.failed for sample in here]
        here = _with_worst(here)
        by_world[world] = {sample.label: sample for sample in here}
        rows = [_row(x, by_world[world].get(first), resamples) for x in here]
        rows = [row._replace(failed=n) for row, n in zip(rows, failed, strict=True)]
        tables.append(Table(world, rows))
    labels = list(dict.fromkeys(sample.label for sample in samples))
    shared = [label for label in labels if all(label in x for x in by_world.values())]
    overall = _overall(shared, first, list(by_world.values()), bounds, worlds, resamples)
    notes = [f"{s.label}{_under(s, worlds)}: {note}" for s in samples for note in s.notes]
    names = {sample.label: sample.score for sample in samples}
    if len({name.removesuffix(FEWER) for name in names.values()}) > 1:
        notes.append("scores are of different kinds, and compare only if they measure the same")
    notes += _lengths(samples, worlds)
    return Comparison(tables, overall if len(worlds) > 1 else [], names, notes)


def _lengths(samples: list[Sample], worlds: list[str]) -> list[str]:
    """A line for each condition under which runs of different lengths are compared."""
    lines = []
    for world in worlds:
        here = {s.label: s.steps for s in samples if s.world == world and s.steps is not None}
        if len(set(here.values())) > 1:
            steps = ", ".join(f"{label} {number:,}" for label, number in here.items())
            lines.append(f"runs{f' on {world}' * (len(worlds) > 1)} have unequal steps: {steps}")
    return lines


def _under(sample: Sample, worlds: list[str]) -> str:
    return f" ({sample.world})" if len(worlds) > 1 else ""


# ------------------------------------------------------------------------------------- NUMBERS


def _with_worst(here: list[Sample]) -> list[Sample]:
    """Failed runs with the worst score of all in the table.  Raises: ValueError without any."""
    scores = statistics.with_diverged_as_worst(np.concatenate([s.scores for s in here]))
    if not np.isfinite(scores).all():
        raise ValueError(f"every run failed ({here[0].world}), so there is nothing to compare")
    ends = np.cumsum([len(sample.scores) for sample in here])[:-1]
    return [s._replace(scores=x) for s, x in zip(here, np.split(scores, ends), strict=True)]


def _row(sample: Sample, first: Sample | None, resamples: int) -> Row:
    iqm, median, mean = (
        statistics.aggregate(sample.scores, statistic, resamples)
        for statistic in (statistics.interquartile_mean, statistics.median, statistics.mean)
    )
    row = Row(sample.label, len(sample.scores), 0, iqm, median, mean)
    if first is None or sample.label == first.label:
        return row
    how = {"paired": _paired(sample, first), "resamples": resamples}
    return row._replace(
        beats_first=statistics.probability_of_improvement(sample.scores, first.scores, **how),
        difference=statistics.difference(sample.scores, first.scores, **how),
        paired=how["paired"],
    )


def _paired(x: Sample, y: Sample) -> bool:
    """Whether the runs of both have common random numbers: ours, of the same seeds."""
    return x.seeds is not None and y.seeds is not None and np.array_equal(x.seeds, y.seeds)


def _check_bounds(bounds: Mapping[str, Any] | None, worlds: list[str]) -> None:
    if bounds is None:
        return
    for world, (low, high) in bounds.items():
        if world not in worlds:
            raise ValueError(f"bounds of {world}: no such environment; {suggest(world, worlds)}")
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"bounds of {world} are {low:g} and {high:g}; accepted: low < high")
    if missing := [world for world in worlds if world not in bounds]:
        raise ValueError(f"bounds are missing for {', '.join(missing)}; give low and high of each")


def _overall(
    labels: list[str],
    first: str,
    by_world: list[dict[str, Sample]],
    bounds: Mapping[str, tuple[float, float]] | None,
    worlds: list[str],
    resamples: int,
) -> list[OverallRow]:
    """The entries that every table has, over all tables."""
    if len(labels) < 2 or len(by_world) < 2:
        return []
    scores = [[samples[label].scores for samples in by_world] for label in labels]
    ranks = statistics.mean_rank(scores, resamples, paired=False)
    rows = []
    for place, label in enumerate(labels):
        better = None
        if first in labels and label != first:
            paired = all(_paired(samples[label], samples[first]) for samples in by_world)
            pair = (scores[place], scores[labels.index(first)])
            better = statistics.probability_of_improvement(*pair, paired, resamples)
        normalised = None
        if bounds is not None:
            ends = [bounds[world] for world in worlds]
            pairs = zip(scores[place], ends, strict=True)
            on_one_scale = [(x - low) / (high - low) for x, (low, high) in pairs]
            normalised = statistics.aggregate(on_one_scale, resamples=resamples)
        rank = Estimate(*[np.asarray(x[place]) for x in ranks])
        rows.append(OverallRow(label, rank, better, normalised))
    return rows
