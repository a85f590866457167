"""train, sweep: one setting or many, begun or gone on with, in a folder."""

import contextlib
import functools
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg import presets
from purejaxvpg.cli import arguments, flags
from purejaxvpg.cli.output import Bar, finite_returns, print_results
from purejaxvpg.cli.terminal import (
    Interrupted,
    UserError,
    out_of_memory,
    say,
    stopping,
    user_errors,
)
from purejaxvpg.experiment import engine
from purejaxvpg.experiment.checkpoints import Checkpoint
from purejaxvpg.experiment.files import first_line, inside
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.prepare import prepare
from purejaxvpg.experiment.prepared import Options, Prepared
from purejaxvpg.experiment.record import differences, made_with
from purejaxvpg.experiment.segments import Segment
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study


def run(args: Any, command: str) -> None:
    """Train, or go on; show progress and a table, and write folder, picture and report.

    Raises: UserError for bad input; Interrupted, with a line on how to go on.
    """
    with user_errors():
        spec = arguments.resumed_spec(args) if args.resume else arguments.spec_of(args)
        shard = arguments.shard_of(getattr(args, "shard", ""))
        folder = args.resume or args.out or arguments.default_folder(args, shard)
        arguments.join_cluster(args)
        options = arguments.options_of(args, shard, command)
    with _resumable(folder, args), out_of_memory():
        study = _train(args, spec, options, folder)
        if jax.process_index() > 0:  # the first one prints and reports for all
            return
        print_results(study)
        _draw(study, Path(folder), getattr(args, "report", False))
    say(f"{'study' if study.design.axes else 'run'} folder: {folder}")


def _train(args: Any, spec: Spec, options: Options, folder: str) -> Study:
    with Bar(str(spec.config.env)) as bar:
        options = options._replace(
            on_progress=bar.show,
            on_start=functools.partial(_say_resumed, spec.config.num_updates),
        )
        if args.debug_nans:
            options = options._replace(on_segment=_Finder(spec))
        with user_errors():
            prepared = prepare(spec, options, folder, resume=bool(args.resume))
        if not args.resume and args.preset and spec.config.env in presets.available():
            say(f"defaults from the preset of {spec.config.env} (--no-preset: none)")
        if spec.design.axes:
            say(_plan_line(prepared))
        with stopping(prepared.stop.set):
            study = engine.run(prepared)
    if prepared.stop.is_set() and not study.done.all():
        raise Interrupted(_how_to_go_on(study, folder, args))
    return study


def _draw(study: Study, folder: Path, report: bool) -> None:
    """The picture of a run, or the report of a study.  One that fails is a warning: the results are
    in the folder already."""
    try:
        if not study.design.axes:
            from purejaxvpg.report import plots

            number, returns = len(study.seeds), finite_returns(study)[0]
            title = f"{study.config.env} ({number} seed{'s' * (number > 1)})"
            plots.learning_curve(folder / "learning_curve.png", study.steps[0], returns, title)
        elif study.complete and report:
            from purejaxvpg.report.page import write_report

            say(f"report: {write_report(study, inside(folder, 'report'))}")
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
    widths = sorted({f"{p.width} x {p.num_devices}" for p in plans})
    programs = f"{len(plans)} program{'s' * (len(plans) != 1)} to compile"
    return f"{runs:,} runs, {programs}, {chunks:,} chunks of {' or '.join(widths)} devices"


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
            seed = spec.seeds[int(spec.index.seed_places(np.asarray(run)))]
            when = f"seed {seed} at update {int(state.update) + 1}"
            say(f"{when}: {find_operation(config, hp, state)}")


# ------------------------------------------------------------------------------- INTERRUPTIONS


@contextlib.contextmanager
def _resumable(folder: str, args: Any) -> Iterator[None]:
    """A study that ends early says what is kept of it and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError):
            raise Interrupted(_how_to_go_on(load_study(folder), folder, args)) from None
        raise
    except OSError as error:  # the disk is full, or the folder in use
        try:
            study = load_study(folder)
        except (OSError, ValueError):
            raise UserError(f"cannot write {folder}: {error}") from error
        raise UserError(f"{error}; {_how_to_go_on(study, folder, args)}") from error


def _how_to_go_on(study: Study, folder: str, args: Any) -> str:
    name = "train" if isinstance(args, flags.Train) else "sweep"
    how = [f"--split {args.split}"] if args.split != "runs" else []
    how += [f"--shard {args.shard}"] if getattr(args, "shard", "") else []
    how += [f"--chunk-size {args.chunk_size}"] if args.chunk_size != "auto" else []
    command = " ".join([f"purejaxvpg {name} --resume", shlex.quote(str(folder)), *how])
    done = f"{study.done.sum()} of {study.done.size} runs are done and kept"
    if (furthest := study.updates[~study.done]).any():
        done += f", the others up to update {furthest.max()}"
    return re.sub(r"\s+", " ", f"{done}; go on with: {command}")
