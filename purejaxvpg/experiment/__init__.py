"""Experiments: one run or a whole study, with what is kept of it.

from purejaxvpg.experiment import LogUniform, load_study, search, sweep
"""

from purejaxvpg.experiment.grid import Choice, LogUniform, Uniform
from purejaxvpg.experiment.store import load_study, merge
from purejaxvpg.experiment.study import Study
from purejaxvpg.experiment.suggest import search
from purejaxvpg.experiment.sweep import SweepProgress, sweep

__all__ = [
    "Choice",
    "LogUniform",
    "Study",
    "SweepProgress",
    "Uniform",
    "load_study",
    "merge",
    "search",
    "sweep",
]
