"""train, sweep: one setting or many, begun or gone on with, in a folder."""

import contextlib
import functools
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg.cli import arguments, parsing, resuming
from purejaxvpg.cli.output import Bar, print_results
from purejaxvpg.cli.terminal import (
    Interrupted,
    UserError,
    exit_code,
    out_of_memory,
    say,
    stopping,
    user_errors,
)
from purejaxvpg.envs import shown
from purejaxvpg.experiment import engine
from purejaxvpg.experiment.checkpoints import Checkpoint, OtherState
from purejaxvpg.experiment.files import inside
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.paths import reserved
from purejaxvpg.experiment.prepare import prepare
from purejaxvpg.experiment.prepared import Options, Prepared
from purejaxvpg.experiment.record import differences, made_with
from purejaxvpg.experiment.segments import Segment
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.fields import first_line


def run(args: Any, command: str) -> None:
    """Train, or go on; show progress and a table, and write folder, picture and report.

    Raises: UserError for bad input; Interrupted, with a line on how to go on.
    """
    with user_errors():
        spec = resuming.spec_of(args, shlex.split(command))
        shard = arguments.shard_of(getattr(args, "shard", ""))
        folder, resume = resuming.place(args, shard)
        arguments.join_cluster(args)
        options = arguments.options_of(args, shard, command)
    shared = args.out or args.resume or shard  # the shards of a study have one folder
    with _place(folder, not shared) as folder:
        _run(args, spec, options, folder, resume)


def _run(args: Any, spec: Spec, options: Options, folder: str, resume: bool) -> None:
    shard = options.shard
    how_to_go_on = functools.partial(resuming.how_to_go_on, folder=folder, args=args, shard=shard)
    with _resumable(folder, how_to_go_on), out_of_memory():
        study, stopped = _train(args, spec, options, folder, resume)
        if stopped:
            raise Interrupted(how_to_go_on(study), stopped)
        if jax.process_index() > 0:  # the first one prints and reports for all
            return
        print_results(study)
        _draw(study, Path(folder), getattr(args, "report", False))
    say(f"{'study' if study.design.axes else 'run'} folder: {folder}")


@contextlib.contextmanager
def _place(folder: str, alone: bool) -> Iterator[str]:
    """The folder; where nobody named it, made now, under a name that no other job has."""
    if not alone:
        yield folder
        return
    with contextlib.ExitStack() as stack:
        with user_errors():
            path = stack.enter_context(reserved(folder))
        yield str(path)


def _train(args: Any, spec: Spec, options: Options, folder: str, resume: bool) -> tuple[Study, int]:
    """The study, and the exit code if a signal stopped it before its end; else 0."""
    with Bar(shown(spec.config.env)) as bar:
        options = options._replace(
            on_progress=bar.show,
            on_start=functools.partial(_say_resumed, spec.config.num_updates),
        )
        finder = _Finder(spec)
        if args.debug_nans:
            options = options._replace(on_segment=finder)
        with user_errors():
            prepared = prepare(spec, options, folder, resume)
        finder.spec = prepared.spec  # with the lengths that it had
        fresh = args.resume in ("", resuming.AUTO) and not prepared.store.parts
        if fresh:
            say(*parsing.preset_line(args, spec.design.names))
        if options.shard and args.shard == "auto":
            i, n = options.shard
            say(f"shard {i} of {n} (from 0), by SLURM_ARRAY_TASK_ID")
        if prepared.longer_than:
            before, now = prepared.longer_than, spec.config.total_steps
            say(f"training longer: {now:,} steps a run in place of {before:,}")
        if spec.design.axes:
            say(_plan_line(prepared))
        with stopping(prepared.stop.set) as signals:
            study = engine.run(prepared)
    stopped = prepared.stop.is_set() and not study.complete
    return study, exit_code(signals) if stopped else 0


