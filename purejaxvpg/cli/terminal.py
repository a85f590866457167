"""What every command shares: the console, and errors as one line."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from rich.console import Console

from purejaxvpg.experiment.memory import is_out_of_memory

console = Console()


class UserError(Exception):
    """Bad input: one line for the user, exit code 2."""


class Interrupted(Exception):
    """An interrupt, with a line on what is left of the work: exit code 130."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Errors of what the user gave, as one line.  Not around training: a fault there is ours."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        raise UserError(" ".join(str(error).split())) from error


@contextlib.contextmanager
def out_of_memory(remedy: str) -> Iterator[None]:
    """Running out of memory as one line with the remedy."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory; {remedy}") from error


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop`, which ends the work after the segment that is running and
    keeps it; a second one interrupts at once."""
    asked = []

    def on_signal(*_: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        stop()
        console.print("stopping after this segment, to keep it; once more: at once, without it")

    if threading.current_thread() is not threading.main_thread():  # only there can they be caught
        yield
        return
    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_at_least_one(name: str, value: int) -> None:
    """ValueError for a number below 1."""
    if value < 1:
        raise ValueError(f"{name}={value} is out of range; accepted: an integer >= 1")


def checkpoint_minutes(args: Any) -> float:
    """The flag of that name.  Raises: ValueError if it is out of range."""
    if not 0 <= args.checkpoint_minutes < float("inf"):
        given = args.checkpoint_minutes
        raise ValueError(f"checkpoint_minutes={given} is out of range; accepted: 0 or more")
    return args.checkpoint_minutes
