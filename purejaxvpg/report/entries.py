"""Entries: settings of runs and studies that are laid beside each other, in a figure or a table.

A run is one entry.  Of a study it is the best setting, or the best of each group of settings; the
seeds that chose it are left out, so that its numbers are not those of a lucky draw.  Each entry has
one world: entries of two worlds are never compared.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.by_name import suggest
from purejaxvpg.experiment.conditions import grouped
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.run import Run
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import choose, raw_scores, score_name
from purejaxvpg.report.entry_labels import fields_of, labelled, world_text
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst

ALL = "all"  # group by every name that varies: each setting is an entry


class Entry(NamedTuple):
    """One setting under one condition, and the seeds that speak for it."""

    source: int  # place of the folder among those given
    name: str  # of the folder
    label: str  # in figures and tables; the same under all conditions
    world: str  # environment and parameters, as text
    study: Study
    setting: int  # place in the design
    seeds: np.ndarray  # [S'] places of the seeds: those that ran and did not choose the setting
    scores: np.ndarray  # [S] of the setting, see Study.scores; NaN also for an infinite return
    failed: np.ndarray  # [S] bool: the run diverged, or had a return that is not finite
    score: str  # what a score is
    group: dict[str, Any]  # the values that it is the best of
    fields: dict[str, Any]  # what it was trained with and was not chosen
    candidates: int  # settings that it is the best of; 1: nothing was chosen
    chosen_by: int  # seeds that chose it
    biased: bool  # the seeds that chose it are those that speak for it

    @property
    def choice(self) -> str:
        """How the setting was chosen, as text; "" if it was not."""
        if self.candidates == 1:
            return ""
        values = self.study.design.settings()[self.setting]
        values = {n: v for n, v in values.items() if n not in self.study.design.conditions}
        seeds = f"{self.chosen_by} seed{'s' * (self.chosen_by != 1)}"
        how = f"chosen by {seeds}, left out here"
        if self.biased:
            how = f"chosen by the {seeds} shown here, so this is biased upward"
        setting = setting_labels([values])[0]
        return f"best of {self.candidates} settings: {setting}; {how}"


def read_entries(
    sources: Sequence[Any],
    where: Mapping[str, Any] | None = None,
    group_by: Iterable[str] = (),
    labels: Sequence[str] | None = None,
) -> list[Entry]:
    """Entries of all sources, in their order.

    Args:
      sources: run and study folders; in Python also a Study or a Run.
      where: values that settings of a study must have.
      group_by: names; the best setting of each combination of their values.  ["all"]: every one.
      labels: one for each entry (under several conditions the same), in the order of the entries.

    Raises: FileNotFoundError, OSError as `load_study`; ValueError, in one line.
    """
    where, group_by = dict(where or {}), tuple(group_by)
    studies = [_load(source, place) for place, source in enumerate(sources)]
    if (where or group_by) and not any(study.design.axes for _, study in studies):
        names = ", ".join([*where, *group_by])
        raise ValueError(f"{names}: no study of several settings is given, so nothing varies")
    entries = []
    for place, (name, study) in enumerate(studies):
        entries += _entries_of(place, name, study, where, group_by)
    return labelled(entries, labels) if entries else []


def _load(source: Any, place: int) -> tuple[str, Study]:
    if isinstance(source, Run):
        source = source.study if source.study.design.size == 1 else _one_setting(source)
    if isinstance(source, Study):
        return str(place + 1), source
    return os.fspath(source), load_study(source)


def _one_setting(run: Run) -> Study:
    raise ValueError(
        f"a run that is one of {run.study.design.size} settings; give its study, and where= with "
        f"the values of the setting"
    )


def _entries_of(
    place: int, name: str, study: Study, where: dict[str, Any], group_by: tuple[str, ...]
) -> list[Entry]:
    if not (study.updates > 0).any():
        command = "sweep" if study.design.axes else "train"
        raise ValueError(
            f"no run in {name} has results yet; go on with it: purejaxvpg {command} --resume {name}"
        )
    settings, names = study.design.settings(), _group_names(study, name, group_by)
    places = np.arange(len(settings))
    if where and study.design.axes:  # a run beside studies has one setting
        try:
            places = study.where(**where)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    raw, overflown = raw_scores(study)
    failed, score, entries = study.diverged | overflown, score_name(study), []
    for condition in study.design.by_condition():
        rows = condition.settings[np.isin(condition.settings, places)]
        scores = np.full(raw.shape, np.nan)  # failures as the worst of their condition
        worst = with_diverged_as_worst(raw[condition.settings])
        scored = (np.isfinite(raw) | failed)[condition.settings]
        scores[condition.settings] = np.where(scored, worst, np.nan)
        for group in grouped([settings[h] for h in rows], names):
            best, seeds, choice = _best(name, study, rows[group.settings], scores)
            entries.append(
                Entry(
                    place, name, "", world_text(study, best), study, best, seeds, raw[best],
                    failed[best], score, group.values, fields_of(study, group.values), *choice,
                )
            )  # fmt: skip
    return entries


def _group_names(study: Study, name: str, group_by: tuple[str, ...]) -> list[str]:
    names = [n for n in study.design.names if n not in study.design.conditions]
    if group_by == (ALL,):
        return names
    for given in group_by if study.design.axes else ():
        if given not in study.design.names:
            advice = suggest(given, list(study.design.names))
            raise ValueError(f"group_by {given} does not vary in {name}; {advice}")
    return [n for n in names if n in group_by]


def _best(
    name: str, study: Study, rows: np.ndarray, scores: np.ndarray
) -> tuple[int, np.ndarray, tuple[int, int, bool]]:
    """The best of these settings, places of the seeds that speak for it, and how it was chosen.

    Args: scores: [H, S], NaN without one.
    """
    first = int(rows[0])
    if len(rows) == 1 or not (study.updates[rows] > 0).any():
        return first, np.flatnonzero(study.updates[first] > 0), (1, 0, False)
    if (choice := choose(scores[rows], study.done[rows])) is not None:
        shared = choice[2]
        return int(rows[choice[0].index]), shared[1::2], (len(rows), len(shared[::2]), False)
    best = _by_all_seeds(name, scores, rows)  # fewer than two seeds that all have
    seeds = np.flatnonzero(np.isfinite(scores[best]))
    return best, seeds, (len(rows), len(seeds), True)


def _by_all_seeds(name: str, scores: np.ndarray, rows: np.ndarray) -> int:
    means = [
        float(interquartile_mean(x[np.isfinite(x)])) if np.isfinite(x).any() else -np.inf
        for x in scores[rows]
    ]
    if not np.isfinite(means).any():
        raise ValueError(
            f"no run of {name} ended an episode, so none of its {len(rows)} settings is the best; "
            f"choose one by its values (--where), or show each (--group-by all)"
        )
    return int(rows[int(np.argmax(means))])
