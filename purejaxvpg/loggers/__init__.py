"""Loggers: fed by the host between compiled segments, one series a run (a setting and a seed).

    from purejaxvpg import experiment, loggers

    log = loggers.Together(loggers.TensorBoard("logs"), loggers.WandB("my-project"), my_function)
    experiment.train(config, num_seeds=4, folder="runs/a", on_segment=log)

Jsonl         lines of JSON; a study with a folder has them in `metrics.jsonl` by itself
TensorBoard   event files (extra `tensorboard`)
WandB         Weights & Biases, online or offline (extra `wandb`)
Together      several of them, and any callables on a Segment
Logger        the class of one of your own
Segment, rows what a hook is called with, and its points under the names of docs/logging.md
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejaxvpg.loggers.base import Logger, Together
    from purejaxvpg.loggers.jsonl import Jsonl
    from purejaxvpg.loggers.names import rows
    from purejaxvpg.loggers.segment import Segment
    from purejaxvpg.loggers.tensorboard import TensorBoard
    from purejaxvpg.loggers.wandb import WandB

__all__ = ["Jsonl", "Logger", "Segment", "TensorBoard", "Together", "WandB", "rows"]

_HOME = {
    "base": ("Logger", "Together"),
    "jsonl": ("Jsonl",),
    "names": ("rows",),
    "segment": ("Segment",),
    "tensorboard": ("TensorBoard",),
    "wandb": ("WandB",),
}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used: the import of the package needs no jax."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"purejaxvpg.loggers.{module}"), name)
    raise AttributeError(f"module 'purejaxvpg.loggers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
