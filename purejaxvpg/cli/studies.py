"""plan, merge, report, envs: before, between and after studies."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from purejaxvpg import envs, presets
from purejaxvpg.cli import resuming
from purejaxvpg.cli.arguments import conditions_of, resources_of, shard_of, spec_of
from purejaxvpg.cli.output import print_results
from purejaxvpg.cli.parsing import preset_line
from purejaxvpg.cli.terminal import console, say, show, user_errors
from purejaxvpg.envs.spaces import ENDLESS
from purejaxvpg.experiment import planning
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
        page = write_report(study, folder, target=args.target)
    say(f"report: {page}")


def list_envs(_: Any) -> None:
    """Print every environment with its spaces and limit."""
    table = Table()
    for heading in ("environment", "observation", "action", "time limit", "preset"):
        table.add_column(heading, no_wrap=heading == "environment", overflow="fold")
    tuned = presets.available()
    for name in envs.registered():
        if name in envs.downloads():
            table.add_row(name, "downloads its data when it is made", "", "", "")
            continue
        env = envs.make(name)
        spaces = (env.observation_space(env.default_params), env.action_space(env.default_params))
        limit = envs.time_limit(env, env.default_params)
        limit = "none" if limit is None else f"{int(limit)}"
        table.add_row(name, *map(_describe, spaces), limit, "yes" if name in tuned else "")
    show(table)


def _describe(space: Any) -> str:
    """A space in a few letters: its size and, where they are finite and all alike, its bounds."""
    if hasattr(space, "n"):
        return f"Discrete({space.n})"
    low, high = float(np.min(space.low)), float(np.max(space.high))
    same = np.ptp(np.asarray(space.low)) == 0 and np.ptp(np.asarray(space.high)) == 0
    bounds = f" in [{low:g}, {high:g}]" if same and max(-low, high) < ENDLESS else ""
    return f"Box{tuple(space.shape)}{bounds}"
