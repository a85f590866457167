"""The command line: parse, call, print.

Every field of `VPGConfig` and `Hyperparams` is a flag of `train`, with the field's own
docstring as its help; the defaults are those of the environment's preset, if it has one.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import jax
import numpy as np

from purejaxvpg import __version__, envs, presets
from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.experiment import results, runner
from purejaxvpg.extras import require
from purejaxvpg.report import plots, tables
from purejaxvpg.statistics import trailing_return

tyro = require("tyro", "cli")
for needed_at_the_end in ("rich", "matplotlib", "safetensors"):
    require(needed_at_the_end, "cli")  # now, not when a run is done and about to be saved

from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from rich.table import Table  # noqa: E402

LAST_EPISODES = 20
console = Console()


class UserError(Exception):
    """Bad input: one line for the user, exit code 2."""


# ---------------------------------------------------------------------------------- COMMANDS


def _docstrings(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass, for its help."""
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    docs = {}
    for field, doc in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr):
            docs[ast.unparse(field.target)] = " ".join(ast.literal_eval(doc.value).split())
    return docs


# Fields that take Python objects in the library take names here, or name=value pairs.
_NAMES: dict[str, Any] = {"network": Literal["auto", "mlp", "cnn"], "kernel_init": str}
_PAIRS = {
    "env_kwargs": "Constructor arguments of the environment",
    "env_params": "Environment parameters that differ from the environment's defaults",
}


def _flags(cls: type) -> list[tuple[str, Any, Any]]:
    """Fields of a dataclass as fields of the command's dataclass."""
    docs, flags = _docstrings(cls), []
    for field in dataclasses.fields(cls):
        if field.name == "env":
            continue
        kind = float if cls is Hyperparams else field.type
        kind, text, default = _NAMES.get(field.name, kind), docs[field.name], field.default
        if field.name in _PAIRS:
            kind, default = tuple[str, ...], ()
            text = f"{_PAIRS[field.name]}; as name=value, several apart by spaces"
        annotated = Annotated[kind, tyro.conf.arg(help=text)]
        flags.append((field.name, annotated, dataclasses.field(default=default)))
    return flags


Train = dataclasses.make_dataclass(
    "Train",
    [
        (
            "env",
            Annotated[
                str,
                tyro.conf.Positional,
                tyro.conf.arg(metavar="ENV", help="Environment, see: purejaxvpg envs."),
            ],
        ),
        (
            "num_seeds",
            Annotated[int, tyro.conf.arg(help="S, runs side by side in one compiled program.")],
            1,
        ),
        (
            "seed",
            Annotated[int, tyro.conf.arg(help="First seed; the others follow it by one.")],
            0,
        ),
        (
            "out",
            Annotated[str, tyro.conf.arg(help="Run folder (default: runs/<env>-<time>).")],
            "",
        ),
        (
            "preset",
            Annotated[bool, tyro.conf.arg(help="Take the environment's preset as defaults.")],
            True,
        ),
        *_flags(VPGConfig),
        *_flags(Hyperparams),
    ],
)


@dataclasses.dataclass
class Eval:
    """Arguments of `purejaxvpg eval`."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run folder.")]
    num_episodes: int = 32
    """E, episodes per seed."""
    greedy: bool = True
    """Take the policy's mode; otherwise sample from it."""
    seed: int = 0
    """Seed of the evaluation."""


@dataclasses.dataclass
class Envs:
    """Arguments of `purejaxvpg envs`: none."""


def train(args: Any, command: str) -> None:
    """Train, show progress and a table, and write the run folder."""
    with _user_errors():
        config, hp = _config_of(args)
        agent = make_agent(config)  # everything that can be wrong with the config shows here
        check_episodes_fit(config, agent.env, agent.env_params(hp))
        _check_at_least_one("num_seeds", args.num_seeds)
        last = 2**32 - args.num_seeds
        if not 0 <= args.seed <= last:
            raise ValueError(f"seed={args.seed} is out of range; accepted: 0 to {last}")
        out = args.out or f"runs/{config.env}-{time.strftime('%Y%m%d-%H%M%S')}"
    with contextlib.ExitStack() as stack:
        with _user_errors():
            folder = stack.enter_context(results.new_folder(out))
        if args.preset and config.env in presets.available():
            console.print(f"defaults from the preset of {config.env} (--no-preset: none)")
        with _out_of_memory():
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


