"""Scores of another library, read from a text file.

    seed,score,env          a header; env and seed may be left out, other columns are passed over
    0,498.2,CartPole-v1     one line a run

or one score a line without a header, or seed,score.  Columns are separated by commas, semicolons
or tabs; empty lines and lines that begin with # are passed over.  The score nan (or inf) is that of
a run that failed.
"""

import csv
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from purejaxvpg.experiment.paths import expanded

SCORE = ("score", "return", "returns", "mean_return", "episode_return", "episodic_return",
         "final_return")  # fmt: skip
ENV = ("env", "environment", "env_id", "env_name", "task", "game")
SEED = ("seed", "run", "trial")
METHOD = ("algorithm", "algo", "method", "agent", "label")
SEPARATORS = ",;\t"
HOW = (
    "give lines of seed,score or seed,score,env below a header of these names, or one score a line"
)


class Columns(NamedTuple):
    """Place of each column; -1: it is not there."""

    score: int
    seed: int = -1
    env: int = -1
    method: int = -1


def read_scores(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Scores by environment, `[n]` each, NaN for a run that failed; "" without a column env.

    Raises: ValueError, in one line that names the file and its line; OSError, if it cannot be read.
    """
    rows = _rows(path)
    columns, rows = _columns(path, rows)
    scores: dict[str, list[float]] = {}
    seen: dict[tuple[str, str], int] = {}
    for line, cells in rows:
        if len(cells) <= max(columns):
            raise ValueError(f"{path}, line {line}: {len(cells)} columns are too few; {HOW}")
        env = cells[columns.env] if columns.env >= 0 else ""
        scores.setdefault(env, []).append(_score(path, line, cells[columns.score]))
        if columns.seed >= 0:
            run = (env, cells[columns.seed])
            if run in seen:
                raise ValueError(
                    f"{path}, line {line}: seed {run[1]} has a score on line {seen[run]} already; "
                    f"give one score a run{f' of {env}' * bool(env)}"
                )
            seen[run] = line
    methods = {cells[columns.method] for _, cells in rows} if columns.method >= 0 else set()
    if len(methods) > 1:
        names = ", ".join(sorted(methods))
        raise ValueError(
            f"{path} holds {len(methods)} algorithms ({names}); give each its own file"
        )
    return {env: np.asarray(values) for env, values in scores.items()}


def _rows(path: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """Number of each line, and its cells."""
    try:
        text = Path(expanded(path)).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text (UTF-8); {HOW}") from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{path} is empty; {HOW}")
    separators = [mark for mark in SEPARATORS if mark in lines[0][1]]
    if not separators:
        return [(n, [line.strip("\"' ")]) for n, line in lines]
    how = {"delimiter": separators[0], "skipinitialspace": True}
    return [(n, [cell.strip() for cell in next(csv.reader([line], **how))]) for n, line in lines]


def _columns(
    path: str | os.PathLike, rows: list[tuple[int, list[str]]]
) -> tuple[Columns, list[tuple[int, list[str]]]]:
    """Places of the columns, and the rows below the header."""
    first = rows[0][1]
    if all(_is_number(cell) for cell in first):  # no header
        if len(first) > 2:
            raise ValueError(f"{path}: {len(first)} columns need a header that names them; {HOW}")
        return Columns(len(first) - 1, len(first) - 2), rows
    names = [re.sub(r"[\s-]+", "_", cell.lower()) for cell in first]
    scores = [i for i, name in enumerate(names) if name in SCORE]
    if len(names) == 1:
        scores = [0]
    if len(scores) != 1:
        there = "two columns of scores" if scores else "no column named score"
        raise ValueError(f"{path} has {there} (its header: {', '.join(first)}); {HOW}")
    if len(rows) == 1:
        raise ValueError(f"{path} has a header and no scores; {HOW}")
    others = [
        next((i for i, name in enumerate(names) if name in choices), -1)
        for choices in (SEED, ENV, METHOD)
    ]
    return Columns(scores[0], *others), rows[1:]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _score(path: str | os.PathLike, line: int, text: str) -> float:
    if not _is_number(text):
        shown = repr(text) if text else "nothing"
        raise ValueError(f"{path}, line {line}: the score is {shown}; give a number, or nan for a "
                         f"run that failed")  # fmt: skip
    value = float(text)
    return value if math.isfinite(value) else math.nan
