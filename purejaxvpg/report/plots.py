"""Plots, in colours that colour-blind readers tell apart.  matplotlib, without a display."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.statistics import bootstrap

# Okabe and Ito's palette, but for its yellow and sky blue, which are too pale for lines on white.
BLUE, ORANGE, GREEN, PURPLE, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, AMBER)  # of the best settings, the first one's first
GREY = "#9A9A9A"  # all the rest
POINTS = 100  # more are not seen, and each costs a bootstrap
LONGEST = 60  # characters of a name that came from outside


def learning_curve(path: Path, steps: np.ndarray, returns: np.ndarray, title: str) -> None:
    """Return against environment steps: every seed thin, the interquartile mean with its 95%
    bootstrap interval bold.

    Args:
      steps: `[U]`, environment steps of one seed.  returns: `[S, U]`, NaN where not yet known.

    Raises: ImportError without the extra `cli`.
    """
    figure = new_figure(7, 4.2)
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
    axes.set(title=title, ylabel="return, last 20 episodes")
    steps_axis(axes)
    tidy(axes)
    axes.legend(loc="best", frameon=False)
    figure.savefig(path)


# ------------------------------------------------------------------------------ FOR ALL PLOTS


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of this many inches.  Raises: ImportError without the extra `cli`."""
    require("matplotlib", "cli")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    """The figure as the bytes of a PNG."""
    file = io.BytesIO()
    with warnings.catch_warnings():  # a name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format="png")
    return file.getvalue()


def tidy(axes: Any, grid: str = "both") -> None:
    """A light grid behind the data, and no box around it."""
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(color="0.6")


def steps_axis(axes: Any) -> None:
    """Environment steps along x, from 0."""
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(lambda x, _: short_steps(x))
    axes.set_xlim(left=0)


def short_steps(steps: float) -> str:
    """1500 -> 1.5k."""
    if abs(steps) >= 1e6:
        return f"{steps / 1e6:g}M"
    return f"{steps / 1e3:g}k" if abs(steps) >= 1e3 else f"{steps:g}"


def plain_text(text: Any, longest: int = LONGEST) -> str:
    """A string from outside, for a figure: one line, not too long, and no mathematics in it."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
    return shown.replace("$", r"\$")
