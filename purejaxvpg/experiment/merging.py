"""Shards that ran apart, put into one study folder."""

import contextlib
import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.experiment import code
from purejaxvpg.experiment.folder import (
    Contents,
    bring_up_to_date,
    existing,
    face_of,
    read_folder,
    read_spec,
)
from purejaxvpg.experiment.locks import locked
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec, differences
from purejaxvpg.experiment.store import Store
from purejaxvpg.experiment.study import Study


def merge(folder: str | os.PathLike, sources: Sequence[str | os.PathLike]) -> Study:
    """Put the parts of shards that ran apart into one study folder, which may be one of theirs.

    Shards that other versions, devices or settings of jax made are named in a warning, and all are
    recorded.

    Raises: ValueError, in one line, if they are shards of different studies, damaged, or hold other
    numbers of the same run; FileNotFoundError for a folder that is no study; FileExistsError,
    OSError for `folder`, also where a process or a shard is at work in it.
    """
    if isinstance(sources, str | os.PathLike) or not sources:
        raise ValueError(f"sources={sources!r} to merge; name at least one study folder, in a list")
    once: dict[Path, Path] = {}
    folder = expanded(folder)
    for source in map(expanded, sources):
        once.setdefault(source.resolve(), source)
    with locked(folder) if face_of(folder) else contextlib.nullcontext():  # a new one has none yet
        return _merge(folder, {source: read_folder(source) for source in once.values()})


def _merge(folder: Path, shards: dict[Path, Contents]) -> Study:
    first = next(iter(shards))
    spec = shards[first].spec
    for source, contents in shards.items():
        _check_same_study(first, shards[first], source, contents)
    if face_of(folder):
        spec = code.moved(spec, shards[first].record.files, read_spec(folder)[1].files)
    there = existing(spec, folder, join=True)
    _check_agree(spec, shards | ({folder: there} if there else {}))
    if there:
        bring_up_to_date(folder, alone=True)
    outside = there and folder.resolve() not in {source.resolve() for source in shards}
    everything = {folder: there, **shards} if there and outside else shards
    record = _record_of_all({place: contents.record for place, contents in everything.items()})
    store = Store(spec, folder, record, there)
    for contents in shards.values():
        for part in contents.parts:
            policies = contents.policies
            whole = len(set(part.runs.tolist()) - set(policies.runs.tolist())) == 0
            store.add(part._replace(policies=policies.arrays(part.runs) if whole else None))
    store.join_others()  # each once, and all that is there
    begun_here = bool(there and outside and not there.record.merged_from)
    return _finish(store, record, len(shards) + begun_here)


def _finish(store: Store, record: StudyRecord, sources: int) -> Study:
    study = store.study(record.replace(merged_from=sources))
    store.describe(store.spec, study.record)
    return store.finish(study) if study.complete else study


def _check_same_study(first: Path, one: Contents, source: Path, other: Contents) -> None:
    spec = code.moved(other.spec, other.record.files, one.record.files)
    if different := differences(one.spec.to_json(), spec.to_json()):
        raise ValueError(
            f"{source} and {first} are parts of different studies (their {different} differ); "
            f"merge parts of one study"
        )
    if other.unusable:
        path, reason, _ = other.unusable[0]
        raise ValueError(f"{path}: {reason}; run that shard again")


def _check_agree(spec: Spec, shards: Mapping[Path, Contents]) -> None:
    """ValueError if two folders hold other numbers of the same updates of the same run."""
    rows: dict[int, list[tuple[Path, Part, int]]] = {}
    for source, contents in shards.items():
        for part in contents.parts:
            for row, run in enumerate(part.runs.tolist()):
                rows.setdefault(run, []).append((source, part, row))
    for run, places in sorted(rows.items()):
        for (one, x, i), (other, y, j) in itertools.combinations(places, 2):
            if (update := _first_difference(x, i, y, j)) is None:
                continue
            setting, seed = divmod(run, spec.index.num_seeds)
            raise ValueError(
                f"run {run} (setting {setting}, seed {spec.seeds[seed]}) is in {one} and in "
                f"{other}, and their numbers differ from update {update} on (another width, device "
                f"or version rounds otherwise); leave one of the folders out"
            )


def _first_difference(x: Part, i: int, y: Part, j: int) -> int | None:
    """The first update, from 1, at which two rows of parts differ; None if they agree, or hold no
    update in common."""
    start, end = max(x.start, y.start), min(x.end, y.end)
    if start >= end:
        return None
    pairs = zip(x.metrics, y.metrics, strict=True)
    differs = np.zeros(end - start, bool)
    for one, other in pairs:
        a, b = one[i, start - x.start : end - x.start], other[j, start - y.start : end - y.start]
        differs |= ~((a == b) | (np.isnan(a) & np.isnan(b)))
    return start + 1 + int(np.argmax(differs)) if differs.any() else None


def _record_of_all(records: Mapping[Path, StudyRecord]) -> StudyRecord:
    """The first record with versions, devices and settings of all; a warning if they differ."""
    first, *_ = each = list(records.values())
    versions = _together([record.versions for record in each])
    settings = _together([record.jax_settings or {} for record in each])
    names = ("device", "commit", "xla_flags")
    facts = _together([{name: getattr(record, name) for name in names} for record in each])
    several = {n: x for n, x in {**versions, **settings, **facts}.items() if isinstance(x, list)}
    if several:
        differing = "; ".join(f"{n} is {' or '.join(map(repr, x))}" for n, x in several.items())
        warnings.warn(f"the shards were made with different things: {differing}", stacklevel=3)

    def texts(values: Mapping[str, Any]) -> dict[str, str]:
        return {n: " and ".join(x) if isinstance(x, list) else x for n, x in values.items()}

    return first.replace(versions=texts(versions), jax_settings=settings or None, **texts(facts))


def _together(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each name's value, or a list of its values where they differ."""
    together: dict[str, Any] = {}
    for name in dict.fromkeys(itertools.chain(*mappings)):
        values: list[Any] = []
        for mapping in mappings:
            if name in mapping and mapping[name] not in values:
                values.append(mapping[name])
        together[name] = values[0] if len(values) == 1 else values
    return together
