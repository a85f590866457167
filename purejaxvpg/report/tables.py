"""Tables for the terminal."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from purejaxvpg.extras import require
from purejaxvpg.report.digest import Digest
from purejaxvpg.statistics import bootstrap, interquartile_mean


def summary(title: str, columns: Mapping[str, ArrayLike]):
    """A rich table over seeds: mean, interquartile mean with its 95% interval, worst and best.

    Args: columns: name -> `[S]`, one value a seed; seeds without a value (NaN) are counted.
    Raises: ImportError without the extra `cli`.
    """
    require("rich", "cli")
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in ("", "mean", "IQM", "95% of IQM", "worst", "best", "seeds"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, values in columns.items():
        values = np.asarray(values)
        known = values[~np.isnan(values)]
        seeds = f"{len(known)} of {len(values)}" if len(known) < len(values) else f"{len(known)}"
        if not len(known):
            table.add_row(name, *["-"] * 5, seeds)
            continue
        iqm = bootstrap(known, interquartile_mean)
        interval = "-" if np.isnan(iqm.low) else f"[{iqm.low:.1f}, {iqm.high:.1f}]"
        numbers = [known.mean(), iqm.value, interval, known.min(), known.max()]
        table.add_row(name, *[x if isinstance(x, str) else f"{x:.1f}" for x in numbers], seeds)
    return table


def settings(judged: Digest, most: int = 10):
    """A rich table of the best settings of a study, one a row, the best first.

    Args: most: rows; those left out are counted in the caption.
    Raises: ImportError without the extra `cli`.
    """
    require("rich", "cli")
    from rich.table import Table

    title = f"{judged.study.config.env}: {judged.score_name}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("setting", "IQM [95%]", "beats first", "seeds", "diverged"):
        left = heading == "setting"
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for row in judged.rows[:most]:
        estimate, beats, shown = row.iqm, row.against_first, "-"
        if estimate is not None:
            shown = judged.number(float(estimate.value))
        if estimate is not None and not np.isnan(estimate.low):
            low, high = float(estimate.low), float(estimate.high)
            shown += f" [{judged.number(low)}, {judged.number(high)}]"
        stopped = f" (stopped after {row.updates} updates)" if row.stopped else ""
        table.add_row(
            judged.labels[row.setting] + stopped,
            shown,
            "-" if beats is None else f"{float(beats.value):.2f}",
            f"{row.seeds}",
            f"{row.diverged}",
        )
    if len(judged.rows) > most:
        table.caption = f"and {len(judged.rows) - most} settings more"
    return table
