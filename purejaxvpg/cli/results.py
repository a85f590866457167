"""plot, compare: runs, studies and other libraries beside each other."""

import contextlib
from typing import Any

from rich.table import Table

from purejaxvpg.cli import typed
from purejaxvpg.cli.terminal import UserError, say, show, user_errors
from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.report.comparison import Comparison, OverallRow, compare
from purejaxvpg.report.comparison_text import as_json, csv_text, format_of, with_interval
from purejaxvpg.report.overlay import plot_curves
from purejaxvpg.serialize import to_strict_json


def _which(args: Any) -> dict[str, Any]:
    where = typed.pairs("where", args.where, "policy_lr=3e-3")
    return {"where": where, "group_by": args.group_by, "labels": args.labels or None}


def draw(args: Any) -> None:
    """Write a figure of learning curves, and say what its lines are."""
    with user_errors():
        how = {"x": args.x, "metric": args.metric, "show": args.show, "width": args.width}
        figure = plot_curves(*args.sources, out=args.out, **how, **_which(args))
    say(*figure.notes)
    say(f"figure: {figure.path}")


def compare_scores(args: Any) -> None:
    """Print the scores of each entry, the difference to the first, and sentences for a paper."""
    with user_errors():
        bounds = dict(map(_bounds, args.bounds)) or None
        comparison = compare(*args.sources, bounds=bounds, **_which(args))
        if args.csv:
            path = expanded(args.csv)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, csv_text(comparison).encode())
    if args.json:
        print(to_strict_json(as_json(comparison), indent=2))
        return
    _print_tables(comparison)
    say(*comparison.notes, "", "In a paper:", *comparison.sentences())
    if args.csv:
        say("", f"table: {args.csv}")


def _bounds(text: str) -> tuple[str, tuple[float, float]]:
    env, _, ends = text.rpartition("=")
    with contextlib.suppress(ValueError):
        low, high = map(float, ends.split(":"))
        if env:
            return env, (low, high)
    raise UserError(f"--bounds {text} is none; write ENV=LOW:HIGH, for example CartPole-v1=22:500")


def _print_tables(comparison: Comparison) -> None:
    headings = ("runs", "IQM [95%]", "median", "mean", "P(beats first)", "IQM less the first's")
    for scores in comparison.tables:
        table = _table(scores.world or "scores", headings)
        form = format_of(scores)
        for row in scores.rows:
            runs = f"{row.runs}" + f" ({row.failed} failed)" * bool(row.failed)
            table.add_row(
                row.label,
                runs,
                with_interval(row.iqm, form),
                format(float(row.median.value), form),
                format(float(row.mean.value), form),
                with_interval(row.beats_first, ".2f"),
                with_interval(row.difference, form),
            )
        show(table)
    if comparison.overall:
        show(_overall(comparison.overall, len(comparison.tables)))
    elif len(comparison.tables) > 1:
        say(f"no two entries have scores in all {len(comparison.tables)} environments, so nothing "
            f"is said over all")  # fmt: skip


def _overall(rows: list[OverallRow], number: int) -> Table:
    normalised = rows[0].score is not None
    headings = ("mean rank [95%]", "P(beats first)", *(["normalised IQM [95%]"] * normalised))
    table = _table(f"over {number} environments", headings)
    for row in rows:
        cells = [with_interval(row.rank, ".2f"), with_interval(row.beats_first, ".2f")]
        table.add_row(row.label, *cells, *([with_interval(row.score, ".3f")] * normalised))
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
