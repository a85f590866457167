"""Tables, plots and the HTML page of a study; runs, studies and other libraries side by side.

    from purejaxvpg.report import compare, plot_curves, write_report

plot_curves    learning curves of runs and studies in one figure, for a paper
compare        their scores, and those of other libraries, in one table
write_report   the page of a study
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejaxvpg.report.comparison import compare
    from purejaxvpg.report.overlay import plot_curves
    from purejaxvpg.report.page import write_report

__all__ = ["compare", "plot_curves", "write_report"]

_HOME = {"compare": "comparison", "plot_curves": "overlay", "write_report": "page"}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"purejaxvpg.report.{_HOME[name]}"), name)
    raise AttributeError(f"module 'purejaxvpg.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
