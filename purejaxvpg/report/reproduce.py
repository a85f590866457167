"""How a study can be had again: the command, or the call in Python that means the same."""

import dataclasses
import re
from typing import Any

from purejaxvpg.config import Hyperparams
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.markup import Html, element, join, table

SHARD = re.compile(r"(?<!\S)--shard(?:=|\s+)\d+/\d+(?!\S)\s*")  # a flag of the command line
RECORDED = {
    "device": "device",
    "num_devices": "devices",
    "num_processes": "processes",
    "widths": "runs at a time, on each device",
    "chunks": "chunks",
    "compilations": "compilations",
    "compilations_to_measure_memory": "compilations to measure memory",
    "merged_from": "merged from shards",
}
PRUNING = {"prune": "method", "rungs": "rungs", "keep": "keep"}  # argument -> name in a record


def section(study: Study) -> Html:
    """Command or call, seeds, versions, and how it was run."""
    command = study.record.get("command", "")
    whole = SHARD.sub("", command).strip()
    if not command:
        said = element("p", "No command was recorded; this call in Python runs the same settings:")
    elif whole == command.strip():
        said = join([element("p", "The command:"), element("pre", command)])
    else:
        share = " ".join(found.strip() for found in SHARD.findall(command))
        note = (
            f"The command, which had {share} besides. This command computed one share; without "
            "--shard it computes all:"
        )
        said = join([element("p", note), element("pre", whole)])
    call = element("pre", python_call(study))
    if command:
        call = element("details", element("summary", "The same settings in Python"), call)
    facts = [[name, _said(study.record[key])] for key, name in RECORDED.items() if _has(study, key)]
    facts.insert(0, ["seeds", spans(study.seeds.tolist())])
    versions = [[name, version] for name, version in study.record.get("versions", {}).items()]
    note = (
        "At equal versions, device and width every number comes out the same, bit for bit; "
        "elsewhere rounding differs, and training makes it grow."
    )
    return join(
        [
            said,
            call,
            element(
                "div",
                table(["how it was run", ""], facts),
                table(["version of", ""], versions) if versions else None,
                class_="pair",
            ),
            element("p", note, class_="soft"),
        ]
    )


def python_call(study: Study) -> str:
    """A call of `sweep` that has the settings, the seeds and the pruning of this study, and its
    width where all of it was run at one."""
    lines = [
        "from purejaxvpg import Hyperparams, VPGConfig",
        "from purejaxvpg.experiment.sweep import sweep",
        "",
        "study = sweep(",
        f"    VPGConfig({_changed(study.config)}),",
    ]
    grid, paired, comments = _axes(study)
    if grid:
        lines += ["    grid={", *[f"        {n!r}: {v!r}," for n, v in grid.items()], "    },"]
    if paired:
        lines += ["    zip={", *[f"        {n!r}: {v!r}," for n, v in paired.items()], "    },"]
    lines.append(f"    num_seeds={len(study.seeds)},")
    if len(study.seeds) and study.seeds[0]:
        lines.append(f"    first_seed={int(study.seeds[0])},")
    if changed := _changed(study.hyperparams):
        lines.append(f"    hp=Hyperparams({changed}),")
    widths = study.record.get("widths") or []
    if len(set(widths)) == 1:
        lines.append(f"    chunk_size={widths[0]!r},")
    if pruning := study.record.get("prune"):
        lines += [f"    {name}={pruning[key]!r}," for name, key in PRUNING.items()]
    elif study.pruned.any():
        lines.append('    prune="successive_halving",  # its rungs= and keep= were not recorded')
    return "\n".join([*lines, ")", *comments])


def _axes(study: Study) -> tuple[dict[str, list], dict[str, list], list[str]]:
    """grid= and zip= of the same settings.  Points that were drawn are given one by one."""
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


def _changed(given: Any) -> str:
    """Fields that are not at their defaults, as arguments."""
    base = Hyperparams() if isinstance(given, Hyperparams) else type(given)()
    fields = [(f.name, getattr(given, f.name), getattr(base, f.name)) for f in _fields(given)]
    return ", ".join(
        f"{name}={value!r}" for name, value, usual in fields if repr(value) != repr(usual)
    )


def _fields(given: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(given)


def spans(numbers: list[int]) -> str:
    """0, 1, 2, 3, 7 -> "0 to 3, 7"."""
    found: list[list[int]] = []
    for n in sorted(int(n) for n in numbers):
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    texts = []
    for low, high in found:
        texts += [f"{low} to {high}"] if high - low > 1 else [str(n) for n in range(low, high + 1)]
    return ", ".join(texts)


def _has(study: Study, key: str) -> bool:
    return study.record.get(key) not in (None, [])


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