def evaluate(args: Eval) -> None:
    """Evaluate every seed of a run folder, with the environment parameters it trained on."""
    with _user_errors():
        _check_at_least_one("num_episodes", args.num_episodes)
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


def list_envs(args: Envs) -> None:
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


# ----------------------------------------------------------------------------------- PARSING


def main(argv: Sequence[str]) -> int:
    """Parse and run.  Returns the exit code: 0, 2 for bad input, 130 for an interrupt."""
    if list(argv) == ["--version"]:
        print(f"purejaxvpg {__version__}")
        return 0
    try:
        args = _parse(list(argv))
        if isinstance(args, Train):
            train(args, shlex.join(["purejaxvpg", *argv]))
        elif isinstance(args, Eval):
            evaluate(args)
        else:
            list_envs(args)
    except UserError as error:
        print(f"purejaxvpg: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("purejaxvpg: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parse(argv: list[str]) -> Any:
    args = _tyro(argv, None)
    if not isinstance(args, Train) or not args.preset or args.env not in presets.available():
        return args
    # The preset's values become the defaults; what was given on the command line stays.
    preset = presets.load(args.env)
    defaults = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    for part in preset:
        names = [f.name for f in dataclasses.fields(part) if f.name not in ("env", *_PAIRS)]
        defaults |= {name: getattr(part, name) for name in names}
    return _tyro(argv, Train(**defaults))


def _tyro(argv: list[str], train_default: Any) -> Any:
    """One parse by tyro.  What tyro says of bad input is boiled down to one line."""
    conf = tyro.conf
    default = {} if train_default is None else {"default": train_default}
    commands = (
        Annotated[
            Train,
            conf.subcommand("train", description="Train, and write a run folder.", **default),
        ]
        | Annotated[Eval, conf.subcommand("eval", description="Evaluate a run folder.")]
        | Annotated[Envs, conf.subcommand("envs", description="List the environments.")]
    )
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(commands, args=argv, prog="purejaxvpg")  # type: ignore[call-overload]
    except SystemExit as stop:
        if stop.code in (0, None):  # --help
            raise
        raise UserError(_one_line(captured.getvalue())) from None


def _one_line(box: str) -> str:
    """tyro's boxed message as one line: its first paragraph, and the flags it suggests."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()][1:]  # but the title
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if len(line) > 9 and set(line) <= {"─", "-"}:  # a rule, in a terminal or a plain file
            paragraphs.append([])
        elif line:
            paragraphs[-1].append(line)
    first, *rest = [lines for lines in paragraphs if lines]
    suggested = [line for line in rest[0] if line.startswith("--")] if rest else []
    if suggested and rest[0][0].startswith("Perhaps"):
        first.append(f"; perhaps you meant {' or '.join(suggested[:3])}")
    return re.sub(r"\s+", " ", " ".join(first)).replace(" ;", ";")


def _config_of(args: Any) -> tuple[VPGConfig, Hyperparams]:
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    values["env_kwargs"] = _pairs("env_kwargs", args.env_kwargs)
    values["env_params"] = _pairs("env_params", args.env_params) or None
    config = VPGConfig(**{f.name: values[f.name] for f in dataclasses.fields(VPGConfig)})
    hp = Hyperparams(**{f.name: values[f.name] for f in dataclasses.fields(Hyperparams)})
    return config, hp


def _pairs(flag: str, items: tuple[str, ...]) -> dict[str, Any]:
    """("size=10", ...) as {"size": 10, ...}; values are Python literals, or else strings."""
    pairs = {}
    for item in items:
        name, equals, text = item.partition("=")
        if name in pairs:
            raise ValueError(f"--{flag.replace('_', '-')} gives {name} twice")
        if not (name and equals):
            flag = flag.replace("_", "-")
            raise ValueError(f"--{flag} {item} is not name=value; write for example gravity=9.8")
        try:
            pairs[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pairs[name] = text
    return pairs


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value} is out of range; accepted: an integer >= 1")


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    """Errors of what the user gave, as one line.  Not around training: a fault there is ours."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        raise UserError(" ".join(str(error).split())) from error


@contextlib.contextmanager
def _out_of_memory() -> Iterator[None]:
    """Running out of memory as one line with the remedy."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        raise UserError(
            "out of memory; lower --num-seeds, --num-envs or --num-steps, or --gradient-rows"
        ) from error


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
