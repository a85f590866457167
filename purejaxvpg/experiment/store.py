"""A study on disk, in parts: what is done stays done, whoever did it.

    study.json      what the study is (config, hyperparameters, axes, seeds) and how it was run
    parts/*.npz     results of some runs over some span of updates, each written whole or not
    chunks/         checkpoints of the chunk that is running (checkpoint.py)
    study.nc        the labelled cube, when the study is complete (with the extra `sweep`)

A part says itself which runs it holds, and of which study, so parts of any size, from any process,
shard or machine, make one study.  Writing the same part twice gives the same file.  A file that is
damaged, or of another study, is named and left out: no number comes from it.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.devices import wait_for_processes
from purejaxvpg.experiment.files import digest, read_described, write_described, write_whole
from purejaxvpg.experiment.grid import Axis, Design, configs
from purejaxvpg.experiment.parts import Origin, Part, part_name, read_parts, write_part
from purejaxvpg.experiment.record import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    lists_to_tuples,
    plain,
)
from purejaxvpg.experiment.study import Study
from purejaxvpg.extras import require
from purejaxvpg.state import Metrics

FORMAT = 1


class Spec(NamedTuple):
    """What a study is, whoever runs it: its identity."""

    config: VPGConfig
    hyperparams: Hyperparams
    design: Design
    seeds: np.ndarray  # [S]
    prune: dict[str, Any] | None  # rungs and keep, or None

    def to_json(self) -> dict[str, Any]:
        """As study.json holds it.  Raises: TypeError as `config_to_json`."""
        axes = [[axis.dim, list(axis.names), plain(axis.points)] for axis in self.design.axes]
        said = {
            "format": FORMAT,
            "config": config_to_json(self.config),
            "hyperparams": plain(self.hyperparams),
            "axes": axes,
            "seeds": self.seeds.tolist(),
            "prune": self.prune,
        }
        try:
            return json.loads(json.dumps(said))
        except TypeError:
            raise TypeError(
                "an axis holds values that cannot be written to a folder; give them by name"
            ) from None


class Store:
    """The parts of a study, in memory and, if there is a folder, on disk.

    Raises (when made): FileExistsError if the folder holds something and `join` is False;
    ValueError if it holds another study; OSError, naming it, if it cannot be written.
    """

    def __init__(
        self,
        spec: Spec,
        folder: str | os.PathLike | None,
        join: bool,
        begun: dict[str, Any] | None = None,  # the record so far, for a study that begins here
    ):
        self.folder = None if folder is None else Path(folder)
        self.parts: list[Part] = []
        self.identity: dict[str, Any] = {}  # the study as study.json has it, less the record
        if self.folder is None:
            return
        self.identity = identity = spec.to_json()
        if (self.folder / "study.json").exists():
            if not join:
                raise FileExistsError(
                    f"{folder} holds a study already; resume it (resume=True, --resume) or choose "
                    f"another folder"
                )
            self.identity = _check_same(self.folder, identity)
        elif self.folder.is_dir() and any(_foreign(path, join) for path in self.folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty, and no study; choose another folder")
        try:
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            if not (self.folder / "study.json").exists():
                self.describe({**identity, "record": plain(begun or {})})
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write {folder}: {reason}; choose another folder") from None
        self.parts, unusable = read_parts(self.folder, self.identity)
        for path, reason in unusable:
            warnings.warn(f"{path} is left out, its runs are run again: {reason}", stacklevel=3)
            with contextlib.suppress(OSError):  # or a merge would stumble over it for ever
                path.rename(path.with_suffix(".damaged"))

    def describe(self, said: dict[str, Any]) -> None:
        """Write study.json: what the study is (which may have grown), and its record."""
        assert self.folder is not None
        self.identity = {name: value for name, value in said.items() if name != "record"}
        write_described(self.folder / "study.json", said)

    def add(self, part: Part) -> None:
        """Keep a part; on disk it is there whole, or not at all."""
        self.parts.append(part)
        if self.folder is not None:
            write_part(self.folder, part, Origin(self.identity))

    def chunk_folder(self, runs: np.ndarray, start: int, end: int) -> Path:
        """Where a chunk is kept while it runs."""
        assert self.folder is not None
        return self.folder / "chunks" / part_name(runs, start, end)

    def mark(self, runs: np.ndarray) -> str:
        """Of this study and the settings of these runs."""
        return Origin(self.identity).of(runs)

    def record(self) -> dict[str, Any]:
        """How the study was run so far, as study.json says."""
        return {} if self.folder is None else read_spec(self.folder)[1]

    def join_others(self, others: bool) -> None:
        """Take in the parts that other processes or shards have put into the folder meanwhile."""
        wait_for_processes("study")
        if others and self.folder is not None:
            self.parts, _ = read_parts(self.folder, self.identity)

    def width(self, runs: np.ndarray) -> int:
        """Runs a device that were computed at a time, of parts with any of these runs; or 0.
        The least, for a width that did not fit is given up."""
        found = [part.width for part in self.parts if np.isin(part.runs, runs).any()]
        return min(found, default=0)

    def done(self, start: int, end: int) -> set[int]:
        """Runs that have been through exactly this span."""
        found = [part.runs for part in self.parts if (part.start, part.end) == (start, end)]
        return set(np.concatenate(found).tolist()) if found else set()

    def states(self, runs: np.ndarray, end: int) -> list[np.ndarray]:
        """State leaves `[k, ...]` of these runs as they were after update `end`."""
        place = {}
        for part in self.parts:
            if part.end == end and part.state is not None:
                place |= {int(run): (part.state, i) for i, run in enumerate(part.runs)}
        rows = [place[int(run)] for run in runs]
        return [np.stack([state[leaf][i] for state, i in rows]) for leaf in range(len(rows[0][0]))]


def _foreign(path: Path, join: bool) -> bool:
    """Not what another process or shard puts there when it begins the study at this moment."""
    shared = path.name in ("parts", "study.json") or path.name.startswith(".study.json.")
    return not (join and shared)


def _check_same(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    held = read_spec(folder)[0].to_json()
    if different := _different(held, identity):
        raise ValueError(
            f"{folder} holds another study (its {different} differ); choose another folder, or "
            f"give the arguments that it was begun with"
        )
    return held


def _different(x: dict[str, Any], y: dict[str, Any]) -> str:
    return " and ".join(name for name in x if digest(x[name]) != digest(y[name]))


# ------------------------------------------------------------------------------- READING BACK


def load_study(folder: str | os.PathLike) -> Study:
    """Read a study folder, complete or not.

    Raises: FileNotFoundError or ValueError, in one line, if it is no study or damaged.
    """
    folder = Path(folder)
    spec, record = read_spec(folder)
    parts, unusable = read_parts(folder, spec.to_json())
    for path, reason in unusable:
        warnings.warn(f"{path} is left out: {reason}", stacklevel=2)
    return assemble(spec, parts, record)


def read_spec(folder: Path) -> tuple[Spec, dict[str, Any]]:
    """What the study in a folder is, and the record of how it was run.

    Raises: FileNotFoundError or ValueError, in one line, if it is no study or damaged.
    """
    try:
        held = read_described(folder / "study.json", [FORMAT])
        axes = tuple(Axis(d, tuple(n), lists_to_tuples(p)) for d, n, p in held["axes"])
        spec = Spec(
            config_from_json(held["config"]),
            hyperparams_from_json(held["hyperparams"]),
            Design(axes),
            np.asarray(held["seeds"]),
            held["prune"],
        )
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{folder} is no study folder: it has no study.json") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{folder}/study.json cannot be read: {error}") from error
    return spec, held.get("record", {})


def merge(folder: str | os.PathLike, sources: Sequence[str | os.PathLike]) -> Study:
    """Put the parts of shards that ran apart into one study folder, which may be one of theirs.

    Raises: ValueError, in one line, if they are parts of different studies, or damaged;
    FileNotFoundError for a folder that is no study; FileExistsError, OSError as `Store`.
    """
    if isinstance(sources, str | os.PathLike) or not sources:
        raise ValueError(f"sources={sources!r} to merge; name at least one study folder, in a list")
    once: dict[Path, Path] = {}
    for source in map(Path, sources):
        once.setdefault(source.resolve(), source)
    held = {source: read_spec(source) for source in once.values()}
    first, found = next(iter(held)), []
    spec, record = held[first]
    for source, (own, _) in held.items():
        if different := _different(spec.to_json(), own.to_json()):
            raise ValueError(
                f"{source} and {first} are parts of different studies (their {different} differ); "
                f"merge parts of one study"
            )
        parts, unusable = read_parts(source, own.to_json())
        if unusable:
            raise ValueError(f"{unusable[0][0]}: {unusable[0][1]}; run that shard again")
        found += parts
    store = Store(spec, folder, join=True)
    for part in found:
        store.add(part)
    store.parts, _ = read_parts(Path(folder), store.identity)  # each once, and all that is there
    record = {**record, **measured(spec, store.parts), "merged_from": len(held)}
    done = assemble(spec, store.parts, {}).done
    alive = record.get("settings_at_the_end") if spec.prune else None  # of the others, no more
    record["complete"] = bool((done if alive is None else done[alive]).all())
    study = assemble(spec, store.parts, record)
    store.describe({**store.identity, "record": plain(record)})
    if study.complete:
        write_cube(store, study)
    return study


# ---------------------------------------------------------------------------------- ASSEMBLY


def measured(spec: Spec, parts: Sequence[Part]) -> dict[str, Any]:
    """What parts tell of how they were run, whoever ran them."""
    each, num_seeds = configs(spec.design, spec.config), len(spec.seeds)
    return {
        "seconds": sum(part.seconds for part in parts),
        "steps": sum(
            len(part.runs)
            * (part.end - part.start)
            * each[int(part.runs[0]) // num_seeds].steps_per_update
            for part in parts
        ),
        "widths": sorted({part.width for part in parts}),
        "prune": spec.prune,
    }


def assemble(spec: Spec, parts: Sequence[Part], record: dict[str, Any]) -> Study:
    """The cube that parts make; NaN where none of them reaches."""
    each, num_seeds = configs(spec.design, spec.config), len(spec.seeds)  # [H]
    num_updates = np.asarray([config.num_updates for config in each])
    num_settings, most = len(each), int(num_updates.max())
    shape = (num_settings * num_seeds, most)
    metrics = {name: np.full(shape, np.nan, np.float32) for name in Metrics._fields}
    evaluations = _no_evaluations(each, num_seeds)
    updates = np.zeros(shape[0], np.int64)
    for part in sorted(parts, key=lambda part: part.start):
        rows = updates[part.runs] >= part.start  # else what led there is lost, and it is run again
        runs = part.runs[rows]
        for name, values in part.metrics._asdict().items():
            metrics[name][runs, part.start : part.end] = values[rows]
        if part.evaluations is not None and len(runs):
            first = part.start // each[int(runs[0]) // num_seeds].eval_every
            for name, values in part.evaluations._asdict().items():
                _, count, own = values.shape
                evaluations[name][runs, first : first + count, :own] = values[rows]
        updates[runs] = np.maximum(updates[runs], part.end)

    steps = np.full((num_settings, most), np.nan)
    for h, config in enumerate(each):
        steps[h, : num_updates[h]] = np.arange(1, num_updates[h] + 1) * config.steps_per_update
    cubes = {k: v.reshape(num_settings, num_seeds, *v.shape[1:]) for k, v in metrics.items()}
    updates = updates.reshape(num_settings, num_seeds)
    stopped = (updates.max(1) < num_updates) & (spec.prune is not None)
    stopped[record.get("settings_at_the_end", [])] = False  # of these, what is missing is lost
    return Study(
        config=spec.config,
        hyperparams=spec.hyperparams,
        design=spec.design,
        seeds=spec.seeds,
        steps=steps,
        metrics=cubes,
        evaluations={
            k: v.reshape(num_settings, num_seeds, *v.shape[1:]) for k, v in evaluations.items()
        },
        updates=updates,
        num_updates=num_updates,
        pruned=stopped & bool(record.get("complete", False)),
        record=record,
    )


def _no_evaluations(each: Sequence[VPGConfig], num_seeds: int) -> dict[str, np.ndarray]:
    """NaN where evaluations may come, `[H * S, V, E]`; {} if no setting evaluates."""
    evaluating = [config for config in each if config.eval_every]
    if not evaluating:
        return {}
    most = max(config.num_updates // config.eval_every for config in evaluating)
    episodes = max(config.eval_episodes for config in evaluating)
    shape = (len(each) * num_seeds, most, episodes)
    return {name: np.full(shape, np.nan, np.float32) for name in Evaluation._fields}


def write_cube(store: Store, study: Study) -> None:
    """study.nc, if the libraries of the extra `sweep` are there; the parts hold the same."""
    if store.folder is None:
        return
    try:
        for library in ("h5netcdf", "h5py"):
            require(library, "sweep")
        data = study.to_xarray()
    except ImportError:
        return
    write_whole(store.folder / "study.nc", bytes(data.to_netcdf(engine="h5netcdf")))
