"""Sphinx extension: our docstrings, which are plain text for `help()`, as reStructuredText.

    `name`                       code, and a link where the name is documented
    indented lines, columns      shown as they stand
    Args: Returns: Raises: ...   fields; items of Args are `name: text`

So a docstring needs no markup, and none is needed to read it in a terminal.
"""

import importlib
import inspect
import re
import sys
import textwrap

SECTIONS = r"Args|Returns|Raises|Warns|Yields|Source|Sources|Fields"
_HEAD = re.compile(rf"({SECTIONS})( \([^)]*\))?:(?: +|(?=\n)|$)")
_SPLIT = re.compile(rf"(?<=[.)])(?:  +|\n+)(?=(?:{SECTIONS})(?: \([^)]*\))?:\s)")
_ITEM = re.compile(r"(\w+(?:, \w+)*(?: \([^:]*\))?):\s+(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def convert(lines: list[str]) -> list[str]:
    """The lines of a docstring (without its indentation) as lines of reStructuredText."""
    out: list[str] = []
    for paragraph in _paragraphs(lines):
        text = "\n".join(paragraph)
        if _HEAD.match(text):
            out += [*_section(text), ""]
        elif _is_literal(paragraph):
            out += _literal(paragraph, joined=out[-1:] == [""] and out[-2:-1] == [_END])
        elif paragraph[0].startswith("- "):
            out += [_inline(line) for line in paragraph] + [""]
        else:
            out += [*_inline(text).split("\n"), ""]
    return [line for line in out if line != _END]


_END = ".. end of lines shown as they stand"  # never written: tells where one may be gone on with


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """Lines between empty ones, and each section apart."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    texts = ["\n".join(paragraph) for paragraph in found if paragraph]
    return [part.split("\n") for text in texts for part in _SPLIT.split(text)]


def _is_literal(paragraph: list[str]) -> bool:
    """Whether all lines are indented, or columns stand side by side."""
    indented = all(line.startswith("  ") for line in paragraph)
    columns = [bool(re.search(r"\S {3,}\S", line)) for line in paragraph]
    return indented or any(columns)


def _literal(paragraph: list[str], joined: bool) -> list[str]:
    """A block that is shown as it stands; `joined` to the one before it."""
    block = textwrap.indent("\n".join(paragraph), "    ").split("\n")
    head = [] if joined else [".. code-block:: text", ""]
    return [*head, *block, _END, ""]


def _section(text: str) -> list[str]:
    """`Args: ...` and its kin as a field."""
    head = _HEAD.match(text)
    assert head
    name = {"Args": "Parameters", "Sources": "Source"}.get(head[1], head[1]) + (head[2] or "")
    rest = text[head.end() :].rstrip()
    items = _items(rest) if head[1] in ("Args", "Fields") else []
    if not items:
        return [f":{name}: {_inline(' '.join(rest.split()))}"]
    body = [f"    - {_inline(item)}" for item in items]
    return [f":{name}:", *body]


def _items(text: str) -> list[str]:
    """Each `name: text`, on one line, its name as code; [] for text that begins with none.

    Text that begins behind its section's name is one item; else each stands on lines of its own.
    """
    if not text.startswith("\n"):
        several = [" ".join(text.split())]
    else:
        lines = textwrap.dedent(text).strip("\n").split("\n")
        several = []
        for line in lines:
            if line.startswith(" ") or not (several and _ITEM.match(line)):
                several[-1:] = [" ".join([*several[-1:], line.strip()])]
            else:
                several.append(line)
    items = [_ITEM.match(item) for item in several]
    return [f"`{item[1]}`: {item[2]}" for item in items if item] if all(items) else []


def _inline(text: str) -> str:
    """Code between backticks; every other character stands for itself."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(_code(x) if x.startswith("`") and len(x) > 2 else _escape(x) for x in pieces)


def _code(piece: str) -> str:
    code = " ".join(piece.strip("`").split())
    # A role must end where a word does.
    return f"\\ :py:obj:`{code}`\\ " if _NAME.fullmatch(code) else f"\\ ``{code}``\\ "


def _escape(text: str) -> str:
    return re.sub(r"([\\*|_`<>])", r"\\\1", text)


def _comment_of(name: str) -> str | None:
    """The comment behind a field of a NamedTuple, by the field's dotted name."""
    module, cls, field = name.rsplit(".", 2)
    source = inspect.getsource(getattr(importlib.import_module(module), cls))
    found = re.search(rf"^ +{field}: [^#\n]*# *(.*)$", source, re.MULTILINE)
    return found[1] if found else None


def process(app, kind, name, obj, options, lines) -> None:
    """autodoc's hook."""
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = [_comment_of(name) or ""]
    lines[:] = convert(lines)


def name_array_like() -> None:
    """ArrayLike is shown by its name, and not as the eight types that it stands for."""
    from jax.typing import ArrayLike
    from sphinx.util import typing

    original = typing.stringify_annotation

    def stringify(annotation, *args, **kwargs):
        if annotation == ArrayLike:
            return "ArrayLike"
        return original(annotation, *args, **kwargs)

    for module in list(sys.modules.values()):  # those that have imported it
        if getattr(module, "stringify_annotation", None) is original:
            module.stringify_annotation = stringify


def setup(app):
    name_array_like()
    app.connect("autodoc-process-docstring", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
