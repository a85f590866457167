"""Progress of a study as text: on one line of a terminal, or as lines of a log."""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

import numpy as np

from purejaxvpg.experiment.progress import Progress

Hook = Callable[[Progress], None]
FIRST, LONGEST = 10.0, 600.0  # seconds before the first line of a log, and between two at most


def cut(text: str, most: int = 120) -> str:
    """The text, or its beginning and an ellipsis: at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def duration(seconds: float) -> str:
    """Seconds as text: 93 -> "1 min 33 s"; "?" if they are not finite."""
    if not np.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def words(now: Progress, steps: bool = True) -> str:
    """The progress in a line: runs, steps (if wanted), steps/s, return, time left."""
    pieces = [f"{now.runs_done:,} of {now.num_runs:,} runs"] if now.num_runs > 1 else []
    if steps and (total := now.steps_done + now.steps_left):
        pieces.append(f"{now.steps_done:,} of {total:,} steps")
    if now.status != "running":
        pieces.append(now.status)
    elif now.steps_per_second:
        pieces.append(f"{now.steps_per_second:,.0f} steps/s")
        if np.isfinite(now.mean_return):
            pieces.append(f"mean return {now.mean_return:.1f}")
        measured = now.steps_done >= now.steps_per_second  # a second of it: a first update is slow
        if measured and 1000 * now.steps_done >= now.steps_done + now.steps_left:  # no wild guess
            pieces.append(f"{duration(now.steps_left / now.steps_per_second)} left")
    return ", ".join(pieces)


class Lines:
    """Shows progress on a stream: rewrites one line of a terminal; elsewhere writes a line after
    10 s, 20 s, 40 s, ... and then every 10 minutes.

    A stream that cannot be written is left alone: a line less is no reason to end a study.

    Args: stream: None: stderr.  clock: seconds that pass.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream, clock
        self._begun, self._due = clock(), FIRST

    def show(self, now: Progress) -> None:
        """Show it, if a line is due."""
        stream = self._stream or sys.stderr
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, None
            if stream.isatty():
                columns = max(shutil.get_terminal_size().columns - 1, 1)
                done = 0 < now.runs_done == now.num_runs  # the study, or a rung of it
                stream.write(f"\r\x1b[K{words(now)[:columns]}" + "\n" * done)
            else:
                passed = self._clock() - self._begun
                if passed < self._due:
                    return
                self._due = passed + min(passed, LONGEST)
                hours, rest = divmod(int(passed), 3600)
                print(f"[{hours}:{rest // 60:02}:{rest % 60:02}] {words(now)}", file=stream)
            stream.flush()


def shown(progress: bool | None, on_progress: Hook | None) -> Hook | None:
    """The hook to tell of progress: the user's, and a display on stderr.

    Args: progress: whether there is a display; None: unless the user has a hook.

    Raises: TypeError for another `progress`.
    """
    if progress is not None and not isinstance(progress, bool):
        raise TypeError(f"progress={progress!r} has the wrong type; accepted: True, False or None")
    if not (on_progress is None if progress is None else progress):
        return on_progress
    lines = Lines()

    def both(now: Progress) -> None:
        lines.show(now)
        if on_progress is not None:
            on_progress(now)

    return both
