"""Loggers: callables on a segment that write it somewhere, and that never end the training."""

import warnings
from typing import Any

from purejaxvpg.fields import first_line
from purejaxvpg.loggers.segment import Segment


class Logger:
    """A logger: pass it as `on_segment=`.  It may be closed and called again; it goes on then.

    A class of its own for another place to log to needs `write` alone.  An error in it (a full
    disk, a network that is gone) is one warning, and the training goes on without this logger.
    """

    name = "the log"  # for the warning
    failed = False

    def write(self, segment: Segment) -> None:
        """Write a segment."""
        raise NotImplementedError

    def sync(self) -> None:
        """Have everything so far on the disk: a checkpoint is about to be."""

    def end(self) -> None:
        """Close files and connections."""

    def __call__(self, segment: Segment) -> Any:
        """Write a segment, or warn."""
        self._guarded(self.write, segment)

    def keep(self) -> None:
        """`sync`, or warn."""
        self._guarded(self.sync)

    def close(self) -> None:
        """`end`, or warn."""
        self._guarded(self.end)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _guarded(self, call: Any, *args: Any) -> None:
        if self.failed:
            return
        try:
            call(*args)
        except Exception as error:  # of the disk, the network, the library: not of the training
            self.failed = True
            warnings.warn(
                f"{self.name} could not be written ({first_line(error)}); the training goes on "
                f"without it, and its results are kept as ever",
                stacklevel=3,
            )


class Together(Logger):
    """Several hooks as one: loggers, and any callables on a segment.

    It stops the training when one of them returns True.  Errors of callables come through.
    """

    def __init__(self, *hooks: Any):
        for hook in hooks:
            if not callable(hook):
                raise TypeError(
                    f"{hook!r} is no hook; accepted: loggers and callables on a Segment"
                )
        self.hooks = hooks

    def __call__(self, segment: Segment) -> bool:
        """Call them all, in order.  Returns: whether one wants to stop."""
        answers = [hook(segment) for hook in self.hooks]
        return any(map(stops, answers))

    def keep(self) -> None:
        """`keep` of each logger."""
        for hook in self.hooks:
            if isinstance(hook, Logger):
                hook.keep()

    def close(self) -> None:
        """`close` of each logger."""
        for hook in self.hooks:
            if isinstance(hook, Logger):
                hook.close()


def stops(answer: Any) -> bool:
    """Whether a hook's answer is True: Python's, numpy's or jax's, and nothing else."""
    return (answer.tolist() if hasattr(answer, "tolist") else answer) is True
