"""The console, errors as one line, and signals: shared by every command."""

import contextlib
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from purejaxvpg.experiment.memory import is_out_of_memory

console = Console()


def say(*lines: str) -> None:
    """Print lines that are not wrapped: paths and commands are copied from them."""
    for line in lines:
        console.print(line, soft_wrap=True)


PACKAGE = Path(__file__).parent.parent


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show each warning of this package as a line; stderr is for errors."""
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show(message: Any, category: Any, filename: str, *rest: Any) -> None:
            if issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
                say(str(message))
            else:
                show_others(message, category, filename, *rest)

        warnings.filterwarnings("always", category=UserWarning, module=r"purejaxvpg\b")
        warnings.showwarning = show
        yield


class UserError(Exception):
    """Bad input: one line for the user, exit code 2."""


class Interrupted(Exception):
    """An interrupt, with a line on the work that is kept, and the exit code."""

    def __init__(self, line: str, code: int = 128 + signal.SIGINT):
        super().__init__(line)
        self.code = code


def exit_code(signals: Sequence[Any]) -> int:
    """128 and the number of the first signal: 143 for SIGTERM, 130 for Ctrl-C or none."""
    return 128 + int(signals[0] if signals else signal.SIGINT)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Errors in the user's input, as one line.  Not around training: a fault there is ours."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        raise UserError(" ".join(str(error).split())) from error


@contextlib.contextmanager
def out_of_memory() -> Iterator[None]:
    """Running out of memory as one line with the remedy."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "out of memory; lower --chunk-size (or give --memory-limit), --num-envs, --num-steps "
            "or --gradient-rows"
        ) from error


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM call `stop`, which ends the work after the segment that is running and
    keeps it; a second one interrupts at once.  Gives the signals that came."""
    signals: list[int] = []

    def on_signal(number: int, _: Any) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise KeyboardInterrupt(number)
        stop()
        console.print("stopping after this segment, to keep it; once more: at once, without it")

    if threading.current_thread() is not threading.main_thread():  # only there can they be caught
        yield signals
        return
    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
