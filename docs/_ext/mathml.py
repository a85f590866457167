"""Sphinx extension: formulas as MathML, written when the site is built.

Browsers draw MathML themselves: no script, no fonts, no request.
"""

import html
import re
import xml.etree.ElementTree as ET
from itertools import zip_longest

from latex2mathml.converter import convert
from sphinx.util import logging

log = logging.getLogger(__name__)

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ROWS = {f"{{{NAMESPACE}}}{tag}" for tag in ("math", "mrow", "mstyle", "mtd", "msqrt")}
SCRIPTS = {f"{{{NAMESPACE}}}{tag}" for tag in ("msub", "msup", "msubsup", "munder", "munderover")}
BRACKETS = "()[]{}|,.\u2016\u2223"


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
    return _space_functions(text)


def _space_functions(text: str) -> str:
    """MathML with thin spaces around names of functions: `log p`, as TeX sets it, and not `logp`.

    latex2mathml writes \\log as an identifier, and browsers put no space around identifiers.
    """
    ET.register_namespace("", NAMESPACE)
    root = ET.fromstring(text)
    for row in [element for element in root.iter() if element.tag in ROWS]:
        elements, spaced = list(row), []
        for element, after in zip_longest(elements, elements[1:]):
            function = _is_function(element)
            # An operator before it has spaces of its own.
            if function and spaced and (_is_letter(spaced[-1]) or _text(spaced[-1]) == "\u2207"):
                spaced.append(_thin_space())
            spaced.append(element)
            if function and after is not None and _text(after)[:1] not in BRACKETS:
                spaced.append(_thin_space())
        row[:] = spaced
    return ET.tostring(root, encoding="unicode")


def _text(element) -> str:
    return "".join(element.itertext())


def _is_letter(element) -> bool:
    return not element.tag.endswith(("}mo", "}mspace", "}munder", "}munderover"))


def _is_function(element) -> bool:
    """Whether it is a name of several letters, or such a name with a subscript."""
    name = element[0] if element.tag in SCRIPTS and len(element) else element
    return name.tag == f"{{{NAMESPACE}}}mi" and len(_text(name)) > 1 and _text(name).isalpha()


def _thin_space():
    return ET.Element(f"{{{NAMESPACE}}}mspace", width="0.167em")


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
