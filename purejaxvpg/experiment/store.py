"""The results of a study while it runs: in memory and, if there is a folder, on disk."""

import contextlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.experiment import legacy
from purejaxvpg.experiment.assemble import assemble, measured
from purejaxvpg.experiment.cube import write_cube
from purejaxvpg.experiment.devices import wait_for_processes
from purejaxvpg.experiment.files import write_described
from purejaxvpg.experiment.folder import Contents, face_of, read_folder
from purejaxvpg.experiment.parts import Part, part_name, read_parts, write_part
from purejaxvpg.experiment.policies import (
    keep_best,
    read_policies,
    write_policies,
)
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Fingerprint, Spec, differences
from purejaxvpg.experiment.study import Study


def existing(spec: Spec, folder: Any, join: bool) -> Contents | None:
    """The contents of a folder that holds this study already; None if it may begin there.

    Changes nothing but the folder of an old run, which is brought to today's format.

    Raises: FileExistsError if the folder holds something and `join` is False; ValueError if it
    holds another study.
    """
    if folder is None:
        return None
    folder = Path(folder)
    if face_of(folder) is None:
        if folder.is_dir() and any(_foreign(path, join) for path in folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty, and no study; choose another folder")
        return None
    if not join:
        raise FileExistsError(
            f"{folder} holds a study already; resume it (resume=True, --resume) or choose another "
            f"folder"
        )
    contents = read_folder(folder)
    pruning = contents.spec.pruning
    if pruning and spec.pruning:  # rungs end, and compare, as in the format that it was begun in
        as_begun = spec.pruning._replace(blocks=pruning.blocks, across=pruning.across)
        spec = spec._replace(pruning=as_begun)
    if different := differences(contents.spec.to_json(), spec.to_json()):
        raise ValueError(
            f"{folder} holds another study (its {different} differ); choose another folder, or "
            f"give the arguments that it was begun with"
        )
    return read_folder(folder) if legacy.upgrade(folder) else contents


def _foreign(path: Path, join: bool) -> bool:
    """Whether it is no file that another process or shard makes when it begins the study."""
    shared = path.name in ("parts", "study.json", "run.json") or path.name.startswith(".")
    return not (join and shared)


class Store:
    """The parts of a study that are done, and where they are kept.

    Args:
      contents: what the folder held already, or None for a study that begins.
      record: how the study is run.

    Raises (when made): OSError, naming the folder, if it cannot be written; TypeError for a
    config that cannot be described.
    """

    def __init__(
        self,
        spec: Spec,
        folder: str | os.PathLike | None,
        record: StudyRecord,
        contents: Contents | None = None,
    ):
        self.spec, self.record = spec, record
        self.folder = None if folder is None else Path(folder)
        self.parts: list[Part] = list(contents.parts) if contents else []
        self.identity: dict[str, Any] = {}
        if self.folder is None:
            return
        self.identity = contents.identity if contents else spec.to_json()
        try:
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            if contents is None or contents.spec.design != spec.design:  # it begins, or has grown
                self.describe(spec, record.replace(complete=False))
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write {folder}: {reason}; choose another folder") from None
        for path, reason in contents.unusable if contents else ():
            warnings.warn(f"{path} is left out, its runs are run again: {reason}", stacklevel=3)
            with contextlib.suppress(OSError):  # or a merge would stumble over it for ever
                path.rename(path.with_suffix(".damaged"))

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Marks of this study's files; None without a folder."""
        return Fingerprint(self.identity) if self.folder is not None else None

    def describe(self, spec: Spec, record: StudyRecord) -> None:
        """Write the study's face: what it is (which may have grown), and its record."""
        self.spec, self.record = spec, record
        if self.folder is None:
            return
        self.identity = {**self.identity, "axes": spec.to_json()["axes"]}  # a search has grown
        path = face_of(self.folder) or self.folder / spec.face
        write_described(path, {**self.identity, "record": record.to_json()})

    def add(self, part: Part) -> None:
        """Keep a part and its policies; on disk they are there whole, or not at all."""
        fingerprint = self.fingerprint
        if self.folder is not None and fingerprint is not None:
            write_policies(self.folder, part, fingerprint)
            write_part(self.folder, part, fingerprint)
            part = part._replace(policies=None)  # on disk from now on
        self.parts.append(part)

    def chunk_folder(self, runs: np.ndarray, start: int, end: int) -> Path:
        """Where a chunk is kept while it runs."""
        assert self.folder is not None
        return self.folder / "chunks" / part_name(runs, start, end)

    def join_others(self) -> None:
        """Take in the parts that other processes or shards have put into the folder meanwhile."""
        wait_for_processes("study")
        if self.folder is not None:
            self.parts, _ = read_parts(self.folder, self.identity)

    def done(self, start: int, end: int) -> set[int]:
        """Runs that have been through exactly this span."""
        runs = [part.runs for part in self.parts if (part.start, part.end) == (start, end)]
        return set(np.concatenate(runs).tolist()) if runs else set()

    def states(self, runs: np.ndarray, end: int) -> list[np.ndarray]:
        """State leaves `[k, ...]` of these runs as they were after update `end`."""
        place = {}
        for part in self.parts:
            if part.end == end and part.state is not None:
                place |= {int(run): (part.state, i) for i, run in enumerate(part.runs)}
        rows = [place[int(run)] for run in runs]
        return [np.stack([state[leaf][i] for state, i in rows]) for leaf in range(len(rows[0][0]))]

    def study(self, record: StudyRecord, unfinished: tuple[Part, ...] = ()) -> Study:
        """The study so far, its record complete if every run is done that pruning left.

        Args: unfinished: parts that are not kept, of runs that were stopped.
        """
        parts = [*self.parts, *unfinished]
        policies = read_policies(self.folder, parts, self.fingerprint)
        record = record.replace(**measured(self.spec, parts), complete=True)
        study = assemble(self.spec, parts, record, policies)
        alive = record.settings_at_the_end if self.spec.pruning else None  # the others stopped
        if (study.done if alive is None else study.done[list(alive)]).all():
            return study
        unknown = np.zeros_like(study.pruned)  # until the study is complete
        return study._replace(record=record.replace(complete=False), pruned=unknown)

    def finish(self, study: Study) -> Study:
        """Write what a complete study has beside its parts; drop the policies not wanted."""
        if study.record.keep_policies == "best" and len(study.policies.runs):
            with contextlib.suppress(ValueError):  # the policy of the best is lost: all are kept
                if len(runs := _runs_to_keep(study)):
                    best = keep_best(self.folder, study.policies, runs, self.fingerprint)
                    study = study._replace(policies=best)
        if self.folder is not None:
            shutil.rmtree(self.folder / "chunks", ignore_errors=True)  # of another width, if any
            write_cube(self.folder, study)
        return study


def _runs_to_keep(study: Study) -> np.ndarray:
    """Runs of the best setting of each condition, and all of a condition that has no score; none
    if no condition has one."""
    best = study.best_of_each()
    if not len(best):
        return best
    conditions = [condition.settings for condition in study.design.by_condition()]
    without = [settings for settings in conditions if not np.isin(best, settings).any()]
    others = study.index.of_settings(np.concatenate([[], *without]))
    others = np.intersect1d(others, study.policies.runs)
    return np.concatenate([study.index.of_settings(best), others])


def width_of(parts: list[Part], runs: np.ndarray) -> int:
    """The smallest width so far of parts with any of these runs (larger ones ran out of memory);
    0 if there are none."""
    return min((part.width for part in parts if np.isin(part.runs, runs).any()), default=0)
