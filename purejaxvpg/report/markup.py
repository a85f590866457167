"""HTML that is safe by construction: text is escaped unless it is markup already."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

LONG = 40  # rows: a longer table scrolls by itself
WIDE = 24  # characters: a longer cell is broken into lines
VOID = ("img", "br", "meta")  # elements without an end tag


class Html(str):
    """Markup.  Only functions of this file and literals of this package make it."""


class Right(NamedTuple):
    """A cell or a heading that stands to the right, as numbers do."""

    content: Any


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """An element; every child and attribute that is not `Html` is escaped.

    A trailing underscore of an attribute's name is dropped (class_), None leaves it out.
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{join(children)}</{tag}>")


def join(children: Iterable[Any]) -> Html:
    """Children one after the other, None left out."""
    shown = [child for child in children if child is not None]
    return Html("".join(c if isinstance(c, Html) else _escape(c) for c in shown))


def _escape(value: Any) -> str:
    """Text, without characters that are not seen (some turn round what follows)."""
    seen = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(value))
    return html.escape(seen, quote=True)


def number(value: float, text: str) -> Html:
    """A number as text for people, and whole for programs."""
    if not np.isfinite(value):
        return Html("&ndash;")
    return element("data", text, value=repr(float(value)))


def picture(png: bytes, alt: str, caption: str) -> Html:
    """A picture that is part of the page.  matplotlib's PNGs hold 150 dots an inch; a page 96."""
    width = int.from_bytes(png[16:20], "big")
    height = int.from_bytes(png[20:24], "big")
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    size = {"width": round(width * 0.64), "height": round(height * 0.64)}
    image = element("img", src=source, alt=alt, **size)
    return element("figure", image, element("figcaption", caption))


def table(headings: Sequence[Any], rows: Sequence[Any], class_: str | None = None) -> Html:
    """A table that scrolls by itself where it is wider than the page.

    Args: rows: lists of cells, or rows made by `table_row`.
    """
    head = element("tr", *[_cell("th", heading, scope="col") for heading in headings])
    lines = [row if isinstance(row, Html) else table_row(row) for row in rows]
    body = element("table", element("thead", head), element("tbody", *lines), class_=class_)
    return element(
        "div", body, class_="scroll long" if len(rows) > LONG else "scroll", tabindex="0"
    )


def table_row(cells: list[Any], class_: str | None = None) -> Html:
    """A row of a table."""
    return element("tr", *[_cell("td", cell) for cell in cells], class_=class_)


def _cell(tag: str, given: Any, **attributes: Any) -> Html:
    right = isinstance(given, Right)
    content = given.content if right else given
    wide = not isinstance(content, Html) and len(str(content)) > WIDE
    kind = "n" if right else "wide" if wide else None
    return element(tag, content, class_=kind, **attributes)
