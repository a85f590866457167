"""Top of the page: the study, warnings, the best setting, and facts about the runs."""

import numpy as np

from purejaxvpg.experiment.display import duration
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import Digest, choose_best, unfinished
from purejaxvpg.report.labels import value_labels
from purejaxvpg.report.markup import Html, element, join, number
from purejaxvpg.report.texts import words
from purejaxvpg.statistics import Estimate


def environment(study: Study) -> str:
    """Name of the environment; all names where it varies."""
    env = study.config.env
    names = dict.fromkeys(s.get("env", env) for s in study.design.settings())
    return ", ".join(value_labels([n if isinstance(n, str) else type(n).__name__ for n in names]))


def size(study: Study) -> str:
    """Size of a study: "16 settings × 64 seeds = 1,024 runs of 50,176 environment steps"."""
    settings, seeds = study.updates.shape
    longest = np.nanmax(study.steps, axis=1)
    low, high = f"{longest.min():,.0f}", f"{longest.max():,.0f}"
    steps = low if low == high else f"{low} to {high}"
    runs = f"{settings * seeds:,} {plural('run', settings * seeds)}"
    counts = f"{count(settings, 'setting')} \u00d7 {count(seeds, 'seed')}"
    return f"{counts} = {runs} of {steps} environment steps"


def plural(word: str, n: int) -> str:
    """Singular or plural of a word, for n things."""
    return word if n == 1 else f"{word}s"


def count(n: int, word: str) -> str:
    """Number of things as text: 1 seed, 2,048 seeds."""
    return f"{n:,} {plural(word, n)}"


def header(study: Study) -> Html:
    """Title and size of the study."""
    device = study.record.device
    subtitle = size(study) + (f", on {device}" if device else "")
    title = [element("h1", environment(study)), element("p", subtitle, class_="soft")]
    return element("header", *title)


def best(digest: Digest) -> Html:
    """Box of the best setting; among several, it is scored on seeds that did not choose it."""
    first, several = digest.rows[0], len(digest.rows) > 1
    if first.iqm is None:
        nothing = element("p", words("best", "none"), class_="setting")
        return element("section", nothing, class_="best")
    chosen = choose_best(digest) if several else None
    if chosen is None:
        note = words(
            "best",
            "all_seeds",
            "biased" if several else None,
            seeds=count(first.seeds, "seed"),
            score=digest.score_name,
            settings=count(len(digest.rows), "setting"),
        )
        return _best_box(digest, first.setting, first.iqm, note)
    choice, candidates, shared = chosen
    half = len(shared) // 2
    note = words(
        "best",
        "interval" if half > 1 else "no_interval",
        "held_out",
        "selected",
        "pruned" if digest.study.pruned.any() else None,
        "other" if choice.index != first.setting else None,
        seeds=count(half, "seed"),
        settings=count(len(candidates), "setting"),
        score=digest.score_name,
        selected=digest.number(choice.selected.value),
        first=digest.labels[first.setting],
    )
    return _best_box(digest, choice.index, choice.held_out, note)


def _best_box(digest: Digest, setting: int, estimate: Estimate, note: str) -> Html:
    spread = digest.interval(estimate)
    value = number(estimate.value, digest.number(estimate.value))
    score = join([value, element("span", f" {spread}") if spread else None])
    word = "Best setting" if len(digest.rows) > 1 else "Score"
    lines = [("soft", word), ("setting", digest.labels[setting]), ("score", score), ("soft", note)]
    shown = [element("p", line, class_=name) for name, line in lines]
    return element("section", *shown, class_="best")


def facts(study: Study) -> Html:
    """Boxes of numbers: runs, failures and time."""
    record = study.record
    total, done = study.updates.size, study.done.sum()
    incomplete = (study.updates == 0).sum() + unfinished(study).sum()
    boxes = {
        "runs finished": f"all {total:,}" if done == total else f"{done:,} of {total:,}",
        "runs diverged": f"{study.diverged.sum():,}",
    }
    if incomplete:
        boxes["runs incomplete"] = f"{incomplete:,}"
    boxes["settings pruned"] = f"{study.pruned.sum():,} of {len(study.pruned):,}"
    if record.seconds:
        boxes["time"] = duration(record.seconds)
        boxes["extra time to compile"] = duration(record.compile_seconds)
        if record.steps:
            boxes["steps/s"] = f"{record.steps / record.seconds:,.0f}"
    shown = []
    for name, value in boxes.items():
        bad = name in ("runs diverged", "runs incomplete") and value != "0"
        box = [element("dt", name), element("dd", value)]
        shown.append(element("div", *box, class_="bad" if bad else None))
    return element("dl", *shown, class_="facts")


def warnings(study: Study, digests: list[Digest]) -> Html | None:
    """Warnings to read before the numbers; None if there are none."""
    messages, unscored = [], sum(digest.unscored.sum() for digest in digests)
    if not study.complete:
        begun = int(unfinished(study).sum())
        more = f" and {begun:,} are not finished" if begun else ""
        runs = {"missing": (study.updates == 0).sum(), "runs": study.updates.size}
        messages.append(words("warnings", "partial", unfinished=more, **runs))
    if unscored:
        unit = "evaluation" if study.evaluations else "episode"
        messages.append(words("warnings", "unscored", runs=unscored, unit=unit))
    if any(len({str(s.get("env")) for s in digest.settings}) > 1 for digest in digests):
        messages.append(words("warnings", "environments"))
    if not messages:
        return None
    return element("div", *[element("p", text) for text in messages], class_="warning", role="note")
