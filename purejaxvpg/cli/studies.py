"""sweep, plan, merge, report: many settings, many seeds."""

import ast
import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from purejaxvpg.cli import flags
from purejaxvpg.cli.terminal import (
    Interrupted,
    UserError,
    checkpoint_minutes,
    console,
    out_of_memory,
    stopping,
    user_errors,
)
from purejaxvpg.experiment import devices, planning, store
from purejaxvpg.experiment.checkpoint import Stopped
from purejaxvpg.experiment.checks import make_seeds
from purejaxvpg.experiment.grid import Choice, Design, LogUniform, Range, Uniform, make_design
from purejaxvpg.experiment.pruning import make_pruning, pruning_to_json
from purejaxvpg.experiment.store import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.experiment.sweep import Sweep, SweepProgress, prepare
from purejaxvpg.report import tables
from purejaxvpg.report.digest import choose_best, digest
from purejaxvpg.report.headline import duration
from purejaxvpg.report.page import write_report

REMEDY = "lower --chunk-size (or give --memory-limit), --num-envs, --num-steps or --gradient-rows"


def run(args: Any, command: str) -> None:
    """Run a command.  Raises: UserError for bad input."""
    if isinstance(args, flags.Sweep):
        sweep(args, command)
    elif isinstance(args, flags.Plan):
        plan(args)
    elif isinstance(args, flags.Merge):
        merge(args)
    elif isinstance(args, flags.Report):
        report(args)
    else:
        raise TypeError(f"{args!r} is no command of this file")


# ------------------------------------------------------------------------------------ COMMANDS


def sweep(args: Any, command: str) -> None:
    """Run a study, or go on with one; show progress and a table, write folder and report."""
    with user_errors():
        spec = _begun(args) if args.resume else _spec(args)
        share = _share(args.shard)
        folder = args.resume or args.out or _default_folder(args, share)
        chunk_size, memory_limit = _chunk_size(args), _bytes(args.memory_limit)
        _join(args)
        devices.use_every_core()
    with _kept(folder, args), out_of_memory(REMEDY):
        study = _run(args, spec, folder, share, chunk_size, memory_limit, command)
        if jax.process_index() > 0:  # the first one prints and reports for all
            return
        _print_study(study, folder)
        if study.complete and args.report:
            with user_errors():
                page = write_report(study, Path(folder) / "report")
            console.print(f"report: {page}", soft_wrap=True)


def _run(
    args: Any,
    spec: Spec,
    folder: str,
    share: tuple[int, int] | None,
    chunk_size: int | Literal["auto"],
    memory_limit: int | None,
    command: str,
) -> Study:
    with _Bar(spec) as bar:
        with user_errors():
            prepared = prepare(
                spec,
                chunk_size=chunk_size,
                memory_limit=memory_limit,
                shard=args.split,
                part=share,
                folder=folder,
                resume=bool(args.resume),
                checkpoint_minutes=checkpoint_minutes(args),
                on_progress=bar.show,
                command=command,
            )
        bar.progress.console.print(_said(prepared), soft_wrap=True)
        with stopping(prepared.stop):
            return prepared.run()


def _said(prepared: Sweep) -> str:
    """What is going to be compiled and run, in a line."""
    plans = [found for found in prepared.plans if found is not None]
    runs, chunks = sum(p.num_runs for p in plans), sum(p.chunks for p in plans)
    widths = sorted({f"{p.width} x {p.num_devices}" for p in plans})
    programs = f"{len(plans)} program{'s' * (len(plans) != 1)} to compile"
    return f"{runs:,} runs, {programs}, {chunks:,} chunks of {' or '.join(widths)} devices"


def plan(args: Any) -> None:
    """Print what a sweep would take, one line a compiled program."""
    with user_errors():
        spec = _spec(args)
        devices.use_every_core()
        how = {"chunk_size": _chunk_size(args), "memory_limit": _bytes(args.memory_limit)}
        table = Table(title="one line a compiled program", title_justify="left")
        for heading in ("static", "runs", "at a time", "chunks", "MB/device", "compile", "run"):
            left = heading == "static"
            table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
        programs = measuring = runs = steps = 0
        compiling = running = 0.0
        plans = planning.plan(spec.config, spec.design, len(spec.seeds), spec.hyperparams, **how)
        for found, to_compile, to_run in plans:
            group = found.group
            programs, measuring = programs + 1, measuring + found.measuring
            runs, steps = runs + found.num_runs, steps + found.num_runs * group.config.total_steps
            compiling, running = compiling + to_compile, running + to_run
            table.add_row(
                _static_choices(spec, group.config),
                f"{found.num_runs:,}",
                f"{found.width} x {found.num_devices}",
                f"{found.chunks:,}",
                f"{(found.device_bytes or 0) / 1e6:,.1f}",
                duration(to_compile),
                duration(to_run),
            )
    console.print(table)
    console.print(
        f"{runs:,} runs, {steps:,} steps: {programs} compilation{'s' * (programs > 1)}, "
        f"{measuring} small ones to measure memory, {duration(compiling)} to compile, "
        f"{duration(running)} to run ({steps / running:,.0f} steps/s by a short probe)"
    )


