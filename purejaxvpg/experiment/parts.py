"""Part files: results of some runs over a span of updates, checked on reading."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.experiment.files import (
    first_line,
    pack,
    read_summed,
    unpack,
    write_summed,
)
from purejaxvpg.experiment.spec import Fingerprint
from purejaxvpg.state import Evaluation, Metrics


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
    policies: dict[str, np.ndarray] | None = None  # [k, ...] by name, see policies.py


def write_part(folder: Path, part: Part, fingerprint: Fingerprint) -> None:
    """Write a part under the name of its runs and span: the same part, the same file."""
    arrays: dict[str, Any] = {"runs": part.runs, "span": np.asarray([part.start, part.end])}
    arrays |= {"width": np.asarray(part.width), "seconds": np.asarray(part.seconds)}
    arrays |= pack(part.metrics, part.evaluations, part.state)
    arrays["origin"] = np.asarray(fingerprint(part.runs))
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)  # again, should somebody have removed the folder
    write_summed(parts / f"{part_name(part.runs, part.start, part.end)}.npz", arrays)


def part_name(runs: np.ndarray, start: int, end: int) -> str:
    """Name of the part of these runs and this span."""
    data = np.ascontiguousarray(runs, np.int64).tobytes()
    return f"{start:08d}-{end:08d}-{hashlib.sha256(data).hexdigest()[:12]}"


def read_parts(folder: Path, identity: dict[str, Any]) -> tuple[list[Part], list[tuple[Path, str]]]:
    """The parts of a study folder, and the files that cannot be used, each with the reason.

    Args: identity: the study as its folder describes it.
    """
    parts, unusable, fingerprint = [], [], Fingerprint(identity)
    for path in sorted((folder / "parts").glob("*.npz")):
        try:
            arrays = read_summed(path)
            if str(arrays["origin"]) != fingerprint(arrays["runs"]):
                raise ValueError("it belongs to another study")
            parts.append(_part(arrays))
        except Exception as error:  # whatever zip or numpy raise on a file of another make
            unusable.append((path, first_line(error)))
    return parts, unusable


def _part(arrays: dict[str, np.ndarray]) -> Part:
    return Part(
        **unpack(arrays),
        runs=arrays["runs"],
        start=int(arrays["span"][0]),
        end=int(arrays["span"][1]),
        width=int(arrays["width"]),
        seconds=float(arrays["seconds"]),
    )
