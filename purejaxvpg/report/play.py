"""The policy at play: an animation in the page, or a link to it."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

from purejaxvpg.experiment.animation import is_ours, note_of
from purejaxvpg.report.markup import Html, element
from purejaxvpg.report.texts import words

MOST_BYTES = 5_000_000  # of an animation in the page
TYPES = {".gif": "image/gif", ".svg": "image/svg+xml"}  # pictures that move


def section(path: Path, folder: Path) -> Html:
    """The animation, with the words that it carries.

    Args: folder: of the page, where links start.
    Raises: ValueError, in one line, for a file that is no animation of this package.
    """
    if not is_ours(path):
        raise ValueError(f"{path} is no animation of this package; see: purejaxvpg render --help")
    data = path.read_bytes()
    caption = words("play", "episodes", note=note_of(data) or words("play", "policy"))
    if path.suffix in TYPES and len(data) <= MOST_BYTES:
        source = f"data:{TYPES[path.suffix]};base64,{base64.b64encode(data).decode()}"
        shown = element("img", src=source, alt=words("play", "picture"))
    else:
        address = quote(os.path.relpath(path, folder).replace(os.sep, "/"))
        shown = element("p", element("a", path.name, href=address))
    return element("figure", shown, element("figcaption", caption))
