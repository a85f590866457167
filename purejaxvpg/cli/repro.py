"""repro: a run or a study once more, from what its folder says."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.cli import flags, runs
from purejaxvpg.cli.terminal import UserError, console, user_errors
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import results, store
from purejaxvpg.experiment.devices import DETERMINISTIC
from purejaxvpg.experiment.record import compiler_flags, plain, versions
from purejaxvpg.experiment.sweep import prepare
from purejaxvpg.report.reproduce import python_call


def repro(args: flags.Repro) -> None:
    """Print what repeats a run or a study; with --execute, repeat it and compare every number.

    Raises: UserError for a folder that is neither, or if the numbers differ.
    """
    folder = Path(args.run)
    again = Path(args.out or f"{folder}-again")
    whole = (folder / "study.json").exists()
    with user_errors():
        found = _study(folder) if whole else _run(folder, again)
    for line in [*_surroundings(found.record), found.said]:
        print(line)  # as it is, to be copied: the console would wrap and colour it
    if not args.execute:
        return
    if whole:
        with user_errors():
            spec, width = store.read_spec(folder)[0], found.width
            prepared = prepare(spec, chunk_size=width, shard=found.record["shard"], folder=again)
        repeated = prepared.run().metrics
    else:
        runs.train(flags.parse(shlex.split(found.said)[1:]), found.said)
        repeated = results.load_run(again).metrics
    _compare(found.metrics, repeated, f"{folder} and {again}", found.record)


@dataclasses.dataclass
class _Found:
    said: str  # the command, or the call in Python
    record: dict[str, Any]
    metrics: dict[str, np.ndarray]
    width: Any = "auto"


def _run(folder: Path, again: Path) -> _Found:
    saved = results.load_run(folder)
    said = command(saved.config, saved.hyperparams, saved.seeds, str(again))
    said += " --deterministic" * (DETERMINISTIC in saved.record.get("xla_flags", ""))
    return _Found(said, saved.record, saved.metrics)


def _study(folder: Path) -> _Found:
    study = store.load_study(folder)
    if not study.complete:
        raise ValueError(f"the study in {folder} is not done; see: purejaxvpg sweep --resume")
    widths = study.record.get("widths") or []
    width = widths[0] if len(set(widths)) == 1 else "auto"
    return _Found(python_call(study), study.record, study.metrics, width)


def command(config: VPGConfig, hp: Hyperparams, seeds: np.ndarray, out: str) -> str:
    """The command that trains just this: no preset, and every setting that is not a default."""
    words = ["purejaxvpg", "train", str(config.env), "--no-preset"]
    words += ["--num-seeds", str(len(seeds)), "--seed", str(int(seeds[0])), "--out", out]
    for given in (config, hp):
        for field in dataclasses.fields(given):
            value = getattr(given, field.name)
            if field.name != "env" and value != field.default:
                words += _flag(field.name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if name in flags.PAIRS:
        return [flag, *[f"{key}={plain(x)!r}" for key, x in dict(value).items()]]
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return [flag, str(plain(value))]


def _surroundings(record: dict[str, Any]) -> list[str]:
    """Libraries, device and flags, as comments of a shell and of Python."""
    had = record.get("versions", {})
    libraries = " ".join(f"{name}=={v}" for name, v in had.items() if name != "python")
    lines = [f"# Python {had.get('python', 'unknown')}, {record.get('device', 'device unknown')}"]
    lines.append(f"# pip install {libraries}")
    lines += [f"# export XLA_FLAGS='{record['xla_flags']}'"] if record.get("xla_flags") else []
    return lines


def _compare(
    one: dict[str, np.ndarray], other: dict[str, np.ndarray], what: str, record: dict[str, Any]
) -> None:
    """Say that every number is the same, or where they part."""
    part = [
        name
        for name, values in one.items()
        if not np.array_equal(values, other[name], equal_nan=values.dtype.kind == "f")
    ]
    if not part:
        console.print(f"{what}: the same, every bit of {len(one)} metrics", soft_wrap=True)
        return
    now, had = versions(), record.get("versions", {})
    changed = [
        f"{name} was {was}, is {now.get(name)}" for name, was in had.items() if was != now.get(name)
    ]
    if record.get("xla_flags", "") != compiler_flags():
        changed.append("XLA_FLAGS differ")
    why = "; ".join(changed) or "another device or number of devices, perhaps"
    raise UserError(f"{what} differ in {', '.join(part)} ({why})")