def merge(args: flags.Merge) -> None:
    """Put shards together."""
    with user_errors():
        study = store.merge(args.out, args.sources)
    _print_study(study, args.out)


def report(args: flags.Report) -> None:
    """Write the report of a study."""
    with user_errors():
        study = store.load_study(args.run)
        path = write_report(study, Path(args.out or Path(args.run) / "report"), target=args.target)
    console.print(f"report: {path}", soft_wrap=True)


# -------------------------------------------------------------------------------------- FLAGS


def _begun(args: Any) -> Spec:
    """The study that --resume names, which is what it was begun as."""
    given = [name for name in ("env", "grid", "zip", "sample", "out") if getattr(args, name)]
    if given:
        raise ValueError(
            f"--resume takes settings and seeds from the folder; leave out {', '.join(given)}"
        )
    return store.read_spec(Path(args.resume))[0]


def _spec(args: Any) -> Spec:
    if not args.env:
        raise ValueError("sweep needs ENV, or --resume FOLDER; see: purejaxvpg envs")
    config, hp = flags.config_of(args)
    prune = getattr(args, "prune", "none")
    pruning = make_pruning(None if prune == "none" else prune, *_rungs(args))
    return Spec(
        config=config,
        hyperparams=hp,
        design=_design(args),
        seeds=make_seeds(args.num_seeds, args.seed),
        prune=pruning_to_json(pruning),
    )


def _rungs(args: Any) -> tuple[int, float]:
    return getattr(args, "rungs", 3), getattr(args, "keep", 1 / 3)


def _design(args: Any) -> Design:
    lists = "policy_lr=1e-3,3e-3"
    return make_design(
        {n: _values(t) for n, t in flags.texts("grid", args.grid, lists).items()},
        {n: _values(t) for n, t in flags.texts("zip", args.zip, lists).items()},
        {n: _range(n, t) for n, t in _samples(args.sample).items()},
        args.num_samples,
        args.sampler,
        args.sample_seed,
    )


def _samples(items: tuple[str, ...]) -> dict[str, str]:
    return flags.texts("sample", items, "policy_lr=log:1e-4:1e-2")


def _values(text: str) -> list[Any]:
    """ "1e-3,3e-3", "gae,td" or "(64,64),(128,)" as a list of values."""
    try:
        found = ast.literal_eval(f"[{text}]")  # commas within brackets belong to the value
    except (ValueError, SyntaxError):
        found = [flags.literal(piece.strip()) for piece in text.split(",") if piece.strip()]
    return found


def _range(name: str, text: str) -> Range:
    kind, *pieces = text.split(":")
    values = [flags.literal(piece) for piece in pieces]
    if kind == "choice":
        return Choice(tuple(values))
    ranges = {"log": LogUniform, "uniform": Uniform}
    if kind not in ranges or len(values) != 2:
        raise ValueError(
            f"--sample {name}={text} is no range; write {name}=log:LOW:HIGH, "
            f"{name}=uniform:LOW:HIGH or {name}=choice:A:B"
        )
    return ranges[kind](*values)


