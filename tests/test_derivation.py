"""The page docs/derivation.md: its quotes stand in the source, its cells run, and its figures and
numbers are what they compute (the numbers in its text are asserted by its cells)."""

import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "derivation.md"
TEXT = PAGE.read_text()
QUOTES = re.findall(r"^```py\n# (\S+)\n(.*?)^```$", TEXT, re.M | re.S)


@pytest.fixture
def figures(monkeypatch):
    """The module docs/_lib/figures.py, as the page imports it: beside the page."""
    monkeypatch.chdir(PAGE.parent)
    monkeypatch.syspath_prepend(PAGE.parent / "_lib")
    monkeypatch.delitem(sys.modules, "figures", raising=False)
    monkeypatch.delenv("PUREJAXVPG_DRAW_FIGURES", raising=False)
    with matplotlib.rc_context():
        import figures  # type: ignore[import-not-found]

        yield figures
    sys.modules.pop("figures", None)


def execute(figures, training: bool) -> dict:
    """The page's cells from top to bottom, in one namespace."""
    namespace: dict = {}
    cells = figures.code_cells(PAGE)
    assert len(cells) == len(re.findall(r"^```\{code-cell\}", TEXT, re.M)) > 10
    for number, (options, code) in enumerate(cells, 1):
        if training or "training" not in options:
            exec(compile(code, f"cell {number} of {PAGE.name}", "exec"), namespace)
    return namespace


def test_every_quote_stands_in_its_file():
    assert len(QUOTES) == TEXT.count("```py\n") >= 18
    assert {"advantages", "vpg", "categorical", "gaussian", "optimize"} <= {
        Path(file).stem for file, _ in QUOTES
    }
    for file, lines in QUOTES:
        assert lines in (ROOT / file).read_text(), f"{file} has no such lines:\n{lines}"


def test_every_figure_is_there_shown_and_drawn_by_a_cell():
    shown = set(re.findall(r"\]\((derivation/\w+\.png)\)", TEXT))
    drawn = {f"{path}.png" for path in re.findall(r'show\(page, "([^"]+)"', TEXT)}
    files = {f"derivation/{file.name}" for file in (PAGE.parent / "derivation").iterdir()}
    assert shown == drawn == files
    assert len(shown) >= 7


def test_the_page_links_to_files_of_the_repository_and_goes_in_order():
    assert all((PAGE.parent / x).exists() for x in re.findall(r"\]\((\.\./[^)]+)\)", TEXT))
    numbers = [int(n) for n in re.findall(r"^## (\d+)\. ", TEXT, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_cells_are_as_wide_as_a_page(figures):
    """Longer lines are cut on the site, or scroll."""
    lines = [line for _, code in figures.code_cells(PAGE) for line in code.splitlines()]
    assert [line for line in lines if len(line) > 88] == []


def test_a_figure_of_other_numbers_is_refused(figures):
    """The figure of the baseline's curve, moved by more than the tolerance."""
    page, (axes,) = figures.figure(1)
    with figures.Image.open(PAGE.parent / "derivation" / "baseline.png") as image:
        curves = figures.json.loads(image.info["curves"])
    for curve in curves:
        axes.plot(curve)
    figures.show(page, "derivation/baseline")
    axes.lines[0].set_ydata(1.02 * np.array(curves[0]))
    with pytest.raises(AssertionError, match=r"figures\.py"):
        figures.show(page, "derivation/baseline")


def test_cells_that_train_nothing_say_what_is_so(figures):
    namespace = execute(figures, training=False)
    assert namespace["ladder"]["td"][2] > 0.4  # the last of them: cells above it have run


@pytest.mark.slow
def test_the_whole_page_runs(figures):
    execute(figures, training=True)
