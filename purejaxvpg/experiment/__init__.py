"""Experiments: one run or a whole study, with everything that is kept of it.

    from purejaxvpg.experiment import LogUniform, load_study, sweep, train

train          one setting with S seeds
sweep          settings x seeds
search         settings that earlier scores suggest
load_run       read a run folder: config, seeds, metrics [S, U], their steps, policies
load_study     read a run or study folder: the same of all settings
merge          shards of a study, put together
save_policy, load_policy   a policy that travels
play, write_animation      whole episodes of a policy, as pictures
Study, Run     every metric of every run, of all settings or of one
Segment, Progress          what hooks are called with
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejaxvpg.experiment.animation import write_animation
    from purejaxvpg.experiment.folder import load_study
    from purejaxvpg.experiment.merging import merge
    from purejaxvpg.experiment.playing import play
    from purejaxvpg.experiment.policy_files import load_policy, save_policy
    from purejaxvpg.experiment.progress import Progress
    from purejaxvpg.experiment.run import Run, load_run
    from purejaxvpg.experiment.searching import search
    from purejaxvpg.experiment.segments import Segment
    from purejaxvpg.experiment.study import Study
    from purejaxvpg.experiment.sweeping import sweep, train
    from purejaxvpg.ranges import Choice, LogUniform, Uniform

__all__ = [
    "Choice",
    "LogUniform",
    "Progress",
    "Run",
    "Segment",
    "Study",
    "Uniform",
    "load_policy",
    "load_run",
    "load_study",
    "merge",
    "play",
    "save_policy",
    "search",
    "sweep",
    "train",
    "write_animation",
]

_HOME = {
    "animation": ("write_animation",),
    "folder": ("load_study",),
    "merging": ("merge",),
    "playing": ("play",),
    "policy_files": ("load_policy", "save_policy"),
    "progress": ("Progress",),
    "run": ("Run", "load_run"),
    "searching": ("search",),
    "segments": ("Segment",),
    "study": ("Study",),
    "sweeping": ("sweep", "train"),
}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used: a schedule or a shard needs no jax."""
    if name in ("Choice", "LogUniform", "Uniform"):
        return getattr(importlib.import_module("purejaxvpg.ranges"), name)
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"purejaxvpg.experiment.{module}"), name)
    raise AttributeError(f"module 'purejaxvpg.experiment' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
