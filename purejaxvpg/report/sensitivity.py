"""How the score depends on what was varied: along each axis, and over pairs of axes.

Letters: H settings, S seeds, K settings that share a value.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.report.digest import Digest, pooled, value_labels
from purejaxvpg.report.plots import BLUE, GREY, new_figure, plain_text, tidy
from purejaxvpg.statistics import Estimate, aggregate, interquartile_mean

PAIRS = 3  # heat maps
WIDEST = 20  # values along a side of a heat map
TICKED = 8  # values that are written below an axis, each


class Varied(NamedTuple):
    """Something that varies, and where each setting has it."""

    name: str
    values: list[Any]  # different ones, in order
    places: np.ndarray  # [H] int, into values
    drawn: bool  # from a range: hardly any value twice


class Scale(NamedTuple):
    """Where values stand along an axis of a plot."""

    kind: str  # linear, log or category
    at: np.ndarray  # one position a value
    ordered: bool  # a line from value to value says something


def varied(digest: Digest) -> list[Varied]:
    """All that has at least two values: grid axes, zipped names together, sampled names."""
    found = []
    place = np.arange(len(digest.labels))
    stride = len(digest.labels)
    for axis in digest.study.design.axes:
        stride //= len(axis.points)
        along = place // stride % len(axis.points)  # [H], where on this axis a setting is
        if axis.dim == "zip" and len(axis.names) > 1:
            columns = [value_labels([p[i] for p in axis.points]) for i in range(len(axis.names))]
            texts = [
                "\n".join(f"{n}={v}" for n, v in zip(axis.names, row, strict=True))
                for row in zip(*columns, strict=True)
            ]
            found.append(_varied("zip", texts, along, False, keep_order=True))
            continue
        sampled = axis.dim not in (*axis.names, "zip")
        for i, name in enumerate(axis.names):
            column = [p[i] for p in axis.points]
            drawn = sampled and 2 * len({repr(v) for v in column}) > len(column)
            found.append(_varied(name, column, along, drawn))
    return [one for one in found if len(one.values) > 1]


def _varied(
    name: str, column: list[Any], along: np.ndarray, drawn: bool, keep_order: bool = False
) -> Varied:
    values: list[Any] = []
    for value in column:
        if not any(value == other and type(value) is type(other) for other in values):
            values.append(value)
    if not keep_order and all(_is_number(v) for v in values):
        values.sort()
    index = [next(i for i, v in enumerate(values) if v == w and type(v) is type(w)) for w in column]
    return Varied(name, values, np.asarray(index)[along], drawn)


def scale_of(one: Varied) -> Scale:
    """Logarithmic where values span a decade, even steps where they would lie on each other."""
    numbers = all(_is_number(v) for v in one.values)
    even = np.arange(len(one.values), dtype=float)
    if not numbers or not all(math.isfinite(v) for v in one.values):
        return Scale("category", even, numbers)
    at = np.asarray(one.values, float)
    if at[0] > 0 and at[-1] / at[0] >= 10:
        return Scale("log", at, True)
    if not one.drawn and len(at) <= TICKED and np.diff(at).min() < 0.095 * (at[-1] - at[0]):
        return Scale("category", even, True)
    return Scale("linear", at, True)


def marginal(digest: Digest, chosen: np.ndarray, resamples: int = 500) -> Estimate | None:
    """Interquartile mean over seeds and over the chosen settings [H] bool; None: none has run."""
    block = pooled(digest.scores[chosen])
    return None if block is None else aggregate(block, resamples=resamples)


# -------------------------------------------------------------------------------- SENSITIVITY


def sensitivity_figure(digest: Digest) -> Any:
    """One panel for each name that varies; every setting a point; None if nothing varies."""
    names = varied(digest)
    if not names:
        return None
    columns = 2 if len(names) == 4 else min(3, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(9.6 if columns > 1 else 6, 3.3 * lines)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, one in itertools.zip_longest(panels.flat, names):
        if one is None:
            axes.set_visible(False)
            continue
        _panel(axes, digest, one)
    for axes in panels[:, 0]:
        axes.set_ylabel("score")
    return figure


def _panel(axes: Any, digest: Digest, one: Varied) -> None:
    scale = scale_of(one)
    middle = np.asarray(
        [np.nan if row.iqm is None else row.iqm.value for row in _by_setting(digest)]
    )
    own = scale.at[one.places]
    if one.drawn:
        _intervals(axes, digest, own)
    axes.scatter(own, middle, s=22, color=GREY, alpha=0.75, linewidth=0, zorder=2)
    if one.drawn and digest.highlighted:
        best = digest.highlighted[0]
        axes.scatter(own[best], middle[best], s=46, color=BLUE, zorder=4)
    if not one.drawn:
        _marginal_line(axes, digest, one, scale)
    _place_ticks(axes, one, scale)
    axes.set_xlabel(axis_name(one))
    tidy(axes, grid="both" if scale.kind == "linear" else "y")


def _intervals(axes: Any, digest: Digest, own: np.ndarray) -> None:
    for row in digest.rows:
        if row.iqm is not None and np.isfinite(row.iqm.low):
            x = own[row.setting]
            axes.plot([x, x], [row.iqm.low, row.iqm.high], color=GREY, linewidth=1, alpha=0.5)


def _marginal_line(axes: Any, digest: Digest, one: Varied, scale: Scale) -> None:
    found = [marginal(digest, one.places == i) for i in range(len(one.values))]
    ran = [(x, e) for x, e in zip(scale.at, found, strict=True) if e is not None]
    if not ran:
        return
    x = np.asarray([at for at, _ in ran])
    value, low, high = (np.asarray([e[i] for _, e in ran], float) for i in range(3))
    if scale.ordered:
        axes.plot(x, value, color=BLUE, linewidth=2, zorder=3)
    whiskers = np.nan_to_num([value - low, high - value])
    axes.errorbar(
        x, value, whiskers, fmt="o", color=BLUE, markersize=6, capsize=4, elinewidth=1.6, zorder=4
    )


def _place_ticks(axes: Any, one: Varied, scale: Scale) -> None:
    from matplotlib.ticker import NullLocator

    if scale.kind == "log":
        axes.set_xscale("log")
    if scale.kind == "category":
        axes.set_xlim(-0.5, len(scale.at) - 0.5)
    if scale.kind != "category" and (one.drawn or len(scale.at) > TICKED):
        return
    texts = tick_texts(one, 24 if len(scale.at) <= 4 else 14)
    crowded = max(max(map(len, t.split("\n"))) for t in texts) * len(texts) > 46
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(
        scale.at,
        texts,
        fontsize=8 if crowded else 9,
        rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
        rotation_mode="anchor" if crowded else "default",
    )


def axis_name(one: Varied) -> str:
    """What stands beside an axis."""
    return "zipped values" if one.name == "zip" else plain_text(one.name)


def tick_texts(one: Varied, longest: int) -> list[str]:
    """The values as they stand beside an axis; those that are paired on a line each."""
    texts = value_labels(one.values)
    if one.name != "zip":
        return [plain_text(text, longest) for text in texts]
    return ["\n".join(plain_text(line, 30) for line in text.split("\n")) for text in texts]


def _by_setting(digest: Digest) -> list[Any]:
    return sorted(digest.rows, key=lambda row: row.setting)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------- HEAT MAPS


def heat_map_pairs(digest: Digest) -> list[tuple[Varied, Varied]]:
    """Pairs of axes a table can hold: none that was drawn from a range, none too long."""
    sides = [v for v in varied(digest) if not v.drawn and len(v.values) <= WIDEST]
    return list(itertools.combinations(sides, 2))


def heat_map_cells(digest: Digest, rows: Varied, columns: Varied) -> np.ndarray:
    """Interquartile mean over seeds and all other axes; NaN where nothing ran."""
    cells = np.full((len(rows.values), len(columns.values)), np.nan)
    for i, j in np.ndindex(cells.shape):
        block = pooled(digest.scores[(rows.places == i) & (columns.places == j)])
        if block is not None:
            cells[i, j] = interquartile_mean(block.ravel())
    return cells


def heat_map_figure(digest: Digest, rows: Varied, columns: Varied) -> Any:
    """Scores over two axes, the number in each cell, the best one framed."""
    if len(rows.values) > len(columns.values):
        rows, columns = columns, rows
    cells = heat_map_cells(digest, rows, columns)
    lines, across = cells.shape
    figure = new_figure(min(9.6, 2.9 + 0.95 * across), 1.3 + 0.52 * max(lines, 2))
    axes = figure.add_subplot()
    axes.set_facecolor("0.93")  # where nothing ran
    image = axes.imshow(cells, cmap="cividis", aspect="auto")
    texts = tick_texts(columns, 14)
    crowded = across * max(len(line) for text in texts for line in text.split("\n")) > 72
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
    from matplotlib.patches import Rectangle

    longest = max(len(digest.number(cell)) for cell in cells.flat)
    size = 10 if cells.shape[1] * longest <= 60 else 7
    for (i, j), cell in np.ndenumerate(cells):
        red, green, blue, _ = image.cmap(image.norm(cell)) if np.isfinite(cell) else (1, 1, 1, 1)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        color = "white" if dark else "black"
        text = digest.number(cell)
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)
    i, j = np.unravel_index(np.nanargmax(cells), cells.shape)
    frame = Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=2)
    axes.add_patch(frame)