def _share(text: str) -> tuple[int, int] | None:
    """Which share of the runs: from --shard, or from the array job that this is a task of."""
    index, number = os.environ.get("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_ARRAY_TASK_COUNT")
    if not text and index and number:
        first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", "0"))
        place, rest = divmod(int(index) - first, int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1")))
        if rest or place >= int(number):  # some tasks of an array, run again
            raise ValueError(
                f"SLURM_ARRAY_TASK_ID={index} is not one of {number} in a row; give --shard i/n"
            )
        return place, int(number)
    if text in ("", "none"):
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise ValueError(f"--shard {text} is not i/n with 0 <= i < n; write for example 0/4")
    return int(match[1]), int(match[2])


def _default_folder(args: Any, share: tuple[int, int] | None) -> str:
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    if args.cluster or args.coordinator:
        raise ValueError("several processes need --out FOLDER, one that all of them see")
    if share and not job:
        raise ValueError("--shard needs --out FOLDER, the same for all shards or one for each")
    return f"runs/{args.env}-sweep-{job if share else time.strftime('%Y%m%d-%H%M%S')}"


def _chunk_size(args: Any) -> int | Literal["auto"]:
    if args.chunk_size == "auto":
        return "auto"
    if not args.chunk_size.isdecimal() or int(args.chunk_size) < 1:
        raise ValueError(f"--chunk-size {args.chunk_size} is neither auto nor an integer >= 1")
    return int(args.chunk_size)


_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _bytes(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"([\d.]+)\s*([A-Za-z]*)", text)
    try:
        assert match
        return int(float(match[1]) * _UNITS[match[2].upper()])
    except (AssertionError, KeyError, ValueError):
        raise ValueError(
            f"--memory-limit {text} is no size; write for example 800MB, 8GB or 2GiB"
        ) from None


def _join(args: Any) -> None:
    by_hand = (args.coordinator, args.num_processes or None, args.process_id)
    if args.coordinator:
        if args.num_processes < 1 or args.process_id < 0:
            raise ValueError("--coordinator needs --num-processes and --process-id")
        devices.join_cluster(*by_hand)
    elif args.cluster:
        devices.join_cluster()
    elif args.num_processes or args.process_id >= 0:
        raise ValueError("--num-processes and --process-id need --coordinator HOST:PORT")


# ----------------------------------------------------------------------------------- PRINTING


class _Bar:
    """Progress over the runs of a study, with the time left."""

    def __init__(self, spec: Spec):
        self.spec = spec
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[status]}"),
        )
        self.progress = Progress(*columns, console=console, transient=False)

    def __enter__(self) -> "_Bar":
        self.progress.__enter__()
        self.task = self.progress.add_task(self.spec.config.env, total=None, status="starting")
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)

    def show(self, now: SweepProgress) -> None:
        """Told by the sweep before compiling and after every segment."""
        status = f"{now.runs_done} of {now.num_runs} runs"
        if now.status != "running":
            status += f", {now.status}"
        elif now.steps_per_second:
            left = duration(now.steps_left / now.steps_per_second)
            status += f", {now.steps_per_second:,.0f} steps/s, {left} left"
        total = now.steps_done + now.steps_left
        self.progress.update(self.task, completed=now.steps_done, total=total, status=status)


@contextlib.contextmanager
def _kept(folder: str, args: Any) -> Iterator[None]:
    """A study that ends early says what is kept of it and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stop:
        if not (Path(folder) / "study.json").exists():
            raise KeyboardInterrupt from None
        inside = ", and the chunk that was running as far as it was" * isinstance(stop, Stopped)
        raise Interrupted(_how_to_go_on(folder, args, inside)) from None
    except OSError as error:  # the disk is full, or the folder in use
        if not (Path(folder) / "study.json").exists():
            raise UserError(f"cannot write {folder}: {error}") from error
        raise UserError(f"{error}; {_how_to_go_on(folder, args)}") from error


def _how_to_go_on(folder: str, args: Any, inside: str = "") -> str:
    done = store.load_study(folder).done
    how = [f"--split {args.split}"] if args.split != "runs" else []
    how += [f"--shard {args.shard}"] if args.shard else []
    how += [f"--chunk-size {args.chunk_size}"] if args.chunk_size != "auto" else []
    command = " ".join(["purejaxvpg sweep --resume", folder, *how])
    kept = f"{done.sum()} of {done.size} runs are done and kept{inside}"
    return f"{kept}; go on with: {command}"


def _print_study(study: Study, folder: str) -> None:
    judged = digest(study)
    console.print(tables.settings(judged))
    chosen = choose_best(judged)
    if chosen is not None and len(judged.rows) > 1:
        best, _, seeds = chosen
        console.print(
            f"best by half of the seeds: {judged.labels[best.index]}; by the other half it scores "
            f"{judged.number(float(best.held_out.value))} (IQM over {len(seeds) // 2} seeds)",
            soft_wrap=True,
        )
    diverged = int(study.diverged.sum())
    if diverged:
        first = study.diverged_at[study.diverged].min()
        console.print(
            f"{diverged} of {study.done.size} runs diverged, the first at update {first}; each "
            f"stays at its last finite state and counts as the worst",
            soft_wrap=True,
        )
    steps, seconds = study.record.get("steps", 0), study.record.get("seconds", 0.0)
    if seconds:
        console.print(
            f"{steps:,} steps in {seconds:.1f} s ({steps / seconds:,.0f} steps/s), and "
            f"{study.record.get('compile_seconds', 0.0):.1f} s to compile"
        )
    if not study.complete:
        missing = int((~study.done & ~study.pruned[:, None]).sum())
        console.print(f"{missing} of {study.done.size} runs are not done yet")
    console.print(f"study folder: {folder}", soft_wrap=True)


def _static_choices(spec: Spec, config: Any) -> str:
    """What tells a program from the others: the static fields that vary."""
    from purejaxvpg.experiment.grid import STATIC

    names = [name for name in spec.design.names if name in STATIC]
    return ", ".join(f"{name}={getattr(config, name)}" for name in names) or "-"
