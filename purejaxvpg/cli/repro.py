"""repro: a run or a study once more, from what its folder says."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.cli.terminal import UserError, say, user_errors
from purejaxvpg.cli.typed import flag_words
from purejaxvpg.experiment import engine
from purejaxvpg.experiment.devices import DETERMINISTIC, be_deterministic
from purejaxvpg.experiment.folder import load_study, read_spec
from purejaxvpg.experiment.jax_settings import (
    FLAGS,
    changed_jax_settings,
    exported,
    restore_jax_settings,
)
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.record import StudyRecord, compiler_flags, versions
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.reproduce import python_call, total_steps_at_first


def repro(args: Any) -> None:
    """Print what repeats a run or a study; with --execute, repeat it and compare every number.

    Raises: UserError for a folder that is neither, or if the numbers differ.
    """
    folder, again = Path(args.folder), Path(args.out or f"{args.folder}-again")
    with user_errors():
        study = load_study(folder)
        if not study.complete:
            name = "sweep" if study.design.axes else "train"
            raise ValueError(
                f"the study in {folder} is not done; see: purejaxvpg {name} --resume {folder}"
            )
    width = _width(study.record)
    repeat = python_call(study) if study.design.axes else command(study, str(again), width)
    for line in [*_surroundings(study.record), repeat]:
        print(line)  # to be copied as it is: the console would wrap and colour it
    if not args.execute:
        return
    if DETERMINISTIC in study.record.xla_flags:
        be_deterministic()
    say(*restore_jax_settings(study.record.jax_settings))
    if others := _other_versions(study.record):
        say(f"the numbers may differ, for the versions do: {'; '.join(others)}")
    with user_errors():
        resources = make_resources(None, study.record.split, width, None)
        options = Options(resources, command=repeat, imports=tuple(study.record.imports))
        prepared = prepare(read_spec(folder)[0], options, again)
    _compare(study, engine.run(prepared), f"{folder} and {again}")


def _width(record: StudyRecord) -> Any:
    """The width that all parts were run at, or "auto"."""
    return record.widths[0] if len(set(record.widths)) == 1 else "auto"


def command(study: Study, out: str, width: Any = "auto") -> str:
    """The command that trains just this: no preset, and every setting that is not a default; and
    one for each time that it was made longer."""
    words = ["purejaxvpg", "train", str(study.config.env), "--no-preset"]
    seeds = ["--num-seeds", str(len(study.seeds)), "--seed", str(int(study.seeds[0]))]
    for name in study.record.imports:
        words += ["--import", name]
    words += [*seeds, "--out", out]
    config = dataclasses.replace(study.config, total_steps=total_steps_at_first(study))
    for given in (config, study.hyperparams):
        for field in dataclasses.fields(given):
            value = getattr(given, field.name)
            if field.name != "env" and str(value) != str(field.default):  # -0.0 is not 0.0
                words += flag_words(field.name, value)
    how = ["--chunk-size", str(width)] if width != "auto" else []
    how += ["--split", study.record.split] if study.record.split != "runs" else []
    how += ["--deterministic"] if DETERMINISTIC in study.record.xla_flags else []
    lines = [shlex.join([*words, *how])]
    for length in [*study.record.lengths, study.config.total_steps][1:]:
        longer = ["purejaxvpg", "train", "--resume", out, "--total-steps", str(length)]
        lines.append(shlex.join([*longer, *how]))
    return "\n".join(lines)


def _surroundings(record: StudyRecord) -> list[str]:
    """Libraries, device and flags, as comments of a shell and of Python."""
    had = record.versions
    libraries = shlex.join(f"{name}=={v}" for name, v in had.items() if name != "python")
    lines = [f"Python {had.get('python', 'unknown')}, {record.device or 'device unknown'}"]
    lines.append(f"pip install {libraries}")
    lines += [f"git checkout {shlex.quote(record.commit)}"] if record.commit else []
    lines += [f"export XLA_FLAGS={shlex.quote(record.xla_flags)}"] if record.xla_flags else []
    settings = exported(record.jax_settings or {})
    lines += [f"export {' '.join(settings)}"] if settings else []
    return [f"# {' '.join(line.split())}" for line in lines]  # one line each, whatever is in them


def _other_versions(record: StudyRecord) -> list[str]:
    """Python and the libraries that are of another version here, with both versions."""
    now, had = versions(), record.versions
    return [
        f"{name} was {was}, is {now.get(name)}" for name, was in had.items() if was != now.get(name)
    ]


def _compare(study: Study, repeated: Study, folders: str) -> None:
    """Say that every number is the same, or where they part."""
    one, other = study.metrics, repeated.metrics
    different = [
        name
        for name, values in one.items()
        if not np.array_equal(values, other[name], equal_nan=values.dtype.kind == "f")
    ]
    if not different:
        say(f"{folders}: the same, every bit of {len(one)} metrics")
        return
    changed = _other_versions(study.record)
    if study.record.xla_flags != compiler_flags():
        changed.append("XLA_FLAGS differ")
    before, is_now = study.record.jax_settings or {}, repeated.record.jax_settings or {}
    others = [name for name in changed_jax_settings(before, is_now) if name != FLAGS]
    changed += [f"{name} was {before[name]}, is {is_now.get(name)}" for name in others]
    why = "; ".join(changed) or "another device or number of devices, perhaps"
    raise UserError(f"{folders} differ in {', '.join(different)} ({why})")
