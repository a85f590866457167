"""The top of the page: what was run, what came of it, and how much of that to believe."""

import numpy as np

from purejaxvpg.experiment.study import Study
from purejaxvpg.report.digest import Digest, choose_best
from purejaxvpg.report.markup import Html, element, join, number
from purejaxvpg.statistics import Estimate


def environment(study: Study) -> str:
    """Name of what was trained on; of all of them, where that varies."""
    if "env" in study.design.names:
        names = dict.fromkeys(str(setting["env"]) for setting in study.design.settings())
        return ", ".join(names)
    env = study.config.env
    return env if isinstance(env, str) else type(env).__name__


def size(study: Study) -> str:
    """16 settings x 64 seeds of 50,176 steps."""
    settings, seeds = study.updates.shape
    longest = np.nanmax(study.steps, axis=1)
    low, high = f"{longest.min():,.0f}", f"{longest.max():,.0f}"
    steps = low if low == high else f"{low} to {high}"
    runs = f"{settings * seeds:,} {plural('run', settings * seeds)}"
    many = f"{settings} {plural('setting', settings)} \u00d7 {seeds} {plural('seed', seeds)}"
    return f"{many} = {runs} of {steps} environment steps"


def plural(word: str, n: int) -> str:
    """The word for n of them."""
    return word if n == 1 else f"{word}s"


def interval(digest: Digest, estimate: Estimate) -> str | None:
    """[low, high], or nothing where there is no spread to see."""
    if not np.isfinite(estimate.low):
        return None
    return f"[{digest.number(float(estimate.low))}, {digest.number(float(estimate.high))}]"


def headline(digest: Digest) -> Html:
    """Title, warnings, the best setting, and the facts."""
    study = digest.study
    device = study.record.get("device")
    said = size(study) + (f", on {device}" if device else "")
    top = element("header", element("h1", environment(study)), element("p", said, class_="soft"))
    return join([top, warnings(digest), best(digest), facts(digest)])


# ----------------------------------------------------------------------------------- THE BEST


def best(digest: Digest) -> Html:
    """The best setting; where several were compared, on seeds that did not choose it."""
    first = digest.rows[0]
    if first.iqm is None:
        nothing = "No run has a score: nothing was run, everything diverged, or no episode ended."
        return element("section", element("p", nothing, class_="setting"), class_="best")
    chosen = choose_best(digest) if len(digest.rows) > 1 else None
    if chosen is None:
        seeds = f"{first.seeds} {plural('seed', first.seeds)}"
        note = f"Interquartile mean over {seeds} of the {digest.score_name}."
        if len(digest.rows) > 1:
            note += (
                f" It was chosen among {len(digest.rows)} settings on the seeds it is reported on, "
                "so it is biased upward; run two seeds or more of every setting."
            )
        return _best_box(digest, first.setting, first.iqm, note)
    found, among, shared = chosen
    half = len(shared) // 2
    what = "Interquartile mean, and 95% interval," if half > 1 else "The score"
    note = (
        f"{what} over the {half} {plural('seed', half)} that had no "
        f"say in choosing it among {len(among)} {plural('setting', len(among))}; a score is the "
        f"{digest.score_name}. On the seeds that chose it: "
        f"{digest.number(float(found.selected.value))}, which is biased upward."
    )
    if study_pruned(digest):
        note += " Pruning looked at all seeds when it stopped settings, so a little bias remains."
    if found.index != first.setting:
        note += f" By all seeds together, {digest.labels[first.setting]} comes first."
    return _best_box(digest, found.index, found.held_out, note)


def _best_box(digest: Digest, setting: int, estimate: Estimate, note: str) -> Html:
    value = float(estimate.value)
    spread = interval(digest, estimate)
    score = element(
        "p",
        number(value, digest.number(value)),
        element("span", f" {spread}") if spread else None,
        class_="score",
    )
    word = "Best setting" if len(digest.rows) > 1 else "Score"
    return element(
        "section",
        element("p", word, class_="soft"),
        element("p", digest.labels[setting], class_="setting"),
        score,
        element("p", note, class_="soft"),
        class_="best",
    )


def study_pruned(digest: Digest) -> bool:
    """Whether any setting was stopped early."""
    return bool(digest.study.pruned.any())


# ---------------------------------------------------------------------------------- THE FACTS


def facts(digest: Digest) -> Html:
    """Runs, failures and time, a box each."""
    study, record = digest.study, digest.study.record
    total, diverged = study.updates.size, int((digest.diverged_at > 0).sum())
    missing = int((study.updates == 0).sum())
    stopped = int(study.pruned.sum())
    done = int(study.done.sum())
    finished = f"all {total:,}" if done == total else f"{done:,} of {total:,}"
    boxes = [("runs finished", finished, False)]
    boxes.append(("runs diverged", f"{diverged:,}", diverged > 0))
    if missing or digest.unfinished.any():
        left = missing + int(digest.unfinished.sum())
        boxes.append(("runs incomplete", f"{left:,}", True))
    boxes.append(("settings pruned", f"{stopped} of {len(digest.rows)}", False))
    seconds, steps = record.get("seconds"), record.get("steps")
    if seconds:
        boxes.append(("time", duration(seconds), False))
        boxes.append(("compiling, besides", duration(record.get("compile_seconds", 0.0)), False))
    if seconds and steps:
        boxes.append(("steps/s", f"{steps / seconds:,.0f}", False))
    shown = [
        element("div", element("dt", name), element("dd", value), class_="bad" if bad else None)
        for name, value, bad in boxes
    ]
    return element("dl", *shown, class_="facts")


def warnings(digest: Digest) -> Html | None:
    """What a reader must know before the numbers."""
    study = digest.study
    said = []
    if not study.complete:
        missing, total = int((study.updates == 0).sum()), study.updates.size
        begun = int(digest.unfinished.sum())
        said.append(
            f"This report is partial: {missing:,} of {total:,} runs were not run"
            + (f" and {begun:,} are under way" if begun else "")
            + ". What is missing is left out, and may change the order."
        )
    if digest.without.any():
        said.append(
            f"{int(digest.without.sum()):,} runs have no score, for no "
            f"{'evaluation' if study.evaluations else 'episode'} of theirs ended, and are left "
            "out; give runs more steps, or evaluate (eval_every)."
        )
    if len({str(setting.get("env")) for setting in digest.settings}) > 1:
        said.append("Scores of different environments stand side by side, each on its own scale.")
    if not said:
        return None
    return element("div", *[element("p", text) for text in said], class_="warning", role="note")


def duration(seconds: float) -> str:
    """93 -> 1 min 33 s; "?" where it is not known (NaN, infinite)."""
    if not np.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
