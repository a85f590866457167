"""Vanilla policy gradient as one pure, compiled JAX function.

make_train, make_learner, make_segment, make_evaluate    the algorithm, as pure functions
VPGConfig, Hyperparams                                   its settings, static and traced
Conv          flax's convolution, fast on a CPU: for torsos of your own
experiment    train, sweep, search: with everything that is kept of them
loggers       JSON lines, TensorBoard, Weights & Biases
statistics    honest numbers over seeds and settings
envs          environments by name, and your own
presets       tuned settings: `config, hp = presets.load(env)`
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejaxvpg import envs, experiment, loggers, presets, statistics
    from purejaxvpg.agent.torsos import Conv
    from purejaxvpg.config import Hyperparams, VPGConfig
    from purejaxvpg.evaluate import make_evaluate
    from purejaxvpg.state import Evaluation, Metrics, TrainResult, TrainState
    from purejaxvpg.train import make_segment, make_train
    from purejaxvpg.vpg import Learner, make_learner

    __version__: str

__all__ = [
    "Conv",
    "Evaluation",
    "Hyperparams",
    "Learner",
    "Metrics",
    "TrainResult",
    "TrainState",
    "VPGConfig",
    "envs",
    "experiment",
    "loggers",
    "make_evaluate",
    "make_learner",
    "make_segment",
    "make_train",
    "presets",
    "statistics",
]

_ROOMS = ("envs", "experiment", "loggers", "presets", "statistics")
_HOME = {
    "agent.torsos": ("Conv",),
    "config": ("Hyperparams", "VPGConfig"),
    "evaluate": ("make_evaluate",),
    "state": ("Evaluation", "Metrics", "TrainResult", "TrainState"),
    "train": ("make_segment", "make_train"),
    "vpg": ("Learner", "make_learner"),
}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used, so that `purejaxvpg --help` need not wait for
    jax, and so that the command line can set up jax before it is imported."""
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("purejaxvpg")
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            return "0+unknown"
    if name in _ROOMS:
        return importlib.import_module(f"purejaxvpg.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"purejaxvpg.{module}"), name)
    raise AttributeError(f"module 'purejaxvpg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
