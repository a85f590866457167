"""The report of a study: one HTML page that needs nothing else, and its pictures beside it."""

import math
import os
from pathlib import Path
from string import Template
from typing import Any

from purejaxvpg.experiment.study import Study
from purejaxvpg.report import headline, reproduce, sections
from purejaxvpg.report.curves import (
    curves_figure,
    evaluation_curves,
    facets_figure,
    training_curves,
)
from purejaxvpg.report.digest import Digest, digest
from purejaxvpg.report.markup import Html, element, join, picture
from purejaxvpg.report.outcomes import profile_figure, timeline_figure
from purejaxvpg.report.plots import png
from purejaxvpg.report.sensitivity import (
    PAIRS,
    heat_map_figure,
    heat_map_pairs,
    sensitivity_figure,
    varied,
)

# The policy forbids scripts and all that is outside the page, whatever a name may hold.
PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
$title
<style>
$style
</style>
</head>
<body>
$body
</body>
</html>
"""
)


def write_report(study: Study, folder: str | os.PathLike, *, target: float | None = None) -> Path:
    """Write report.html and its pictures (PNG) into a folder, which is made if need be.

    Args:
      target: the score to reach, for the optimality gap.

    Returns: the path of report.html.
    Raises: ValueError for a target that is not finite or a study without settings; OSError,
    naming the folder, if it cannot be written; ImportError without the extra `cli`.
    """
    if target is not None and not math.isfinite(target):
        raise ValueError(f"target={target} is out of range; accepted: a finite number, or None")
    if not study.updates.size:
        raise ValueError("the study has no settings yet; run some before reporting on it")
    pictures: dict[str, bytes] = {}
    page = _page(digest(study, target), pictures)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            (folder / name).write_bytes(data)
        path = folder / "report.html"
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    return path


def _page(judged: Digest, pictures: dict[str, bytes]) -> str:
    """The whole page; pictures are added to `pictures` by their file names."""

    def show(name: str, figure: Any, alt: str, caption: str) -> Html | None:
        if figure is None:
            return None
        pictures[name] = png(figure)
        return picture(pictures[name], alt, caption)

    parts = [
        ("curves", "Learning curves", _curves(judged, show)),
        ("sensitivity", "Sensitivity", _sensitivity(judged, show)),
        ("pairs", "Two axes at a time", _heat_maps(judged, show)),
        ("ranking", "All settings", sections.ranking(judged)),
        ("profile", "Performance profile", _profile(judged, show)),
        ("failures", "Failures", sections.failures(judged)),
        ("pruning", "Pruning", _pruning(judged, show)),
        ("reproduce", "How to reproduce", reproduce.section(judged.study)),
    ]
    parts = [(anchor, title, body) for anchor, title, body in parts if body]
    links = [element("a", title, href=f"#{anchor}") for anchor, title, _ in parts]
    shown = [
        element("section", element("h2", title), body, id=anchor) for anchor, title, body in parts
    ]
    body = join([headline.headline(judged), element("nav", *links), element("main", *shown)])
    title = f"{headline.environment(judged.study)}: {headline.size(judged.study)}"
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return PAGE.substitute(title=element("title", title), style=style, body=body)


# ----------------------------------------------------------------------------------- PICTURES


def _curves(judged: Digest, show: Any) -> Html:
    if judged.rows[0].iqm is None:
        return element("p", "No run has a score, so there is no curve to show.")
    many, single = len(judged.rows), len(judged.rows) == 1
    best = len(judged.highlighted)
    colour = (
        "Bold: interquartile mean over seeds. "
        if single
        else f"In colour: the best {best} of {many} settings, numbered as in the table; lines are "
        "interquartile means over seeds. "
    )
    band = "Bands are 95% bootstrap intervals. " if len(judged.study.seeds) > 1 else ""
    diverged = "A run that diverged counts from then on as the worst run at that time."
    caption = colour + band + (diverged if judged.diverged_at.any() else "")
    training = training_curves(judged)
    named = f"the best setting is {judged.labels[judged.order[0]]}"
    shown = [
        show(
            "learning_curves.png",
            curves_figure(judged, training),
            f"Learning curves, {training.what} against environment steps; {named}.",
            caption,
        )
    ]
    evaluation = evaluation_curves(judged)
    if evaluation is not None:
        shown.append(
            show(
                "evaluation_curves.png",
                curves_figure(judged, evaluation),
                f"Learning curves, {evaluation.what} against environment steps; {named}.",
                "The same by evaluations along the way, the last of which is the score.",
            )
        )
    if not single:
        shown.append(
            show(
                "settings.png",
                facets_figure(judged, training),
                "Learning curves of the best settings, each by itself with all its seeds.",
                "Each of the best settings by itself. Grey: every seed.",
            )
        )
    return join(shown)


def _sensitivity(judged: Digest, show: Any) -> Html | None:
    names = varied(judged)
    if not names or judged.rows[0].iqm is None:
        return None
    grid, drawn = any(not v.drawn for v in names), any(v.drawn for v in names)
    caption = "Grey points: settings (interquartile mean over seeds). "
    if grid:
        caption += (
            "Blue: interquartile mean over seeds and over all other axes, with its 95% interval "
            "over seeds; no line where values have no order. "
        )
    if drawn:
        caption += (
            "Sampled axes: every setting where it was drawn, with its 95% interval; blue, the "
            "first in the table. "
        )
    caption += _stopped_note(judged)
    alt = f"Score against {', '.join(v.name for v in names)}, a panel each."
    return show("sensitivity.png", sensitivity_figure(judged), alt, caption)


def _heat_maps(judged: Digest, show: Any) -> Html | None:
    pairs = heat_map_pairs(judged)
    if not pairs or judged.rows[0].iqm is None:
        return None
    shown = []
    for k, (rows, columns) in enumerate(pairs[:PAIRS]):
        others = [
            name for name in judged.study.design.names if name not in (rows.name, columns.name)
        ]
        zipped = {n for axis in judged.study.design.axes if axis.dim == "zip" for n in axis.names}
        if "zip" in (rows.name, columns.name):
            others = [name for name in others if name not in zipped]
        over = f"seeds and {', '.join(others)}" if others else "seeds"
        caption = f"Interquartile mean over {over}; the best cell is framed. "
        shown.append(
            show(
                f"heat_map_{k + 1}.png",
                heat_map_figure(judged, rows, columns),
                f"Heat map of the score over {rows.name} and {columns.name}.",
                caption + _stopped_note(judged),
            )
        )
    if len(pairs) > PAIRS:
        shown.append(
            element("p", f"The first {PAIRS} of {len(pairs)} pairs are shown.", class_="soft")
        )
    return join(shown)


def _stopped_note(judged: Digest) -> str:
    if not judged.study.pruned.any():
        return ""
    return "Settings that pruning stopped stand at the score they had then."


def _profile(judged: Digest, show: Any) -> Html | None:
    return show(
        "profile.png",
        profile_figure(judged),
        "Performance profile: fraction of runs above each score, for the best settings.",
        "Higher and further to the right is better; where two lines cross, neither setting is "
        "better for every score. Bands are pointwise 95% bootstrap intervals.",
    )


def _pruning(judged: Digest, show: Any) -> Html | None:
    if not judged.study.pruned.any():
        return None
    timeline = show(
        "pruning.png",
        timeline_figure(judged),
        "How long each setting ran before pruning stopped it.",
        "Blue: ran to the end. Grey: stopped. Numbers are interquartile means when it ended.",
    )
    return join([sections.pruning(judged), timeline])
