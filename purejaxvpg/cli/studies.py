"""plan, merge, report: before, between and after studies."""

from pathlib import Path
from typing import Any

from rich.table import Table

from purejaxvpg.cli import resuming
from purejaxvpg.cli.arguments import conditions_of, resources_of, shard_of, spec_of
from purejaxvpg.cli.output import print_results
from purejaxvpg.cli.parsing import preset_line
from purejaxvpg.cli.terminal import console, say, show, user_errors
from purejaxvpg.experiment import planning
from purejaxvpg.experiment.animation import animation_in
from purejaxvpg.experiment.design import STATIC
from purejaxvpg.experiment.display import duration
from purejaxvpg.experiment.files import inside
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.merging import merge as merge_shards
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.report.page import write_report


def plan(args: Any) -> None:
    """Print what a sweep would take, one line a compiled program."""
    with user_errors():
        if args.resume not in ("", resuming.AUTO):
            raise ValueError("plan goes on with nothing; give ENV and the flags of the study")
        spec, resources, shard = spec_of(args), resources_of(args), shard_of(args.shard)
        table = Table(title="one line a compiled program", title_justify="left")
        for heading in ("static", "runs", "at a time", "chunks", "MB/device", "compile", "run"):
            left = heading == "static"
            table.add_column(
                heading, justify="left" if left else "right", no_wrap=not left, overflow="fold"
            )
        programs = measuring = runs = steps = 0
        compiling = running = 0.0
        for group_plan, to_compile, to_run in planning.plan(spec, resources, shard):
            group = group_plan.group
            programs, measuring = programs + 1, measuring + group_plan.measuring
            runs = runs + group_plan.num_runs
            updates, _ = planning.updates_of(spec, group_plan)
            steps = steps + updates * group.config.steps_per_update
            compiling, running = compiling + to_compile, running + to_run
            table.add_row(
                _static_choices(spec, group.config),
                f"{group_plan.num_runs:,}",
                group_plan.at_a_time(resources),
                f"{group_plan.chunks:,}",
                f"{(group_plan.device_bytes or 0) / 1e6:,.1f}",
                duration(to_compile),
                duration(to_run),
            )
    say(*preset_line(args, spec.design.names))
    show(table)
    if spec.pruning:
        left = " then ".join(map(str, spec.numbers()))
        console.print(f"settings, rung by rung: {left}")
    rate = steps / running if running else 0.0  # a shard may have no runs
    if shard:
        console.print(f"shard {shard[0]} of {shard[1]} (from 0)")
    console.print(
        f"{runs:,} runs, {steps:,} steps: {programs} compilation{'s' * (programs != 1)}, "
        f"{measuring} small ones to measure memory, {duration(compiling)} to compile, "
        f"{duration(running)} to run ({rate:,.0f} steps/s by a short probe)"
    )


def _static_choices(spec: Spec, config: Any) -> str:
    """The static fields that vary, which tell a program from the others."""
    names = [name for name in spec.design.names if name in STATIC]
    return ", ".join(f"{name}={getattr(config, name)}" for name in names) or "-"


def merge(args: Any) -> None:
    """Put shards together."""
    with user_errors():
        study = merge_shards(args.out, args.sources)
    print_results(study)
    say(f"study folder: {args.out}")


def report(args: Any) -> None:
    """Write the report of a study."""
    with user_errors():
        study = load_study(args.folder)
        if args.conditions:
            study = study.with_conditions(conditions_of(args.conditions))
        folder = Path(args.out) if args.out else inside(Path(args.folder), "report")
        animation = animation_in(Path(args.folder))
        page = write_report(study, folder, target=args.target, animation=animation)
    say(f"report: {page}")
