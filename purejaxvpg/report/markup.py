"""HTML that is safe to show: text is escaped, unless it is markup already."""

import base64
import html
import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

LONG = 40  # rows; a longer table gets a scroll bar of its own
WIDE = 24  # characters; a longer cell is broken into lines
MANY = 16  # columns; more are in smaller print on paper, where nothing scrolls
VOID = ("img", "br", "meta")  # elements without an end tag


class Html(str):
    """Markup, which is not escaped again.  Make it with this file, or from a literal."""


class Right(NamedTuple):
    """A cell or a heading that is aligned to the right, as numbers are."""

    content: Any


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """An element.  Children that are not `Html` are escaped, and so is every attribute.

    A trailing underscore of an attribute's name is dropped (class_).  None leaves one out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[Any]) -> Html:
    """Children one after another, without those that are None."""
    shown = [child for child in children if child is not None]
    return Html("".join(c if isinstance(c, Html) else _escape(c) for c in shown))


def _escape(value: Any) -> str:
    """Escaped text.  Invisible characters are replaced: some reverse the text after them."""
    visible = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(value))
    return html.escape(visible, quote=True)


def number(value: float | np.ndarray, text: str) -> Html:
    """A number: text for people, all digits for programs."""
    return element("data", text, value=repr(float(value)))


def picture(png: bytes, alt: str, caption: str, anchor: str) -> Html:
    """A picture stored in the page.  Its PNG has 150 dots an inch; a page has 96.

    A tap shows it in its full size, over the page: the figure is then the target of a link, and
    page.css does the rest, without scripts or other files.
    """
    width, height = (round(n * 96 / 150) for n in struct.unpack(">II", png[16:24]))
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    image = element("img", src=source, alt=alt, width=width, height=height)
    larger = element("a", image, href=f"#{anchor}", class_="larger")
    back = element("a", "close", href=f"#{anchor}-caption", class_="close")
    below = element("figcaption", caption, id=f"{anchor}-caption")
    return element("figure", back, larger, below, id=anchor)


def table(
    headings: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    class_: str | None = None,
    row_classes: Iterable[str | None] = itertools.repeat(None),
) -> Html:
    """A table, with a scroll bar of its own where it is wider than the page."""
    head = element("tr", *[_cell("th", heading, scope="col") for heading in headings])
    lines = [
        element("tr", *[_cell("td", cell) for cell in row], class_=name)
        for row, name in zip(rows, row_classes, strict=False)
    ]
    many = "many" if len(headings) > MANY else None
    classes = " ".join(filter(None, [class_, many])) or None
    body = element("table", element("thead", head), element("tbody", *lines), class_=classes)
    scroll = "scroll long" if len(rows) > LONG else "scroll"
    return element("div", body, class_=scroll, tabindex="0")


def _cell(tag: str, cell: Any, **attributes: Any) -> Html:
    right = isinstance(cell, Right)
    content = cell.content if right else cell
    wide = not isinstance(content, Html) and len(str(content)) > WIDE
    kind = "n" if right else "wide" if wide else None
    return element(tag, content, class_=kind, **attributes)
