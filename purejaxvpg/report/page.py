"""Report of a study: one HTML page that needs no other file, and its pictures as PNG files."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.study import Study
from purejaxvpg.report import curves, headline, overview, play, reproduce, sections, sensitivity
from purejaxvpg.report.digest import Digest, digests
from purejaxvpg.report.markup import Html, element, join, picture
from purejaxvpg.report.plots import png
from purejaxvpg.report.texts import FILES, words

PICTURED = 6  # conditions with pictures, at most

MARKS = (  # of a page of ours: today's, and the policy that pages without it have in common
    '<meta name="generator" content="purejaxvpg">',
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
)

Show = Callable[..., Html | None]  # `show` of `_shower`


def write_report(
    study: Study,
    folder: str | os.PathLike,
    *,
    target: float | None = None,
    animation: str | os.PathLike | None = None,
) -> Path:
    """Write report.html and its pictures (PNG) into a folder, which is made if needed.

    Args:
      target: the score to reach, for the optimality gap.
      animation: of a policy at play, as `write_animation` wrote it: shown in the page, or as a
        link if it is an MP4 or larger than 5 MB.

    Returns: the path of report.html.
    Raises: ValueError for a target that is not finite, a study without settings or a file that is
    no animation; FileExistsError if there is a report.html that this package did not write;
    OSError, naming the folder, if it cannot be written; ImportError without the extra `cli`.
    """
    if target is not None and not math.isfinite(target):
        raise ValueError(f"target={target} is out of range; accepted: a finite number, or None")
    if not study.updates.size:
        raise ValueError("the study has no settings yet; run some before reporting on it")
    folder = expanded(folder)
    _check_ours(folder / "report.html")
    pictures: dict[str, bytes] = {}
    shown = None if animation is None else play.section(expanded(animation), folder)
    page = _page(study, target, pictures, shown)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            write_whole(folder / name, data)  # whole, and not through a link that was there
        path = folder / "report.html"
        write_whole(path, page.encode())
    except OSError as error:
        raise OSError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    return path


def _check_ours(path: Path) -> None:
    """FileExistsError for a page that somebody else wrote.  A link is replaced, not its file."""
    if path.is_symlink() or not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        top = file.read(1000)
    if not any(mark in top for mark in MARKS):
        raise FileExistsError(
            f"{path} is not a report of this package, and stays as it is; move it, or write the "
            f"report elsewhere: purejaxvpg report STUDY --out FOLDER"
        )


def _page(
    study: Study, target: float | None, pictures: dict[str, bytes], animation: Html | None
) -> str:
    """The whole page.  Each picture is added to `pictures` under its file name."""
    views = digests(study, target)
    if len(views) == 1:
        top: list[Html | None] = [headline.best(views[0])]
        parts = _sections(views[0], _shower(pictures))
    else:
        links = [f"condition-{k}" for k in range(1, len(views) + 1)]
        top = [overview.best_of_each(views, links)]
        parts = [("over", "Over all conditions", overview.over_conditions(study, views))]
        parts += [
            (link, view.condition, _condition(view, k, len(views), pictures))
            for k, (link, view) in enumerate(zip(links, views, strict=True), 1)
        ]
    parts += [
        ("play", "At play", animation),
        ("failures", "Failures", sections.failures(views)),
        ("pruning", "Pruning", _pruning(study, views, pictures)),
        ("reproduce", "How to reproduce", reproduce.section(study)),
    ]
    parts = [(anchor, title, body) for anchor, title, body in parts if body]
    links = [element("a", title, href=f"#{anchor}") for anchor, title, _ in parts]
    shown = [
        element("section", element("h2", title), body, id=anchor) for anchor, title, body in parts
    ]
    first = [headline.header(study), headline.warnings(study, views), *top, headline.facts(study)]
    title = f"{headline.environment(study)}: {headline.size(study)}"
    # The frame forbids scripts and outside files, whatever text a name or a value holds.
    return Template((FILES / "page.html").read_text(encoding="utf-8")).substitute(
        title=element("title", title),
        style=(FILES / "page.css").read_text(encoding="utf-8"),
        body=join([*first, element("nav", *links), element("main", *shown)]),
    )


def _shower(pictures: dict[str, bytes], prefix: str = "", condition: str = "") -> Show:
    """`show` of the sections: draws a figure, and keeps its PNG."""

    def show(name: str, figure: Any, section: str, caption: str = "", **values: Any) -> Html | None:
        """Picture with the alt text of a section, and with its caption unless one is given."""
        if figure is None:
            return None
        pictures[prefix + name] = png(figure)
        alt = words(section, "alt", **values)
        alt = f"{condition}: {alt}" if condition else alt
        anchor = f"picture-{prefix}{name.removesuffix('.png')}"
        return picture(pictures[prefix + name], alt, caption or words(section, "caption"), anchor)

    return show


def _condition(view: Digest, place: int, number: int, pictures: dict[str, bytes]) -> Html:
    """Sections of a condition under small headings; of the later ones of many, the table alone."""
    if place > PICTURED:
        note = words("conditions", "pictures", shown=PICTURED, conditions=number)
        return join([element("p", note, class_="soft"), sections.ranking(view)])
    show = _shower(pictures, f"condition_{place}_", view.condition)
    parts = [(title, body) for _, title, body in _sections(view, show) if body]
    return join([join([element("h3", title), body]) for title, body in parts])


def _sections(judged: Digest, show: Show) -> list[tuple[str, str, Html | None]]:
    """Anchor, title and body of all that is shown of a condition."""
    profile = curves.profile_figure(judged)
    return [
        ("curves", "Learning curves", _curves(judged, show)),
        ("sensitivity", "Sensitivity", _sensitivity(judged, show)),
        ("pairs", "Two axes at a time", _heat_maps(judged, show)),
        ("ranking", "All settings", sections.ranking(judged)),
        ("profile", "Performance profile", show("profile.png", profile, "profile")),
    ]


def _curves(judged: Digest, show: Show) -> Html:
    if judged.rows[0].iqm is None:
        return element("p", words("curves", "none"))
    several = len(judged.rows) > 1
    caption = words(
        "curves",
        "several" if several else "single",
        "bands" if len(judged.study.seeds) > 1 else None,
        "diverged" if judged.study.diverged.any() else None,
        coloured=len(judged.highlighted),
        settings=len(judged.rows),
    )
    best = judged.labels[judged.rows[0].setting]
    training = curves.training_curves(judged)
    figure = curves.curves_figure(judged, training)
    names = {"values": training.what, "best": best}
    shown = [show("learning_curves.png", figure, "curves", caption, **names)]
    if evaluation := curves.evaluation_curves(judged):
        figure = curves.curves_figure(judged, evaluation)
        caption = words("curves", "evaluations")
        names["values"] = evaluation.what
        shown.append(show("evaluation_curves.png", figure, "curves", caption, **names))
    if several:
        shown.append(show("settings.png", curves.facets_figure(judged, training), "panels"))
    return join(shown)


def _sensitivity(judged: Digest, show: Show) -> Html | None:
    names = sensitivity.varied(judged)
    if not names or judged.rows[0].iqm is None:
        return None
    caption = words(
        "sensitivity",
        "points",
        "grid" if not all(v.drawn for v in names) else None,
        "sampled" if any(v.drawn for v in names) else None,
        "pruned" if judged.study.pruned.any() else None,
    )
    figure = sensitivity.sensitivity_figure(judged)
    listed = ", ".join(variable.name for variable in names)
    return show("sensitivity.png", figure, "sensitivity", caption, names=listed)


def _heat_maps(judged: Digest, show: Show) -> Html | None:
    pairs = sensitivity.heat_map_pairs(judged)
    if not pairs or judged.rows[0].iqm is None:
        return None
    shown = []
    for k, (rows, columns) in enumerate(pairs[: sensitivity.PAIRS], 1):
        sides = {"rows": rows.name, "columns": columns.name}
        names = [(axis.dim, name) for axis in judged.study.design.axes for name in axis.names]
        others = [
            name
            for dim, name in names
            if name in judged.settings[0] and not {dim, name} & set(sides.values())
        ]
        caption = words(
            "pairs",
            "cells",
            "pruned" if judged.study.pruned.any() else None,
            others=f"seeds and {', '.join(others)}" if others else "seeds",
        )
        figure = sensitivity.heat_map_figure(judged, rows, columns)
        shown.append(show(f"heat_map_{k}.png", figure, "pairs", caption, **sides))
    if len(pairs) > sensitivity.PAIRS:
        more = words("pairs", "more", shown=sensitivity.PAIRS, pairs=len(pairs))
        shown.append(element("p", more, class_="soft"))
    return join(shown)


def _pruning(study: Study, views: list[Digest], pictures: dict[str, bytes]) -> Html | None:
    if not study.pruned.any():
        return None
    shown = []
    for place, view in enumerate(views[:PICTURED], 1):
        prefix = f"condition_{place}_" if view.condition else ""
        show = _shower(pictures, prefix, view.condition)
        shown += [element("h3", view.condition)] if view.condition else []
        shown.append(show("pruning.png", curves.timeline_figure(view), "pruning"))
    return join([sections.pruning(study, views), *shown])
