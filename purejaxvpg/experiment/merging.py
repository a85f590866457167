"""Shards that ran apart, put into one study folder."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from purejaxvpg.experiment.folder import Contents, face_of, read_folder
from purejaxvpg.experiment.locks import locked
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import differences
from purejaxvpg.experiment.store import Store, existing
from purejaxvpg.experiment.study import Study


def merge(folder: str | os.PathLike, sources: Sequence[str | os.PathLike]) -> Study:
    """Put the parts of shards that ran apart into one study folder, which may be one of theirs.

    Raises: ValueError, in one line, if they are shards of different studies, or damaged;
    FileNotFoundError for a folder that is no study; FileExistsError, OSError for `folder`, also
    where a process or a shard is at work in it.
    """
    if isinstance(sources, str | os.PathLike) or not sources:
        raise ValueError(f"sources={sources!r} to merge; name at least one study folder, in a list")
    once: dict[Path, Path] = {}
    for source in map(Path, sources):
        once.setdefault(source.resolve(), source)
    target = Path(folder)
    with locked(target) if face_of(target) else contextlib.nullcontext():  # a new one has none yet
        return _merge(target, {source: read_folder(source) for source in once.values()})


def _merge(folder: Path, shards: dict[Path, Contents]) -> Study:
    first = next(iter(shards))
    spec, record = shards[first].spec, shards[first].record
    for source, contents in shards.items():
        _check_same_study(first, shards[first], source, contents)
    store = Store(spec, folder, record, existing(spec, folder, join=True))
    for contents in shards.values():
        for part in contents.parts:
            policies = contents.policies
            whole = len(set(part.runs.tolist()) - set(policies.runs.tolist())) == 0
            store.add(part._replace(policies=policies.arrays(part.runs) if whole else None))
    store.join_others()  # each once, and all that is there
    return _finish(store, record, len(shards))


def _finish(store: Store, record: StudyRecord, sources: int) -> Study:
    study = store.study(record.replace(merged_from=sources))
    store.describe(store.spec, study.record)
    return store.finish(study) if study.complete else study


def _check_same_study(first: Path, one: Contents, source: Path, other: Contents) -> None:
    if different := differences(one.spec.to_json(), other.spec.to_json()):
        raise ValueError(
            f"{source} and {first} are parts of different studies (their {different} differ); "
            f"merge parts of one study"
        )
    if other.unusable:
        path, reason, _ = other.unusable[0]
        raise ValueError(f"{path}: {reason}; run that shard again")
