"""Part files: results of some runs over some span of updates, unharmed and of the right study."""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.files import (
    digest,
    first_line,
    pack,
    read_summed,
    unpack,
    write_summed,
)
from purejaxvpg.state import Metrics


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


class Origin:
    """What a part says of the study that it is of: the study, and the settings of its own runs.

    Not the other settings: a search grows by settings, and keeps its parts.
    """

    def __init__(self, said: dict[str, Any]):
        """Args: said: the study as study.json has it."""
        whole = {name: said[name] for name in ("config", "hyperparams", "seeds", "prune")}
        whole["axes"] = [[dim, names] for dim, names, _ in said["axes"]]
        self.study = digest(whole)
        self.points = list(itertools.product(*[points for _, _, points in said["axes"]]))
        self.num_seeds = len(said["seeds"])

    def of(self, runs: np.ndarray) -> str:
        """The mark of a part that holds these runs."""
        settings = np.unique(np.asarray(runs) // self.num_seeds).tolist()
        return digest([self.study, [self.points[h : h + 1] for h in settings]])


def write_part(folder: Path, part: Part, origin: Origin) -> None:
    """Write a part under the name of its runs and span: the same part, the same file."""
    arrays: dict[str, Any] = {"runs": part.runs, "span": np.asarray([part.start, part.end])}
    arrays |= {"width": np.asarray(part.width), "seconds": np.asarray(part.seconds)}
    arrays |= pack(part.metrics, part.evaluations, part.state)
    arrays["origin"] = np.asarray(origin.of(part.runs))
    write_summed(folder / "parts" / f"{part_name(part.runs, part.start, part.end)}.npz", arrays)


def part_name(runs: np.ndarray, start: int, end: int) -> str:
    """Of the part of these runs and this span, or of what there is of it so far."""
    data = np.ascontiguousarray(runs, np.int64).tobytes()
    return f"{start:08d}-{end:08d}-{hashlib.sha256(data).hexdigest()[:12]}"


def read_parts(folder: Path, said: dict[str, Any]) -> tuple[list[Part], list[tuple[Path, str]]]:
    """The parts of a study folder, and the files that cannot be used, each with the reason.

    Args: said: the study as study.json has it.
    """
    parts, unusable, origin = [], [], Origin(said)
    for path in sorted((folder / "parts").glob("*.npz")):
        try:
            arrays = read_summed(path)
            if str(arrays["origin"]) != origin.of(arrays["runs"]):
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
