"""What every command shares: the console, and errors as one line."""

import contextlib
from collections.abc import Iterator

import jax
from rich.console import Console

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
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        raise UserError(f"out of memory; {remedy}") from error


def check_at_least_one(name: str, value: int) -> None:
    """ValueError for a number below 1."""
    if value < 1:
        raise ValueError(f"{name}={value} is out of range; accepted: an integer >= 1")
