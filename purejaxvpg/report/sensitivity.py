"""Figures of how the score depends on each varied name, and on pairs of them.

Letters: H settings.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.report.digest import Digest, pooled
from purejaxvpg.report.labels import setting_texts, value_labels
from purejaxvpg.report.plots import BLUE, GREY, new_figure, plain_text, tidy
from purejaxvpg.statistics import Estimate, aggregate, interquartile_mean

PAIRS = 3  # heat maps, at most
WIDEST = 20  # values along a side of a heat map, at most
TICKED = 8  # values along an axis that are all written, at most


class Varied(NamedTuple):
    """A name that varies (or zipped names together), and its value in each setting."""

    name: str
    values: list[Any]  # distinct, in order
    places: np.ndarray  # [H] int, indices into values
    drawn: bool  # sampled from a range, so values hardly repeat


class Scale(NamedTuple):
    """Positions of values along an axis of a plot."""

    kind: str  # linear, log or category
    at: np.ndarray  # one position a value


def varied(digest: Digest) -> list[Varied]:
    """Names with at least two values; zipped names count as one, "zip"."""
    variables = []
    axes = digest.study.design.axes
    points = np.array(list(np.ndindex(digest.study.design.shape)), int).T  # [axes, H] indices
    for axis, along in zip(axes, points, strict=True):
        columns = {n: [point[i] for point in axis.points] for i, n in enumerate(axis.names)}
        columns = {n: column for n, column in columns.items() if n in digest.settings[0]}
        if axis.dim == "zip" and len(columns) > 1:
            points_of = zip(*columns.values(), strict=True)
            rows = setting_texts([dict(zip(columns, p, strict=True)) for p in points_of])
            columns = {"zip": ["\n".join(f"{n}={v}" for n, v in row.items()) for row in rows]}
        sampled = axis.dim not in (*axis.names, "zip")
        for name, column in columns.items():
            distinct = {repr(v): v for v in column}  # 1, 1.0 and True are three values
            values = list(distinct.values())
            if all(_is_number(v) for v in values):
                values.sort()
            ranks = {repr(v): i for i, v in enumerate(values)}
            places = np.asarray([ranks[repr(v)] for v in column])[along]
            drawn = sampled and 2 * len(values) > len(column)
            variables.append(Varied(name, values, places, drawn))
    return [variable for variable in variables if len(variable.values) > 1]


def scale_of(variable: Varied) -> Scale:
    """Scale for values: log if they span a decade, even steps if points would overlap."""
    even = np.arange(len(variable.values), dtype=float)
    if not all(_is_number(v) and math.isfinite(v) for v in variable.values):
        return Scale("category", even)
    at = np.asarray(variable.values, float)
    if at[0] > 0 and at[-1] / at[0] >= 10:
        return Scale("log", at)
    if not variable.drawn and len(at) <= TICKED and np.diff(at).min() < 0.095 * (at[-1] - at[0]):
        return Scale("category", even)
    return Scale("linear", at)


def marginal(digest: Digest, chosen: np.ndarray, resamples: int = 500) -> Estimate | None:
    """Interquartile mean over seeds and chosen settings ([H] bool); None if none has run."""
    block = pooled(digest.scores[chosen])
    return None if block is None else aggregate(block, resamples=resamples)


def sensitivity_figure(digest: Digest) -> Any:
    """One panel for each name that varies, one point for each setting."""
    names = varied(digest)
    columns = 2 if len(names) == 4 else min(3, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(9.6 if columns > 1 else 6, 3.3 * lines)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, variable in zip(panels.flat, names, strict=False):
        _panel(axes, digest, variable)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("score")
    return figure


def _panel(axes: Any, digest: Digest, variable: Varied) -> None:
    scale = scale_of(variable)
    x = scale.at[variable.places]  # [H]
    y, low, high = (np.full(len(x), np.nan) for _ in range(3))
    for row in digest.rows:
        if row.iqm is not None:
            y[row.setting], low[row.setting], high[row.setting] = row.iqm
    if variable.drawn and np.isfinite(low).any():
        axes.vlines(x, low, high, color=GREY, linewidth=1, alpha=0.5)
    axes.scatter(x, y, s=22, color=GREY, alpha=0.75, linewidth=0, zorder=2)
    if variable.drawn and digest.highlighted:
        best = digest.highlighted[0]
        axes.scatter(x[best], y[best], s=46, color=BLUE, zorder=4)
    if not variable.drawn:
        _marginal_line(axes, digest, variable, scale)
    _place_ticks(axes, variable, scale)
    axes.set_xlabel(axis_name(variable))
    tidy(axes, grid="both" if scale.kind == "linear" else "y")


def _marginal_line(axes: Any, digest: Digest, variable: Varied, scale: Scale) -> None:
    places = [variable.places == i for i in range(len(variable.values))]
    estimates = np.asarray([marginal(digest, chosen) or [np.nan] * 3 for chosen in places], float)
    ran = np.isfinite(estimates[:, 0])
    x, (value, low, high) = scale.at[ran], estimates[ran].T
    if all(_is_number(v) for v in variable.values):  # they have an order
        axes.plot(x, value, color=BLUE, linewidth=2, zorder=3)
    whiskers = np.nan_to_num([value - low, high - value])
    axes.errorbar(
        x, value, whiskers, fmt="o", color=BLUE, markersize=6, capsize=4, elinewidth=1.6, zorder=4
    )


def _place_ticks(axes: Any, variable: Varied, scale: Scale) -> None:
    if scale.kind == "log":
        axes.set_xscale("log")
    if scale.kind == "category":
        axes.set_xlim(-0.5, len(scale.at) - 0.5)
    if scale.kind != "category" and (variable.drawn or len(scale.at) > TICKED):
        return
    texts = tick_texts(variable, 24 if len(scale.at) <= 4 else 14)
    slanted = {"fontsize": 8, "rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.minorticks_off()
    axes.set_xticks(scale.at, texts, **slanted if _side_by_side(texts) > 46 else {"fontsize": 9})


def axis_name(variable: Varied) -> str:
    """Label of an axis."""
    return "zipped values" if variable.name == "zip" else plain_text(variable.name)


def tick_texts(variable: Varied, longest: int) -> list[str]:
    """Labels of the values along an axis; zipped values stand on a line each."""
    texts = value_labels(variable.values)
    if variable.name != "zip":
        return [plain_text(text, longest) for text in texts]
    return ["\n".join(plain_text(line, 30) for line in text.split("\n")) for text in texts]


def _side_by_side(texts: list[str]) -> int:
    """Characters that the texts need beside each other."""
    return len(texts) * max(len(line) for text in texts for line in text.split("\n"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------- HEAT MAPS


def heat_map_pairs(digest: Digest) -> list[tuple[Varied, Varied]]:
    """Pairs of varied names that a heat map can show: not sampled, not too long."""
    sides = [v for v in varied(digest) if not v.drawn and len(v.values) <= WIDEST]
    return list(itertools.combinations(sides, 2))


def heat_map_cells(digest: Digest, rows: Varied, columns: Varied) -> np.ndarray:
    """Interquartile means over seeds and all other axes, [rows, columns]; NaN: nothing ran."""
    cells = np.full((len(rows.values), len(columns.values)), np.nan)
    for i, j in np.ndindex(cells.shape):
        block = pooled(digest.scores[(rows.places == i) & (columns.places == j)])
        if block is not None:
            cells[i, j] = interquartile_mean(block.ravel())
    return cells


def heat_map_figure(digest: Digest, rows: Varied, columns: Varied) -> Any:
    """Heat map of the score over two axes: a number in each cell, a frame around the best."""
    if len(rows.values) > len(columns.values):
        rows, columns = columns, rows
    cells = heat_map_cells(digest, rows, columns)
    lines, across = cells.shape
    figure = new_figure(min(9.6, 2.9 + 0.95 * across), 1.3 + 0.52 * max(lines, 2))
    axes = figure.add_subplot()
    axes.set_facecolor("0.93")  # where nothing ran
    image = axes.imshow(cells, cmap="cividis", aspect="auto")
    texts = tick_texts(columns, 14)
    crowded = _side_by_side(texts) > 72
    axes.set_xticks(range(across), texts, fontsize=9, rotation=45 if crowded else 0)
    axes.set_yticks(range(lines), tick_texts(rows, 24), fontsize=9)
    axes.set_xlabel(axis_name(columns))
    axes.set_ylabel(axis_name(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if np.isfinite(cells).any():
        figure.colorbar(image, ax=axes, label="score").outline.set_visible(False)
        _write_cells(axes, digest, cells, image)
    return figure


def _write_cells(axes: Any, digest: Digest, cells: np.ndarray, image: Any) -> None:
    longest = max(len(digest.number(cell)) for cell in cells.flat)
    size = 10 if cells.shape[1] * longest <= 60 else 7
    for (i, j), cell in np.ndenumerate(cells):
        light = np.dot(image.to_rgba(cell)[:3], (0.299, 0.587, 0.114))
        color = "white" if np.isfinite(cell) and light < 0.5 else "black"
        text = digest.number(cell)
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)
    i, j = np.unravel_index(np.nanargmax(cells), cells.shape)
    patches = require("matplotlib.patches", "cli")
    frame = patches.Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, ec="black", lw=2)
    axes.add_patch(frame)
