"""A comparison as text: flat rows, lines of a file, and sentences for a paper."""

import csv
import io
import math
from typing import Any

import numpy as np

from purejaxvpg.report.digest import score_format
from purejaxvpg.statistics import Estimate

OVERALL = "overall"
SOURCE = "Agarwal et al. 2021"


def flat_rows(comparison: Any) -> list[dict[str, Any]]:
    """See `Comparison.rows`."""
    rows = []
    for table in comparison.tables:
        for row in table.rows:
            cells = {"env": table.world, "label": row.label, "runs": row.runs, "failed": row.failed}
            for name in ("iqm", "median", "mean", "beats_first", "difference"):
                cells |= _flat(name, getattr(row, name))
            rows.append({**cells, "paired": row.paired, "score": comparison.scores[row.label]})
    for row in comparison.overall:
        cells = {"env": OVERALL, "label": row.label, **_flat("rank", row.rank)}
        cells |= _flat("beats_first", row.beats_first) | _flat("normalised_iqm", row.score)
        rows.append(cells)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _flat(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    values = [None] * 3 if estimate is None else [float(x) for x in estimate]
    numbers = [None if x is None or math.isnan(x) else x for x in values]
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def csv_text(comparison: Any) -> str:
    """The flat rows as CSV: a header, a line each, nothing for no number."""
    rows, file = flat_rows(comparison), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_json(comparison: Any) -> dict[str, Any]:
    """The comparison as JSON has it."""
    return {
        "rows": flat_rows(comparison),
        "notes": list(comparison.notes),
        "sentences": sentences(comparison),
    }


# ----------------------------------------------------------------------------------- NUMBERS


def format_of(table: Any) -> str:
    """Format of the scores of a table."""
    return score_format(np.asarray([row.iqm.value for row in table.rows]))


def with_interval(estimate: Estimate | None, form: str) -> str:
    """ "value [low, high]"; "value" of one seed, "-" of nothing."""
    if estimate is None:
        return "-"
    value, low, high = (format(float(x), form) for x in estimate)
    return value if np.isnan(estimate.low) else f"{value} [{low}, {high}]"


# --------------------------------------------------------------------------------- SENTENCES


def sentences(comparison: Any) -> list[str]:
    """See `Comparison.sentences`."""
    lines = [_sentence(table) for table in comparison.tables]
    lines += [_over_all(row, comparison) for row in comparison.overall[1:]]
    alone = {row.paired for t in comparison.tables for row in t.rows if row.difference is not None}
    pairing = "; runs of the same seeds are resampled together" * (True in alone)
    ties = "; equal scores count half in a probability" * bool(alone)
    failures = any(row.failed for table in comparison.tables for row in table.rows)
    failed = " A run that failed counts as the worst of all that is compared." * failures
    return [
        *lines,
        f"A score is the {score_text(comparison.scores)}. IQM is the interquartile mean over "
        f"runs; brackets are 95% percentile bootstrap intervals over runs{pairing}{ties} "
        f"({SOURCE}).{failed}",
    ]


def score_text(names: dict[str, str]) -> str:
    """Description of the scores, by kind.  Args: names: label -> what a score of it is."""
    kinds: dict[str, list[str]] = {}
    for label, name in names.items():
        kinds.setdefault(name, []).append(label)
    if len(kinds) == 1:
        return next(iter(kinds))
    return _listed([f"{name} for {_listed(labels)}" for name, labels in kinds.items()], ", and the")


def _sentence(table: Any) -> str:
    form = format_of(table)
    first, *others = table.rows
    texts = [
        f"{row.label} has an IQM of {with_interval(row.iqm, form)} ({_runs(row.runs)})"
        for row in table.rows
    ]
    text = f"On {table.world}, " if table.world else ""
    text += _listed(texts) + "."
    for row in others:
        if row.difference is not None:
            text += f" {_difference(row, first, form)}"
    return text


def _difference(row: Any, first: Any, form: str) -> str:
    value, low, high = (float(x) for x in row.difference)
    size = f"{abs(value):{form}} {'higher' if value > 0 else 'lower'} than that of {first.label}"
    size = f"that of {first.label}" if value == 0 else size
    text = f"The IQM of {row.label} is {size}"
    beats = f"a run of {row.label} scores higher than one of {first.label} with probability"
    if math.isnan(low):
        return (
            f"{text}, and {beats} {float(row.beats_first.value):.2f}; with one run there is no "
            f"interval, so this does not tell the two apart."
        )
    text += f" (difference {with_interval(row.difference, form)})"
    text += f", and {beats} {with_interval(row.beats_first, '.2f')}."
    if low <= 0 <= high:
        text += " The interval of the difference contains 0: these runs do not tell the two apart."
    return text


def _over_all(row: Any, comparison: Any) -> str:
    number, first = len(comparison.tables), comparison.overall[0]
    text = (
        f"Over {number} environments the mean rank of {row.label} is "
        f"{with_interval(row.rank, '.2f')} beside {with_interval(first.rank, '.2f')} of "
        f"{first.label} (1 is the best)"
    )
    if row.beats_first is not None:
        text += (
            f", and a run of {row.label} scores higher than one of {first.label} in the same "
            f"environment with probability {with_interval(row.beats_first, '.2f')}"
        )
    if row.score is not None and first.score is not None:
        text += (
            f"; the IQM of all normalised scores is {with_interval(row.score, '.3f')} beside "
            f"{with_interval(first.score, '.3f')}"
        )
    return f"{text}."


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _listed(texts: list[str], last: str = " and") -> str:
    return ", ".join(texts[:-1]) + f"{last} {texts[-1]}" if len(texts) > 1 else texts[0]
