"""Flags: every field of `VPGConfig` and `Hyperparams` is one, with its explanation as the help."""

import dataclasses
from typing import Any, Literal

from purejaxvpg.cli import result_flags
from purejaxvpg.cli.flag_kinds import AXES, Flag
from purejaxvpg.cli.flag_kinds import flag as _flag
from purejaxvpg.cli.flag_kinds import place as _place
from purejaxvpg.cli.flag_kinds import several as _several
from purejaxvpg.cli.flag_kinds import switch as _switch
from purejaxvpg.cli.self_flags import Completion, Doctor
from purejaxvpg.config import NAMES, Hyperparams, VPGConfig
from purejaxvpg.fields import doc_of

# Fields that take Python objects in the library take names here, or name=value pairs.
_CHOICES = NAMES | {"network": ("auto", "mlp", "cnn"), "memory": ("gru", "lstm"),
                    "kernel_init": ("NAME",)}  # fmt: skip
PAIRS = {
    "env_kwargs": "Constructor arguments of the environment, as name=value name=value ...",
    "env_params": "Environment parameters that differ from the environment's defaults; as "
    "name=value, several apart by spaces. name=uniform:LOW:HIGH, log:LOW:HIGH or choice:A:B:... "
    "draws it at each reset, for each episode its own",
}


def _flags(cls: type) -> list[Flag]:
    """Fields of a dataclass as fields of a command's dataclass."""
    flags = []
    for field in dataclasses.fields(cls):
        if field.name == "env":
            continue
        kind = float if cls is Hyperparams else field.type
        text, default, metavar = doc_of(field), field.default, None
        if field.name in _CHOICES:
            kind = str if default is not None else str | None
            metavar = " | ".join([*_CHOICES[field.name], "MODULE:NAME"])
        if kind == tuple[str, ...] | None:
            metavar = "NAME [NAME ...]"
        if field.name in PAIRS:
            kind, default = tuple[str, ...], ()
            text = PAIRS[field.name]
        flags.append(_flag(field.name, kind, default, text, metavar))
    return flags


