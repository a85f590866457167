"""A run on disk: one folder, no pickle, and nothing in it that is half written.

    run.json             config, hyperparameters, seeds, versions, device, timing, sums of files
    metrics.npz          every metric, [S, U]; evaluations, if there were any
    policy.safetensors   parameters and observation statistics of every seed, [S, ...]
    learning_curve.png   put there by the command line
    checkpoints/         of a run that is not done (checkpoint.py)

A run is complete when its run.json says so, which is written last.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.files import (
    first_line,
    named_leaves,
    read_described,
    write_described,
    write_whole,
)
from purejaxvpg.experiment.record import (
    compiler_flags,
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    plain,
    versions,
)
from purejaxvpg.experiment.runner import Run
from purejaxvpg.extras import require
from purejaxvpg.networks import Params
from purejaxvpg.normalize import RunningStats
from purejaxvpg.state import TrainState
from purejaxvpg.statistics import diverged_at
from purejaxvpg.vpg import make_learner

FORMAT = 2  # of run.json
POLICY = "policy.safetensors"


class SavedRun(NamedTuple):
    """What `load_run` gives back: all that evaluation needs, and the record."""

    config: VPGConfig
    hyperparams: Hyperparams
    seeds: np.ndarray  # [S]
    policy_params: Any  # [S, ...]
    obs_stats: RunningStats  # [S, ...]
    metrics: dict[str, np.ndarray]  # [S, U] each
    record: dict[str, Any]  # run.json


def begin_run(
    path: str | os.PathLike,
    config: VPGConfig,
    hp: Hyperparams,
    seeds: np.ndarray,
    command: str = "",
) -> Path:
    """The folder of a run that is about to begin, with what is known of it.

    Raises: FileExistsError if there is something at `path`; OSError, naming it, if it cannot be
    written; TypeError for a config that holds objects rather than names (an environment or a
    network of your own): keep those runs yourself.
    """
    path = Path(path)
    said = _described(config, hp, seeds, command)
    try:
        path.mkdir(parents=True)
        write_described(path / "run.json", {**said, "complete": False})
    except FileExistsError:
        if path.exists():
            message = f"{path} exists already; choose another folder or remove it"
            raise FileExistsError(message) from None
        raise OSError(f"cannot write {path}: a file is in its way; choose another folder") from None
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from None
    return path


def discard_run(folder: Path) -> bool:
    """Remove a run that was begun and of which nothing is kept.  Returns whether it was."""
    nothing = not any((folder / "checkpoints").glob("*")) and not is_complete(folder)
    if nothing:
        shutil.rmtree(folder, ignore_errors=True)
    return nothing


def save_run(folder: str | os.PathLike, result: Run, command: str = "") -> None:
    """Write a finished run into a folder, which is made if it is not there.

    Raises: ImportError without the extra `cli`; TypeError as `begin_run`; OSError.
    """
    safetensors = require("safetensors.numpy", "cli")
    folder = Path(folder)
    said = _described(result.config, result.hyperparams, result.seeds, command)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(result.metrics._asdict())
    if result.evaluations is not None:
        arrays |= {f"evaluation_{k}": v for k, v in result.evaluations._asdict().items()}
    metrics = io.BytesIO()
    np.savez_compressed(metrics, **arrays)
    leaves = named_leaves(_acting(result.state))
    policy = safetensors.save({name: np.asarray(leaf) for name, leaf in leaves.items()})
    files = {"metrics.npz": metrics.getvalue(), POLICY: policy}
    for name, data in files.items():
        write_whole(folder / name, data)
    lost_at = diverged_at(result.metrics.finite)
    said |= {
        "diverged_at": {str(s): int(at) for s, at in zip(result.seeds, lost_at, strict=True) if at},
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "complete": True,
    }
    write_described(folder / "run.json", said)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # they led here


def _described(
    config: VPGConfig, hp: Hyperparams, seeds: np.ndarray, command: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": config_to_json(config),
        "hyperparams": plain(hp),
        "seeds": seeds.tolist(),
        "command": command,
        "versions": versions(),
        "device": str(jax.devices()[0]),
        "xla_flags": compiler_flags(),
    }


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """What a run is, whoever runs it: its checkpoints are of this."""
    return {name: record[name] for name in ("config", "hyperparams", "seeds")}


def is_complete(folder: Path) -> bool:
    """Whether it holds a run that is done."""
    with contextlib.suppress(OSError, ValueError):
        return bool(_read_record(folder)["complete"])
    return False


def begun_run(folder: str | os.PathLike) -> tuple[VPGConfig, Hyperparams, np.ndarray, dict]:
    """Config, hyperparameters, seeds and record of a run folder, done or not.

    Raises: FileNotFoundError or ValueError, in one line, if it is no run folder or damaged.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder} is no run folder: it has no run.json")
    try:
        record = _read_record(folder)
        config = config_from_json(record["config"])
        hp = hyperparams_from_json(record["hyperparams"])
        return config, hp, np.asarray(record["seeds"]), record
    except Exception as error:
        raise _unreadable(folder, error) from error


