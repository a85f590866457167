"""A study on disk, in parts: what is done stays done, whoever did it.

    study.json      what the study is (config, hyperparameters, axes, seeds) and how it was run
    parts/*.npz     results of some runs over some span of updates, each written whole or not
    study.nc        the labelled cube, when the study is complete (with the extra `sweep`)

A part says itself which runs it holds, so parts of any size, from any process, shard or machine,
make one study.  Writing the same part twice gives the same file.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.grid import Axis, Design, Group, resolve
from purejaxvpg.experiment.record import config_from_json, config_to_json, lists_to_tuples, plain
from purejaxvpg.experiment.study import Study
from purejaxvpg.extras import require
from purejaxvpg.state import Metrics

FORMAT = 1


class Part(NamedTuple):
    """Results of k runs over updates [start, end)."""

    runs: np.ndarray  # [k] int, h * S + s
    start: int
    end: int
    metrics: Metrics  # [k, end - start]
    evaluations: Evaluation | None  # [k, V, E]
    state: Sequence[np.ndarray] | None  # leaves [k, ...] at `end`, where the runs go on from it
    width: int = 0  # runs that each device computed at a time
    seconds: float = 0.0  # this part's share of the time that its chunk took


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
        if self.folder is None:
            return
        identity = spec.to_json()
        if (self.folder / "study.json").exists():
            if not join:
                raise FileExistsError(
                    f"{folder} holds a study already; resume it (resume=True, --resume) or choose "
                    f"another folder"
                )
            _check_same(self.folder, identity)
        else:
            if self.folder.exists() and any(self.folder.iterdir()) and not join:
                raise FileExistsError(f"{folder} is not empty; choose another folder")
            try:
                (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OSError(f"cannot write {folder}: {error.strerror}; choose another") from None
            self.describe({**identity, "record": plain(begun or {})})
        self.parts, damaged = read_parts(self.folder)
        for path, reason in damaged:
            warnings.warn(f"{path} is damaged ({reason}); its runs are run again", stacklevel=3)

    def describe(self, identity: dict[str, Any]) -> None:
        """Write study.json (the record goes into it too when the study ends)."""
        assert self.folder is not None
        text = json.dumps(identity, indent=2) + "\n"
        _write(self.folder / "study.json", lambda file: file.write(text.encode()))

    def add(self, part: Part) -> None:
        """Keep a part; on disk it is there whole, or not at all."""
        self.parts.append(part)
        if self.folder is not None:
            write_part(self.folder, part)

    def record(self) -> dict[str, Any]:
        """How the study was run so far, as study.json says."""
        return {} if self.folder is None else _read_json(self.folder).get("record", {})

    def join_others(self, others: bool) -> None:
        """Take in the parts that other processes or shards have put into the folder meanwhile."""
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("study")
        if others and self.folder is not None:
            self.parts, _ = read_parts(self.folder)

    def width(self, runs: np.ndarray) -> int:
        """Runs a device that were computed at a time, of parts with any of these runs; or 0."""
        found = [part.width for part in self.parts if np.isin(part.runs, runs).any()]
        return found[0] if found else 0

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


# ------------------------------------------------------------------------------------- FILES


def write_part(folder: Path, part: Part) -> None:
    """Write a part under the name that its contents decide."""
    arrays: dict[str, Any] = {"runs": part.runs, "span": np.asarray([part.start, part.end])}
    arrays |= {"width": np.asarray(part.width), "seconds": np.asarray(part.seconds)}
    arrays |= {f"metric.{name}": x for name, x in part.metrics._asdict().items()}
    if part.evaluations is not None:
        arrays |= {f"evaluation.{name}": x for name, x in part.evaluations._asdict().items()}
    if part.state is not None:
        arrays |= {f"state.{i:03d}": x for i, x in enumerate(part.state)}
    digest = hashlib.sha256(np.ascontiguousarray(part.runs, np.int64).tobytes()).hexdigest()[:12]
    name = f"{part.start:08d}-{part.end:08d}-{digest}.npz"
    _write(folder / "parts" / name, lambda file: np.savez(file, **arrays))


def read_parts(folder: Path) -> tuple[list[Part], list[tuple[Path, str]]]:
    """The parts of a study folder, and the files that are damaged, each with the reason."""
    parts, damaged = [], []
    for path in sorted((folder / "parts").glob("*.npz")):
        try:
            # Opened here, for np.load leaves a damaged file open.  Zip checks every sum.
            with path.open("rb") as file, np.load(file) as found:
                arrays = {name: found[name] for name in found.files}
            parts.append(_part(arrays))
        except Exception as error:  # of zip, numpy or a missing name: all mean damage
            damaged.append((path, str(error) or type(error).__name__))
    return parts, damaged


def _part(arrays: dict[str, np.ndarray]) -> Part:
    def group(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    evaluations, state = group("evaluation."), group("state.")
    return Part(
        runs=arrays["runs"],
        start=int(arrays["span"][0]),
        end=int(arrays["span"][1]),
        metrics=Metrics(**group("metric.")),
        evaluations=Evaluation(**evaluations) if evaluations else None,
        state=[state[name] for name in sorted(state)] if state else None,
        width=int(arrays["width"]),
        seconds=float(arrays["seconds"]),
    )


def _write(path: Path, fill: Any) -> None:
    """A file that takes its name only when it is whole and on the disk."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _check_same(folder: Path, identity: dict[str, Any]) -> None:
    held = _read_json(folder)
    different = [name for name in identity if held.get(name) != identity[name]]
    if different:
        raise ValueError(
            f"{folder} holds another study (its {' and '.join(different)} differ); choose another "
            f"folder, or give the arguments that it was begun with"
        )


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "study.json").read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is no study folder: it has no study.json") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}/study.json cannot be read: {error}") from None


