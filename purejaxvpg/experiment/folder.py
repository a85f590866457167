"""The folder of a study, as it is read.

    run.json        what a study of one setting is (config, hyperparameters, seeds), and its record
    study.json      the same of a study of several settings
    parts/*.npz     results of some runs over some span of updates, each written whole or not
    policies/*.npz  policies of the runs that are done (policies.py)
    chunks/         checkpoints of the chunk that is running (checkpoints.py)
    metrics.npz     of a run that is complete: every metric `[S, U]`, with its steps `[U]` and seeds
                    `[S]`, for numpy alone
    metrics.jsonl   what was logged while it ran (logs.py); no number is read from it
    study.nc        of a study that is complete: the labelled cube (with the extra `sweep`)

A part names the runs that it holds, and its study, so parts of any size, from any process, shard
or machine, make one study.  A file that is damaged, or of another study, is named and left out: no
number comes from it.  Folders of earlier formats are read by legacy.py.
"""

import contextlib
import os
import stat
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from purejaxvpg.experiment import legacy
from purejaxvpg.experiment.assemble import assemble
from purejaxvpg.experiment.files import (
    CONTENT,
    Unusable,
    digest,
    read_described,
    reading,
)
from purejaxvpg.experiment.locks import is_ours, locked
from purejaxvpg.experiment.parts import Part, read_parts
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.policies import Policies, read_policies
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import (
    FORMAT,
    LONGER,
    Fingerprint,
    Spec,
    differences,
    named_differences,
)
from purejaxvpg.experiment.study import Study
from purejaxvpg.experiment.well_made import check_well_made
from purejaxvpg.fields import first_line

FACES = ("study.json", "run.json")
FORMATS = {"study.json": [1, FORMAT, LONGER], "run.json": [2, FORMAT, LONGER]}


class Contents(NamedTuple):
    """Everything that a folder holds."""

    spec: Spec
    record: StudyRecord
    identity: dict[str, Any]  # of the study, literally as the folder has it
    parts: list[Part]
    unusable: list[Unusable]  # files that are left out
    policies: Policies


def face_of(folder: str | os.PathLike) -> Path | None:
    """The file that describes the folder's study, or None.

    Raises: OSError, in one line, if that cannot be told now: no study may begin over another.
    """
    for path in [expanded(folder) / name for name in FACES]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), reading(path):
            if stat.S_ISREG(path.stat().st_mode):
                return path
    return None


def is_empty(folder: Path) -> bool:
    """Whether it is a folder with nothing in it but what is left of a study that was killed before
    its first file had a name."""
    if not folder.is_dir():
        return False
    parts = folder / "parts"
    begun = parts.is_dir() and not parts.is_symlink()
    paths = [*folder.iterdir(), *(parts.iterdir() if begun else ())]
    return all(is_ours(path) or (begun and path == parts) for path in paths)


def read_spec(folder: str | os.PathLike) -> tuple[Spec, StudyRecord, dict[str, Any]]:
    """The study in a folder, the record of how it was run, and the identity of its files.

    Raises: FileNotFoundError or ValueError, in one line, if it is no study or damaged; OSError, in
    one line, if it cannot be read now.
    """
    path = face_of(folder)
    if path is None:
        nothing = is_empty(Path(folder))
        raise FileNotFoundError(
            f"{folder} is no run or study folder: it has no run.json and no study.json"
            + "; nothing was begun in it yet, so begin there, as a new one" * nothing
        )
    try:
        if legacy.is_old_run(path):
            fields = legacy.run_fields(path)
        else:
            fields = read_described(path, FORMATS[path.name])
        check_well_made(fields)
        record = StudyRecord.from_json(fields.pop("record", {}))
        return Spec.from_json(fields), record, fields
    except CONTENT as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error


def read_folder(folder: str | os.PathLike) -> Contents:
    """Everything that a study's folder holds.  Changes nothing.

    Raises: as `read_spec`.
    """
    folder = expanded(folder)
    spec, record, identity = read_spec(folder)
    if legacy.is_old_run(folder / "run.json"):
        parts, policies = legacy.read_results(folder, spec, record)
        return Contents(spec, record, identity, parts, [], policies)
    parts, unusable = read_parts(folder, identity)
    policies = read_policies(folder, parts, Fingerprint(identity))
    return Contents(spec, record, identity, parts, unusable, policies)


def load_study(folder: str | os.PathLike) -> Study:
    """Read a run or study folder, complete or not.

    Raises: as `read_spec`.
    """
    contents = read_folder(folder)
    for path, reason, _ in contents.unusable:
        warnings.warn(f"{path} is left out: {reason}", stacklevel=2)
    return assemble(contents.spec, contents.parts, contents.record, contents.policies)


def existing(spec: Spec, folder: Any, join: bool) -> Contents | None:
    """The contents of a folder that holds this study already; None if it may begin there.

    Changes nothing: whoever goes on there brings the folder of an old run to today's format first,
    with `bring_up_to_date`.

    Raises: FileExistsError if the folder holds something and `join` is False; ValueError if it
    holds another study.
    """
    if folder is None:
        return None
    folder = Path(folder)
    if face_of(folder) is None:
        if (
            not folder.is_dir()
            or is_empty(folder)
            or (join and all(map(_beginning, folder.iterdir())))
        ):
            return None
        raise FileExistsError(f"{folder} is not empty, and no study; choose another folder")
    if not join:
        raise FileExistsError(
            f"{folder} holds a study already; resume it (--resume auto beside --out, which begins "
            f"it where there is none; in Python resume=True) or choose another folder"
        )
    contents = read_folder(folder)
    pruning = contents.spec.pruning
    if pruning and spec.pruning:  # rungs end, and compare, as in the format that it was begun in
        as_begun = spec.pruning._replace(blocks=pruning.blocks, across=pruning.across)
        spec = spec._replace(pruning=as_begun)
    if different := differences(contents.spec.to_json(), spec.to_json()):
        fields = named_differences(contents.spec.to_json(), spec.to_json())
        raise ValueError(
            f"{folder} holds another study (its {different} differ: {fields}); choose another "
            f"folder, or give the arguments that it was begun with"
        )
    return contents


def bring_up_to_date(folder: Path, alone: bool = False) -> None:
    """Bring the folder of an old run to today's format; its contents stay what they were.

    Args: alone: whether this process has the folder's lock.
    Raises: OSError if another process has it, or if it cannot be written.
    """
    if legacy.is_old_run(folder / "run.json"):
        with contextlib.nullcontext() if alone else locked(folder):
            legacy.upgrade(folder)


def _beginning(path: Path) -> bool:
    """Whether it is a file that another process or shard makes when it begins the study."""
    return path.name in ("parts", "study.json", "run.json") or is_ours(path)


def is_another(face: Path, identity: dict[str, Any]) -> bool:
    """Whether a folder's description is of another study than this one, longer or not."""
    try:
        fields = read_described(face, FORMATS[face.name])
    except ValueError:  # damaged: whose it was cannot be told, and it is written anew
        return False
    return digest(_at_any_length(fields)) != digest(_at_any_length(identity))


def _at_any_length(identity: dict[str, Any]) -> list[Any]:
    config = {**identity["config"], "total_steps": 0}
    return [config, identity["hyperparams"], identity["seeds"]]
