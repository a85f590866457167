"""Shown on the terminal: progress while a study runs, and its results."""

import sys
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn

from purejaxvpg.cli.terminal import console, say, show
from purejaxvpg.envs import shown
from purejaxvpg.experiment.display import Lines, words
from purejaxvpg.experiment.progress import Progress as Now
from purejaxvpg.experiment.study import Study
from purejaxvpg.report import tables
from purejaxvpg.report.digest import choose_best, digests
from purejaxvpg.report.labels import drawn_label, setting_labels
from purejaxvpg.statistics import LAST_EPISODES

SHOWN = 5  # diverged seeds, by name


class Bar:
    """A bar over the steps of a study, with the rate, the return and the time left; in a log a line
    every so often."""

    def __init__(self, title: str):
        self._lines = None if console.is_terminal else Lines(sys.stdout)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[status]}", markup=False),
        )
        hidden = self._lines is not None
        self._progress = Progress(*columns, console=console, disable=hidden)
        self._task = self._progress.add_task(title, total=None, status="starting")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._lines is None:
            self._progress.live.transient = any(error)  # a line of an error stands alone
            self._progress.stop()

    def show(self, now: Now) -> None:
        """Told by the study before compiling and after every segment."""
        if self._lines is not None:
            self._lines.show(now)
            return
        self._progress.start()  # not before: bad input shows no bar
        total, status = now.steps_done + now.steps_left, words(now, steps=False)
        self._progress.update(self._task, completed=now.steps_done, total=total, status=status)


def print_results(study: Study) -> None:
    """A table, divergences, and how long it took."""
    if study.design.axes:
        _print_settings(study)
    else:
        _print_seeds(study)
    print_diverged(study)
    if drawn := drawn_label(study):
        where = ", and evaluations are at the environment's defaults" * bool(study.evaluations)
        say(f"each episode drew {drawn}{where}")
    record = study.record
    if record.seconds:
        rate = record.steps / record.seconds
        console.print(
            f"{record.steps:,} steps in {record.seconds:.1f} s ({rate:,.0f} steps/s), and "
            f"{record.compile_seconds:.1f} s to compile"
        )
    if not study.complete:
        missing = int((~study.done & ~study.pruned[:, None]).sum())
        best = "; the best setting is named when all are" * (len(study.done) > 1)
        console.print(f"{missing} of {study.done.size} runs are not done yet{best}")


def _print_seeds(study: Study) -> None:
    """Returns over the seeds of a single setting."""
    returns = study.trailing_returns()[0]  # [S, U]
    columns: dict[str, Any] = {
        f"last {LAST_EPISODES} episodes": returns[:, -1],
        f"best {LAST_EPISODES} in a row": _best(returns),
    }
    if study.evaluations:
        columns["last evaluation"] = study.evaluations["returns"][0, :, -1].mean(-1)
    title = (
        f"{shown(study.config.env)}: return after {study.config.total_steps:,} steps of each seed"
    )
    show(tables.summary(title, columns))


def _print_settings(study: Study) -> None:
    """Settings, best first, or the best of each condition, and the first by rank over all."""
    judged = digests(study)
    if len(judged) > 1:
        show(tables.conditions(judged))
        if study.complete:
            _print_over_conditions(study)
        return
    (only,) = judged
    show(tables.settings(only))
    # A shard has settings of its own only, and the best of those is not the study's.
    choice = choose_best(only) if study.complete else None
    if choice is not None and len(only.rows) > 1:
        best, _, seeds = choice
        half = len(seeds) // 2
        say(
            f"best by half of the seeds: {only.labels[best.index]}; by the other half it scores "
            f"{only.number(float(best.held_out.value))} (IQM over {half} seed{'s' * (half > 1)})"
        )


def _print_over_conditions(study: Study) -> None:
    rows = study.over_conditions()
    if len(rows) > 1:
        first, number = rows[0], len(study.design.by_condition())
        say(
            f"best mean rank over {number} conditions, of {len(rows)} settings: "
            f"{setting_labels([row.values for row in rows])[0]} (rank {first.rank.value:.1f})"
        )


def print_diverged(study: Study) -> None:
    """Say which seeds diverged and when, or of a study of several settings how many runs."""
    lost = study.diverged_at  # [H, S]
    number = int((lost > 0).sum())
    if not number:
        return
    if study.design.axes:
        say(
            f"{number} of {study.done.size} runs diverged, the first at update "
            f"{lost[lost > 0].min()}; each stays at its last finite state and counts as the worst"
        )
        return
    seeds = np.flatnonzero(lost[0])
    each = [f"seed {study.seeds[s]} at update {lost[0, s]}" for s in seeds[:SHOWN]]
    more = f" and {number - SHOWN} more" if number > SHOWN else ""
    say(
        f"{number} of {len(study.seeds)} seeds diverged, and stay at their last finite state: "
        f"{', '.join(each)}{more}"
    )


def _best(returns: np.ndarray) -> np.ndarray:
    """Largest value of each row `[S, U]`, NaN left out; NaN for a row that has none."""
    return np.max(returns, axis=1, where=~np.isnan(returns), initial=-np.inf) + np.where(
        np.isnan(returns).all(axis=1), np.nan, 0
    )
