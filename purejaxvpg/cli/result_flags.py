"""Flags of plot and compare: runs and studies beside each other."""

import dataclasses
from typing import Any, Literal

from purejaxvpg.cli.flag_kinds import AXES, Flag, flag, place, switch

_WHICH: list[Flag] = [
    flag("where", AXES, (), "Of studies: the settings with these values, as name=value; the best "
         "of them (default: of all)."),
    flag("group_by", AXES, (), "Of studies: the best setting of each combination of the values of "
         "these names; all: every setting."),
    flag("labels", AXES, (), "A name for each entry, in their order (default: what differs, or the "
         "names of the folders)."),
]  # fmt: skip


def _command(name: str, *fields: Any) -> type:
    return dataclasses.make_dataclass(name, fields)


Plot = _command(
    "Plot",
    ("sources", place("FOLDER", "Run and study folders.", AXES)),
    flag("out", str, "curves.pdf", "A .pdf, .svg or .png."),
    flag("x", Literal["steps", "seconds"], "steps", "Environment steps of a seed; or seconds of "
         "all seeds of a setting, at the mean rate of its study, without compilation."),
    flag("metric", str, "episode_return", "episode_return, episode_length (of the last episodes), "
         "evaluation_returns, evaluation_lengths, or a metric of the files: entropy, kl, ..."),
    flag("show", Literal["iqm", "percentiles", "seeds"], "iqm", "Over seeds: interquartile mean "
         "and 95% interval; the runs at the 5th, 50th and 95th percentile of the score; or all."),
    *_WHICH,
    flag("width", float | None, None, "Inches (default: 3.25, a column; several panels: 6.75)."),
)  # fmt: skip
Compare = _command(
    "Compare",
    ("sources", place("FOLDER | FILE", "Run and study folders, and files of scores of other "
     "libraries: lines of seed,score or seed,score,env below such a header, or one score a line.",
     AXES)),
    *_WHICH,
    flag("bounds", AXES, (), "ENV=LOW:HIGH of each environment: also compare (score - LOW) / (HIGH "
         "- LOW) over all of them (default: ranks alone)."),
    flag("csv", str, "", "Also write the table to this file."),
    switch("json", "Print JSON in place of tables."),
)  # fmt: skip

COMMANDS: list[tuple[type, str, str]] = [
    (Plot, "plot", "Draw learning curves of runs and studies in one figure."),
    (Compare, "compare", "Compare the scores of runs, studies and other libraries."),
]
