"""Instructions to reproduce a study: its command, or the same call in Python."""

import dataclasses
import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from purejaxvpg.experiment.conditions import default_conditions
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.labels import drawn_label
from purejaxvpg.report.markup import Html, element, join, table
from purejaxvpg.report.texts import texts, words

SHARD = re.compile(
    r"(?<!\S)--shard(?:=|\s+)(?:\d+/\d+|auto)(?!\S)\s*"
)  # a flag of the command line
PRUNING = {"prune": "method", "rungs": "rungs", "keep": "keep"}  # argument -> name in a record


def section(study: Study) -> Html:
    """Command, call in Python, seeds and versions of a study, and how it was run."""
    command = study.record.command
    whole = SHARD.sub("", command).strip()
    call = element("pre", python_call(study))
    if not command:
        shown = [element("p", words("reproduce", "no_command")), call]
    else:
        flags = " ".join(flag.strip() for flag in SHARD.findall(command))
        note = words("reproduce", "shard" if flags else "command", flags=flags)
        summary = element("summary", "The same settings in Python")
        shown = [element("p", note), element("pre", whole), element("details", summary, call)]
    facts = [["seeds", spans(study.seeds)]]
    if drawn := drawn_label(study):
        facts.append(["drawn at each reset", drawn])
        facts.append(["evaluated at", "the environment's defaults of these"])
    for field, name in texts("record").items():
        if value := getattr(study.record, field):
            several = isinstance(value, list | tuple)
            facts.append([name, ", ".join(map(str, value)) if several else str(value)])
    tables = [table(["how it was run", ""], facts)]
    if versions := list(study.record.versions.items()):
        tables.append(table(["version of", ""], versions))
    note = element("p", words("reproduce", "rounding"), class_="soft")
    return join([*shown, element("div", *tables, class_="pair"), note])


def python_call(study: Study) -> str:
    """Python code that calls `sweep` with the settings, seeds and pruning of a study.

    It gives the width (`chunk_size`) if all chunks had the same one.
    """
    first = dataclasses.replace(study.config, total_steps=total_steps_at_first(study))
    lines = [
        f"from purejaxvpg import Hyperparams, VPGConfig{', envs' * bool(study.record.imports)}",
        "from purejaxvpg.experiment import sweep",
        "",
        *[f"envs.import_code({name!r})" for name in study.record.imports],
        "study = sweep(",
        f"    VPGConfig({_changed(first)}),",
    ]
    grid, paired, comments = _axes(study)
    for name, columns in (("grid", grid), ("zipped", paired)):
        if columns:
            values = [f"        {n!r}: {v!r}," for n, v in columns.items()]
            lines += [f"    {name}={{", *values, "    },"]
    if study.design.conditions != default_conditions(study.design.names):
        lines.append(f"    conditions={list(study.design.conditions)!r},")
    lines.append(f"    num_seeds={len(study.seeds)},")
    if len(study.seeds) and study.seeds[0]:
        lines.append(f"    first_seed={int(study.seeds[0])},")
    if changed := _changed(study.hyperparams):
        lines.append(f"    hp=Hyperparams({changed}),")
    widths = study.record.widths
    if len(set(widths)) == 1:
        lines.append(f"    chunk_size={widths[0]!r},")
    if study.record.split != "runs":
        lines.append(f"    split={study.record.split!r},")
    if pruning := study.record.prune:
        lines += [f"    {name}={pruning[key]!r}," for name, key in PRUNING.items()]
    elif study.pruned.any():
        lines.append('    prune="successive_halving",  # its rungs= and keep= were not recorded')
    for length in [*study.record.lengths, study.config.total_steps][1:]:
        comments.append(f"# then the same with total_steps={length}, folder=... and resume=True")
    code = "\n".join([*lines, ")", *comments])
    if names := sorted(set(re.findall(r"\b(Choice|LogUniform|Uniform)\(", code))):
        code = code.replace("import sweep\n", f"import {', '.join([*names, 'sweep'])}\n", 1)
    return f"from math import inf\n{code}" if re.search(r"\binf\b", code) else code


def total_steps_at_first(study: Study) -> int:
    """Length of the study that was begun, before it was made longer."""
    return next(iter(study.record.lengths), study.config.total_steps)


def _axes(study: Study) -> tuple[dict[str, list], dict[str, list], list[str]]:
    """Arguments grid= and zipped= of the settings, and comments.  Sampled points are listed."""
    grid: dict[str, list] = {}
    paired: dict[str, list] = {}
    comments = []
    for axis in study.design.axes:
        columns = {name: [p[i] for p in axis.points] for i, name in enumerate(axis.names)}
        if axis.dim in axis.names:
            grid |= columns
        elif not paired:
            paired = columns
        else:
            comments.append(f"# and, combined with all of these, pairs of {columns!r}")
        if axis.dim not in (*axis.names, "zip"):
            comments.append(f"# the points of {', '.join(axis.names)} were drawn from ranges")
    return grid, paired, comments


def _changed(config: Any) -> str:
    """Fields that differ from their defaults, as arguments."""
    default = type(config)()
    pairs = [(f.name, repr(getattr(config, f.name))) for f in dataclasses.fields(config)]
    return ", ".join(f"{k}={text}" for k, text in pairs if text != repr(getattr(default, k)))


def spans(numbers: ArrayLike) -> str:
    """Short text of whole numbers: 0, 1, 2, 3, 7 -> "0 to 3, 7"."""
    ordered = np.sort(numbers)
    ranges = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in ranges
    )
