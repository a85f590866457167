"""Entries: settings of runs and studies that are laid beside each other, in a figure or a table.

A run is one entry.  Of a study it is the best setting, or the best of each group of settings; the
seeds that chose it are left out, so that its numbers are not those of a lucky draw.  Each entry has
one world: entries of two worlds are never compared.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.by_name import suggest
from purejaxvpg.envs import canonical, flat_params, shown
from purejaxvpg.experiment.conditions import default_conditions, grouped
from purejaxvpg.experiment.display import cut
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.run import Run
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import choose, raw_scores
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.serialize import plain
from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst

ALL = "all"  # group by every name that varies: each setting is an entry
DIFFERENCES = 3  # names in a label, at most


class Entry(NamedTuple):
    """One setting under one condition, and the seeds that speak for it."""

    source: int  # place of the folder among those given
    name: str  # of the folder
    label: str  # in figures and tables; the same under all conditions
    world: str  # environment and parameters, as text
    study: Study
    setting: int  # place in the design
    seeds: np.ndarray  # [S'] places of the seeds: those that ran and did not choose the setting
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
    entries = []
    for condition in study.design.by_condition():
        rows = condition.settings[np.isin(condition.settings, places)]
        scores = _scores(study, condition.settings)
        for group in grouped([settings[h] for h in rows], names):
            entries.append(_best(place, name, study, rows[group.settings], group.values, scores))
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


def _scores(study: Study, rows: np.ndarray) -> np.ndarray:
    """Scores of a condition, failures as its worst; NaN without one.  [H, S], NaN elsewhere"""
    raw, overflown = raw_scores(study)
    scores = np.full(raw.shape, np.nan)
    failed = (study.diverged | overflown)[rows]
    scored = np.isfinite(raw[rows]) | failed
    scores[rows] = np.where(scored, with_diverged_as_worst(raw[rows]), np.nan)
    return scores


def _best(
    place: int, name: str, study: Study, rows: np.ndarray, group: dict[str, Any], scores: np.ndarray
) -> Entry:
    """The entry of the best of these settings."""
    best, candidates, chosen_by, biased = int(rows[0]), 1, 0, False
    seeds = np.flatnonzero(study.updates[best] > 0)
    if len(rows) > 1:
        choice = choose(scores[rows], study.done[rows])
        candidates = len(rows)
        if choice is not None:
            best, shared = int(rows[choice[0].index]), choice[2]
            seeds, chosen_by = shared[1::2], len(shared[::2])
        else:  # fewer than two seeds that all have
            best, biased = _by_all_seeds(name, scores, rows), True
            seeds = np.flatnonzero(np.isfinite(scores[best]))
            chosen_by = len(seeds)
    return Entry(
        place, name, "", _world(study, best), study, best, seeds, group, _fields(study, group),
        candidates, chosen_by, biased,
    )  # fmt: skip


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


# -------------------------------------------------------------------------- WORLDS AND LABELS


def _world(study: Study, place: int) -> str:
    """The condition of a setting as text: the environment, then all that differs from its own."""
    config, hp = study.setting(place)
    parts: dict[str, Any] = {"env": canonical(config.env)}
    parts |= {f"env_kwargs.{n}": v for n, v in dict(config.env_kwargs).items()}
    if config.max_episode_steps is not None:
        parts["max_episode_steps"] = config.max_episode_steps
    parts |= {f"env_params.{n}": v for n, v in flat_params(hp.env_params).items()}
    compared = set(study.design.names) - set(study.design.conditions)  # declared to be one world
    parts = {n: v for n, v in parts.items() if n not in compared}
    parts |= {n: study.design.settings()[place][n] for n in study.design.conditions}
    env = shown(parts.pop("env")) if "env" in parts else "all environments"
    rest = {n.removeprefix("env_params.").removeprefix("env_kwargs."): v for n, v in parts.items()}
    return ", ".join([env, *([setting_labels([rest])[0]] if rest else [])])


def _fields(study: Study, group: dict[str, Any]) -> dict[str, Any]:
    """Names and values that tell an entry from others: those of its group, and all that is the same
    for the whole study; not what makes the world."""
    fields = {**vars(study.config), **vars(study.hyperparams)}
    world = {"env_kwargs", "env_params", *default_conditions(fields)}
    return {n: x for n, x in fields.items() if n not in world | set(study.design.names)} | group


def labelled(entries: list[Entry], labels: Sequence[str] | None = None) -> list[Entry]:
    """The entries with labels: those given, or made of what differs, or the names of the folders.

    Raises: ValueError for another number of labels than there are entries, or equal ones.
    """
    keys = [(entry.source, repr(entry.group)) for entry in entries]
    unique = [entries[keys.index(key)] for key in dict.fromkeys(keys)]
    texts = list(labels) if labels else _by_difference(unique) or _by_name(unique)
    if len(texts) != len(unique) or len(set(texts)) < len(texts):
        there = cut(", ".join(_by_name(unique)))
        raise ValueError(
            f"labels {', '.join(map(repr, texts))} are {len(texts)} for {len(unique)} entries "
            f"({there}); give each its own"
        )
    by_key = dict(zip(dict.fromkeys(keys), texts, strict=True))
    return [e._replace(label=by_key[key]) for e, key in zip(entries, keys, strict=True)]


def _by_difference(entries: list[Entry]) -> list[str]:
    """Labels of the few names whose values differ; [] if those tell not all entries apart."""
    common = [n for n in entries[0].fields if all(n in entry.fields for entry in entries)]
    differing = [n for n in common if len({repr(plain(e.fields[n])) for e in entries}) > 1]
    if not 0 < len(differing) <= max(DIFFERENCES, *[len(e.group) for e in entries]):
        return []
    texts = setting_labels([{n: e.fields[n] for n in differing} for e in entries])
    return texts if len(set(texts)) == len(texts) else []


def _by_name(entries: list[Entry]) -> list[str]:
    """Names of the folders, whole where their last parts are alike, with the group's values."""
    short = {e.source: Path(e.name).name or e.name for e in entries}
    alike = len(set(short.values())) < len(short)
    names = [e.name if alike else short[e.source] for e in entries]
    groups = [setting_labels([e.group])[0] if e.group else "" for e in entries]
    texts = [", ".join(filter(None, pair)) for pair in zip(names, groups, strict=True)]
    twice = len(set(texts)) < len(texts)  # a folder that was given twice
    return [f"{i}: {text}" for i, text in enumerate(texts, 1)] if twice else texts
