"""A study that grows by settings, one round of a search after the other."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from purejaxvpg.experiment import engine, legacy
from purejaxvpg.experiment.assemble import assemble
from purejaxvpg.experiment.folder import Contents, existing, face_of, read_folder
from purejaxvpg.experiment.locks import locked, remove_unfinished
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.prepare import prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.serialize import lists_to_tuples, plain


@contextlib.contextmanager
def alone(spec: Spec, folder: Any, resume: bool) -> Iterator[Contents | None]:
    """Keep other processes out of the folder of a search, between its rounds too: one that resumed
    it would write study.json back to fewer settings.

    Yields: the search that the folder holds already; None if it begins.
    Raises: as `search` for the folder.
    """
    if folder is None:
        yield None
        return
    folder = expanded(folder)
    if face_of(folder) is None or not resume:
        existing(spec, folder, join=False)
    with locked(folder):
        yield None if face_of(folder) is None else _begin(spec, folder)


def _begin(spec: Spec, folder: Path) -> Contents:
    """The search that the folder holds."""
    legacy.take_over_round(folder)
    remove_unfinished(folder)
    contents = read_folder(folder)
    ours, theirs = spec.to_json(), contents.spec.to_json()
    names = [name for name in ("config", "hyperparams", "seeds") if ours[name] != theirs[name]]
    names += ["axes"] * (contents.spec.design.names != spec.design.names)
    if names:
        raise ValueError(
            f"{folder} holds another search (its {' and '.join(names)} differ); choose another "
            f"folder, or give the arguments that it was begun with"
        )
    return contents


def check_same_settings(folder: Any, grown: Contents | None, points: Sequence[Any]) -> None:
    """ValueError if the search in the folder was told, or asked, other things."""
    before = grown.spec.design.axes[0].points if grown else ()
    now = lists_to_tuples(plain(points))
    both = min(len(before), len(now))
    if lists_to_tuples(plain(before[:both])) != now[:both]:
        first = next(i for i in range(both) if before[i] != now[i])
        raise ValueError(
            f"{folder} holds another search (its settings from the {first + 1}th on differ); "
            f"choose another folder, or give the arguments, and have the version of optuna, that "
            f"it was begun with"
        )


def run_round(
    spec: Spec, options: Options, folder: Any, grown: Contents | None
) -> tuple[Contents, Study]:
    """Run the settings that are new.  Returns: the study with them, in two forms."""
    if grown is not None:
        study = _first_settings(spec, grown)
        if study.done.all():
            return grown, study
        if grown.spec.design.size > spec.design.size:  # the folder holds later rounds
            spec = grown.spec
    prepared = prepare(spec, options, folder, grown=grown)
    study, store = engine.run(prepared), prepared.store
    return Contents(spec, study.record, store.identity, store.parts, [], study.policies), study


def _first_settings(spec: Spec, grown: Contents) -> Study:
    """The study up to the settings of `spec`."""
    parts = [part for part in grown.parts if part.runs.max() < len(spec.index)]
    return assemble(spec, parts, grown.record, grown.policies)