def _draw(study: Study, folder: Path, report: bool) -> None:
    """The picture of a run, or the report of a study.  One that fails is a warning: the results are
    in the folder already."""
    try:
        if not study.design.axes:
            from purejaxvpg.report import plots

            number, returns = len(study.seeds), study.trailing_returns()[0]
            title = f"{shown(study.config.env)} ({number} seed{'s' * (number > 1)})"
            plots.learning_curve(folder / "learning_curve.png", study.steps[0], returns, title)
        elif study.complete and report:
            from purejaxvpg.experiment.animation import animation_in
            from purejaxvpg.report.page import write_report

            page = inside(folder, "report")
            say(f"report: {write_report(study, page, animation=animation_in(folder))}")
    except Exception as error:  # of matplotlib, fonts, the disk
        name = "report" if study.design.axes else "picture"
        warnings.warn(
            f"the {name} could not be made ({first_line(error)}); all results are in {folder}",
            stacklevel=2,
        )


def _say_resumed(num_updates: int, checkpoint: Checkpoint | None) -> None:
    """Told of each chunk: where it goes on, and what may round otherwise."""
    if checkpoint is not None:
        say(f"going on after {checkpoint.update} of {num_updates} updates")
        say(*differences(checkpoint.made_with, made_with()))


def _plan_line(prepared: Prepared) -> str:
    """The programs and chunks to come, in a line."""
    plans = [group_plan for group_plan in prepared.plans if group_plan is not None]
    runs, chunks = sum(p.num_runs for p in plans), sum(p.chunks for p in plans)
    if not runs:
        (i, n), total = prepared.options.shard or (0, 1), len(prepared.spec.index)
        return f"shard {i} of {n} (from 0) has none of the {total:,} runs; there is nothing to do"
    widths = sorted({p.at_a_time(prepared.options.resources) for p in plans})
    programs = f"{len(plans)} program{'s' * (len(plans) != 1)} to compile"
    counts = [
        f"{runs:,} run{'s' * (runs != 1)}",
        programs,
        f"{chunks:,} chunk{'s' * (chunks != 1)}",
    ]
    return f"{', '.join(counts)} of {' or '.join(widths)} devices"


class _Finder:
    """Says of each run that diverges, once, which operation did it."""

    def __init__(self, spec: Spec):
        self.spec, self.reported = spec, set()

    def __call__(self, segment: Segment) -> None:
        from purejaxvpg.debug import find_operation
        from purejaxvpg.experiment.groups import apply

        spec, finite = self.spec, np.asarray(segment.metrics.finite)[:, -1]  # [k]
        for row in np.flatnonzero(~finite):
            run = int(segment.runs[row])
            if run in self.reported:
                continue
            self.reported.add(run)
            setting = spec.design.settings()[int(spec.index.settings(np.asarray(run)))]
            config, hp = apply(setting, spec.config, spec.hyperparams)
            state = jax.tree.map(lambda x, row=row: x[row], segment.state)
            config = spec.config_at(int(state.update), config)
            seed = spec.seeds[int(spec.index.seed_places(np.asarray(run)))]
            when = f"seed {seed} at update {int(state.update) + 1}"
            say(f"{when}: {find_operation(config, hp, state)}")


# ------------------------------------------------------------------------------- INTERRUPTIONS


@contextlib.contextmanager
def _resumable(folder: str, how_to_go_on: Callable[[Study], str]) -> Iterator[None]:
    """A study that ends early says what is kept of it and how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        with contextlib.suppress(OSError, ValueError):
            code = exit_code(interrupt.args)
            raise Interrupted(how_to_go_on(load_study(folder)), code) from None
        raise
    except OtherState as error:
        raise UserError(str(error)) from error
    except OSError as error:  # the disk is full, or the folder in use
        try:
            study = load_study(folder)
        except (OSError, ValueError):
            raise UserError(f"cannot write {folder}: {error}") from error
        raise UserError(f"{error}; {how_to_go_on(study)}") from error