_ENV = ("env", _place("ENV", "Environment, see: purejaxvpg envs."), dataclasses.field(default=""))
_FOLDER = ("folder", _place("FOLDER", "Run or study folder."))
_IMPORT = _several(
    "import",
    "imports",  # `import` is no name in Python
    "MODULE | FILE.py",
    "A module or a file to import first, for the environments that it registers; give the flag "
    "again for another. A folder records it. Also the new place of an environment's file that was "
    "moved.",
)
_LOG = _several(
    "log", "log", "tensorboard | wandb | jsonl | none",
    "Where to log, beside metrics.jsonl in the folder; several: --log tensorboard,wandb. jsonl: "
    "every update there, of long runs and large studies too; none: not even that file."
)  # fmt: skip
SPELT = {"imports": "import"}  # fields whose flags have another name
_CONDITIONS = _flag(
    "conditions", AXES, (), "Axes along which settings are compared within, never across "
    "(default: env, env_params.*, max_episode_steps); none: compare all."
)  # fmt: skip
_DESIGN = [
    _flag("grid", AXES, (), "Axes as name=value,value,...: every combination of their values."),
    _flag("zipped", AXES, (), "Axes as name=value,value,...: first with first, and so on."),
    _flag("sample", AXES, (), "Axes to draw from: name=log:LOW:HIGH, name=uniform:LOW:HIGH or "
          "name=choice:A:B:... (a value for each setting; --env-params draws for each episode)."),
    _flag("num_samples", int, 0, "Points to draw for --sample."),
    _flag("sampler", Literal["sobol", "random"], "sobol", "How --sample draws them."),
    _flag("sample_seed", int, 0, "Seed of the draws."),
    _CONDITIONS,
]  # fmt: skip
_SEEDS = [
    _flag("num_seeds", int, 1, "S, runs of every setting, side by side in one compiled program."),
    _flag("seed", int, 0, "First seed; the others follow it by one."),
]
_HOW = [
    _flag("checkpoint_minutes", float, 1.0, "Keep what is running so often; 0: not by the clock."),
    _flag("checkpoint_updates", int, 0, "And after so many updates; 0: by minutes alone."),
    _flag("keep_policies", Literal["", "all", "best", "none"], "",
          "Policies to keep: of every run, of the best setting, or none (default: all)."),
    _flag("keep_states", Literal["", "yes", "no"], "", "Keep the whole state of every run at its "
          "end, so that it can train longer (default: those of a single setting)."),
    _flag("chunk_size", str, "auto", "Runs at a time on each device; auto: measured."),
    _flag("memory_limit", str, "", "Memory that a chunk may take on a device: 800MB, 8GB."),
    _flag("split", Literal["runs", "envs"], "runs",
          "Lay whole runs over the devices, or the environments of each run."),
    _flag("debug_nans", bool, False, "When a run diverges, find the operation that did it."),
    _flag("deterministic", bool, False, "Only operations that give the same bits each time "
          "(slower on a GPU; a CPU's always do)."),
    _flag("other_settings", bool, False, "Go on although jax has other settings (generator, x64, "
          "device) than the study was begun under; its numbers are others then."),
]  # fmt: skip
_MANY = [
    _flag("report", bool, True, "Write the report (report.html) when the study is done."),
    _flag("shard", str, "", "i/n, i from 0: compute the i-th of n shares of the runs, in the same "
          "folder or one of its own; auto: the share of this task of a SLURM array. Default: all "
          "of them, in an array as well."),
    _flag("prune", Literal["none", "successive_halving"], "none",
          "Stop the worse settings of each condition early, by interquartile mean over seeds."),
    _flag("rungs", int, 3, "How many times settings are compared, the end included."),
    _flag("keep", float, 1 / 3, "Share of the settings that goes on after each rung."),
    _flag("cluster", bool, False, "One program over many hosts, recognised from SLURM, Open MPI, "
          "Kubernetes or a TPU pod."),
    _flag("coordinator", str, "", "The same by hand: HOST:PORT of process 0,"),
    _flag("num_processes", int, 0, "how many processes there are,"),
    _flag("process_id", int, -1, "and which one this is, from 0."),
]  # fmt: skip
_RUN = [
    _flag("preset", bool, True, "Take the environment's preset as defaults."),
    *_flags(VPGConfig),
    *_flags(Hyperparams),
]


def _places(kind: str, default: str) -> list[Flag]:
    return [
        _flag("out", str, "", f"{kind} folder (default: runs/{default})."),
        _flag(
            "resume",
            str,
            "",
            "Go on with the run or study in this folder, as it was begun; "
            "with more --total-steps it trains longer. auto: go on in the folder of --out, or "
            "begin there.",
        ),
    ]


_EPISODES = [
    _flag("num_episodes", int, 32, "E, episodes of each policy."),
    _flag("eval_seed", int, 0, "Seed of the evaluation."),
]
_CHOICE = [
    _flag("best", bool, False, "Of a study: the setting with the best interquartile mean, of each "
          "condition (env, env_params.*), or of the settings that --where leaves."),
    _flag("where", AXES, (), "Of a study: the settings with these values, as name=value."),
]  # fmt: skip

_RUN_FOLDER, _STUDY_FOLDER = _places("Run", "<env>-<time>"), _places("Study", "<env>-sweep-<time>")
_STUDY = [_ENV, *_DESIGN, *_SEEDS, *_STUDY_FOLDER, _IMPORT, _LOG, *_HOW, *_MANY, *_RUN]


def _command(name: str, *fields: Any) -> type:
    return dataclasses.make_dataclass(name, fields)


