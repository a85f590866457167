"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from purejaxvpg.envs import shown
from purejaxvpg.extras import require
from purejaxvpg.report.digest import Digest, choose_best
from purejaxvpg.statistics import bootstrap, interquartile_mean


def summary(title: str, columns: Mapping[str, ArrayLike]):
    """Rich table over seeds: mean, interquartile mean with its 95% interval, worst and best.

    Args: columns: name -> `[S]`, one value a seed; seeds without a value (NaN) are counted.
    Raises: ImportError without the extra `cli`.
    """
    table = require("rich.table", "cli").Table(title=title, title_justify="left")
    for heading in ("", "mean", "IQM", "95% of IQM", "worst", "best", "seeds"):
        table.add_column(
            heading, justify="right" if heading else "left", no_wrap=True, overflow="fold"
        )
    for name, values in columns.items():
        values = np.asarray(values)
        valid = values[~np.isnan(values)]
        seeds = f"{len(valid)} of {len(values)}" if len(valid) < len(values) else f"{len(valid)}"
        if not len(valid):
            table.add_row(name, *["-"] * 5, seeds)
            continue
        iqm = bootstrap(valid, interquartile_mean)
        interval = "-" if np.isnan(iqm.low) else f"[{iqm.low:.1f}, {iqm.high:.1f}]"
        numbers = [valid.mean(), iqm.value, interval, valid.min(), valid.max()]
        table.add_row(name, *[x if isinstance(x, str) else f"{x:.1f}" for x in numbers], seeds)
    return table


def settings(judged: Digest, most: int = 10):
    """Rich table of the settings of a study, best first.

    Args: most: rows at most; the caption counts the other settings.
    Raises: ImportError without the extra `cli`.
    """
    rich = require("rich.table", "cli")
    title = f"{shown(judged.study.config.env)}: {judged.score_name}"
    table = rich.Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("setting", "IQM [95%]", "beats first", "seeds", "diverged"):
        left = heading == "setting"
        table.add_column(
            heading, justify="left" if left else "right", no_wrap=not left, overflow="fold"
        )
    for row in judged.rows[:most]:
        score = beats = "-"
        if row.iqm is not None:
            spread = judged.interval(row.iqm)
            score = judged.number(row.iqm.value) + (f" {spread}" if spread else "")
        if row.against_first is not None:
            beats = f"{row.against_first.value:.2f}"
        stopped = f" (stopped after {row.updates} updates)" if row.stopped else ""
        label = judged.labels[row.setting] + stopped
        table.add_row(label, score, beats, str(row.seeds), str(row.diverged))
    if len(judged.rows) > most:
        table.caption = f"and {len(judged.rows) - most} more settings"
    return table


def conditions(judged: Sequence[Digest], most: int = 20):
    """Rich table of the best setting of each condition: scores of two conditions do not compare.

    Half of the seeds choose it, and the score is that of the others (choose_best), as in the
    report; where one seed is all there is, or one setting, of all seeds.

    Args: most: rows at most; the caption counts the other conditions.
    Raises: ImportError without the extra `cli`.
    """
    rich, others = (
        require("rich.table", "cli"),
        False,
    )  # others: some seeds took no part in a choice
    title = f"best setting of each condition: {judged[0].score_name}"
    table = rich.Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("condition", "best setting", "IQM [95%]", "of", "seeds", "diverged"):
        left = heading in ("condition", "best setting")
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for digest in judged[:most]:
        row, score = digest.rows[0], "-"
        iqm, seeds = row.iqm, row.seeds
        if len(digest.rows) > 1 and (choice := choose_best(digest)) is not None:
            best, _, shared = choice
            row = next(row for row in digest.rows if row.setting == best.index)
            iqm, seeds, others = best.held_out, len(shared) // 2, True
        if iqm is not None:
            spread = digest.interval(iqm)
            score = digest.number(iqm.value) + (f" {spread}" if spread else "")
        numbers = [str(n) for n in (len(digest.rows), seeds, row.diverged)]
        table.add_row(digest.condition, digest.labels[row.setting], score, *numbers)
    notes = ["scores are of seeds that did not choose the setting"] * others
    if len(judged) > most:
        notes.append(f"and {len(judged) - most} more conditions")
    table.caption = "; ".join(notes) or None
    return table
