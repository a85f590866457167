"""A run on disk: one folder, no pickle, and either whole or not there.

    run.json             config, hyperparameters, seeds, versions, device, timing
    metrics.npz          every metric, [S, U]; evaluations, if there were any
    policy.safetensors   parameters and observation statistics of every seed, [S, ...]
    learning_curve.png   put there by the command line

The folder is written under a temporary name beside its place and renamed when complete.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.record import (
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
from purejaxvpg.vpg import make_learner

FORMAT = 1


class SavedRun(NamedTuple):
    """What `load_run` gives back: all that evaluation needs, and the record."""

    config: VPGConfig
    hyperparams: Hyperparams
    seeds: np.ndarray  # [S]
    policy_params: Any  # [S, ...]
    obs_stats: RunningStats  # [S, ...]
    metrics: dict[str, np.ndarray]  # [S, U] each
    record: dict[str, Any]  # run.json


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into that takes its final name only when the block ends well.

    Raises: FileExistsError if there is something at `path`; OSError, naming it, if it cannot
    be written.  Both come before the block is entered, so that no work is lost to them.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another folder or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from None
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    try:
        partial.chmod(0o755)
        os.rename(partial, path)
    except OSError as error:  # somebody took the name meanwhile; what was written is whole
        raise OSError(
            f"cannot rename to {path} ({error.strerror}); it is kept as {partial}"
        ) from None


def save_run(folder: Path, result: Run, command: str = "") -> None:
    """Write a run into a folder that exists (see `new_folder`).

    Raises: ImportError without the extra `cli`; TypeError for a config that holds objects
    rather than names (an environment or a network of your own): save those yourself.
    """
    safetensors = require("safetensors.numpy", "cli")
    record = {
        "format": FORMAT,
        "config": config_to_json(result.config),
        "hyperparams": plain(result.hyperparams),
        "seeds": result.seeds.tolist(),
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "command": command,
        "versions": versions(),
        "device": str(jax.devices()[0]),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    arrays = dict(result.metrics._asdict())
    if result.evaluations is not None:
        arrays |= {f"evaluation_{k}": v for k, v in result.evaluations._asdict().items()}
    np.savez_compressed(folder / "metrics.npz", **arrays)
    leaves, _ = _named_leaves(result.state)
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    safetensors.save_file(arrays, folder / "policy.safetensors")


def load_run(folder: str | os.PathLike) -> SavedRun:
    """Read a run folder.

    Raises: FileNotFoundError or ValueError, in one line, if it is no run folder or damaged;
    ImportError without the extra `cli`.
    """
    safetensors = require("safetensors.numpy", "cli")
    folder = Path(folder)
    for name in ("run.json", "metrics.npz", "policy.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no run folder: it has no {name}")
    try:
        record = json.loads((folder / "run.json").read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, and this version reads {FORMAT}")
        config = config_from_json(record["config"])
        hp = hyperparams_from_json(record["hyperparams"])
        arrays = safetensors.load_file(folder / "policy.safetensors")
        params, obs_stats = _restore(arrays, config, hp, len(record["seeds"]))
        # Opened here, for np.load leaves a damaged file open.
        with (folder / "metrics.npz").open("rb") as file, np.load(file) as found:
            metrics = {name: found[name] for name in found.files}
        return SavedRun(
            config=config,
            hyperparams=hp,
            seeds=np.asarray(record["seeds"]),
            policy_params=params.policy,
            obs_stats=obs_stats,
            metrics=metrics,
            record=record,
        )
    except Exception as error:  # of json, numpy, safetensors or the config: all mean damage
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"run folder {folder} cannot be read: {first_line}") from error


def _named_leaves(state: TrainState) -> tuple[dict[str, Any], Any]:
    """What acting needs, `(params, obs_stats)`, as names and leaves, and its structure."""
    kept = {"params": state.params._asdict(), "obs_stats": state.obs_stats._asdict()}
    leaves, structure = jax.tree_util.tree_flatten_with_path(kept)
    names = ["/".join(str(part.key) for part in path) for path, _ in leaves]
    return dict(zip(names, [leaf for _, leaf in leaves], strict=True)), structure


def _restore(
    arrays: dict[str, np.ndarray], config: VPGConfig, hp: Hyperparams, num_seeds: int
) -> tuple[Params, RunningStats]:
    """Arrays in the structure that the config's networks have, every shape checked."""
    state = jax.eval_shape(make_learner(config).init, jax.random.key(0), hp)
    expected, structure = _named_leaves(state)
    for name, leaf in expected.items():
        shape = (num_seeds, *leaf.shape)
        if name not in arrays or arrays[name].shape != shape:
            given = arrays[name].shape if name in arrays else "missing"
            raise ValueError(f"policy.safetensors has {name} {given}, and its config says {shape}")
    kept = jax.tree.unflatten(structure, [arrays[name] for name in expected])
    return Params(**kept["params"]), RunningStats(**kept["obs_stats"])
