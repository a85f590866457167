"""How runs ended: the spread of their scores, and what pruning stopped."""

from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.report.curves import legend_text, side_legend
from purejaxvpg.report.digest import Digest
from purejaxvpg.report.plots import BLUE, COLORS, GREY, new_figure, plain_text, steps_axis, tidy
from purejaxvpg.statistics import performance_profile

THRESHOLDS = 101
BARS = 40  # settings in the timeline of a pruned study


def profile_figure(digest: Digest) -> Any:
    """Fraction of runs above each score, of the best settings; None if none has two runs."""
    coloured = digest.highlighted
    if not coloured or np.isfinite(digest.scores[coloured]).sum(1).max() < 2:
        return None
    shown = digest.scores[coloured]
    known = shown[np.isfinite(shown)]
    low, high = known.min(), known.max()
    margin = 0.03 * (high - low) or max(abs(high), 1.0) * 0.03
    thresholds = np.linspace(low - margin, high + margin, THRESHOLDS)
    figure = new_figure(9.6, 3.8)
    axes = figure.add_subplot()
    for rank, h in reversed(list(enumerate(coloured))):
        own = digest.scores[h][np.isfinite(digest.scores[h])]
        curve = performance_profile(own, thresholds, resamples=500)
        axes.fill_between(
            thresholds, curve.low, curve.high, color=COLORS[rank], alpha=0.13, linewidth=0
        )
        axes.step(thresholds, curve.value, where="post", color=COLORS[rank], linewidth=2)
    for rank, h in enumerate(coloured):
        text = legend_text(rank, digest.labels[h], len(digest.labels) == 1)
        axes.plot([], [], color=COLORS[rank], linewidth=2.4, label=text)
    if digest.target is not None:
        axes.axvline(digest.target, color="0.3", linestyle="--", linewidth=1, label="target")
    axes.set(xlabel="score", ylabel="fraction of runs above it", ylim=(-0.02, 1.02))
    tidy(axes)
    side_legend(figure)
    return figure


# ------------------------------------------------------------------------------------ PRUNING


class Rung(NamedTuple):
    """One time at which settings were stopped."""

    updates: int  # that the stopped settings had done
    stopped: list[int]  # settings, best first
    left: int  # settings that went on


def rungs(digest: Digest) -> list[Rung]:
    """When settings were stopped, earliest first."""
    found: dict[int, list[int]] = {}
    for row in digest.rows:
        if row.stopped:
            found.setdefault(row.updates, []).append(row.setting)
    left, out = len(digest.rows), []
    for updates in sorted(found):
        left -= len(found[updates])
        out.append(Rung(updates, found[updates], left))
    return out


def timeline_figure(digest: Digest) -> Any:
    """A bar for each setting, as long as it ran; None if nothing was stopped."""
    if not digest.study.pruned.any():
        return None
    shown = digest.rows[:BARS]
    figure = new_figure(9.6, 0.9 + 0.24 * len(shown))
    axes = figure.add_subplot()
    steps = [row.updates * digest.study.steps[row.setting, 0] for row in shown]
    colors = [GREY if row.stopped else BLUE for row in shown]
    axes.barh(range(len(shown)), steps, color=colors, height=0.72)
    for place, (row, end) in enumerate(zip(shown, steps, strict=True)):
        score = "-" if row.iqm is None else digest.number(float(row.iqm.value))
        said = f" {score}, stopped" if row.stopped else f" {score}"
        axes.text(end, place, said, va="center", fontsize=8, color="0.25")
    names = [
        plain_text(f"{rank + 1}  {digest.labels[row.setting]}", 56)
        for rank, row in enumerate(shown)
    ]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    steps_axis(axes)
    axes.set_xlim(0, max(steps) * 1.12)
    axes.margins(y=0.01)
    tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return figure
