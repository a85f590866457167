"""train, eval, envs: one setting, and what there is to train on."""

import contextlib
import time
from typing import Any

import jax
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from purejaxvpg import envs, presets
from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.cli import flags
from purejaxvpg.cli.terminal import check_at_least_one, console, out_of_memory, user_errors
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.experiment import results, runner
from purejaxvpg.report import plots, tables
from purejaxvpg.statistics import trailing_return

LAST_EPISODES = 20


def run(args: Any, command: str) -> None:
    """Run a command.  Raises: UserError for bad input."""
    if isinstance(args, flags.Train):
        train(args, command)
    elif isinstance(args, flags.Eval):
        evaluate(args)
    elif isinstance(args, flags.Envs):
        list_envs()
    else:
        raise TypeError(f"{args!r} is no command of this file")


def train(args: Any, command: str) -> None:
    """Train, show progress and a table, and write the run folder."""
    with user_errors():
        config, hp = flags.config_of(args)
        agent = make_agent(config)  # everything that can be wrong with the config shows here
        check_episodes_fit(config, agent.env, agent.env_params(hp))
        check_at_least_one("num_seeds", args.num_seeds)
        last = 2**32 - args.num_seeds
        if not 0 <= args.seed <= last:
            raise ValueError(f"seed={args.seed} is out of range; accepted: 0 to {last}")
        out = args.out or f"runs/{config.env}-{time.strftime('%Y%m%d-%H%M%S')}"
    with contextlib.ExitStack() as stack:
        with user_errors():
            folder = stack.enter_context(results.new_folder(out))
        if args.preset and config.env in presets.available():
            console.print(f"defaults from the preset of {config.env} (--no-preset: none)")
        with out_of_memory("lower --num-seeds, --num-envs or --num-steps, or --gradient-rows"):
            result = _run_with_progress(config, hp, args)
        steps = np.arange(1, config.num_updates + 1) * config.num_envs * config.num_steps
        returns = trailing_return(
            result.metrics.episode_return_sum, result.metrics.episode_count, LAST_EPISODES
        )
        title = f"{config.env} ({args.num_seeds} seed{'s' * (args.num_seeds > 1)})"
        plots.learning_curve(folder / "learning_curve.png", steps, returns, title)
        results.save_run(folder, result, command)
    _print_result(result, returns)
    console.print(f"run folder: {out}", soft_wrap=True)


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
    cut = int((~np.asarray(outcome.finished)).sum())
    if cut:
        console.print(f"{cut} episodes reached the step bound; their returns are partial")


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


def _run_with_progress(config: VPGConfig, hp: Hyperparams, args: Any) -> runner.Run:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[status]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(config.env, total=config.num_updates, status="compiling")

        def on_progress(now: runner.Progress) -> None:
            shown = "-" if np.isnan(now.mean_return) else f"{now.mean_return:.1f}"
            status = f"{now.steps_per_second:,.0f} steps/s  mean return {shown}"
            bar.update(task, completed=now.updates, status=status)

        return runner.run(config, hp, args.num_seeds, args.seed, on_progress)


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
    diverged = int((~result.metrics.finite.all(1)).sum())
    if diverged:
        console.print(f"{diverged} of {len(result.seeds)} seeds diverged (non-finite numbers)")
    steps = config.total_steps * len(result.seeds)
    console.print(
        f"{steps:,} steps in {result.seconds:.1f} s ({steps / result.seconds:,.0f} steps/s), "
        f"and {result.compile_seconds:.1f} s to compile"
    )


def _best(returns: np.ndarray) -> np.ndarray:
    """Largest value of each row `[S, U]` that is known; NaN for a row that has none."""
    return np.max(returns, axis=1, where=~np.isnan(returns), initial=-np.inf) + np.where(
        np.isnan(returns).all(axis=1), np.nan, 0
    )
