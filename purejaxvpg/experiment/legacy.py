"""Folders of earlier formats: runs (formats 1 and 2), and searches that were interrupted.

A run's folder, as `purejaxvpg train` wrote it before runs were studies:

run.json             config, hyperparameters, seeds, how it was run
metrics.npz          every metric, [S, U]; evaluations, if there were any
policy.safetensors   parameters and observation statistics of every seed, [S, ...]
checkpoints/         of a run that is not done
"""

import contextlib
import hashlib
import io
import itertools
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.experiment.checkpoints import Checkpoints, remove_checkpoints
from purejaxvpg.experiment.files import (
    Damaged,
    Foreign,
    inside,
    read_bytes,
    read_described,
    read_summed,
    write_described,
)
from purejaxvpg.experiment.parts import Part, part_file, part_name, read_parts, write_part
from purejaxvpg.experiment.policies import Arrays, Block, Policies, write_policies
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import FORMAT, Fingerprint, Spec
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line
from purejaxvpg.serialize import config_from_json
from purejaxvpg.state import Evaluation, Metrics

POLICY = "policy.safetensors"
IDENTITY = ("config", "hyperparams", "seeds")


def is_old_run(path: Path) -> bool:
    """Whether a run.json is of format 1 or 2.  Raises: OSError, if it cannot be read now."""
    try:
        fields = json.loads(read_bytes(path).decode())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(fields, dict) and fields.get("format") in (1, 2) and path.name == "run.json"


def run_fields(path: Path) -> dict[str, Any]:
    """An old run.json in today's form.  Raises: ValueError if it was changed or damaged."""
    raw = json.loads(read_bytes(path).decode())
    if raw["format"] == 1 and "sha256" not in raw:  # it had no sums, and no runs but whole ones
        raw |= {"complete": True}
    else:
        raw = read_described(path, [2])
    names = ("command", "versions", "xla_flags", "seconds", "compile_seconds", "complete")
    record = {name: raw[name] for name in names if name in raw}
    record |= {"widths": [len(raw["seeds"])], "num_devices": 1, "split": "runs"}
    identity = {name: raw[name] for name in IDENTITY}
    return {"format": FORMAT, **identity, "axes": [], "prune": None, "record": record}


def read_results(folder: Path, spec: Spec, record: StudyRecord) -> tuple[list[Part], Policies]:
    """The results of an old run that is complete; none of one that is not.

    Raises: FileNotFoundError or ValueError, in one line; ImportError without the extra `cli`.
    """
    if not record.complete:
        return [], Policies()
    safetensors = require("safetensors.numpy", "cli")
    sums = json.loads(read_bytes(folder / "run.json").decode()).get("files", {})
    files = {}
    for name in ("metrics.npz", POLICY):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no whole run folder: it has no {name}")
        files[name] = read_bytes(folder / name)
        if sums.get(name) not in (None, hashlib.sha256(files[name]).hexdigest()):
            raise ValueError(f"{folder / name} was changed or damaged: its sum is wrong")
    runs, updates = np.arange(len(spec.seeds)), spec.config.num_updates
    try:
        with np.load(io.BytesIO(files["metrics.npz"]), allow_pickle=False) as arrays:
            metrics = Metrics(*[arrays[name] for name in Metrics._fields])
            evaluated = "evaluation_returns" in arrays.files
            names = [f"evaluation_{name}" for name in Evaluation._fields]
            evaluations = Evaluation(*[arrays[name] for name in names]) if evaluated else None
        policies = _policies(safetensors.load(files[POLICY]))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy and safetensors raise all kinds; all mean damage
        raise ValueError(f"run folder {folder} cannot be read: {first_line(error)}") from error
    part = Part(runs, 0, updates, metrics, evaluations, None, len(runs), record.seconds)
    return [part], Policies((Block(runs, lambda: policies),))


def _policies(arrays: Arrays) -> Arrays:
    """Names of today: the policy's parameters alone, without those of V."""
    renamed = {name.replace("params/policy/", "params/", 1): x for name, x in arrays.items()}
    return {name: x for name, x in renamed.items() if not name.startswith("params/value/")}


