"""Tables for the terminal."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from purejaxvpg.extras import require
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
