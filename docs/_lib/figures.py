"""Figures of a page that is executed: kept beside it, and compared whenever the page runs.

A site shows what cells print and draw; a code host shows the page as it is, with the figures that
lie in the folder of the page's name.  `show` draws them into that folder when it is asked to, and
otherwise compares: each PNG holds the numbers that were drawn, and a cell that draws others fails.

    python docs/_lib/figures.py docs/derivation.md      draws the figures of a page anew
"""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

DRAW = "PUREJAXVPG_DRAW_FIGURES"  # environment variable: set, figures are drawn and not compared
STYLE = {
    "axes.grid": True, "axes.spines.right": False, "axes.spines.top": False, "font.size": 9,
    "axes.titlesize": 9, "grid.alpha": 0.3, "legend.frameon": False, "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
}  # fmt: skip
rcParams.update(STYLE)  # type: ignore[arg-type]


def figure(columns: int, height: float = 2.6, **options) -> tuple[Figure, list]:
    """A white figure, readable on dark pages too, and its axes in one row."""
    page = Figure(figsize=(8, height), layout="constrained")
    return page, list(page.subplots(1, columns, squeeze=False, **options)[0])


def show(page: Figure, path: str, tolerance: float | None = 0.01) -> None:
    """Draw the figure to `docs/<path>.png`, or check that the one there shows the same numbers.

    Args:
      tolerance: largest difference, as a part of the largest number of the curve.  None for curves
        that differ between machines: their number and lengths are compared alone.

    Raises: AssertionError for a figure that is missing or shows other numbers.
    """
    file = Path(__file__).parent.parent / f"{path}.png"
    drawn = [
        np.asarray(line.get_ydata(), float).tolist() for axes in page.axes for line in axes.lines
    ]
    if os.environ.get(DRAW):
        file.parent.mkdir(exist_ok=True)
        rounded = [[float(f"{y:.4g}") for y in curve] for curve in drawn]
        page.savefig(file, dpi=120, metadata={"Software": "", "curves": json.dumps(rounded)})
        return
    remedy = f"{file.name} is not what the page draws; python docs/_lib/figures.py PAGE draws it"
    assert file.exists(), remedy
    with Image.open(file) as image:
        before = json.loads(image.info["curves"])
    assert [len(x) for x in before] == [len(x) for x in drawn], remedy
    for old, new in zip(before, drawn, strict=True):
        if tolerance is not None and new:
            scale = np.abs(new).max() + 1e-9
            assert np.allclose(old, new, rtol=0, atol=tolerance * scale), remedy


def code_cells(page: Path) -> list[tuple[str, str]]:
    """The code cells of a page, from top to bottom: (tags and other options, code)."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", page.read_text(), re.M | re.S)
    split = (re.match(r"((?::[^\n]*\n)*)(.*)", cell, re.S) for cell in cells)
    return [match.groups() for match in split if match]  # type: ignore[misc]


if __name__ == "__main__":
    os.environ[DRAW] = "1"
    asked = Path(sys.argv[1]).resolve()
    os.chdir(asked.parent)
    namespace: dict = {}
    for _, code in code_cells(asked):
        exec(code, namespace)
