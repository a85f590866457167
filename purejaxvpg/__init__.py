"""Vanilla policy gradient as one pure, compiled JAX function."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejaxvpg import envs, presets
    from purejaxvpg.config import Hyperparams, VPGConfig
    from purejaxvpg.evaluate import Evaluation, make_evaluate
    from purejaxvpg.state import Metrics, TrainResult, TrainState
    from purejaxvpg.train import make_segment, make_train
    from purejaxvpg.vpg import Learner, make_learner

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "Hyperparams",
    "Learner",
    "Metrics",
    "TrainResult",
    "TrainState",
    "VPGConfig",
    "envs",
    "make_evaluate",
    "make_learner",
    "make_segment",
    "make_train",
    "presets",
]

_HOME = {
    "config": ("Hyperparams", "VPGConfig"),
    "evaluate": ("Evaluation", "make_evaluate"),
    "state": ("Metrics", "TrainResult", "TrainState"),
    "train": ("make_segment", "make_train"),
    "vpg": ("Learner", "make_learner"),
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `purejaxvpg --help` need not wait for
    jax, and so that the command line can set up jax before it is imported."""
    if name in ("envs", "presets"):
        return importlib.import_module(f"purejaxvpg.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"purejaxvpg.{module}"), name)
    raise AttributeError(f"module 'purejaxvpg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
