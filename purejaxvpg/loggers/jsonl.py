"""metrics.jsonl: a line of JSON for each run and update.

    {"run": 0, "update": 12, "global_step": 24576, "setting": 0, "seed": 0, "charts/...": 21.5, ...}

A number that is NaN or infinite, of a run that has diverged, is null.  A key is missing where there
is no number: the return where no episode ended.
"""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.loggers.base import Logger
from purejaxvpg.loggers.names import LENGTH, RETURN, every, rows
from purejaxvpg.loggers.segment import Segment
from purejaxvpg.serialize import plain, to_strict_json

ROW = re.compile(rb'\{"run": (\d+), "update": (\d+),')
NOT_JSON = ("nan", "inf", "-inf")
MAY_BE_MISSING = (RETURN, LENGTH)


class Jsonl(Logger):
    """Lines of JSON, appended to a file.

    A run that goes on from a checkpoint, or begins again, replaces its rows from there on.

    Args: points: rows of a run at most, evaluations aside; None: one for every update.
    """

    def __init__(self, path: str | os.PathLike, points: int | None = None):
        self.path, self.points = Path(path), points
        self.name = str(self.path)
        self._last: dict[int, int] | None = None  # run -> the last update in the file
        self._unsynced = False

    def write(self, segment: Segment) -> None:
        """Append the rows of a segment.  Raises: OSError."""
        last = self._file_as_it_is()
        again = {int(run) for run in segment.runs if last.get(int(run), 0) > segment.first}
        if again:
            self._drop(again, segment.first)
        text = lines(segment, every(segment, self.points))
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab") as file:
                file.write(text.encode())
        except OSError:
            if self.path.exists():
                os.truncate(self.path, size)  # no half of a line
            raise
        self._unsynced = True
        last.update(dict.fromkeys(map(int, segment.runs), segment.updates))

    def sync(self) -> None:
        """Have the file on the disk."""
        if not self._unsynced:
            return
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        self._unsynced = False

    def end(self) -> None:
        """Have the file on the disk.  No file is open between two segments."""
        self.sync()
        self._last = None

    def _file_as_it_is(self) -> dict[int, int]:
        """The last update of each run in the file; the half of a line that a kill left is cut."""
        if self._last is None:
            self._last = {}
            if self.path.exists():
                size = 0
                with open(self.path, "rb") as file:
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        size += len(line)
                        if row := ROW.match(line):
                            run, update = map(int, row.groups())
                            self._last[run] = max(update, self._last.get(run, 0))
                if size < self.path.stat().st_size:
                    os.truncate(self.path, size)
        return self._last

    def _drop(self, runs: set[int], update: int) -> None:
        """Drop the rows of these runs after an update.  The file is whole at all times."""
        prefix = f".{self.path.name}."
        handle, partial = tempfile.mkstemp(prefix=prefix, dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as new, open(self.path, "rb") as old:
                for line in old:
                    row = ROW.match(line)
                    if not row or int(row[1]) not in runs or int(row[2]) <= update:
                        new.write(line)
            shutil.copymode(self.path, partial)
            os.replace(partial, self.path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise


def lines(segment: Segment, step: int = 1) -> str:
    """The rows of a segment as lines of JSON, run by run."""
    table = rows(segment, step)
    texts = [
        (f', "{name}": ', name not in MAY_BE_MISSING, _texts(values))
        for name, values in table.series.items()
    ]
    heads = [
        (f'{{"run": {run}, "update": ', f', "setting": {setting}, "seed": {seed}{_values(values)}')
        for run, setting, seed, values in zip(
            segment.runs, segment.settings, segment.seeds, segment.values, strict=True
        )
    ]
    text = []
    for i, (head, labels) in enumerate(heads):
        for j, (update, steps) in enumerate(zip(table.updates, table.steps, strict=True)):
            row = [f'{head}{update}, "global_step": {steps}{labels}']
            for key, always, values in texts:
                value = values[i][j]
                if value not in NOT_JSON:
                    row.append(key + value)
                elif always and not table.finite[i, j]:
                    row.append(f"{key}null")
            text.append("".join(row))
    return "".join(f"{row}}}\n" for row in text)


def _texts(values: np.ndarray) -> list[list[str]]:
    """Each number as the shortest text that gives it back in its precision."""
    return values.astype(np.float32).astype("U32").tolist()


def _values(values: Any) -> str:
    """The values of a setting as the inside of a JSON object, with a comma before each."""
    return "".join(f", {json.dumps(name)}: {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    try:
        return to_strict_json(plain(value))
    except TypeError:  # an object of the user's
        return json.dumps(" ".join(str(value).split()))
