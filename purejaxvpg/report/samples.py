"""Samples: the scores of runs, studies and files of other libraries, by environment.

Letters: n runs of a sample.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.by_name import suggest
from purejaxvpg.envs import canonical, shown
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.report.entries import Entry, read_entries
from purejaxvpg.report.entry_labels import labelled
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.report.score_files import read_scores


class Sample(NamedTuple):
    """Scores of an entry under one condition."""

    label: str
    world: str  # environment and parameters, as text; "" where a file names none
    scores: np.ndarray  # [n]; NaN: a run that failed
    seeds: np.ndarray | None  # [n]; None: of another library, whose seeds are not ours
    score: str  # what a score is
    notes: tuple[str, ...] = ()
    steps: int | None = None  # of a run; None: unknown

    @property
    def failed(self) -> int:
        """Runs that failed."""
        return int(np.isnan(self.scores).sum())


def read_samples(
    sources: Sequence[Any], where: Any, group_by: Sequence[str], labels: Sequence[str] | None
) -> list[Sample]:
    """Scores of all sources, in their order.

    Raises: ValueError, FileNotFoundError, OSError, in one line.
    """
    files = {place: x for place, x in enumerate(sources) if _is_file(x)}
    places = [place for place in range(len(sources)) if place not in files]
    folders = [sources[place] for place in places]
    entries = read_entries(folders, where, group_by)
    entries = [entry._replace(source=places[entry.source]) for entry in entries]
    number = len({(e.source, repr(e.group)) for e in entries}) + len(files)
    if number < 2:
        raise ValueError("one entry is nothing to compare; give two or more folders or files of "
                         "scores, or a study and --group-by NAME")  # fmt: skip
    if labels and len(labels) != number:
        raise ValueError(f"{len(labels)} labels are given for {number} entries; give one for each")
    texts = list(labels or [])
    worlds = list(dict.fromkeys(entry.world for entry in entries))
    samples = []
    for place, source in enumerate(sources):
        if place in files:
            label = texts.pop(0) if texts else Path(source).stem
            samples += _of_file(source, label, worlds)
            continue
        mine = [entry for entry in entries if entry.source == place]
        if labels:
            groups = len({repr(entry.group) for entry in mine})
            mine, texts = labelled(mine, texts[:groups]), texts[groups:]
        samples += [_of_entry(entry) for entry in mine]
    pairs = [(sample.label, sample.world) for sample in samples]
    if twice := [label for label, world in pairs if pairs.count((label, world)) > 1]:
        raise ValueError(f"two entries are called {twice[0]}; name each with labels (--labels)")
    return _under_one_name(samples)


def _is_file(source: Any) -> bool:
    if not isinstance(source, str | os.PathLike):
        return False
    path = expanded(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} is neither a folder nor a file")
    return path.is_file()


def _of_entry(entry: Entry) -> Sample:
    study, h = entry.study, entry.setting
    raw, failed = entry.scores[entry.seeds], entry.failed[entry.seeds]
    ended = study.done[h, entry.seeds] | study.pruned[h] | failed
    scored = np.isfinite(raw) | failed
    if not (ended & scored).any():
        reason = "ended an episode" if ended.any() else "is done"
        label = f" ({setting_labels([entry.group])[0]})" if entry.group else ""
        raise ValueError(
            f"no run of {entry.name}{label} that is to be compared {reason}; let it run on"
        )
    notes = [entry.choice] if entry.choice else []
    if study.pruned[h]:
        notes.append(f"pruning stopped it after {int(study.updates[h].max())} updates")
    if missing := int((~ended).sum()):
        notes.append(f"{missing} of {len(ended)} seeds are not done, and are left out")
    if without := int((ended & ~scored).sum()):
        notes.append(f"{without} of {len(ended)} seeds ended no episode, and are left out")
    rows = ended & scored
    scores = np.where(failed, np.nan, raw)[rows]
    seeds = study.seeds[entry.seeds][rows]
    steps = int(study.updates[h, entry.seeds][rows].max() * study.steps[h, 0])
    return Sample(entry.label, entry.world, scores, seeds, entry.score, tuple(notes), steps)


def _of_file(path: Any, label: str, worlds: list[str]) -> list[Sample]:
    """Samples of a file.  Args: worlds: of the folders."""
    by_env = {shown(canonical(env)): scores for env, scores in read_scores(path).items()}
    if worlds and "" not in by_env and not set(by_env) & set(worlds):
        env = next(iter(by_env))
        raise ValueError(f"{path} has scores of {env}, which none of the folders has; "
                         f"{suggest(env, worlds)}")  # fmt: skip
    name = f"score in {Path(path).name}"
    return [Sample(label, env, scores, None, name) for env, scores in by_env.items()]


def _under_one_name(samples: list[Sample]) -> list[Sample]:
    """Scores whose file names no environment are of the only one that there is."""
    worlds = list(dict.fromkeys(sample.world for sample in samples if sample.world))
    if len(worlds) > 1 and (nameless := [s.score for s in samples if not s.world]):
        raise ValueError(
            f"{nameless[0]}: of {', '.join(worlds)}? add a column env that says which, in "
            f"quotation marks where there is a comma"
        )
    return [s._replace(world=s.world or (worlds or [""])[0]) for s in samples]
