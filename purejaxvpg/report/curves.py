"""Learning curves of a study: the best settings in colour, the rest in grey.

Letters: H settings, S seeds, X points in time of a run, G points that are drawn.
"""

import textwrap
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.experiment.study import LAST_EPISODES
from purejaxvpg.report.digest import Digest
from purejaxvpg.report.plots import (
    COLORS,
    GREY,
    new_figure,
    plain_text,
    short_steps,
    steps_axis,
    tidy,
)
from purejaxvpg.statistics import bootstrap, interquartile_mean, with_diverged_as_worst

GRID = 60  # points of a curve
FACETS = 12  # settings shown each by itself


class Curves(NamedTuple):
    """All runs at the same points in time."""

    steps: np.ndarray  # [G] environment steps
    values: np.ndarray  # [H, S, G]; NaN where a run has no value, or no new one
    what: str  # the values are of


def training_curves(digest: Digest) -> Curves:
    """Return of the last few training episodes: 20, or fewer where runs ended few."""
    study = digest.study
    ended = np.nansum(study.metrics["episode_count"], -1)[(study.updates > 0) & ~study.diverged]
    most = max(ended.min() // 3 if ended.size else 1, 1)
    window = max(w for w in (1, 2, 5, 10, LAST_EPISODES) if w <= most)
    last = "the last episode" if window == 1 else f"the last {window} episodes"
    return _on_grid(digest, study.steps, study.returns(window), f"return of {last}")


def evaluation_curves(digest: Digest) -> Curves | None:
    """Mean return of each evaluation; None where there are not two of them."""
    study = digest.study
    if not study.evaluations or study.evaluations["returns"].shape[2] < 2:
        return None  # settings that never evaluate have no steps here, and no curve
    real = ~np.isnan(study.evaluations["finished"])  # [H, S, V, E]; settings may have fewer
    sums, held = np.where(real, study.evaluations["returns"], 0).sum(-1), real.sum(-1)
    returns = np.where(held > 0, sums / np.maximum(held, 1), np.nan)  # [H, S, V]
    steps = np.full((len(returns), returns.shape[-1]), np.nan)
    for h, setting in enumerate(digest.settings):
        every = setting.get("eval_every", study.config.eval_every)
        at = np.arange(every, study.num_updates[h] + 1, every) - 1 if every else []
        steps[h, : len(at)] = study.steps[h, np.asarray(at, int)]
    return _on_grid(digest, steps, returns, "mean return of an evaluation")


def _on_grid(digest: Digest, steps: np.ndarray, values: np.ndarray, what: str) -> Curves:
    """Values [H, S, X] at steps [H, X], read at G common points in time.

    From the update at which it diverged on, a run counts as the worst of all runs at that time.
    """
    study = digest.study
    known = [own[np.isfinite(own)] for own in steps]  # none, of a setting that never evaluates
    points = max(known, key=len)
    picked = points[np.unique(np.linspace(0, len(points) - 1, GRID).astype(int))]
    grid = np.unique(np.concatenate([picked, *[own[-1:] for own in known]]))
    read = np.full((*values.shape[:2], len(grid)), np.nan)
    lost = np.zeros(read.shape, bool)
    old = np.zeros((len(values), len(grid)), bool)  # the same point of this setting as before
    for h, own in enumerate(known):
        place = np.searchsorted(own, grid, side="right") - 1
        old[h, 1:] = place[1:] == place[:-1]
        batch = study.steps[h, 0]
        ran = (place >= 0) & (grid <= study.updates[h][:, None] * batch)  # [S, G]
        first = digest.diverged_at[h][:, None]
        lost[h] = ran & (first > 0) & (grid >= first * batch)
        read[h] = np.where(ran & ~lost[h], values[h][:, np.maximum(place, 0)], np.nan)
    flat = with_worst_at_each_time(read.reshape(-1, len(grid)), lost.reshape(-1, len(grid)))
    return Curves(grid, np.where(old[:, None], np.nan, flat.reshape(read.shape)), what)


def with_worst_at_each_time(values: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Values [R, G] in which lost runs have the lowest value that any run has at that time."""
    worst = np.stack([with_diverged_as_worst(column) for column in values.T], axis=1)
    return np.where(lost, worst, values)


def own_curve(curves: Curves, digest: Digest, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of G at which all seeds of a setting that got as far as any have a value, and the
    values there, [S', G']."""
    updates = digest.study.updates[h]
    runs = curves.values[h][(updates == updates.max()) & (updates > 0)]
    if not len(runs):
        return np.array([], int), np.empty((0, 0))
    known = np.flatnonzero(np.isfinite(runs).all(0))
    return known, runs[:, known]


# ----------------------------------------------------------------------------------- FIGURES


def curves_figure(digest: Digest, curves: Curves) -> Any:
    """All settings in one plot; with a single setting, its seeds are the grey lines."""
    figure = new_figure(9.6, 4.6)
    axes = figure.add_subplot()
    single = len(digest.labels) == 1
    coloured = digest.highlighted
    if single:
        axes.plot(curves.steps, curves.values[0].T, color=GREY, linewidth=0.6, alpha=0.5)
    own = {h: own_curve(curves, digest, h) for h in digest.order}
    rest = [h for h in digest.order if h not in coloured and len(own[h][0])]
    for h in rest:
        known, runs = own[h]
        middle = interquartile_mean(runs, axis=0)
        axes.plot(curves.steps[known], middle, color=GREY, linewidth=0.8, alpha=0.6)
    for rank, h in reversed(list(enumerate(coloured))):  # the best on top
        _draw(axes, curves, own[h], COLORS[rank])
    for rank, h in enumerate(coloured):
        label = digest.labels[h] if len(digest.labels) > 1 else "interquartile mean"
        axes.plot([], [], color=COLORS[rank], linewidth=2.4, label=legend_text(rank, label, single))
    grey = f"each of {len(digest.study.seeds)} seeds" if single else f"the other {len(rest)}"
    if single or rest:
        axes.plot([], [], color=GREY, linewidth=1, label=grey)
    axes.set_ylabel(curves.what)
    steps_axis(axes)
    tidy(axes)
    axes.set_xlim(right=curves.steps[-1] * 1.01)
    side_legend(figure)
    return figure


def facets_figure(digest: Digest, curves: Curves) -> Any:
    """The best settings each by itself: its seeds thin, its interquartile mean bold."""
    shown = [row.setting for row in digest.rows if row.iqm is not None][:FACETS]
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    titles = [
        textwrap.wrap(plain_text(f"{rank + 1}  {digest.labels[h]}", 150), 30)
        for rank, h in enumerate(shown)
    ]
    figure = new_figure(9.6, 0.5 + (1.55 + 0.15 * max(map(len, titles))) * lines)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_visible(False)
            continue
        h = shown[place]
        color = COLORS[place] if place < len(digest.highlighted) else "#444444"
        seeds = np.isfinite(curves.values[h]).any(0)  # [G]; another grid has holes here
        lines_of = curves.values[h][:, seeds].T
        axes.plot(curves.steps[seeds], lines_of, color=GREY, linewidth=0.5, alpha=0.5)
        _draw(axes, curves, own_curve(curves, digest, h), color)
        axes.set_title("\n".join(titles[place]), fontsize=8, loc="left", color="0.15")
        tidy(axes)
        axes.tick_params(labelsize=8)
        axes.set_xlim(0, curves.steps[-1])
        axes.xaxis.set_major_formatter(lambda x, _: short_steps(x))
        axes.xaxis.get_major_locator().set_params(nbins=4)
        axes.tick_params(labelbottom=place >= len(shown) - columns)  # no panel below it
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel(curves.what, fontsize=9)
    return figure


def _draw(axes: Any, curves: Curves, own: tuple[np.ndarray, np.ndarray], color: str) -> None:
    known, runs = own
    if not len(known):
        return
    curve, steps = bootstrap(runs, resamples=300), curves.steps[known]
    axes.fill_between(steps, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
    axes.plot(steps, curve.value, color=color, linewidth=2, marker="." if len(known) < 3 else "")


def legend_text(rank: int, label: str, single: bool = False) -> str:
    """The rank and the name of a setting, on as many lines as it takes."""
    text = label if single else f"{rank + 1}  {label}"
    return "\n".join(textwrap.wrap(plain_text(text, 150), 34, subsequent_indent="    "))


def side_legend(figure: Any) -> None:
    """The legend to the right of the plot, where it hides nothing."""
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, labelspacing=0.8)
