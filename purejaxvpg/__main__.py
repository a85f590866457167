"""`python -m purejaxvpg` and the command `purejaxvpg`."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # that of `typing` takes an import
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any


def main() -> int:
    """Run the command line; the exit code is 2 for bad input, with one line on stderr."""
    ready = _leave_at_an_interrupt()  # before every import that takes time
    import gc
    from importlib import metadata

    # Imports and tracing make a million objects that stay: looking through them for garbage again
    # and again takes half a second of the four that a start takes.
    gc.set_threshold(200_000, 20, 100)
    _be_quiet(os.environ, metadata.version("jaxlib"))
    for stream in (sys.stdout, sys.stderr):
        _print_anything(stream)
    try:
        from purejaxvpg import cli
    except ImportError as error:  # tyro or rich is missing
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        from purejaxvpg.extras import variable_at_fault

        if not (message := variable_at_fault(error)):
            raise
        print(f"purejaxvpg: error: {message}", file=sys.stderr)
        return 2
    return cli.main(sys.argv[1:], ready)


def _be_quiet(environ: MutableMapping[str, str], jaxlib: str) -> None:
    """On a CPU jaxlib 0.9 prints three screens for every program that it takes from the cache.

    A level of 1 is the one that jax gives a process which imports it, and that a notebook hands on
    to the commands it starts.  Any other was chosen, and stays.
    """
    if jaxlib.startswith("0.9.") and environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def _leave_at_an_interrupt() -> Callable[[], None]:
    """Until the function returned is called, Ctrl-C ends the process in one line.

    KeyboardInterrupt would not do: within imports it is a long traceback, or is swallowed by a
    library.
    """

    def leave(*_: Any) -> None:
        os.write(2, b"purejaxvpg: interrupted; nothing was written\n")
        os._exit(130)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return lambda: None  # a job in the background ignores it, and should
    try:
        signal.signal(signal.SIGINT, leave)
    except ValueError:  # not in the main thread, which alone can be interrupted
        return lambda: None
    return lambda: _restore(leave)


def _restore(leave: Any) -> None:
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _print_anything(stream: Any) -> None:
    """A character that the stream's encoding lacks is printed as an escape, not an error."""
    if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
        stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