# ------------------------------------------------------------------------------- READING BACK


def load_study(folder: str | os.PathLike) -> Study:
    """Read a study folder, complete or not.

    Raises: FileNotFoundError or ValueError, in one line, if it is no study or damaged.
    """
    folder = Path(folder)
    spec, record = read_spec(folder)
    parts, damaged = read_parts(folder)
    for path, reason in damaged:
        warnings.warn(f"{path} is damaged ({reason}) and left out", stacklevel=2)
    return assemble(spec, parts, record)


def read_spec(folder: Path) -> tuple[Spec, dict[str, Any]]:
    """What the study in a folder is, and the record of how it was run."""
    held = _read_json(folder)
    try:
        if held["format"] != FORMAT:
            raise ValueError(f"format {held['format']}, and this version reads {FORMAT}")
        axes = tuple(Axis(d, tuple(n), lists_to_tuples(p)) for d, n, p in held["axes"])
        spec = Spec(
            config_from_json(held["config"]),
            Hyperparams(**held["hyperparams"]),
            Design(axes),
            np.asarray(held["seeds"]),
            held["prune"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}/study.json cannot be read: {error}") from error
    return spec, held.get("record", {})


def merge(folder: str | os.PathLike, sources: Sequence[str | os.PathLike]) -> Study:
    """Put the parts of shards that ran apart into one study folder.

    Raises: ValueError, in one line, if they are parts of different studies, or damaged;
    FileNotFoundError for a folder that is no study.
    """
    if not sources:
        raise ValueError("nothing to merge; name at least one study folder")
    specs = [read_spec(Path(source))[0] for source in sources]
    first = specs[0].to_json()
    for source, spec in zip(sources, specs, strict=True):
        different = [name for name, value in spec.to_json().items() if value != first[name]]
        if different:
            raise ValueError(
                f"{source} and {sources[0]} are parts of different studies (their "
                f"{' and '.join(different)} differ); merge parts of one study"
            )
    found = []
    for source in sources:
        parts, damaged = read_parts(Path(source))
        if damaged:
            raise ValueError(f"{damaged[0][0]} is damaged ({damaged[0][1]}); run that shard again")
        found += parts
    store = Store(specs[0], folder, join=True)
    for part in found:
        store.add(part)
    records = [read_spec(Path(source))[1] for source in sources]
    record = {**records[0], "merged_from": len(sources)}
    record["seconds"] = sum(r.get("seconds", 0.0) for r in records)
    store.describe({**first, "record": record})
    return assemble(specs[0], store.parts, record)


# ---------------------------------------------------------------------------------- ASSEMBLY


def assemble(spec: Spec, parts: Sequence[Part], record: dict[str, Any]) -> Study:
    """The cube that parts make; NaN where none of them reaches."""
    groups = resolve(spec.design, spec.config, spec.hyperparams)
    num_settings, num_seeds = sum(len(g.settings) for g in groups), len(spec.seeds)
    configs: dict[int, Group] = {h: group for group in groups for h in group.settings}
    num_updates = np.asarray([configs[h].config.num_updates for h in range(num_settings)])
    most = int(num_updates.max())
    shape = (num_settings * num_seeds, most)
    metrics = {name: np.full(shape, np.nan, np.float32) for name in Metrics._fields}
    updates = np.zeros(shape[0], np.int64)
    for part in parts:
        for name, values in part.metrics._asdict().items():
            metrics[name][part.runs, part.start : part.end] = values
        updates[part.runs] = np.maximum(updates[part.runs], part.end)

    steps = np.full((num_settings, most), np.nan)
    for h, group in configs.items():
        batch = group.config.num_envs * group.config.num_steps
        steps[h, : num_updates[h]] = np.arange(1, num_updates[h] + 1) * batch
    updates = updates.reshape(num_settings, num_seeds)
    reached = updates.max(1)
    ended = spec.prune is not None and record.get("complete", False)
    return Study(
        config=spec.config,
        hyperparams=spec.hyperparams,
        design=spec.design,
        seeds=spec.seeds,
        steps=steps,
        metrics={k: v.reshape(num_settings, num_seeds, most) for k, v in metrics.items()},
        evaluations=_evaluations(configs, parts, num_settings, num_seeds),
        updates=updates,
        num_updates=num_updates,
        pruned=(reached < num_updates) & bool(ended),
        record=record,
    )


def _evaluations(
    configs: dict[int, Group], parts: Sequence[Part], num_settings: int, num_seeds: int
) -> dict[str, np.ndarray]:
    evaluating = [group.config for group in configs.values() if group.config.eval_every]
    if not evaluating:
        return {}
    most = max(config.num_updates // config.eval_every for config in evaluating)
    episodes = max(config.eval_episodes for config in evaluating)
    shape = (num_settings * num_seeds, most, episodes)
    cubes = {name: np.full(shape, np.nan, np.float32) for name in Evaluation._fields}
    for part in parts:
        if part.evaluations is None:
            continue
        first = part.start // configs[int(part.runs[0]) // num_seeds].config.eval_every
        for name, values in part.evaluations._asdict().items():
            _, count, own = values.shape
            cubes[name][part.runs, first : first + count, :own] = values
    return {k: v.reshape(num_settings, num_seeds, most, episodes) for k, v in cubes.items()}


def write_cube(store: Store, study: Study) -> None:
    """study.nc, if the libraries of the extra `sweep` are there; the parts hold the same."""
    if store.folder is None:
        return
    try:
        require("h5py", "sweep")
        data = study.to_xarray()
    except ImportError:
        return
    data.attrs |= {
        "config": json.dumps(config_to_json(study.config)),
        "hyperparams": json.dumps(plain(study.hyperparams)),
        "record": json.dumps(plain(study.record)),
    }
    netcdf = bytes(data.to_netcdf(engine="h5netcdf"))
    _write(store.folder / "study.nc", lambda file: file.write(netcdf))