def _read_record(folder: Path) -> dict[str, Any]:
    """run.json, brought up to this version's format."""
    path = folder / "run.json"
    said = json.loads(path.read_text())
    if isinstance(said, dict) and said.get("format") == 1 and "sha256" not in said:
        # The first format had no sums, and no runs but whole ones.
        return {**said, "format": FORMAT, "files": {}, "complete": True}
    return read_described(path, [FORMAT])


def _unreadable(folder: Path, error: Exception) -> ValueError:
    return ValueError(f"run folder {folder} cannot be read: {first_line(error)}")


def load_run(folder: str | os.PathLike) -> SavedRun:
    """Read the folder of a finished run.

    Raises: FileNotFoundError or ValueError, in one line, if it is no run folder, damaged, or not
    done; ImportError without the extra `cli`.
    """
    safetensors = require("safetensors.numpy", "cli")
    folder = Path(folder)
    config, hp, seeds, record = begun_run(folder)
    if not record["complete"]:
        raise ValueError(
            f"the run in {folder} is not done; go on with it: purejaxvpg train --resume {folder}"
        )
    for name in ("metrics.npz", POLICY):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no whole run folder: it has no {name}")
    try:
        files = {name: (folder / name).read_bytes() for name in ("metrics.npz", POLICY)}
        for name, data in files.items():
            if record["files"].get(name) not in (None, hashlib.sha256(data).hexdigest()):
                raise ValueError(f"{name} was changed or damaged: its sum is wrong")
        params, obs_stats = _restore(safetensors.load(files[POLICY]), config, hp, len(seeds))
        with np.load(io.BytesIO(files["metrics.npz"]), allow_pickle=False) as found:
            metrics = {name: found[name] for name in found.files}
    except Exception as error:  # of numpy, safetensors or the config: all mean damage
        raise _unreadable(folder, error) from error
    return SavedRun(config, hp, seeds, params.policy, obs_stats, metrics, record)


def _acting(state: TrainState) -> dict[str, Any]:
    """What acting needs, as nested dicts."""
    return {"params": state.params._asdict(), "obs_stats": state.obs_stats._asdict()}


def _restore(
    arrays: dict[str, np.ndarray], config: VPGConfig, hp: Hyperparams, num_seeds: int
) -> tuple[Params, RunningStats]:
    """Arrays in the structure that the config's networks have, every shape checked."""
    state = jax.eval_shape(make_learner(config).init, jax.random.key(0), hp)
    acting = _acting(state)
    expected = named_leaves(acting)
    for name, leaf in expected.items():
        shape = (num_seeds, *leaf.shape)
        if name not in arrays or arrays[name].shape != shape:
            given = arrays[name].shape if name in arrays else "missing"
            raise ValueError(f"policy.safetensors has {name} {given}, and its config says {shape}")
    kept = jax.tree.unflatten(jax.tree.structure(acting), [arrays[name] for name in expected])
    return Params(**kept["params"]), RunningStats(**kept["obs_stats"])
