"""A study of several conditions: the best setting of each, and of all conditions by rank."""

from collections.abc import Sequence

import numpy as np

from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import Digest, choose_best
from purejaxvpg.report.headline import count
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.report.markup import Html, Right, element, join, number, table
from purejaxvpg.report.texts import words
from purejaxvpg.statistics import Estimate

RANKED = 10  # settings over all conditions, at most
COLUMNS = 6  # conditions in that table, at most


def best_of_each(digests: Sequence[Digest], links: Sequence[str]) -> Html:
    """Box with a row a condition.

    Args: links: anchor of the section of each.
    """
    several = any(len(digest.rows) > 1 for digest in digests)
    rows = []
    for digest, link in zip(digests, links, strict=True):
        condition = element("a", digest.condition, href=f"#{link}")
        setting, estimate, basis = choice(digest)
        label = digest.labels[setting] if estimate else "no run has a score"
        cells = [condition, *([label] if several else []), score_cell(digest, estimate), basis]
        rows.append(cells)
    headings = ["condition", *(["best setting"] if several else []), Right("score"), "over"]
    note = words(
        "conditions",
        "score",
        "best" if several else "alone",
        "pruned" if any(digest.study.pruned.any() for digest in digests) else None,
        score=digests[0].score_name,
    )
    title = "Best setting of each condition" if several else "Score under each condition"
    return element(
        "section",
        element("p", title, class_="setting"),
        table(headings, rows, class_="conditions"),
        element("p", note, class_="soft"),
        class_="best",
    )


def choice(digest: Digest) -> tuple[int, Estimate | None, str]:
    """Best setting of a condition, its score, and the seeds that the score is of."""
    first, several = digest.rows[0], len(digest.rows) > 1
    chosen = choose_best(digest) if several else None
    if chosen is None:
        biased = ", which chose it" if several else ""
        return first.setting, first.iqm, f"{count(first.seeds, 'seed')}{biased}"
    best, _, shared = chosen
    return best.index, best.held_out, f"{count(len(shared) // 2, 'seed')} that did not choose it"


def score_cell(digest: Digest, estimate: Estimate | None) -> Right:
    """A score with its interval in small print."""
    if estimate is None:
        return Right(Html("&ndash;"))
    spread = digest.interval(estimate)
    small = element("div", spread, class_="interval") if spread else None
    return Right(join([number(estimate.value, digest.number(estimate.value)), small]))


def over_conditions(study: Study, digests: Sequence[Digest]) -> Html | None:
    """Table of the settings that ran under all conditions, by mean rank; None for less than two."""
    rows = study.over_conditions()
    if len(rows) < 2:
        return None
    labels = setting_labels([row.values for row in rows])
    columns = digests[:COLUMNS]
    scores = _scores(study, columns)
    shown = []
    for place, row in enumerate(rows[:RANKED]):
        value, low, high = map(float, row.rank)
        interval = f"[{low:.1f}, {high:.1f}]" if np.isfinite(low) else None
        small = element("div", interval, class_="interval") if interval else None
        cells = [scores[int(h)] for h in row.settings if int(h) in scores]
        rank = Right(join([number(value, f"{value:.1f}"), small]))
        shown.append([place + 1, labels[place], rank, *cells])
    headings = ["", "setting", Right("mean rank"), *[Right(d.condition) for d in columns]]
    note = words(
        "conditions",
        "ranks",
        "more" if len(rows) > RANKED else None,
        settings=count(len(rows), "setting"),
        shown=RANKED,
    )
    return join([table(headings, shown), element("p", note, class_="soft")])


def _scores(study: Study, digests: Sequence[Digest]) -> dict[int, Right]:
    """Cell of each setting of these conditions, by its place in the study."""
    cells = {}
    for condition, digest in zip(study.design.by_condition(), digests, strict=False):
        for row in digest.rows:
            cells[int(condition.settings[row.setting])] = score_cell(digest, row.iqm)
    return cells
