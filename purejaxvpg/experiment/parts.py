"""Part files: results of some runs over a span of updates, checked on reading."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.experiment.files import (
    Damaged,
    Foreign,
    Unusable,
    content,
    inside,
    read_summed,
    write_summed,
)
from purejaxvpg.experiment.packing import pack, unpack
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
    parts = inside(folder, "parts")
    parts.mkdir(parents=True, exist_ok=True)  # again, should somebody have removed the folder
    write_summed(parts / f"{part_name(part.runs, part.start, part.end)}.npz", arrays)


def part_name(runs: np.ndarray, start: int, end: int) -> str:
    """Name of the part of these runs and this span."""
    data = np.ascontiguousarray(runs, np.int64).tobytes()
    return f"{start:08d}-{end:08d}-{hashlib.sha256(data).hexdigest()[:12]}"


def part_file(folder: Path, part: Part) -> Path:
    """Where a part is."""
    return folder / "parts" / f"{part_name(part.runs, part.start, part.end)}.npz"


def read_parts(folder: Path, identity: dict[str, Any]) -> tuple[list[Part], list[Unusable]]:
    """The parts of a study folder, and the files that cannot be used.

    Args: identity: the study as its folder describes it.
    Raises: OSError, in one line, for a file that cannot be read now: that is no damage.
    """
    parts, unusable, fingerprint = [], [], Fingerprint(identity)
    for path in sorted((folder / "parts").glob("*.npz")):
        try:
            parts.append(_read_part(path, fingerprint))
        except FileNotFoundError:
            if path.is_symlink():  # else another process has set it aside meanwhile
                raise OSError(f"{path} is a link to a file that is not there now") from None
        except (Damaged, Foreign) as error:
            unusable.append(Unusable(path, str(error), isinstance(error, Damaged)))
    return parts, unusable


def _read_part(path: Path, fingerprint: Fingerprint) -> Part:
    arrays = read_summed(path)
    with content():
        if str(arrays["origin"]) != fingerprint(arrays["runs"]):
            raise Foreign("it belongs to another study")
        part = _part(arrays)
        shape = (len(part.runs), part.end - part.start)
        if part.start < 0 or any(np.shape(x) != shape for x in part.metrics):
            raise Foreign(f"its arrays are not of {shape[0]} runs x {shape[1]} updates")
        return part


def _part(arrays: dict[str, np.ndarray]) -> Part:
    return Part(
        **unpack(arrays),
        runs=arrays["runs"],
        start=int(arrays["span"][0]),
        end=int(arrays["span"][1]),
        width=int(arrays["width"]),
        seconds=float(arrays["seconds"]),
    )
