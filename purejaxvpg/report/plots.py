"""Plots, in colours that colour-blind readers tell apart.  matplotlib, without a display."""

from pathlib import Path

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.statistics import bootstrap

BLUE = "#0072B2"  # Okabe and Ito's palette
POINTS = 100  # more are not seen, and each costs a bootstrap


def learning_curve(path: Path, steps: np.ndarray, returns: np.ndarray, title: str) -> None:
    """Return against environment steps: every seed thin, the interquartile mean with its 95%
    bootstrap interval bold.

    Args:
      steps: `[U]`, environment steps of one seed.  returns: `[S, U]`, NaN where not yet known.

    Raises: ImportError without the extra `cli`.
    """
    require("matplotlib", "cli")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, returns.T, color="0.6", linewidth=0.6, alpha=0.5)
    shown = returns[~np.isnan(returns[:, -1])]  # a seed that diverged must not blank the others
    known = np.flatnonzero(~np.isnan(shown).any(axis=0))
    if len(shown) and len(known):
        picked = known[np.unique(np.linspace(0, len(known) - 1, POINTS).astype(int))]
        curve = bootstrap(shown[:, picked], resamples=500)
        axes.fill_between(steps[picked], curve.low, curve.high, color=BLUE, alpha=0.25, lw=0)
        axes.plot(steps[picked], curve.value, color=BLUE, linewidth=2.2)
    of = f" of {len(shown)} seeds" if len(shown) < len(returns) else ""
    label = f"interquartile mean{of}, 95% interval"
    axes.plot([], [], color=BLUE, linewidth=2.2, label=label)
    axes.plot([], [], color="0.6", linewidth=0.9, label=f"each of {len(returns)} seeds")
    axes.set(title=title, xlabel="environment steps", ylabel="return, last 20 episodes")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k")
    axes.set_xlim(left=0)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)
    figure.savefig(path)
