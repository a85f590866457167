"""Figures of runs: learning curves, the spread of scores, and the settings that were pruned.

Letters: H settings, S seeds, X recorded points of a run, G points of the common grid.
"""

import textwrap
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg import statistics
from purejaxvpg.experiment import scoring
from purejaxvpg.report import plots
from purejaxvpg.report.digest import Digest

GRID = 60  # points of a curve
FACETS = 12  # settings that get a panel of their own
OTHERS = 400  # settings drawn in grey, at most
LEGEND = {"loc": "outside right upper", "frameon": False, "fontsize": 9, "labelspacing": 0.8,
          "handlelength": 2.8}  # fmt: skip
THRESHOLDS = 200  # scores along the profile, at most
BARS = 40  # settings in the timeline of a pruned study


class Curves(NamedTuple):
    """Values of all runs at common points in time."""

    steps: np.ndarray  # [G] environment steps
    values: np.ndarray  # [H, S, G]; NaN where a run has no value, or none newer than before
    what: str  # name of the values


def training_curves(digest: Digest) -> Curves:
    """Mean return of the last 20 training episodes, or of fewer if some run ended few."""
    study = digest.study
    window = window_of(study, study.updates > 0)
    what = f"return of {last_episodes(window)}"
    return _on_grid(digest, study.steps, study.trailing_returns(window), what)


