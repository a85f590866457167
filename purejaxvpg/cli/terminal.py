"""The console, errors as one line, and signals: shared by every command."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table

from purejaxvpg.experiment.devices import cache_line
from purejaxvpg.experiment.memory import is_out_of_memory

UNLIMITED = 10_000  # columns of what is no terminal


class _Console(Console):
    """A console as wide as its terminal; a pipe and a file have no width to cut at.

    Text is printed as it is: `x[bold]y` is the name of a folder, and no markup.
    """

    def __init__(self):
        super().__init__(markup=False, emoji=False)

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and rows."""
        size = super().size
        return size if self.is_terminal else ConsoleDimensions(UNLIMITED, size.height)


console = _Console()


def say(*lines: str) -> None:
    """Print lines that are not wrapped: paths and commands are copied from them."""
    for line in lines:
        console.print(line, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table; row by row where the terminal is too narrow to show every number."""
    for column in table.columns:
        if column.no_wrap:  # rich would cut it at any character
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    wide = console.options.update_dimensions(UNLIMITED, console.height)
    if Measurement.get(console, wide, table).minimum <= console.width:
        console.print(table)
        return
    say(*[str(title) for title in (table.title,) if title])
    headings = [str(column.header) for column in table.columns]
    for first, *cells in zip(*[column.cells for column in table.columns], strict=True):
        say(str(first))
        for heading, cell in zip(headings[1:], cells, strict=True):
            say(f"  {heading}: {cell}")
    say(*[str(caption) for caption in (table.caption,) if caption])


class _Patient:
    """A text stream that does not end the program when it cannot be written: the disk of a log is
    full, or nobody reads the pipe any more."""

    def __init__(self, stream: Any):
        self._stream, self.lost = stream, None

    def write(self, text: str) -> int:
        """Write text, or leave it out."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError, AttributeError) as error:  # full, closed, None
            self.lost = error
            return len(text)

    def flush(self) -> None:
        """Flush, or leave out what is left."""
        try:
            self._stream.flush()
        except (OSError, ValueError, AttributeError) as error:
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
    if isinstance(out.lost, OSError) and err.lost is None:
        print(
            f"purejaxvpg: lines are missing from the output, which could not be written "
            f"({out.lost.strerror}); the work went on, and its results are where it keeps them",
            file=sys.stderr,
        )


def _give_up(stream: Any) -> None:
    """Have the rest of a stream go nowhere, or Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


PACKAGE = Path(__file__).parent.parent


@contextlib.contextmanager
def warnings_as_lines(cache: Path | None = None) -> Iterator[None]:
    """Show each warning of this package as a line, and once each warning of jax about its cache of
    compiled programs; stderr is for errors.

    Args: cache: its folder, if its files are ours.
    """
    with warnings.catch_warnings():
        show_others, shown = warnings.showwarning, set()

        def show(message: Any, category: Any, filename: str, *rest: Any) -> None:
            if line := cache_line(str(message), cache):
                say(*{line} - shown)
                shown.add(line)
            elif issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
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
        keeps = ", to keep it" * (jax.process_count() == 1)  # several keep whole chunks only
        console.print(f"stopping after this segment{keeps}; once more: at once, without it")

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
