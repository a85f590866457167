"""The command line: parse, call, print.

flags      the flags of every command
flag_kinds how a flag is made
words      words of a command, checked
numbers    numbers as people type them
parsing    words -> arguments -> config and hyperparameters
arguments  flags -> a study, and how it is run
training   train, sweep
resuming   --resume: which study it is, and the line that goes on with one
policies   eval, export
playing    render
studies    plan, merge, report
results    plot, compare
result_flags  their flags
environments  envs
repro      a run or a study once more
doctor     what is installed, and what is wrong with it
completion tab completion, and shells its scripts
code       what is imported first
output     progress and results
terminal   errors as one line
"""

import importlib
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from purejaxvpg.extras import require

# It warns on stderr where the user has no home folder to keep its list of fonts in.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
for needed_at_the_end in ("tyro", "rich", "matplotlib", "safetensors", "platformdirs"):
    if find_spec(needed_at_the_end) is None:
        require(needed_at_the_end, "cli")  # now, not when a run is done and about to be saved

from purejaxvpg.cli import parsing  # noqa: E402
from purejaxvpg.cli.terminal import (  # noqa: E402
    Interrupted,
    UserError,
    exit_code,
    patient_output,
    warnings_as_lines,
)
from purejaxvpg.cli.words import repeated  # noqa: E402

# The module and function of each command.  A module is imported when its command is given.
_HANDLERS = {
    "Train": ("training", "run"),
    "Sweep": ("training", "run"),
    "Eval": ("policies", "evaluate"),
    "Export": ("policies", "export"),
    "Render": ("playing", "render"),
    "Plan": ("studies", "plan"),
    "Merge": ("studies", "merge"),
    "Report": ("studies", "report"),
    "Plot": ("results", "draw"),
    "Compare": ("results", "compare_scores"),
    "Envs": ("environments", "show_envs"),
    "Repro": ("repro", "repro"),
    "Doctor": ("doctor", "doctor"),
    "Completion": ("completion", "completion"),
}


def main(argv: Sequence[str], ready: Callable[[], None] = lambda: None) -> int:
    """Parse and run.  Returns: 0, or 1 if the doctor finds something wrong, 2 for bad
    input, 130 for Ctrl-C, 143 for SIGTERM.

    Args: ready: called when everything is imported and the work begins.
    """
    with patient_output():
        return _main(argv, ready)


def _main(argv: Sequence[str], ready: Callable[[], None]) -> int:
    if list(argv) == ["--version"]:
        from purejaxvpg import __version__

        print(f"purejaxvpg {__version__}")
        return 0
    try:
        code = _run(parsing.parse(list(argv)), shlex.join(["purejaxvpg", *argv]), ready)
        for flag in repeated(list(argv)):
            print(f"purejaxvpg: {flag} was given twice; the last one counted", file=sys.stderr)
    except UserError as error:
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupt:
        print(f"purejaxvpg: interrupted; {interrupt}", file=sys.stderr)
        return interrupt.code
    except KeyboardInterrupt as interrupt:
        print("purejaxvpg: interrupted", file=sys.stderr)
        return exit_code(interrupt.args)
    except Exception:
        if message := _no_device():
            print(f"purejaxvpg: error: {message}", file=sys.stderr)
            return 2
        raise
    return code


def _no_device() -> str:
    """Why jax has no device, which everything else then fails by; "" if it has one."""
    from purejaxvpg.experiment.devices import start_devices

    try:
        start_devices()
    except ValueError as error:
        return str(error)
    return ""


def _run(args: Any, command: str, ready: Callable[[], None]) -> int:
    """Carry out a command.  Returns: the exit code."""
    from purejaxvpg.experiment.devices import (
        be_deterministic,
        transfers_allowed,
        use_compilation_cache,
    )

    cache = use_compilation_cache()
    if getattr(args, "deterministic", False):
        be_deterministic()
    from purejaxvpg.cli.code import import_code

    module, function = _HANDLERS[type(args).__name__]
    handler = transfers_allowed(
        getattr(importlib.import_module(f"purejaxvpg.cli.{module}"), function)
    )
    ready()
    with warnings_as_lines(cache):
        import_code(args)
        if module == "training":
            handler(args, command)
            return 0
        return handler(args) or 0
