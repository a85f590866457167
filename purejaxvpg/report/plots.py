"""Plots by matplotlib, without a display, in colours that colour-blind readers tell apart."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.experiment.files import write_whole
from purejaxvpg.extras import require
from purejaxvpg.statistics import bootstrap

# Okabe and Ito's palette, without yellow and sky blue: too pale for lines on white.
BLUE, ORANGE, GREEN, PURPLE, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, AMBER)  # of the best settings, best first
DASHES = ("-", (0, (6, 2)), "-.", (0, (2, 1.5)), (0, (5, 1, 1, 1, 1, 1)))  # with them, in print
DATES = {"pdf": ("CreationDate",), "svg": ("Date",)}  # that matplotlib writes into a file
PAPER = {"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
         "ytick.labelsize": 7, "axes.linewidth": 0.6, "pdf.fonttype": 42, "ps.fonttype": 42,
         "svg.hashsalt": "purejaxvpg"}  # fmt: skip
GREY = "#9A9A9A"  # of all the others
POINTS = 100  # of a curve; more are not visible, and each costs a bootstrap
LONGEST = 60  # characters of a name from outside


def learning_curve(path: Path, steps: np.ndarray, returns: np.ndarray, title: str) -> None:
    """Save a plot of returns against environment steps.

    Seeds are thin lines. Their interquartile mean is bold, with its 95% bootstrap interval.

    Args:
      steps: `[U]`, environment steps of one seed.  returns: `[S, U]`, NaN before the first one.

    Raises: ImportError without the extra `cli`.
    """
    figure = new_figure(7, 4.2)
    axes = figure.add_subplot()
    axes.plot(steps, returns.T, color="0.6", linewidth=0.6, alpha=0.5)
    shown = returns[~np.isnan(returns[:, -1])]  # a seed that diverged must not blank the others
    common = np.flatnonzero(~np.isnan(shown).any(axis=0))  # updates at which all have a value
    if len(shown) and len(common):
        picked = common[np.unique(np.linspace(0, len(common) - 1, POINTS).astype(int))]
        curve = bootstrap(shown[:, picked], resamples=500)
        axes.fill_between(steps[picked], curve.low, curve.high, color=BLUE, alpha=0.25, lw=0)
        axes.plot(steps[picked], curve.value, color=BLUE, linewidth=2.2)
    seeds = f" of {len(shown)} seeds" if len(shown) < len(returns) else ""
    label = f"interquartile mean{seeds}, 95% interval"
    axes.plot([], [], color=BLUE, linewidth=2.2, label=label)
    axes.plot([], [], color="0.6", linewidth=0.9, label=f"each of {len(returns)} seeds")
    axes.set(title=plain_text(title), ylabel="return, last 20 episodes")
    steps_axis(axes)
    tidy(axes)
    axes.legend(loc="best", frameon=False)
    write_whole(path, png(figure))


# ------------------------------------------------------------------------------ FOR ALL PLOTS


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of this many inches.  Raises: ImportError without the extra `cli`."""
    matplotlib = require("matplotlib.figure", "cli")
    return matplotlib.Figure(figsize=(width, height), dpi=150, layout="constrained")


def png(figure: Any) -> bytes:
    """PNG of a figure, as bytes."""
    return drawn(figure, "png")


def drawn(figure: Any, form: str, dpi: float | str = "figure") -> bytes:
    """A figure as bytes, the same ones each time: without a date, and without random names.

    Args: form: png, pdf or svg.  dpi: of a PNG.
    """
    file, metadata = io.BytesIO(), dict.fromkeys(DATES.get(form, ()))
    with warnings.catch_warnings():  # characters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format=form, metadata=metadata, dpi=dpi)
    return file.getvalue()


def for_paper() -> Any:
    """Context in which figures are made and drawn as papers take them: text of 8 points, fonts as
    TrueType (Type 3 is refused by many), whatever the user's own settings of matplotlib are.

    Raises: ImportError without the extra `cli`.
    """
    matplotlib = require("matplotlib", "cli")
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **PAPER})


def tidy(axes: Any, grid: str = "both") -> None:
    """Draw a light grid behind the data, and no box around it."""
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(color="0.6")


def steps_axis(axes: Any) -> None:
    """Label the x axis with environment steps, from 0."""
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(lambda x, _: short_steps(x))
    axes.set_xlim(left=0)


def short_steps(steps: float) -> str:
    """Short text of a number of steps: 1500 -> "1.5k"."""
    if abs(steps) >= 1e6:
        return f"{steps / 1e6:g}M"
    return f"{steps / 1e3:g}k" if abs(steps) >= 1e3 else f"{steps:g}"


def plain_text(text: Any, longest: int = LONGEST) -> str:
    """Text from outside, made safe for a figure: one line, not too long, no mathematics."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
    return shown.replace("$", r"\$")