def upgrade(folder: Path) -> bool:
    """Bring the folder of an old run to today's format: results and policies, or the checkpoint of
    a run that is not done.  Removes nothing but checkpoints that were taken over.

    Returns: whether it was one.
    """
    path = folder / "run.json"
    if not is_old_run(path):
        return False
    fields = run_fields(path)
    record = StudyRecord.from_json(fields["record"])
    identity = {name: value for name, value in fields.items() if name != "record"}
    if record.complete:
        (part,), policies = read_results(folder, Spec.from_json(fields), record)
        part = part._replace(policies=policies.arrays(part.runs))
        write_policies(folder, part, Fingerprint(identity))
        write_part(folder, part, Fingerprint(identity))
    else:
        _take_over_checkpoint(folder, identity)
    write_described(path, {**identity, "record": record.to_json()})
    return True


def _take_over_checkpoint(folder: Path, identity: dict[str, Any]) -> None:
    """Keep the newest checkpoint of an old run as one of its chunk."""
    old = {name: identity[name] for name in IDENTITY}
    before = Checkpoints(inside(folder, "checkpoints"), old)
    checkpoint, runs = before.newest(), np.arange(len(identity["seeds"]))
    for path, reason, _ in before.unusable:
        warnings.warn(f"{path} is not used: {reason}", stacklevel=5)
    if checkpoint is not None:
        config = config_from_json(identity["config"])
        mark = chunk_identity(Fingerprint(identity)(runs), len(runs), "runs")
        chunk = inside(folder, "chunks", part_name(runs, 0, config.num_updates))
        after = Checkpoints(chunk, mark)
        after.save(checkpoint)
        after.wait()
        before.remove()  # there is a newer one in chunks/


# ------------------------------------------------------------------------------------- SEARCHES


def take_over_round(folder: Path) -> None:
    """Take in a round that an old search has in a folder of its own: its results, and the chunk
    that was running.  Only files that were taken in are removed there."""
    for inner in sorted(folder.glob("round-of-setting-*")):
        inside(folder, inner.name)
        if not (inner / "study.json").exists():  # all of it was taken in, and the rest is not ours
            continue
        outer = read_described(folder / "study.json", [1, FORMAT])
        fields = read_described(inner / "study.json", [1])
        first = int(inner.name.rpartition("-")[2]) * len(outer["seeds"])  # number of its first run
        parts, unusable = read_parts(inner, fields)
        for part in parts:
            write_part(folder, part._replace(runs=part.runs + first), Fingerprint(outer))
        chunks = [path for path in (inner / "chunks").glob("*") if path.is_dir()]
        taken = [_take_over_chunk(path, folder, fields, outer, first) for path in chunks]
        for part in parts:
            part_file(inner, part).unlink()
        if all(taken) and not unusable:
            (inner / "study.json").unlink()
        with contextlib.suppress(OSError):  # something is left in them
            for empty in (inner / "chunks", inner / "parts", inner):
                if empty.exists():
                    empty.rmdir()
        if inner.exists():
            warnings.warn(f"{inner} stays: it holds more than could be taken in", stacklevel=4)


def _take_over_chunk(
    chunk: Path, folder: Path, fields: dict[str, Any], outer: dict[str, Any], first: int
) -> bool:
    """Keep the newest checkpoint of a round's chunk as one of the study's.

    Returns: whether it was one of consecutive runs, and is removed here.
    """
    newest = max(chunk.glob("*.npz"), default=None)
    if newest is None:
        return False
    try:
        rows = len(read_summed(newest)["state.0"])
    except (Damaged, Foreign, KeyError):
        return False
    number = math.prod(len(points) for _, _, points in fields["axes"]) * len(fields["seeds"])
    start, end = map(int, chunk.name.split("-")[:2])
    spans = [(a, min(b, number)) for a in range(number) for b in (a + rows, number)]
    named = [np.arange(*s) for s in spans if part_name(np.arange(*s), start, end) == chunk.name]
    for runs, split in itertools.product(named[:1], ("runs", "envs")):
        mark = chunk_identity(Fingerprint(fields)(runs), rows, split)
        checkpoint = Checkpoints(chunk, mark).newest()
        if checkpoint is not None:
            runs = runs + first
            mark = chunk_identity(Fingerprint(outer)(runs), rows, split)
            after = Checkpoints(inside(folder, "chunks", part_name(runs, start, end)), mark)
            after.save(checkpoint)
            after.wait()
            remove_checkpoints(chunk)
            return not chunk.exists()
    return False


def chunk_identity(mark: str, rows: int, split: str) -> dict[str, Any]:
    """The identity of a chunk, as its checkpoints have it since format 1."""
    return {"part": mark, "rows": rows, "shard": split}
