"""train, eval, export, envs: one setting, and what there is to train on."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from purejaxvpg import envs, presets
from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.cli import flags
from purejaxvpg.cli.terminal import (
    Interrupted,
    UserError,
    check_at_least_one,
    checkpoint_minutes,
    console,
    out_of_memory,
    stopping,
    user_errors,
)
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.experiment import export, results, runner
from purejaxvpg.experiment.checkpoint import Checkpoint, Checkpoints, Stopped
from purejaxvpg.experiment.files import locked, write_whole
from purejaxvpg.experiment.segments import made_with
from purejaxvpg.report import plots, tables
from purejaxvpg.state import TrainState
from purejaxvpg.statistics import diverged_at, trailing_return

LAST_EPISODES = 20


def run(args: Any, command: str) -> None:
    """Run a command.  Raises: UserError for bad input."""
    if isinstance(args, flags.Train):
        train(args, command)
    elif isinstance(args, flags.Eval):
        evaluate(args)
    elif isinstance(args, flags.Export):
        export_policy(args)
    elif isinstance(args, flags.Envs):
        list_envs()
    else:
        raise TypeError(f"{args!r} is no command of this file")


def train(args: Any, command: str) -> None:
    """Train, or go on with a run; show progress and a table, and write the run folder."""
    with user_errors():
        job = _going_on(args) if args.resume else _new(args, command)
    with contextlib.ExitStack() as stack:
        with user_errors():
            stack.enter_context(locked(job.folder))
        stack.enter_context(_kept(job))  # within the lock: another's run is not ours to remove
        stack.enter_context(stopping(lambda: setattr(job.checkpoints, "stop", True)))
        with out_of_memory("lower --num-seeds, --num-envs or --num-steps, or --gradient-rows"):
            result = _run_with_progress(job)
        steps = np.arange(1, job.config.num_updates + 1) * job.config.steps_per_update
        returns = _returns(result)
        number = len(job.seeds)
        title = f"{job.config.env} ({number} seed{'s' * (number > 1)})"
        with user_errors():
            plots.learning_curve(job.folder / "learning_curve.png", steps, returns, title)
            results.save_run(job.folder, result, job.command)
    _print_result(result, returns)
    console.print(f"run folder: {job.folder}", soft_wrap=True)


class _Job(NamedTuple):
    """What to train, and where it is kept."""

    config: VPGConfig
    hp: Hyperparams
    seeds: np.ndarray  # [S], one after the other
    folder: Path
    checkpoints: Checkpoints
    command: str  # that began it
    debug_nans: bool


def _new(args: Any, command: str) -> _Job:
    if not args.env:
        raise ValueError("train needs ENV, or --resume FOLDER; see: purejaxvpg envs")
    config, hp = flags.config_of(args)
    agent = make_agent(config)  # everything that can be wrong with the config shows here
    check_episodes_fit(config, agent.env, agent.env_params(hp))
    check_at_least_one("num_seeds", args.num_seeds)
    last = 2**32 - args.num_seeds
    if not 0 <= args.seed <= last:
        raise ValueError(f"seed={args.seed} is out of range; accepted: 0 to {last}")
    every = _every(args)
    seeds = np.arange(args.seed, args.seed + args.num_seeds)
    out = args.out or f"runs/{config.env}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = results.begin_run(out, config, hp, seeds, command)
    if args.preset and config.env in presets.available():
        console.print(f"defaults from the preset of {config.env} (--no-preset: none)")
    return _job(folder, every, args.debug_nans)


def _going_on(args: Any) -> _Job:
    """The run that --resume names, which is what it was begun as."""
    given = [name for name in ("env", "out") if getattr(args, name)]
    if given:
        raise ValueError(f"--resume takes all of it from the folder; leave out {', '.join(given)}")
    return _job(args.resume, _every(args), args.debug_nans)


def _job(folder: str | Path, every: tuple[float, int], debug_nans: bool) -> _Job:
    """What its folder says, whether it begins or goes on."""
    config, hp, seeds, record = results.begun_run(folder)
    if record["complete"]:
        raise ValueError(f"the run in {folder} is done; see: purejaxvpg eval {folder}")
    make_agent(config)  # an environment that is not to be had here shows now
    of = results.identity(record)
    kept = Checkpoints(Path(folder) / "checkpoints", of, *every, on_failure=console.print)
    return _Job(config, hp, seeds, Path(folder), kept, record["command"], debug_nans)


def _every(args: Any) -> tuple[float, int]:
    """Seconds and updates between two checkpoints."""
    minutes, updates = checkpoint_minutes(args), args.checkpoint_updates
    if updates < 0:
        raise ValueError(f"checkpoint_updates={updates} is out of range; accepted: 0 or more")
    return 60 * minutes, updates


@contextlib.contextmanager
def _kept(job: _Job) -> Iterator[None]:
    """A run that ends early leaves what is kept of it, and says how to go on; or else nothing."""
    try:
        yield
    except (Stopped, KeyboardInterrupt) as stop:
        if results.discard_run(job.folder):
            raise KeyboardInterrupt from None
        done = (
            f"{stop.updates} of {job.config.num_updates} updates are"
            if isinstance(stop, Stopped)
            else "what was kept before is"
        )
        raise Interrupted(
            f"{done} kept; go on with: purejaxvpg train --resume {job.folder}"
        ) from None
    except OSError as error:  # of a run that was stopped and could not be kept
        raise UserError(f"the run could not be kept in {job.folder}: {error}") from error
    except BaseException:
        results.discard_run(job.folder)
        raise


def evaluate(args: flags.Eval) -> None:
    """Evaluate every seed of a run folder, with the environment parameters it trained on."""
    with user_errors():
        check_at_least_one("num_episodes", args.num_episodes)
        saved = results.load_run(args.run)
        function = make_evaluate(saved.config, args.num_episodes, args.greedy)
    keys = runner.evaluation_keys(saved.seeds, args.seed)
    compiled = jax.jit(jax.vmap(function, in_axes=(0, 0, 0, None)))
    outcome = compiled(keys, saved.policy_params, saved.obs_stats, saved.hyperparams)
    kind = "greedy" if args.greedy else "sampled"
    title = f"{saved.config.env}: {args.num_episodes} {kind} episodes a seed"
    columns = {
        "return": np.asarray(outcome.returns, np.float64).mean(1),
        "episode length": np.asarray(outcome.lengths, np.float64).mean(1),
    }
    console.print(tables.summary(title, columns))
    _print_diverged(saved.seeds, diverged_at(saved.metrics["finite"]))
    cut = int((~np.asarray(outcome.finished)).sum())
    if cut:
        console.print(f"{cut} episodes reached the step bound; their returns are partial")


def export_policy(args: flags.Export) -> None:
    """Write the policy of one seed, with a card of what it is."""
    with user_errors():
        saved = results.load_run(args.run)
        sums, counts = (saved.metrics[f"episode_{name}"] for name in ("return_sum", "count"))
        returns = trailing_return(sums, counts, LAST_EPISODES)[:, -1]  # [S]
        best = saved.seeds[np.nanargmax(np.where(np.isnan(returns), -np.inf, returns))]
        seed = int(best) if args.seed == -1 else args.seed
        if seed not in saved.seeds:
            raise ValueError(
                f"seed={seed} is not in the run; accepted: {saved.seeds[0]} to {saved.seeds[-1]}"
            )
        row = int(np.flatnonzero(saved.seeds == seed)[0])
        folder = Path(args.out or Path(args.run) / "policy")
        params, obs_stats = jax.tree.map(lambda x: x[row], (saved.policy_params, saved.obs_stats))
        scores = {f"return of the last {LAST_EPISODES} episodes": returns[row], "seed": seed}
        export.save_policy(folder, saved.config, params, obs_stats, saved.hyperparams, scores)
        if args.compiled:
            data = export.compiled(export.load_policy(folder))
            write_whole(folder / "policy.jax", data)
    console.print(f"policy of seed {seed}: {folder}", soft_wrap=True)


def list_envs() -> None:
    """Print every environment with its spaces and limit."""
    table = Table()
    for heading in ("environment", "observation", "action", "time limit", "preset"):
        table.add_column(heading, no_wrap=heading == "environment")
    tuned = presets.available()
    for name in envs.registered():
        if name in envs.downloads():
            table.add_row(name, "downloads its data when it is made", "", "", "")
            continue
        env = envs.make(name)
        spaces = (env.observation_space(env.default_params), env.action_space(env.default_params))
        limit = envs.get_param(env.default_params, "max_steps_in_episode")
        limit = "none" if limit is None else f"{int(limit)}"
        table.add_row(name, *map(_describe, spaces), limit, "yes" if name in tuned else "")
    console.print(table)


def _describe(space: Any) -> str:
    """A space in a few letters: its size and, where they are finite and all alike, its bounds."""
    if hasattr(space, "n"):
        return f"Discrete({space.n})"
    low, high = float(np.min(space.low)), float(np.max(space.high))
    same = np.ptp(np.asarray(space.low)) == 0 and np.ptp(np.asarray(space.high)) == 0
    bounds = f" in [{low:g}, {high:g}]" if same and max(-low, high) < 1e30 else ""
    return f"Box{tuple(space.shape)}{bounds}"


# ---------------------------------------------------------------------------------- PRINTING


def _run_with_progress(job: _Job) -> runner.Run:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[status]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(job.config.env, total=job.config.num_updates, status="compiling")

        def on_progress(now: runner.Progress) -> None:
            shown = "-" if np.isnan(now.mean_return) else f"{now.mean_return:.1f}"
            status = f"{now.steps_per_second:,.0f} steps/s  mean return {shown}"
            bar.update(task, completed=now.updates, status=status)

        def on_start(kept: Checkpoint | None) -> None:
            for path, reason in job.checkpoints.unusable:
                console.print(f"{path} is not used: {reason}", soft_wrap=True)
            if kept is not None:
                console.print(f"going on after {kept.update} of {job.config.num_updates} updates")
                console.print(*_differences(kept.made_with), sep="\n", end="", soft_wrap=True)
                bar.update(task, completed=kept.update)

        seeds = (len(job.seeds), int(job.seeds[0]))
        return runner.run(
            job.config,
            job.hp,
            *seeds,
            on_progress,
            checkpoints=job.checkpoints,
            on_start=on_start,
            on_divergence=_finder(job) if job.debug_nans else None,
        )


def _finder(job: _Job) -> Callable[[TrainState], None]:
    """Says of each seed that diverges, once, which operation did it."""
    told: set[int] = set()

    def find(state: TrainState) -> None:
        from purejaxvpg.experiment.debug import find_operation

        for row in np.flatnonzero(~np.asarray(state.finite)):
            if row not in told:
                told.add(int(row))
                own = jax.tree.map(lambda x, row=row: x[row], state)
                said = find_operation(job.config, job.hp, own)
                when = f"seed {job.seeds[row]} at update {int(own.update) + 1}"
                console.print(f"{when}: {said}", soft_wrap=True, markup=False)

    return find


def _differences(was: Mapping[str, Any]) -> list[str]:
    """A line for each of the things that the bits depend on and that are other ones now."""
    return [
        f"{name} was {was.get(name)}, and is {now}: the numbers agree but for rounding\n"
        for name, now in made_with().items()
        if was.get(name, now) != now  # it was not always recorded
    ]


def _print_result(result: runner.Run, returns: np.ndarray) -> None:
    config = result.config
    columns: dict[str, Any] = {
        f"last {LAST_EPISODES} episodes": returns[:, -1],
        f"best {LAST_EPISODES} in a row": _best(returns),
    }
    if result.evaluations is not None:
        columns["last evaluation"] = result.evaluations.returns[:, -1].mean(-1)
    title = f"{config.env}: return after {config.total_steps:,} steps of each seed"
    console.print(tables.summary(title, columns))
    _print_diverged(result.seeds, diverged_at(result.metrics.finite))
    steps = config.total_steps * len(result.seeds)
    console.print(
        f"{steps:,} steps in {result.seconds:.1f} s ({steps / result.seconds:,.0f} steps/s), "
        f"and {result.compile_seconds:.1f} s to compile"
    )


def _returns(result: runner.Run) -> np.ndarray:
    """Mean of the last episodes by each update, [S, U]; NaN from where a seed diverged."""
    found = trailing_return(
        result.metrics.episode_return_sum, result.metrics.episode_count, LAST_EPISODES
    )
    return np.where(result.metrics.finite, found, np.nan)


def _print_diverged(seeds: np.ndarray, lost_at: np.ndarray, most: int = 5) -> None:
    """Which seeds diverged, and when.  lost_at: `[S]`, update from 1; 0: at none."""
    lost = np.flatnonzero(lost_at)
    if not len(lost):
        return
    each = [f"seed {seeds[s]} at update {lost_at[s]}" for s in lost[:most]]
    more = f" and {len(lost) - most} more" if len(lost) > most else ""
    console.print(
        f"{len(lost)} of {len(seeds)} seeds diverged, and stay at their last finite state: "
        f"{', '.join(each)}{more}",
        soft_wrap=True,
    )


def _best(returns: np.ndarray) -> np.ndarray:
    """Largest value of each row `[S, U]` that is known; NaN for a row that has none."""
    return np.max(returns, axis=1, where=~np.isnan(returns), initial=-np.inf) + np.where(
        np.isnan(returns).all(axis=1), np.nan, 0
    )
