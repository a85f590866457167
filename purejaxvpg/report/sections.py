"""Sections of the page made of text and tables."""

from collections.abc import Callable, Sequence

import numpy as np

from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import Digest, Row
from purejaxvpg.report.headline import plural
from purejaxvpg.report.labels import setting_texts
from purejaxvpg.report.markup import Html, Right, element, join, number, table
from purejaxvpg.report.plots import COLORS
from purejaxvpg.report.reproduce import spans
from purejaxvpg.report.texts import words
from purejaxvpg.statistics import Estimate

FOLDED = 12  # a longer list of settings is folded until it is clicked


def ranking(digest: Digest) -> Html:
    """Table of all settings, best first, and how to read it."""
    texts = setting_texts(digest.settings)
    numbers = [_numbers(digest, row) for row in digest.rows]
    headings = ["", *digest.settings[0], *map(Right, numbers[0])]
    rows = [
        [_rank(rank), *texts[row.setting].values(), *cells.values()]
        for rank, (row, cells) in enumerate(zip(digest.rows, numbers, strict=True))
    ]
    classes = ["first"] + ["stopped" if row.stopped else None for row in digest.rows[1:]]
    note = words(
        "ranking",
        "columns",
        "gap" if digest.target is not None else None,
        "pruned" if digest.study.pruned.any() else None,
        score=digest.score_name,
        target=digest.target,
        whole="condition" if digest.condition else "study",
    )
    whole = table(headings, rows, class_="ranking", row_classes=classes)
    return join([whole, element("p", note, class_="soft")])


def _rank(rank: int) -> Html:
    color = COLORS[rank] if rank < len(COLORS) else "transparent"
    swatch = element("span", class_="swatch", style=f"background:{color}")
    return join([swatch, rank + 1])


def _numbers(digest: Digest, row: Row) -> dict[str, Right]:
    """Cells of a row that hold numbers, by heading."""
    study = digest.study
    estimates = {"IQM": row.iqm, "mean": row.mean, "median": row.median}
    if digest.target is not None:
        estimates["gap"] = row.gap
    cells = {heading: _estimate(x, digest.number) for heading, x in estimates.items()}
    cells["P(beats first)"] = _estimate(row.against_first, "{:.2f}".format, even=0.5)
    total = len(study.seeds)
    cells["seeds"] = Right(f"{row.seeds}" if row.seeds == total else f"{row.seeds} of {total}")
    cells["diverged"] = Right(row.diverged)
    if study.pruned.any() or not study.complete:
        done = f"{row.updates} of {study.num_updates[row.setting]}"
        cells["updates"] = Right(f"stopped at {done}" if row.stopped else done)
    return cells


def _estimate(estimate: Estimate | None, text: Callable[..., str], even: float = np.nan) -> Right:
    """A statistic with its interval in small print; ≈ marks one whose interval contains `even`."""
    if estimate is None:
        return Right(Html("&ndash;"))
    value, low, high = map(float, estimate)
    mark = " ≈" if low <= even <= high else ""
    spread = f"[{text(low)}, {text(high)}]" if np.isfinite(low) else None
    small = element("div", spread, class_="interval") if spread else None
    return Right(join([number(value, f"{text(value)}{mark}"), small]))


def failures(digests: Sequence[Digest]) -> Html:
    """Table of the settings with runs that diverged, are missing, or have no score."""
    rows = [cells for digest in digests for cells in _failures(digest)]
    if not rows:
        return element("p", words("failures", "none"))
    headings = ["setting", Right("diverged"), Right("not run"), "which"]
    note = words("failures", "some", whole="condition" if len(digests) > 1 else "study")
    return join([element("p", note, class_="soft"), table(headings, rows)])


def _failures(digest: Digest) -> list[list]:
    study, rows = digest.study, []
    no_score = "no evaluation ended" if study.evaluations else "no episode ended"
    diverged_at, all_unfinished = study.diverged_at, digest.unfinished  # [H, S], computed once
    failed = (diverged_at > 0) | (study.updates == 0) | all_unfinished
    failed = (failed | digest.overflown | digest.unscored).any(1)
    for row in sorted(digest.rows, key=lambda row: row.setting):
        h = row.setting
        if not failed[h]:
            continue
        at, done, unfinished = diverged_at[h], study.updates[h], all_unfinished[h]
        problems = [(f"diverged at update {u}", at == u) for u in np.unique(at[at > 0])]
        problems.append(("not run", done == 0))
        for updates in np.unique(done[unfinished]):
            progress = f"at update {updates} of {study.num_updates[h]}, not finished"
            problems.append((progress, unfinished & (done == updates)))
        problems.append(("a return that is not finite", digest.overflown[h]))
        problems.append((no_score, digest.unscored[h]))
        lines = [
            element("div", f"{problem}: {plural('seed', runs.sum())} {spans(study.seeds[runs])}")
            for problem, runs in problems
            if runs.any()
        ]
        missing = int((done == 0).sum())
        rows.append([digest.name_of(h), Right(row.diverged), Right(missing), join(lines)])
    return rows


def pruning(study: Study, digests: Sequence[Digest]) -> Html:
    """Table of the settings that were stopped, and when."""
    all_rows = [(digest, row) for digest in digests for row in digest.rows]
    rows, left = [], len(all_rows)
    for updates in sorted({row.updates for _, row in all_rows if row.stopped}):
        stopped = [(d, row) for d, row in all_rows if row.stopped and row.updates == updates]
        names = join([element("div", d.name_of(row.setting)) for d, row in stopped])
        if len(stopped) > FOLDED:
            names = element("details", element("summary", f"{len(stopped):,} settings"), names)
        rows.append([updates, f"{left:,} to {left - len(stopped):,}", names])
        left -= len(stopped)
    summary = words(
        "pruning",
        "summary",
        "each" if len(digests) > 1 else None,
        stopped=study.pruned.sum(),
        settings=len(all_rows),
        saved=1 - study.updates.sum() / (study.num_updates.sum() * len(study.seeds)),
    )
    headings = ["after update", "settings", "stopped"]
    return join([element("p", summary), table(headings, rows)])
