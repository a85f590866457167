"""The command line: parse, call, print.

flags      the flags of every command
parsing    words -> arguments -> config and hyperparameters
arguments  flags -> a study, and how it is run
training   train, sweep
policies   eval, export
studies    plan, merge, report, envs
repro      a run or a study once more
output     progress and results
terminal   errors as one line
"""

import importlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from purejaxvpg.extras import require

for needed_at_the_end in ("tyro", "rich", "matplotlib", "safetensors", "platformdirs"):
    require(needed_at_the_end, "cli")  # now, not when a run is done and about to be saved

from purejaxvpg.cli import parsing  # noqa: E402
from purejaxvpg.cli.terminal import (  # noqa: E402
    Interrupted,
    UserError,
    patient_output,
    warnings_as_lines,
)

# The module and function of each command.  A module is imported when its command is given.
_HANDLERS = {
    "Train": ("training", "run"),
    "Sweep": ("training", "run"),
    "Eval": ("policies", "evaluate"),
    "Export": ("policies", "export"),
    "Plan": ("studies", "plan"),
    "Merge": ("studies", "merge"),
    "Report": ("studies", "report"),
    "Envs": ("studies", "list_envs"),
    "Repro": ("repro", "repro"),
}


def main(argv: Sequence[str]) -> int:
    """Parse and run.  Returns the exit code: 0, 2 for bad input, 130 for an interrupt."""
    with patient_output():
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:
        from purejaxvpg import __version__

        print(f"purejaxvpg {__version__}")
        return 0
    try:
        _run(parsing.parse(list(argv)), shlex.join(["purejaxvpg", *argv]))
    except UserError as error:
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupt:
        print(f"purejaxvpg: interrupted; {interrupt}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("purejaxvpg: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _run(args: Any, command: str) -> None:
    from purejaxvpg.experiment.devices import be_deterministic, use_compilation_cache

    use_compilation_cache()
    if getattr(args, "deterministic", False):
        be_deterministic()
    module, function = _HANDLERS[type(args).__name__]
    handler = getattr(importlib.import_module(f"purejaxvpg.cli.{module}"), function)
    with warnings_as_lines():
        if module == "training":
            handler(args, command)
        else:
            handler(args)
