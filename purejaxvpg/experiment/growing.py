"""A study that grows by a batch of settings a round, in memory or in a folder.

study.json names a round's settings before they run, so that the folder is a study at any moment;
until a round is done, its parts are in a folder of their own, where `sweep` goes on with them.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.grid import STATIC, Axis, Design, resolve
from purejaxvpg.experiment.record import lists_to_tuples, plain
from purejaxvpg.experiment.store import Part, Spec, Store, assemble, read_spec, write_cube
from purejaxvpg.experiment.study import Study
from purejaxvpg.state import Metrics

SUMMED = ("seconds", "compile_seconds", "steps", "compilations_to_measure_memory")


class GrowingStudy:
    """All rounds so far, along one axis `sample`.

    A round: `begin` with its settings; if they have not run before, `add` what a sweep of them
    found.  `finish` after the last.

    Raises (when made): ValueError if `resume` finds another search in the folder.
    """

    def __init__(
        self,
        config: VPGConfig,
        hp: Hyperparams,
        seeds: np.ndarray,
        names: tuple[str, ...],
        folder: str | os.PathLike | None,
        resume: bool,
    ):
        self.spec = Spec(config, hp, Design((Axis("sample", names, ()),)), seeds, None)
        self.folder = None if folder is None else Path(folder)
        self.store: Store | None = None  # made with the first settings
        self.before: Study | None = None  # what the folder held, when resumed
        self.record: dict[str, Any] = {}
        self.programs: set[Any] = set()
        self.first = 0  # of the settings of this round
        if resume and self.folder is not None and (self.folder / "study.json").exists():
            held, self.record = read_spec(self.folder)
            _check_same_search(self.folder, held, self.spec)
            self.store = Store(held, self.folder, join=True)
            self.before = assemble(held, self.store.parts, self.record)

    @property
    def axis(self) -> Axis:
        """The settings so far."""
        return self.spec.design.axes[0]

    @property
    def round_folder(self) -> Path | None:
        """Where the round that runs keeps its parts."""
        return self.folder and self.folder / f"round-of-setting-{self.first:05d}"

    @property
    def width(self) -> int | None:
        """That of the rounds before, so that one program serves all, however free memory changes.
        None before the first, and where settings need several programs."""
        static = STATIC & set(self.axis.names)
        return None if static or not self.record.get("widths") else self.record["widths"][0]

    def begin(self, settings: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """Let the study grow by these.  Returns: their scores `[batch, S]` if they have run.

        Raises: FileExistsError for a folder that holds something, if this is no resumed search;
        ValueError if it went on otherwise before; OSError, TypeError as `Store`.
        """
        self.first = len(self.axis.points)
        points = tuple(tuple(setting[name] for name in self.axis.names) for setting in settings)
        axis = self.axis._replace(points=self.axis.points + points)
        self.spec = self.spec._replace(design=Design((axis,)))
        rows = slice(self.first, len(axis.points))
        held = self.before.design.axes[0].points[rows] if self.before is not None else ()
        if held and lists_to_tuples(plain(points)) != held:
            raise ValueError(
                f"{self.folder} holds another search (its settings from the {self.first + 1}th on "
                f"differ); choose another folder, or give the arguments, and have the version of "
                f"optuna, that it was begun with"
            )
        if held and self.before is not None and self.before.done[rows].all():
            self._drop_round_folder()
            return self.before.scores()[rows]
        if self.store is None:
            self.store = Store(self.spec, self.folder, join=False)
        self._describe()
        return None

    def add(self, found: Study) -> np.ndarray:
        """Take in what this round's sweep found.  Returns: its scores, `[batch, S]`."""
        assert self.store is not None
        groups = resolve(found.design, found.config, found.hyperparams)
        widths = found.record["program_widths"]
        for group, width in zip(groups, widths, strict=True):
            settings = np.asarray(group.settings)
            share = found.record["seconds"] * len(settings) / len(found.num_updates)
            part = _part(found, group.config, settings, self.first)
            self.store.add(part._replace(width=width, seconds=share))
        programs = {(group.config, width) for group, width in zip(groups, widths, strict=True)}
        sums = {name: found.record[name] for name in SUMMED}
        sums["compilations"] = len(programs - self.programs)  # the others were there already
        sums = {name: self.record.get(name, 0) + number for name, number in sums.items()}
        self.programs |= programs
        self.record = {**found.record, **sums, "complete": False}
        self._describe()
        self._drop_round_folder()
        return found.scores()

    def finish(self) -> Study:
        """The study of all rounds; in a folder it has its cube from now on."""
        assert self.store is not None
        number = len(self.axis.points)
        own = [part for part in self.store.parts if part.runs.max() < number * len(self.spec.seeds)]
        self.record |= {"complete": True, "settings_at_the_end": list(range(number))}
        study = assemble(self.spec, own, self.record)
        if self._describe():
            write_cube(self.store, study)
        return study

    def _drop_round_folder(self) -> None:
        if self.round_folder is not None and self.round_folder.exists():
            shutil.rmtree(self.round_folder)

    def _describe(self) -> bool:
        """Write study.json, unless the folder holds rounds beyond those of now."""
        if self.store is None or self.folder is None:
            return False
        if self.before is not None and len(self.before.num_updates) > len(self.axis.points):
            return False
        self.store.describe({**self.spec.to_json(), "record": plain(self.record)})
        return True


def _part(found: Study, config: VPGConfig, settings: np.ndarray, first: int) -> Part:
    """The runs of some settings of a round, as those of `first + settings` of all rounds."""
    num_seeds, updates = len(found.seeds), config.num_updates
    runs = ((first + settings)[:, None] * num_seeds + np.arange(num_seeds)).ravel()
    metrics: dict[str, Any] = {
        name: x[settings, :, :updates].reshape(-1, updates) for name, x in found.metrics.items()
    }
    if not config.eval_every:
        return Part(runs, 0, updates, Metrics(**metrics), None, None)
    count, episodes = updates // config.eval_every, config.eval_episodes
    evaluations: dict[str, Any] = {
        name: x[settings, :, :count, :episodes].reshape(-1, count, episodes)
        for name, x in found.evaluations.items()
    }
    return Part(runs, 0, updates, Metrics(**metrics), Evaluation(**evaluations), None)


def _check_same_search(folder: Path, held: Spec, spec: Spec) -> None:
    ours, theirs = spec.to_json(), held.to_json()
    different = [name for name in ours if name != "axes" and ours[name] != theirs[name]]
    if [axis[:2] for axis in ours["axes"]] != [axis[:2] for axis in theirs["axes"]]:
        different.append("axes")
    if different:
        raise ValueError(
            f"{folder} holds another search (its {' and '.join(different)} differ); choose another "
            f"folder, or give the arguments that it was begun with"
        )