Train = _command("Train", _ENV, *_SEEDS, *_RUN_FOLDER, _IMPORT, _LOG, *_HOW, *_RUN)
Sweep = _command("Sweep", *_STUDY)
Plan = _command("Plan", *_STUDY)  # a sweep's command with one word changed
Eval = _command(
    "Eval",
    _FOLDER,
    _IMPORT,
    *_CHOICE,
    _flag("seed", int, -1, "Training seed whose policy it is; -1: all of them."),
    *_EPISODES,
    _flag(
        "env_params",
        AXES,
        (),
        "Parameters to evaluate under, as name=value or "
        "name=value,value,...: every combination. Ranges that training drew from are at the "
        "environment's defaults unless given.",
    ),
    _switch("greedy", "Only with the policy's mode (default: both ways)."),
    _switch("sampled", "Only with actions drawn from the policy, as in training."),
)
Export = _command(
    "Export",
    _FOLDER,
    _IMPORT,
    *_CHOICE,
    _flag("out", str, "", "Folder of the policy (default: FOLDER/policy)."),
    _flag("seed", int, -1, "Training seed whose policy it is; -1: the best, by evaluation."),
    *_EPISODES,
    _switch(
        "sampled",
        "For act(obs, key): the seed is chosen by, and policy.jax takes, actions drawn from the "
        "policy (default: its mode, as in act(obs)).",
    ),
    _flag("compiled", bool, True, "Also write policy.jax, a program that needs jax alone."),
    _switch("onnx", "Also write policy.onnx, a program that needs onnxruntime alone."),
)
Render = _command(
    "Render",
    _FOLDER,
    _IMPORT,
    *_CHOICE,
    _flag("out", str, "", "A .gif, .mp4 or .svg (default: FOLDER/play.gif, which a report shows)."),
    _flag("seed", int, -1, "Training seed whose policy it is; -1: the best in training."),
    _flag("num_episodes", int, 1, "Episodes to show.", aliases=("--episodes",)),
    _flag("eval_seed", int, 0, "Seed of the episodes: eval's with as many episodes."),
    _switch("sampled", "With actions drawn from the policy (default: its mode)."),
    _flag("max_steps", int, 1000, "Steps after which an episode is cut."),
    _flag("fps", int, 20, "Steps a second."),
    _flag("scale", int | None, None, "Side of a pixel (default: small pictures are enlarged)."),
    _flag("text", bool, True, "The step and the return so far, in a line below."),
)  # fmt: skip
Repro = _command(
    "Repro",
    _FOLDER,
    _IMPORT,
    _flag("execute", bool, False, "Do it, and compare every number."),
    _flag("out", str, "", "Folder of the repetition (default: FOLDER-again)."),
)
Merge = _command(
    "Merge",
    ("out", _place("OUT", "Folder of the whole study.")),
    ("sources", _place("SHARD", "Study folders of its shards.", AXES)),
)
Report = _command(
    "Report",
    _FOLDER,
    _CONDITIONS,
    _flag("target", float | None, None, "Score to measure optimality gaps from."),
    _flag("out", str, "", "Folder of the report (default: FOLDER/report)."),
)
_NAME = _place("SUITE | NAME", "A suite, to list it, or an environment, to describe it.")
Envs = _command("Envs", ("name", _NAME, dataclasses.field(default="")), _IMPORT)

COMMANDS: list[tuple[type, str, str]] = [
    (Train, "train", "Train, and write a run folder."),
    (Eval, "eval", "Evaluate the policies of a run or study."),
    (Export, "export", "Write the policy of one run, to be used elsewhere."),
    (Render, "render", "Show a policy at play, as an animation."),
    (Repro, "repro", "What repeats a run or a study: print it, or do it and compare."),
    (Sweep, "sweep", "Train settings x seeds, and write a study folder."),
    (Plan, "plan", "What a sweep would take: programs, chunks, memory, time."),
    (Merge, "merge", "Put the shards of a study together."),
    (Report, "report", "Write the report of a study: a page and its pictures."),
    *result_flags.COMMANDS,
    (Envs, "envs", "List the environments. With a name: describe it."),
    (Doctor, "doctor", "Versions, devices and settings, what is wrong with them, and a self-test."),
    (Completion, "completion", "Tab completion for bash, zsh and fish: print it, or install it."),
]
RENAMED = {"zip": "zipped", "no-greedy": "sampled"}  # flags of earlier versions
