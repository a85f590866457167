"""Sphinx extension: formulas as MathML, written when the site is built.

Browsers draw MathML themselves: no script, no fonts, no request.
"""

import html
import re

from latex2mathml.converter import convert
from sphinx.util import logging

log = logging.getLogger(__name__)


def mathml(latex: str, display: str) -> str:
    """A formula as MathML.

    Args: display: block or inline.
    Raises: ValueError for a command that is not known.
    """
    # latex2mathml knows align*, and numbers the lines of align; Sphinx numbers formulas itself.
    latex = re.sub(r"\\(begin|end)\{(align|aligned|split)\}", r"\\\1{align*}", latex.strip())
    if re.search(r"\\\\|(?<!\\)&", _outside(latex)):  # lines, as Sphinx's other renderers take them
        latex = f"\\begin{{align*}}{latex}\\end{{align*}}"
    try:
        text = convert(latex, display=display)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    unknown = re.findall(r">\s*(\\\w+|&)", html.unescape(text))
    if unknown:
        raise ValueError(f"not known: {' '.join(unknown)}")
    return text


def _outside(latex: str) -> str:
    """A formula without its environments (cases, aligned, ...), whose lines are their own."""
    environment = re.compile(r"\\begin\{([^}]*)\}((?!\\begin).)*?\\end\{\1\}", re.DOTALL)
    while (shorter := environment.sub("", latex)) != latex:
        latex = shorter
    return latex


def _write(translator, node, display: str) -> str:
    latex = node.astext()
    try:
        return mathml(latex, display)
    except ValueError as error:
        log.warning("formula %r cannot be drawn: %s", latex, error, location=node, type="mathml")
        return f"<code>{html.escape(latex)}</code>"


def visit_inline(translator, node) -> None:
    from docutils import nodes

    translator.body.append(_write(translator, node, "inline"))
    raise nodes.SkipNode


def visit_block(translator, node) -> None:
    from docutils import nodes

    # MyST's wrapper around a labelled formula has the label's id already.
    ids = [x for x in node["ids"] if x not in node.parent.get("ids", [])]
    translator.body.append(translator.starttag(nodes.Element(ids=ids), "div", CLASS="math"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({node["number"]})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(_write(translator, node, "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