def window_of(study: Any, runs: np.ndarray) -> int:
    """Episodes to average over: 20, or fewer if one of these runs ended less than 60.

    Args: runs: [H, S] bool; those that diverged do not count.
    """
    episodes = np.nansum(study.metrics["episode_count"], -1)[runs & ~study.diverged]
    longest = max(episodes.min() // 3 if episodes.size else 1, 1)
    return max(w for w in (1, 2, 5, 10, statistics.LAST_EPISODES) if w <= longest)


def last_episodes(window: int) -> str:
    """Text of a number of episodes."""
    return "the last episode" if window == 1 else f"the last {window} episodes"


def evaluation_curves(digest: Digest) -> Curves | None:
    """Mean return of each evaluation; None if there are fewer than two evaluations."""
    study = digest.study
    if not study.evaluations or study.evaluations["returns"].shape[2] < 2:
        return None
    returns = scoring.evaluation_mean(study.evaluations)  # [H, S, V]
    steps = scoring.evaluation_steps(study)
    return _on_grid(digest, steps, returns, "mean return of an evaluation")


def _on_grid(digest: Digest, steps: np.ndarray, values: np.ndarray, what: str) -> Curves:
    """Curves at G common points, from values [H, S, X] at steps [H, X].

    A run counts as the worst run at each time from the update at which it diverged.
    """
    study = digest.study
    recorded = [row[np.isfinite(row)] for row in steps]  # empty if a setting never evaluates
    longest = max(recorded, key=len)
    picked = longest[np.unique(np.linspace(0, len(longest) - 1, GRID).astype(int))]
    grid = np.unique(np.concatenate([picked, *[points[-1:] for points in recorded]]))
    read = np.full((*values.shape[:2], len(grid)), np.nan)
    diverged = np.zeros(read.shape, bool)
    diverged_at = study.diverged_at  # [H, S], computed once
    repeated = np.zeros((len(values), len(grid)), bool)  # same point as at the grid step before
    for h, points in enumerate(recorded):
        latest = np.searchsorted(points, grid, side="right") - 1  # [G]; -1 before the first point
        repeated[h, 1:] = latest[1:] == latest[:-1]
        batch = study.steps[h, 0]
        ran = (latest >= 0) & (grid <= study.updates[h][:, None] * batch)  # [S, G]
        first = diverged_at[h][:, None]
        diverged[h] = ran & (first > 0) & (grid >= first * batch)
        read[h] = np.where(ran & ~diverged[h], values[h][:, np.maximum(latest, 0)], np.nan)
    worst = np.fmin.reduce(np.where(np.isfinite(read), read, np.nan), axis=(0, 1))  # [G]
    read = np.where(diverged, worst, read)
    return Curves(grid, np.where(repeated[:, None], np.nan, read), what)


def own_curve(curves: Curves, digest: Digest, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Curve of one setting: indices [G'] into the grid, and values [S', G'] there.

    Left out: seeds behind the furthest one, and points where one of the other seeds has no value.
    """
    updates = digest.study.updates[h]
    runs = curves.values[h][(updates == updates.max()) & (updates > 0)]
    if not len(runs):
        return np.array([], int), np.empty((0, 0))
    index = np.flatnonzero(np.isfinite(runs).all(0))
    return index, runs[:, index]


# ----------------------------------------------------------------------------------- FIGURES


def curves_figure(digest: Digest, curves: Curves) -> Any:
    """Plot of all settings; a study of one setting shows its seeds as grey lines."""
    figure = plots.new_figure(9.6, max(4.6, legend_height(digest)))
    axes = figure.add_subplot()
    single = len(digest.labels) == 1
    coloured = digest.highlighted
    if single:
        axes.plot(curves.steps, curves.values[0].T, color=plots.GREY, linewidth=0.6, alpha=0.5)
    others = [row.setting for row in digest.rows if row.setting not in coloured]
    shown = others[:: -(-len(others) // OTHERS) or 1]  # evenly, best to worst
    lines = {h: own_curve(curves, digest, h) for h in [*coloured, *shown]}
    rest = [h for h in shown if len(lines[h][0])]
    for h in rest:
        index, runs = lines[h]
        iqm = statistics.interquartile_mean(runs, axis=0)
        axes.plot(curves.steps[index], iqm, color=plots.GREY, linewidth=0.8, alpha=0.6)
    for rank, h in reversed(list(enumerate(coloured))):  # the best on top
        _draw(axes, curves, lines[h], plots.COLORS[rank], plots.DASHES[rank])
    label_settings(axes, digest, "interquartile mean")
    grey = f"each of {len(digest.study.seeds)} seeds" if single else f"the other {len(rest)}"
    if len(shown) < len(others):
        grey = f"{len(rest)} of the other {len(others):,}"
    if single or rest:
        axes.plot([], [], color=plots.GREY, linewidth=1, label=grey)
    axes.set_ylabel(curves.what)
    plots.steps_axis(axes)
    plots.tidy(axes)
    axes.set_xlim(right=curves.steps[-1] * 1.01)
    figure.legend(**LEGEND)
    return figure


def facets_figure(digest: Digest, curves: Curves) -> Any:
    """One panel for each of the best settings: seeds thin, interquartile mean bold."""
    shown = [row.setting for row in digest.rows if row.iqm is not None][:FACETS]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    labels = [f"{rank}  {digest.labels[h]}" for rank, h in enumerate(shown, 1)]
    titles = [textwrap.wrap(plots.plain_text(label, 150), 30) for label in labels]
    figure = plots.new_figure(9.6, 0.5 + (1.55 + 0.15 * max(map(len, titles))) * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for place, (axes, h) in enumerate(zip(grid.flat, shown, strict=False)):
        color = plots.COLORS[place] if place < len(digest.highlighted) else "#444444"
        seen = np.isfinite(curves.values[h]).any(0)  # [G]; points of other settings are holes here
        seeds = curves.values[h][:, seen].T
        axes.plot(curves.steps[seen], seeds, color=plots.GREY, linewidth=0.5, alpha=0.5)
        _draw(axes, curves, own_curve(curves, digest, h), color)
        axes.set_title("\n".join(titles[place]), fontsize=8, loc="left", color="0.15")
        plots.tidy(axes)
        axes.tick_params(labelsize=8)
        axes.set_xlim(0, curves.steps[-1])
        axes.xaxis.set_major_formatter(lambda x, _: plots.short_steps(x))
        axes.xaxis.get_major_locator().set_params(nbins=4)
        axes.tick_params(labelbottom=place >= len(shown) - columns)  # no panel below it
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel(curves.what, fontsize=9)
    return figure


def _draw(
    axes: Any, curves: Curves, line: tuple[np.ndarray, np.ndarray], color: str, dashes: Any = "-"
) -> None:
    index, runs = line
    if not len(index):
        return
    iqm, steps = statistics.bootstrap(runs, resamples=300), curves.steps[index]
    axes.fill_between(steps, iqm.low, iqm.high, color=color, alpha=0.15, linewidth=0)
    marker = "." if len(index) < 3 else ""
    axes.plot(steps, iqm.value, color=color, linewidth=2, linestyle=dashes, marker=marker)


def label_settings(axes: Any, digest: Digest, single: str) -> None:
    """Add rank and name of the coloured settings to the legend; `single` names an only one."""
    for rank, label in enumerate(_legend(digest, single)):
        style = {"color": plots.COLORS[rank], "linestyle": plots.DASHES[rank], "linewidth": 2.4}
        axes.plot([], [], label=label, **style)


def legend_height(digest: Digest) -> float:
    """Inches that the legend takes, with two more entries."""
    labels = _legend(digest, "")
    lines = sum(label.count("\n") + 1 for label in labels) + 2
    return 0.158 * lines + 0.1 * (len(labels) + 2) + 0.2


def _legend(digest: Digest, single: str) -> list[str]:
    several, texts = len(digest.labels) > 1, []
    for rank, h in enumerate(digest.highlighted):
        label = f"{rank + 1}  {digest.labels[h]}" if several else single
        lines = textwrap.wrap(plots.plain_text(label, 150), 34, subsequent_indent="    ")
        texts.append("\n".join(lines))
    return texts


def profile_figure(digest: Digest) -> Any:
    """Fraction of runs above each score, for the best settings; None if none has two runs."""
    scores = [digest.scores[h][np.isfinite(digest.scores[h])] for h in digest.highlighted]
    if max(map(len, scores), default=0) < 2:
        return None
    low, high = min(map(np.min, scores)), max(map(np.max, scores))
    margin = 0.03 * (high - low) or max(abs(high), 1.0) * 0.03
    # The fraction changes at scores alone: between them a grid would draw its steps beside them.
    there = np.unique(np.concatenate(scores))
    there = there[np.unique(np.linspace(0, len(there) - 1, THRESHOLDS).astype(int))]
    thresholds = np.array([low - margin, *there, high + margin])
    figure = plots.new_figure(9.6, max(3.8, legend_height(digest)))
    axes = figure.add_subplot()
    styles = zip(scores, plots.COLORS, plots.DASHES, strict=False)
    for values, color, dashes in reversed(list(styles)):
        curve = statistics.performance_profile(values, thresholds, resamples=500)
        band = {"color": color, "alpha": 0.13, "linewidth": 0, "step": "post"}
        axes.fill_between(thresholds, curve.low, curve.high, **band)
        line = {"color": color, "linestyle": dashes, "linewidth": 2}
        axes.step(thresholds, curve.value, where="post", **line)
    label_settings(axes, digest, digest.labels[0])
    if digest.target is not None:
        axes.axvline(digest.target, color="0.3", linestyle="--", linewidth=1, label="target")
    axes.set(xlabel="score", ylabel="fraction of runs above it", ylim=(-0.02, 1.02))
    plots.tidy(axes)
    figure.legend(**LEGEND)
    return figure


def timeline_figure(digest: Digest) -> Any:
    """Bars of the settings, each as long as the setting ran."""
    shown = digest.rows[:BARS]
    figure = plots.new_figure(9.6, 0.9 + 0.24 * len(shown))
    axes = figure.add_subplot()
    steps = [row.updates * digest.study.steps[row.setting, 0] for row in shown]
    colors = [plots.GREY if row.stopped else plots.BLUE for row in shown]
    axes.barh(range(len(shown)), steps, color=colors, height=0.72)
    for place, (row, end) in enumerate(zip(shown, steps, strict=True)):
        score = "-" if row.iqm is None else digest.number(row.iqm.value)
        text = f" {score}, stopped" if row.stopped else f" {score}"
        axes.text(end, place, text, va="center", fontsize=8, color="0.25")
    labels = [f"{rank}  {digest.labels[row.setting]}" for rank, row in enumerate(shown, 1)]
    names = [plots.plain_text(label, 56) for label in labels]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    plots.steps_axis(axes)
    axes.set_xlim(0, max(steps) * 1.12)
    axes.margins(y=0.01)
    plots.tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return figure
