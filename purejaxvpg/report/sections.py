"""The parts of the page that are text and tables."""

import numpy as np

from purejaxvpg.report.digest import Digest, Row, value_labels
from purejaxvpg.report.headline import interval, plural
from purejaxvpg.report.markup import Html, Right, element, join, number, table, table_row
from purejaxvpg.report.outcomes import rungs
from purejaxvpg.report.plots import COLORS
from purejaxvpg.report.reproduce import spans
from purejaxvpg.statistics import Estimate

FOLDED = 12  # a longer list of settings opens when asked
NO_VALUE = Right(Html("&ndash;"))


# -------------------------------------------------------------------------------- THE RANKING


def ranking(digest: Digest) -> Html:
    """Every setting, best first."""
    study = digest.study
    names = list(study.design.names)
    numbers = ["IQM", "mean", "median"]
    numbers += ["gap"] if digest.target is not None else []
    numbers += ["P(beats first)", "seeds", "diverged"]
    numbers += ["updates"] if study.pruned.any() or not study.complete else []
    headings = ["", *names, *map(Right, numbers)]
    columns = [value_labels([setting[name] for setting in digest.settings]) for name in names]
    texts = [[column[h] for column in columns] for h in range(len(digest.settings))]
    rows = [
        table_row(
            [_rank(rank), *texts[row.setting], *_numbers(digest, row)],
            class_="first" if rank == 0 else "stopped" if row.stopped else None,
        )
        for rank, row in enumerate(digest.rows)
    ]
    return join([table(headings, rows, class_="ranking"), _explanation(digest)])


def _rank(rank: int) -> Html:
    color = COLORS[rank] if rank < len(COLORS) else "transparent"
    swatch = element("span", class_="swatch", style=f"background:{color}")
    return join([swatch, rank + 1])


def _numbers(digest: Digest, row: Row) -> list:
    def score(estimate: Estimate | None) -> Right:
        if estimate is None:
            return NO_VALUE
        value = float(estimate.value)
        return _with_interval(number(value, digest.number(value)), interval(digest, estimate))

    study, against = digest.study, row.against_first
    cells: list = [score(row.iqm), score(row.mean), score(row.median)]
    cells += [score(row.gap)] if digest.target is not None else []
    if against is None:
        cells.append(NO_VALUE)
    else:
        known = np.isfinite(against.low)
        both = f"[{against.low:.2f}, {against.high:.2f}]" if known else None
        even = " ≈" if known and against.low <= 0.5 <= against.high else ""
        value = float(against.value)
        cells.append(_with_interval(number(value, f"{value:.2f}{even}"), both))
    total = len(study.seeds)
    seeds = f"{row.seeds}" if row.seeds == total else f"{row.seeds} of {total}"
    cells += [Right(seeds), Right(row.diverged)]
    if study.pruned.any() or not study.complete:
        end = int(study.num_updates[row.setting])
        done = f"{row.updates} of {end}"
        cells.append(Right(f"stopped at {done}" if row.stopped else done))
    return cells


def _with_interval(value: Html, spread: str | None) -> Right:
    """A statistic, and its interval in small print below it."""
    return Right(join([value, element("div", spread, class_="interval") if spread else None]))


def _explanation(digest: Digest) -> Html:
    said = (
        f"Score: {digest.score_name}. IQM: interquartile mean over seeds, the middle half of them. "
        "In small print: 95% intervals, percentile bootstrap over seeds. P(beats first): how "
        "likely a run of this setting beats a run of the first one, equal scores counting half; "
        "both ran the same seeds, which are drawn together. ≈: the interval holds 0.5, so that "
        "the two cannot be told apart. A run that diverged counts as the worst run of the study."
    )
    if digest.target is not None:
        said += f" Gap: mean shortfall from the target {digest.target:g}."
    if digest.study.pruned.any():
        said += (
            " Settings that were stopped come last, whatever their score: it is the one they had "
            "when they were stopped."
        )
    return element("p", said, class_="soft")


# ----------------------------------------------------------------------------------- FAILURES


def failures(digest: Digest) -> Html:
    """Every setting with runs that diverged, are missing, or have no score; and which."""
    study, rows = digest.study, []
    no_score = "no evaluation ended" if study.evaluations else "no episode ended"
    for row in sorted(digest.rows, key=lambda row: row.setting):
        h = row.setting
        said = [*_diverged(digest, h), *_named("not run", study.seeds[study.updates[h] == 0])]
        for updates in np.unique(study.updates[h][digest.unfinished[h]]):
            here = digest.unfinished[h] & (study.updates[h] == updates)
            said += _named(
                f"at update {updates} of {study.num_updates[h]}, not finished", study.seeds[here]
            )
        said += _named("a return that is not finite", study.seeds[digest.overflown[h]])
        said += _named(no_score, study.seeds[digest.without[h]])
        if said:
            lines = join([element("div", line) for line in said])
            missing = int((study.updates[h] == 0).sum())
            rows.append([digest.labels[h], Right(row.diverged), Right(missing), lines])
    if not rows:
        return element("p", "None: every run has a score, and every number in it was finite.")
    intro = (
        "A run diverged at the first update in which a parameter, a loss or a gradient was not "
        "finite. Like one with a return that is not finite, it is counted as the worst run of the "
        "study, not dropped."
    )
    headings = ["setting", Right("diverged"), Right("not run"), "which"]
    return join([element("p", intro, class_="soft"), table(headings, rows)])


def _diverged(digest: Digest, h: int) -> list[str]:
    at = digest.diverged_at[h]
    said = []
    for update in np.unique(at[at > 0]):
        said += _named(f"diverged at update {update}", digest.study.seeds[at == update])
    return said


def _named(what: str, seeds: np.ndarray) -> list[str]:
    if not len(seeds):
        return []
    return [f"{what}: {plural('seed', len(seeds))} {spans(seeds.tolist())}"]


# ------------------------------------------------------------------------------------ PRUNING


def pruning(digest: Digest) -> Html:
    """What was stopped, and when."""
    rows, left = [], len(digest.rows)
    for rung in rungs(digest):
        names = join([element("div", digest.labels[h]) for h in rung.stopped])
        if len(rung.stopped) > FOLDED:
            names = element("details", element("summary", f"{len(rung.stopped)} settings"), names)
        rows.append([rung.updates, f"{left} to {rung.left}", names])
        left = rung.left
    many = int(digest.study.pruned.sum())
    saved = 1 - digest.study.updates.sum() / (
        digest.study.num_updates.sum() * len(digest.study.seeds)
    )
    intro = (
        f"{many} of {len(digest.rows)} settings were stopped early, by interquartile mean over "
        f"seeds, which spared {saved:.0%} of the updates."
    )
    return join([element("p", intro), table(["after update", "settings", "stopped"], rows)])
