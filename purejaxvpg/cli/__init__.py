"""The command line: parse, call, print.

flags      what can be given, and its help
runs       train, eval, export, envs
studies    sweep, plan, merge, report
repro      a run or a study once more
terminal   errors as one line
"""

import shlex
import sys
from collections.abc import Sequence

from purejaxvpg import __version__
from purejaxvpg.extras import require

for needed_at_the_end in ("tyro", "rich", "matplotlib", "safetensors", "platformdirs"):
    require(needed_at_the_end, "cli")  # now, not when a run is done and about to be saved

from purejaxvpg.cli import flags  # noqa: E402
from purejaxvpg.cli.terminal import Interrupted, UserError  # noqa: E402


def main(argv: Sequence[str]) -> int:
    """Parse and run.  Returns the exit code: 0, 2 for bad input, 130 for an interrupt."""
    if list(argv) == ["--version"]:
        print(f"purejaxvpg {__version__}")
        return 0
    try:
        _run(flags.parse(list(argv)), shlex.join(["purejaxvpg", *argv]))
    except UserError as error:
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as what_is_left:
        print(f"purejaxvpg: interrupted; {what_is_left}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("purejaxvpg: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _run(args: object, command: str) -> None:
    from purejaxvpg.experiment.devices import be_deterministic, use_compilation_cache

    use_compilation_cache()
    if getattr(args, "deterministic", False):
        be_deterministic()
    if isinstance(args, flags.Repro):
        from purejaxvpg.cli.repro import repro

        repro(args)
        return
    if isinstance(args, flags.Sweep | flags.Plan | flags.Merge | flags.Report):
        from purejaxvpg.cli import studies  # with scipy and more, which training does without

        studies.run(args, command)
        return
    from purejaxvpg.cli import runs

    runs.run(args, command)
