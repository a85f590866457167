"""The results of a study while it runs: in memory and, if there is a folder, on disk."""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg.experiment.assemble import assemble, ends, measured
from purejaxvpg.experiment.checkpoints import Checkpoints, remove_chunks
from purejaxvpg.experiment.cube import try_to_write_cube
from purejaxvpg.experiment.devices import wait_for_processes
from purejaxvpg.experiment.files import inside, set_aside, write_described
from purejaxvpg.experiment.folder import Contents, face_of, is_another, read_spec
from purejaxvpg.experiment.locks import lock_again, prepare_lock
from purejaxvpg.experiment.parts import Part, part_file, part_name, read_parts
from purejaxvpg.experiment.policies import keep_best, read_policies
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.rescue import Memory, filled_again, keep, made_again, rescued
from purejaxvpg.experiment.spec import Fingerprint, Spec, differences
from purejaxvpg.experiment.study import Study


class Store:
    """The parts of a study that are done, and where they are kept.

    Args:
      contents: what the folder held already, or None for a study that begins.
      record: how the study is run.

    Raises (when made): OSError, naming the folder, if it cannot be written; FileExistsError if
    another study was begun there meanwhile; ValueError for a file in it that is no part of this
    one; TypeError for a config that cannot be described.
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
        self._checked: tuple[int, ...] = ()  # the face that was last seen to be of this study
        if self.folder is None:
            return
        self.parts = self._in_memory(self.parts)
        self.identity = contents.identity if contents else spec.to_json()
        unusable = contents.unusable if contents else []
        for path, reason, damaged in unusable:
            if not damaged:
                raise ValueError(f"{path} cannot be used: {reason}; move it out of the folder")
        try:
            for name in ("parts", "policies", "chunks", "checkpoints"):
                inside(self.folder, name)
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            if contents is None:
                self._begin()
            elif contents.spec.design != spec.design:  # it has grown
                self.describe(spec, record.replace(complete=False))
        except FileExistsError:
            raise
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write {folder}: {reason}; choose another folder") from None
        for path, reason, _ in unusable:
            how = set_aside(path, "damaged")  # or a merge would stumble over it for ever
            warnings.warn(
                f"{path} is left out, its runs are run again: {reason}; {how}", stacklevel=3
            )

    def _begin(self) -> None:
        """Write the study's face, unless another process has done so at this moment.

        Raises: FileExistsError if it began another study; OSError.
        """
        assert self.folder is not None
        prepare_lock(self.folder)
        _, description, _ = self._memory()
        try:
            write_described(self.folder / self.spec.face, description, first=True)
        except FileExistsError:
            identity = read_spec(self.folder)[2]
            if different := differences(identity, self.identity):
                raise FileExistsError(
                    f"{self.folder} holds another study, begun at this moment (its {different} "
                    f"differ); choose another folder"
                ) from None
            self.identity = identity

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
        """Keep a part and its policies; on disk they are there whole, or not at all.

        Raises: OSError, which names the place where they are kept, if the folder cannot take them.
        """
        line = ""
        if self.folder is not None:
            try:
                line = self._restored()
                keep(self.folder, part, Fingerprint(self.identity))
            except OSError as error:
                raise self.rescued(error, part) from error
            (part,) = self._in_memory([part])
        self.parts.append(part)
        if line:  # a warning may be an error: the part is kept by now
            warnings.warn(line, stacklevel=2)

    def restore(self) -> None:
        """Make the folder again, with a warning, if somebody renamed or removed it.

        Raises: OSError if that cannot be, if another study is in its place, or if another process
        goes on with this one there.
        """
        if line := self._restored():
            warnings.warn(line, stacklevel=2)

    def _restored(self) -> str:
        """The same.  Returns: the warning; "" if the folder is the one that it was."""
        if self.folder is None:
            return ""
        if (face := face_of(self.folder)) is None:
            return made_again(self.folder, self._memory())
        status = face.stat()
        mark = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if mark != self._checked:  # not read anew for every part
            if is_another(face, self.identity):
                raise OSError(f"another study is in {self.folder} by now")
            self._checked = mark
        return filled_again(self.folder, self._memory()) if lock_again(self.folder) else ""

    def catch_up(self) -> None:
        """Take in what another process did between our reading of the folder and our lock on it.

        Raises: OSError if the study itself was changed: made longer, say.
        """
        if self.folder is None or jax.process_count() > 1:
            return
        self.restore()
        with contextlib.suppress(ValueError):  # damaged: it is written anew
            if different := differences(read_spec(self.folder)[2], self.identity):
                raise OSError(
                    f"another process changed the study in {self.folder} at this moment (its "
                    f"{different} differ): begin again"
                )
        paths = {part_file(self.folder, part) for part in self.parts}
        if paths != set((self.folder / "parts").glob("*.npz")):
            self._read()

    def _read(self) -> None:
        assert self.folder is not None
        self.parts = self._in_memory(read_parts(self.folder, self.identity)[0])

    def _in_memory(self, parts: list[Part]) -> list[Part]:
        """Parts that are in the folder, without the arrays that are only read from there: policies,
        and states that no run goes on from."""
        index, end_of = self.spec.index, ends(self.spec)

        def light(part: Part) -> Part:
            goes_on = part.end < end_of[index.settings(part.runs[:1])[0]]
            return part._replace(policies=None, state=part.state if goes_on else None)

        return [light(part) for part in parts]

    def rescued(self, error: OSError, *unsaved: Part, **checkpoints: Checkpoints) -> OSError:
        """The error, with the place where the work is kept that the folder could not take."""
        assert self.folder is not None
        return rescued(error, self.folder, self._memory(), unsaved, **checkpoints)

    def _memory(self) -> Memory:
        record = self.record.replace(complete=False).to_json()
        return Memory(self.spec.face, {**self.identity, "record": record}, self.parts)

    def chunk_folder(self, runs: np.ndarray, start: int, end: int) -> Path:
        """Where a chunk is kept while it runs."""
        assert self.folder is not None
        return inside(self.folder, "chunks", part_name(runs, start, end))

    def join_others(self) -> None:
        """Take in the parts that other processes or shards have put into the folder meanwhile."""
        if self.folder is not None:  # one that another shard made again lacks what was in it
            filled_again(self.folder, self._memory())
        wait_for_processes("study")
        if self.folder is not None:
            self._read()

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
        """Write what a complete study has beside its parts; drop the policies not wanted.

        The results are safe already, so what cannot be written is a warning.
        """
        if study.record.keep_policies == "best" and len(study.policies.runs):
            try:
                if len(runs := study.best_runs()):
                    best = keep_best(self.folder, study.policies, runs, self.fingerprint)
                    study = study._replace(policies=best)
            except (OSError, ValueError) as error:  # ValueError: the policy of the best is lost
                warnings.warn(f"all policies are kept: {error}", stacklevel=2)
        if self.folder is not None:
            remove_chunks(self.folder)
            try_to_write_cube(self.folder, study)
        return study


def width_of(parts: list[Part], runs: np.ndarray) -> int:
    """The smallest width so far of parts with any of these runs (larger ones ran out of memory);
    0 if there are none."""
    return min((part.width for part in parts if np.isin(part.runs, runs).any()), default=0)
