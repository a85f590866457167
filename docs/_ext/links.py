"""Sphinx extension: links of pages to what is not part of the site.

On a code host a page may link to any file or folder of the repository. In the site the texts that
are pages here too are linked as such, other files are copied beside it (MyST does that), and of a
folder, or of a notebook that is no page, only the words stay.
"""

import re

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def rewrite(text: str) -> str:
    """A page's text with its links to `../`, from docs/, as the site can follow them."""
    for name, page in PAGES.items():
        text = re.sub(rf"\]\(\.\./{re.escape(name)}(?=[)#])", f"]({page}", text)
    return re.sub(r"\[([^\]\n]*)\]\(\.\./(?:[^)\s]*(?:/|\.ipynb))?\)", r"\1", text)


def process(app, name, source) -> None:
    """Sphinx's hook: a page was read."""
    source[0] = rewrite(source[0])


def setup(app):
    app.connect("source-read", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
