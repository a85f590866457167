"""The documentation's site: its extensions, one by one, and the whole build."""

import importlib
import re
import subprocess
import sys

import pytest
from support import pages

BUILD = ("sphinx", "furo", "myst_nb", "latex2mathml")


@pytest.fixture
def extension(monkeypatch):
    """An extension of docs/_ext, imported."""
    monkeypatch.syspath_prepend(pages.DOCS / "_ext")
    return importlib.import_module


DOCSTRING = """Something *starred*, `Thing` and `[T, N]`.

    R_t = sum_k r_{t+k}
    b

first    one
second   two

Returns: a pair.  Raises: ValueError: with a colon.
Source: a book, 1998.
"""


def test_docstrings_become_fields_code_and_links(extension):
    lines = extension("docstrings").convert(DOCSTRING.split("\n"))
    assert lines == [
        r"Something \*starred\*, \ :py:obj:`Thing`\  and \ ``[T, N]``\ .", "",
        ".. code-block:: text", "",
        "        R_t = sum_k r_{t+k}", "        b", "",
        "    first    one", "    second   two", "",
        ":Returns: a pair.",  "",
        ":Raises: ValueError: with a colon.", "",
        ":Source: a book, 1998.", "",
    ]  # fmt: skip


def test_items_of_a_section_are_a_list(extension):
    convert = extension("docstrings").convert
    text = "Args:\n  env: a name,\n    or none. b: not one\n  key, hp: as in `x`."
    assert convert(text.split("\n")) == [
        ":Parameters:",
        r"    - \ :py:obj:`env`\ : a name, or none. b: not one",
        r"    - \ ``key, hp``\ : as in \ :py:obj:`x`\ .",
        "",
    ]
    assert convert(["Args: hp: one."])[1] == r"    - \ :py:obj:`hp`\ : one."
    assert convert(["Args: as in `make`."]) == [r":Parameters: as in \ :py:obj:`make`\ .", ""]


def test_fields_of_tuples_are_explained_by_their_comments(extension):
    module, lines = extension("docstrings"), ["Alias for field number 1"]
    module.process(None, "attribute", "purejaxvpg.advantages.Trajectory.values", None, None, lines)
    assert lines == [r"V(s\_t)", ""]


def test_links_out_of_the_site(extension):
    rewrite = extension("links").rewrite
    assert (
        rewrite("[a](../README.md#x) [b](../CHANGELOG.md)") == "[a](index.md#x) [b](changelog.md)"
    )
    assert rewrite("see [examples](../examples/), [code](../purejaxvpg/vpg.py)") == (
        "see examples, [code](../purejaxvpg/vpg.py)"
    )
    assert rewrite("[tour.ipynb](../examples/tour.ipynb)") == "tour.ipynb"


def test_formulas_become_mathml_or_are_refused(extension):
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install .[docs]")
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install .[docs]")
    mathml = extension("mathml").mathml
    assert "<msub><mi>s</mi><mi>t</mi></msub>" in mathml("s_t", "inline")
    lines = mathml(r"a &= b \\ &= \begin{cases} 1 & x \\ 0 & y \end{cases}", "block")
    assert lines.count("<mtable") == 2
    assert "&</" not in lines
    assert mathml(r"\begin{align} a &= b \\ &= c \end{align}", "block").count("<mtr>") == 2
    with pytest.raises(ValueError, match=r"not known: \\foo"):
        mathml(r"\foo x", "inline")
    space = '<mspace width="0.167em" />'
    formula = mathml(r"\nabla\log p = 2\log(x)", "inline")
    assert f"<mo>∇</mo>{space}<mi>log</mi>{space}<mi>p</mi><mo>=</mo>" in formula
    assert f'<mn>2</mn>{space}<mi>log</mi><mo stretchy="false">(</mo>' in formula
    assert f"<mi>log</mi><mn>2</mn></msub>{space}<mi>x</mi>" in mathml(r"\log_2 x", "inline")


# Attributes with which a browser asks the network by itself (a link that is followed is none).
ASKS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)=[\"'](?:https?:)?//"
    r"|<link\b(?![^>]*rel=[\"'](?:canonical|author|license|next|prev))[^>]*href=[\"'](?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning_and_asks_the_network_for_nothing(tmp_path):
    for library in BUILD:
        pytest.importorskip(library, reason=f"{library} is not installed: pip install .[docs]")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
         "-d", tmp_path / "doctrees", pages.DOCS, tmp_path / "html"],
        capture_output=True, text=True, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    written = [p for kind in ("html", "css") for p in (tmp_path / "html").rglob(f"*.{kind}")]
    assert len(written) > len(pages.pages())
    for path in written:
        assert not (asked := ASKS.search(path.read_text())), f"{path.name}: {asked[0]}"
    names = {p.stem for p in (tmp_path / "html").glob("*.html")}
    assert names >= {page.removesuffix(".md") for page in pages.pages()}
    # The reference has what the package has.
    import purejaxvpg
    from purejaxvpg import advantages, agent, envs, experiment, statistics

    for module in (purejaxvpg, agent, envs, experiment, statistics):
        page = "purejaxvpg" if module is purejaxvpg else module.__name__.rpartition(".")[2]
        text = (tmp_path / "html" / "api" / f"{page}.html").read_text()
        for name in module.__all__:
            if not callable(getattr(module, name)):  # a module, or a number
                continue
            assert f'id="{module.__name__}.{name}"' in text, name
    text = (tmp_path / "html" / "api" / "advantages.html").read_text()
    for name in advantages.ESTIMATORS:
        assert f'id="purejaxvpg.advantages.{name}"' in text
