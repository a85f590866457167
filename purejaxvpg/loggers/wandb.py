"""Weights & Biases: a run there for each run here, grouped by setting."""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.loggers.base import Logger
from purejaxvpg.loggers.names import every, rows
from purejaxvpg.loggers.segment import Segment
from purejaxvpg.loggers.tensorboard import label
from purejaxvpg.serialize import config_to_json, plain

MODULE = "wandb.sdk"  # a folder `wandb` here, in which it keeps its files, would pass for `wandb`
MARKS = "runs"  # in the folder's wandb/: a file for each run, with its id there


class WandB(Logger):
    """Runs of Weights & Biases, online or offline (`WANDB_MODE=offline`, then `wandb sync`).

    A run that goes on does so under its id, which `folder` keeps.  Points that are there already
    are not sent again: the same updates have the same numbers.

    Args:
      project: None: that of WANDB_PROJECT, or purejaxvpg.
      folder: where wandb keeps its files, and we the ids; None: no id outlives the process.
      points: points of a curve at most, evaluations aside; None: one for every update.
      init: other arguments of `wandb.init`: entity, tags, mode, ...

    Raises: ImportError, in one line, without the extra `wandb`.
    """

    name = "the log for wandb"

    def __init__(
        self,
        project: str | None = None,
        folder: str | os.PathLike | None = None,
        points: int | None = 1000,
        **init: Any,
    ):
        require(MODULE, "wandb")
        self._wandb: Any = require("wandb", "wandb")
        self.project = project or os.environ.get("WANDB_PROJECT") or "purejaxvpg"
        self.folder, self.points = None if folder is None else Path(folder), points
        self._init = init
        self._open: dict[int, Any] = {}  # run -> wandb's
        self._marks: dict[int, dict[str, Any]] = {}  # run -> its id, and the updates sent

    def write(self, segment: Segment) -> None:
        """Send the points of a segment.  Raises: whatever wandb raises."""
        table = rows(segment, every(segment, self.points))
        for i, run in enumerate(map(int, segment.runs)):
            if run not in self._open:
                self._begin(run, i, segment)
            mark = self._marks[run]
            for j, update in enumerate(table.updates.tolist()):
                if update <= mark["update"]:
                    continue
                points = {
                    name: float(values[i, j])
                    for name, values in table.series.items()
                    if np.isfinite(values[i, j])
                }
                self._open[run].log({"global_step": int(table.steps[j]), **points})
            mark["update"] = max(segment.updates, mark["update"])
            self._note(run)
            if segment.updates == segment.num_updates:
                self._open.pop(run).finish()
                del self._marks[run]  # the next study that is logged has others

    def end(self) -> None:
        """Finish all runs: wandb sends what is left."""
        while self._open:
            self._open.popitem()[1].finish()

    def _begin(self, run: int, place: int, segment: Segment) -> None:
        name = label(segment, place)
        setting, _, _ = name.rpartition("/")
        mark = self._marks.setdefault(run, self._mark(run))
        given = {
            "project": self.project,
            "dir": None if self.folder is None else str(self.folder),
            "group": setting or (self.folder.name if self.folder else segment.config.env),
            "name": name.replace("/", " "),
            "config": _config(segment, place),
            "reinit": "create_new",
            "settings": self._wandb.Settings(console="off", quiet=True),
        }
        self._open[run] = one = self._wandb.init(
            **{**given, **self._init}, id=mark["id"], resume="allow"
        )
        one.define_metric("global_step")
        one.define_metric("*", step_metric="global_step")

    def _mark(self, run: int) -> dict[str, Any]:
        """The id of a run, and the updates that were sent; those of before, if it goes on."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if self.folder is not None:
                mark = json.loads(self._path(run).read_text())
                return {"id": str(mark["id"]), "update": int(mark["update"])}
        return {"id": secrets.token_hex(6), "update": 0}

    def _note(self, run: int) -> None:
        if self.folder is None:
            return
        path = self._path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(self._marks[run]))
        os.replace(partial, path)

    def _path(self, run: int) -> Path:
        assert self.folder is not None
        return self.folder / "wandb" / MARKS / f"{run}.json"


def _config(segment: Segment, place: int) -> dict[str, Any]:
    """Config, hyperparameters and seed of a run, for wandb's tables."""
    try:
        config = config_to_json(segment.config)
    except TypeError:  # objects without a name
        config = {name: str(x) for name, x in vars(segment.config).items()}
    hp = plain(jax.tree.map(lambda x: np.asarray(x)[place], segment.hp))
    return {**config, **hp, "seed": int(segment.seeds[place])}
