"""Vanilla policy gradient as one pure, compiled JAX function."""

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
