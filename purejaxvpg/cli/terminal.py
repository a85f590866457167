"""The console, errors as one line, and signals: shared by every command."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
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


class _Patient:
    """A text stream that does not end the program when it cannot be written: the disk of a log is
    full, or nobody reads the pipe any more."""

    def __init__(self, stream: Any):
        self._stream, self.lost = stream, None

    def write(self, text: str) -> int:
        """Write text, or leave it out."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self.lost = error
            return len(text)

    def flush(self) -> None:
        """Flush, or leave out what is left."""
        try:
            self._stream.flush()
        except OSError as error:
            self.lost = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def patient_output() -> Iterator[None]:
    """Work goes on when stdout or stderr cannot be written.  At the end stderr says so."""
    out, err = _Patient(sys.stdout), _Patient(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            for stream in (out, err):
                stream.flush()
                if stream.lost is not None:
                    _give_up(stream)
    if out.lost is not None and err.lost is None:
        print(
            f"purejaxvpg: lines are missing from the output, which could not be written "
            f"({out.lost.strerror}); the work went on, and its results are where it keeps them",
            file=sys.stderr,
        )


def _give_up(stream: Any) -> None:
    """Have the rest of a stream go nowhere, or Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
    """An interrupt, with a line on the work that is kept: exit code 130."""


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
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop`, which ends the work after the segment that is running and
    keeps it; a second one interrupts at once."""
    signals = []

    def on_signal(*_: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(True)
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
