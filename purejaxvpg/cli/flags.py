"""Flags: every field of `VPGConfig` and `Hyperparams` is one, with its docstring as the help.

The defaults are those of the environment's preset, if it has one.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
from typing import Annotated, Any, Literal

import tyro

from purejaxvpg import presets
from purejaxvpg.cli.terminal import UserError
from purejaxvpg.config import Hyperparams, VPGConfig

# ---------------------------------------------------------------------------------- ARGUMENTS


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
PAIRS = {
    "env_kwargs": "Constructor arguments of the environment",
    "env_params": "Environment parameters that differ from the environment's defaults",
}

Flag = tuple[str, Any, Any]  # as dataclasses.make_dataclass takes a field


def _flag(name: str, kind: Any, default: Any, text: str) -> Flag:
    annotated = Annotated[kind, tyro.conf.arg(help=text)]
    return name, annotated, dataclasses.field(default=default)


def _flags(cls: type) -> list[Flag]:
    """Fields of a dataclass as fields of a command's dataclass."""
    docs, flags = _docstrings(cls), []
    for field in dataclasses.fields(cls):
        if field.name == "env":
            continue
        kind = float if cls is Hyperparams else field.type
        kind, text, default = _NAMES.get(field.name, kind), docs[field.name], field.default
        if field.name in PAIRS:
            kind, default = tuple[str, ...], ()
            text = f"{PAIRS[field.name]}; as name=value, several apart by spaces"
        flags.append(_flag(field.name, kind, default, text))
    return flags


_ENV_HELP = "Environment, see: purejaxvpg envs."
_ENV = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV", help=_ENV_HELP)]
_SEEDS = [
    _flag("num_seeds", int, 1, "S, runs of every setting, side by side in one compiled program."),
    _flag("seed", int, 0, "First seed; the others follow it by one."),
]
_PRESET = _flag("preset", bool, True, "Take the environment's preset as defaults.")
_CHECKPOINT_MINUTES = _flag(
    "checkpoint_minutes", float, 1.0, "Keep what is running so often; 0: not by the clock."
)
_DETERMINISTIC = _flag(
    "deterministic",
    bool,
    False,
    "Only operations that give the same bits each time (slower on a GPU; a CPU's always do).",
)
_RUN = [*_flags(VPGConfig), *_flags(Hyperparams)]

Train = dataclasses.make_dataclass(
    "Train",
    [
        ("env", _ENV, dataclasses.field(default="")),
        *_SEEDS,
        _flag("out", str, "", "Run folder (default: runs/<env>-<time>)."),
        _flag("resume", str, "", "Go on with the run in this folder, as it was begun."),
        _CHECKPOINT_MINUTES,
        _flag("checkpoint_updates", int, 0, "And after so many updates; 0: by minutes alone."),
        _flag("debug_nans", bool, False, "When a seed diverges, find the operation that did it."),
        _DETERMINISTIC,
        _PRESET,
        *_RUN,
    ],
)

_AXES = tuple[str, ...]
_DESIGN = [
    _flag("grid", _AXES, (), "Axes as name=value,value,...: every combination of their values."),
    _flag("zip", _AXES, (), "Axes as name=value,value,...: first with first, second with second."),
    _flag(
        "sample",
        _AXES,
        (),
        "Axes to draw from: name=log:LOW:HIGH, name=uniform:LOW:HIGH or name=choice:A:B:...",
    ),
    _flag("num_samples", int, 0, "Points to draw for --sample."),
    _flag("sampler", Literal["sobol", "random"], "sobol", "How --sample draws them."),
    _flag("sample_seed", int, 0, "Seed of the draws."),
]
_MEMORY = [
    _flag("chunk_size", str, "auto", "Runs at a time on each device; auto: measured."),
    _flag("memory_limit", str, "", "What a chunk may take on a device, such as 800MB or 8GB."),
]
_HOW = [
    _flag(
        "shard",
        str,
        "",
        "i/n, i from 0: compute the i-th of n shares, each into the same folder or one of its own. "
        "Default: from SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT; none: all of it.",
    ),
    _flag(
        "split",
        Literal["runs", "envs"],
        "runs",
        "What is spread over devices: runs, or the environments of one large run.",
    ),
    _flag(
        "prune",
        Literal["none", "successive_halving"],
        "none",
        "Stop the worse settings early, by interquartile mean over seeds.",
    ),
    _flag("rungs", int, 3, "How many times settings are compared, the end included."),
    _flag("keep", float, 1 / 3, "Share of the settings that goes on after each rung."),
    _flag(
        "cluster",
        bool,
        False,
        "One program over many hosts, recognised from SLURM, Open MPI, Kubernetes or a TPU pod.",
    ),
    _flag("coordinator", str, "", "The same by hand: HOST:PORT of process 0,"),
    _flag("num_processes", int, 0, "how many processes there are,"),
    _flag("process_id", int, -1, "and which one this is, from 0."),
]

