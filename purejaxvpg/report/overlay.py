"""Learning curves of runs and studies in one figure, for a paper; a panel for each environment."""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from purejaxvpg import statistics
from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.report import plots
from purejaxvpg.report.entries import read_entries
from purejaxvpg.report.lines import Line, check_metric, lines_of, percentile_runs

FORMS = (".pdf", ".svg", ".png")
MOST = len(plots.COLORS) * len(plots.DASHES)  # curves of a panel that can be told apart
COLUMN, PAGE, HEIGHT = 3.25, 6.75, 2.1  # inches: of a column, of both, of a panel
ACROSS = 3  # panels side by side, at most
DPI = 300
SHOW = ("iqm", "percentiles", "seeds")
Show = Literal["iqm", "percentiles", "seeds"]


class Drawn(NamedTuple):
    """A figure that was written."""

    path: Path
    lines: list[Line]
    notes: list[str]  # what the lines are: choices, seeds that are left out


def plot_curves(
    *sources: Any,
    out: str | os.PathLike,
    x: Literal["steps", "seconds"] = "steps",
    metric: str = "episode_return",
    show: Show = "iqm",
    where: Mapping[str, Any] | None = None,
    group_by: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    width: float | None = None,
) -> Drawn:
    """Draw runs and studies over one another, each along its own steps, and write the figure.

    A run folder is one curve, over all its seeds.  Of a study folder it is the best setting, chosen
    on half of the seeds and drawn of the other half.  Environments have a panel each.

    Args:
      sources: run and study folders; in Python also a Study or a Run.
      out: a .pdf (fonts as TrueType), .svg or .png; the same bytes each time.
      x: environment steps of one seed; or seconds of all seeds of the setting together, at the mean
        rate of its study, without compilation.
      metric: episode_return and episode_length (means of the last episodes), evaluation_returns,
        evaluation_lengths, or a field of `Metrics`.
      show: iqm: interquartile mean over seeds and its 95% bootstrap interval at each point;
        percentiles: the runs at the 5th, 50th and 95th percentile of the score; seeds: every seed.
      where, group_by, labels: as of `compare`.
      width: inches; None: a column of a paper, or a page for several panels.

    Raises: ValueError, FileNotFoundError, OSError, in one line; ImportError without the extra
    `cli`.
    """
    path = expanded(out)
    if path.suffix not in FORMS:
        raise ValueError(f"{path} ends in none of {', '.join(FORMS)}; name a file that does")
    for name, value, accepted in (("x", x, ("steps", "seconds")), ("show", show, SHOW)):
        if value not in accepted:
            raise ValueError(f"{name}={value!r} is unknown; accepted: {', '.join(accepted)}")
    if width is not None and not 1 <= width <= 100:
        raise ValueError(f"width={width:g} is out of range; accepted: 1 to 100 inches")
    check_metric(metric)
    if not sources:
        raise ValueError("nothing to draw; give run or study folders")
    entries = read_entries(sources, where, group_by, labels)
    _check_number({entry.label for entry in entries})
    begun = [entry for entry in entries if len(entry.seeds)]
    lines, what = lines_of(begun, metric, x)
    with plots.for_paper():
        figure = _figure(lines, what, _x_label(lines, x), show, width)
        data = plots.drawn(figure, path.suffix[1:], DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    waiting = [f"{entry.label}: no results yet" for entry in entries if not len(entry.seeds)]
    return Drawn(path, lines, _notes(lines, show) + waiting)


def _check_number(labels: set[str]) -> None:
    if len(labels) > MOST:
        raise ValueError(
            f"{len(labels)} curves in a panel cannot be told apart, and {MOST} can; choose some "
            f"(--where), or group them (--group-by)"
        )


def _x_label(lines: list[Line], x: str) -> str:
    if x == "steps":
        return "environment steps"
    numbers = {len(line.entry.study.seeds) for line in lines}
    seeds = f"{numbers.pop()} seeds" if len(numbers) == 1 else "all seeds"
    return f"seconds of {seeds}, without compilation"


def _notes(lines: list[Line], show: Show) -> list[str]:
    notes = []
    several = len({line.entry.world for line in lines}) > 1
    for line in lines:
        entry, texts = line.entry, list(line.notes)
        if entry.choice:
            texts.insert(0, entry.choice)
        if show == "percentiles":
            runs = percentile_runs(line).items()
            texts.append(", ".join(f"P{p} is seed {line.seeds[row]}" for p, row in runs))
        seeds = f"{len(line.seeds)} seed{'s' * (len(line.seeds) != 1)}"
        where = f" ({entry.world})" if several else ""
        notes.append(f"{entry.label}{where}: {'; '.join([seeds, *texts])}")
    return notes


# ------------------------------------------------------------------------------------ DRAWING


def _figure(lines: list[Line], what: str, x_label: str, show: Show, width: float | None) -> Any:
    worlds = list(dict.fromkeys(line.entry.world for line in lines))
    labels = list(dict.fromkeys(line.entry.label for line in lines))
    # Neighbours differ in colour and in dashes; the same colour comes back with other dashes.
    number = len(plots.COLORS)
    styles = {
        label: {"color": plots.COLORS[i % number],
                "linestyle": plots.DASHES[(i + i // number) % number]}
        for i, label in enumerate(labels)
    }  # fmt: skip
    columns = min(ACROSS, len(worlds))
    rows = -(-len(worlds) // columns)
    width = width or (COLUMN if len(worlds) == 1 else PAGE)
    entries = [plots.plain_text(label, 80) for label in labels]
    across = max(1, min(len(labels), int(width * 14 // (max(map(len, entries)) + 8))))
    legend = 0.17 * -(-len(labels) // across) + 0.1
    figure = plots.new_figure(width, HEIGHT * rows + legend)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, world in itertools.zip_longest(grid.flat, worlds):
        if world is None:
            axes.set_visible(False)
            continue
        for line in lines:
            if line.entry.world == world:
                _draw(axes, line, show, styles[line.entry.label])
        if len(worlds) > 1:
            axes.set_title(plots.plain_text(world), loc="left")
        _dress(axes, x_label)
    for axes in grid[:, 0]:
        axes.set_ylabel(what)
    for label, text in zip(labels, entries, strict=True):
        grid[0, 0].plot([], [], label=text, linewidth=1.4, **styles[label])
    figure.legend(loc="outside lower center", ncols=across, frameon=False, handlelength=2.6)
    return figure


def _draw(axes: Any, line: Line, show: Show, style: dict[str, Any]) -> None:
    marker = "." if len(line.x) < 3 else ""
    if show == "seeds":
        axes.plot(line.x, line.values.T, linewidth=0.6, alpha=0.7, marker=marker, **style)
        return
    if show == "percentiles":
        runs = percentile_runs(line)
        for percentile, row in runs.items():
            bold = 1.4 if percentile == 50 else 0.6
            axes.plot(line.x, line.values[row], linewidth=bold, marker=marker, **style)
        return
    iqm = statistics.bootstrap(line.values, resamples=500)
    if np.isfinite(iqm.low).all():
        band = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(line.x, iqm.low, iqm.high, **band)
    axes.plot(line.x, iqm.value, linewidth=1.4, marker=marker, **style)


def _dress(axes: Any, x_label: str) -> None:
    plots.tidy(axes)
    axes.set_xlabel(x_label)
    axes.set_xlim(left=0)
    axes.xaxis.get_major_locator().set_params(nbins=5)
    if "steps" in x_label:
        axes.xaxis.set_major_formatter(lambda value, _: plots.short_steps(value))
