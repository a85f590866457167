"""Logs of a study: `metrics.jsonl` in its folder, and those that `--log` names.

They are fed between segments with numbers that are on the host by then, so they cost no transfer
and change no program.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from purejaxvpg.experiment.files import inside
from purejaxvpg.experiment.prepared import Options, Prepared
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line
from purejaxvpg.loggers import Jsonl, TensorBoard, Together, WandB, tensorboard, wandb

NONE = "none"  # among the names: no metrics.jsonl
LOGS = ("jsonl", "tensorboard", "wandb", NONE)
NEEDS = {"tensorboard": tensorboard.MODULE, "wandb": wandb.MODULE}
# Rows of metrics.jsonl by default, evaluations aside: some 150 MB.
MOST_ROWS = 250_000
MOST_RUNS = {"tensorboard": 500, "wandb": 100}  # each has files, or a connection, of its own


def check_logs(spec: Spec, options: Options, folder: Any) -> None:
    """Refuse logs that cannot be, before anything runs.

    Raises: ValueError; ImportError, which names the extra.
    """
    for name in options.log:
        if name not in LOGS:
            raise ValueError(f"log={name!r} is unknown; choose one of: {', '.join(LOGS)}")
        if folder is None:
            raise ValueError(f"log={name!r} is written into the folder of the study; pass folder=")
        if name in NEEDS:
            require(NEEDS[name], name)
        most = MOST_RUNS.get(name, len(spec.index))
        if len(spec.index) > most:
            raise ValueError(
                f"log={name!r} has a curve for each of {len(spec.index):,} runs; accepted: at most "
                f"{most}. metrics.jsonl has them all, and the report their interquartile means"
            )


@contextlib.contextmanager
def logged(prepared: Prepared) -> Iterator[Prepared]:
    """The study with its logs, which are closed at the end, however that comes."""
    options = prepared.options
    log = Together(*_logs(prepared), options.on_segment)
    options = options._replace(on_segment=log, on_keep=log.keep)
    try:
        yield dataclasses.replace(prepared, options=options)
    finally:
        log.close()


def _logs(prepared: Prepared) -> list[Any]:
    """The loggers of a study in a folder.  One whose place cannot be written is a warning."""
    folder, names = prepared.store.folder, prepared.options.log
    logs: list[Any] = []
    if folder is None:
        return logs
    for name in dict.fromkeys(("jsonl", *names)):
        with _or_warning(name):
            if name == "jsonl" and NONE not in names:
                most = max(MOST_ROWS // len(prepared.spec.index), 1)
                path = inside(folder, file_name(prepared.options))
                logs.append(Jsonl(path, None if "jsonl" in names else most))
            elif name == "tensorboard":
                logs.append(TensorBoard(inside(folder, name)))
            elif name == "wandb":
                inside(folder, name)
                logs.append(WandB(folder=folder))
    return logs


@contextlib.contextmanager
def _or_warning(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a link, say
        warnings.warn(f"no log {name}: {first_line(error)}", stacklevel=2)


def file_name(options: Options) -> str:
    """The file of this process: `metrics.jsonl`, or one of its own beside other processes."""
    if options.shard is not None:
        i, n = options.shard
        return f"metrics-{i}-of-{n}.jsonl"
    if jax.process_count() > 1:
        return f"metrics-process-{jax.process_index()}.jsonl"
    return "metrics.jsonl"


def files(folder: Path) -> list[Path]:
    """All of them in a folder."""
    return sorted(folder.glob("metrics*.jsonl"))