_STUDY = [
    ("env", _ENV, dataclasses.field(default="")),
    *_DESIGN,
    *_SEEDS,
    _flag("out", str, "", "Study folder (default: runs/<env>-sweep-<time>)."),
    _flag("resume", str, "", "Go on with the study in this folder, as it was begun."),
    _CHECKPOINT_MINUTES,
    _flag("report", bool, True, "Write the report (report.html) when the study is done."),
    *_MEMORY,
    *_HOW,
    _DETERMINISTIC,
    _PRESET,
    *_RUN,
]

Sweep = dataclasses.make_dataclass("Sweep", _STUDY)

# The same flags, so that a sweep's command is a plan's with one word changed.
Plan = dataclasses.make_dataclass("Plan", _STUDY)


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
class Export:
    """Arguments of `purejaxvpg export`."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run folder.")]
    out: str = ""
    """Folder of the policy (default: RUN/policy)."""
    seed: int = -1
    """Training seed whose policy it is; -1: that of the best mean return over its last episodes."""
    compiled: bool = True
    """Also write policy.jax, a compiled program that runs with jax alone."""


@dataclasses.dataclass
class Repro:
    """Arguments of `purejaxvpg repro`."""

    run: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run or study folder.")
    ]
    execute: bool = False
    """Do it, and compare every number."""
    out: str = ""
    """Folder of what is repeated (default: RUN-again)."""


@dataclasses.dataclass
class Merge:
    """Arguments of `purejaxvpg merge`."""

    out: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT", help="Folder of the whole study.")
    ]
    sources: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SHARD", help="Study folders of its shards."),
    ]


@dataclasses.dataclass
class Report:
    """Arguments of `purejaxvpg report`."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Study folder.")]
    target: float | None = None
    """Score to measure optimality gaps from."""
    out: str = ""
    """Folder of the report (default: RUN/report)."""


@dataclasses.dataclass
class Envs:
    """Arguments of `purejaxvpg envs`: none."""


# ----------------------------------------------------------------------------------- PARSING

_COMMANDS: list[tuple[type, str, str]] = [
    (Train, "train", "Train, and write a run folder."),
    (Eval, "eval", "Evaluate a run folder."),
    (Export, "export", "Write the policy of one seed of a run, to be used elsewhere."),
    (Repro, "repro", "What repeats a run or a study: print it, or do it and compare."),
    (Sweep, "sweep", "Train settings x seeds, and write a study folder."),
    (Plan, "plan", "What a sweep would take: programs, chunks, memory, time."),
    (Merge, "merge", "Put the shards of a study together."),
    (Report, "report", "Write the report of a study: a page and its pictures."),
    (Envs, "envs", "List the environments."),
]


def parse(argv: list[str]) -> Any:
    """The arguments as an object of a command's class.  Raises: UserError, in one line."""
    args = _tyro(argv, None)
    tunable = isinstance(args, Train | Sweep | Plan)
    if not tunable or not args.preset or args.env not in presets.available():
        return args
    # The preset's values become the defaults; what was given on the command line stays.
    preset = presets.load(args.env)
    defaults = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    for part in preset:
        names = [f.name for f in dataclasses.fields(part) if f.name not in ("env", *PAIRS)]
        defaults |= {name: getattr(part, name) for name in names}
    return _tyro(argv, type(args)(**defaults))


def _tyro(argv: list[str], defaults: Any) -> Any:
    """One parse by tyro.  What tyro says of bad input is boiled down to one line."""
    commands: Any = None
    for cls, name, text in _COMMANDS:
        default = {"default": defaults} if isinstance(defaults, cls) else {}
        own = Annotated[cls, tyro.conf.subcommand(name, description=text, **default)]
        commands = own if commands is None else commands | own
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(commands, args=argv, prog="purejaxvpg")
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


def config_of(args: Any) -> tuple[VPGConfig, Hyperparams]:
    """The config and hyperparameters that the flags say.

    Raises: ValueError or TypeError, in one line.
    """
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    values["env_kwargs"] = pairs("env_kwargs", args.env_kwargs)
    values["env_params"] = pairs("env_params", args.env_params) or None
    config = VPGConfig(**{f.name: values[f.name] for f in dataclasses.fields(VPGConfig)})
    hp = Hyperparams(**{f.name: values[f.name] for f in dataclasses.fields(Hyperparams)})
    return config, hp


def pairs(flag: str, items: tuple[str, ...], example: str = "gravity=9.8") -> dict[str, Any]:
    """("size=10", ...) as {"size": 10, ...}; values are Python literals, or else strings."""
    return {name: literal(text) for name, text in texts(flag, items, example).items()}


def texts(flag: str, items: tuple[str, ...], example: str) -> dict[str, str]:
    """("size=10", ...) as {"size": "10", ...}.  Raises: ValueError."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if name in found:
            raise ValueError(f"--{flag.replace('_', '-')} gives {name} twice")
        if not (name and equals):
            flag = flag.replace("_", "-")
            raise ValueError(f"--{flag} {item} is not name=value; write for example {example}")
        found[name] = text
    return found


def literal(text: str) -> Any:
    """A Python literal, or else the string itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
