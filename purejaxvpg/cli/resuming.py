"""--resume: which study it is, which flags may differ, and the line that goes on with one."""

import dataclasses
import os
import shlex
from typing import Any

import jax

from purejaxvpg.cli import arguments, flags, typed
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import by_path
from purejaxvpg.experiment.conditions import check_conditions
from purejaxvpg.experiment.folder import read_spec
from purejaxvpg.experiment.pruning import METHOD, make_pruning
from purejaxvpg.experiment.runs import Shard
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study

AUTO = "auto"  # --resume auto --out FOLDER: go on with what is there, or begin it
AXES = ("grid", "zipped", "sample")
DESIGN = (*AXES, "num_samples", "sampler", "sample_seed")
PRUNING = ("prune", "rungs", "keep")
SEEDS = ("num_seeds", "seed")
# The study itself, and where it is; every other flag says how it is run.
IDENTITY = {"env", "out", "resume", "preset", "conditions", *DESIGN, *PRUNING, *SEEDS} | {
    field.name for cls in (VPGConfig, Hyperparams) for field in dataclasses.fields(cls)
}


def place(args: Any, shard: Shard | None) -> tuple[str, bool]:
    """The folder, and whether to go on with what it holds.  Raises: ValueError, in one line."""
    if args.resume == AUTO:
        if not args.out:
            raise ValueError("--resume auto needs --out FOLDER, the same each time")
        return args.out, True
    if args.resume:
        if args.out and args.out != args.resume:
            raise ValueError(
                f"--resume {args.resume} goes on in that folder; leave out --out {args.out} (or "
                f"give --resume auto --out {args.resume})"
            )
        return args.resume, True
    return args.out or arguments.default_folder(args, shard), False


def spec_of(args: Any, argv: list[str]) -> Spec:
    """The study that the flags describe; with --resume FOLDER, the one there, but for the flags
    that are given.

    Args: argv: the words of the command, which tell the flags that are given from defaults.

    Raises: ValueError, TypeError or OSError, in one line.
    """
    given = given_flags(args, argv)
    _check_used(args, given)
    if not args.resume or args.resume == AUTO:
        return arguments.spec_of(args)
    return _changed(read_spec(args.resume)[0], args, given)


NEEDED = {"sampler": "sample", "sample_seed": "sample", "rungs": "prune", "keep": "prune"}


def _check_used(args: Any, given: set[str]) -> None:
    """ValueError for a flag that would do nothing beside the others."""
    for name, needed in NEEDED.items():
        if name in given and needed not in given and not args.resume:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} does nothing without --{needed}; give both, or none")
    axes = [text.partition("=")[0] for name in AXES for text in getattr(args, name, ())]
    for name in axes:
        if name in given:
            flag = "ENV" if name == "env" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} does nothing beside the axis {name}; leave one of them out")
    for name in AXES:
        if name in given and not getattr(args, name):
            raise ValueError(f"--{name} names nothing; write for example --{name} gamma=0.9,0.99")


def given_flags(args: Any, argv: list[str]) -> set[str]:
    """Fields of a command whose flags are among its words."""
    words = {word.partition("=")[0][2:].replace("-", "_") for word in argv if word[:2] == "--"}
    words |= {word.removeprefix("no_") for word in words}
    names = {field.name for field in dataclasses.fields(args)} & words
    return names | ({"env"} if args.env else set())


def _changed(spec: Spec, args: Any, given: set[str]) -> Spec:
    """The study with the values that are given."""

    def changes(cls: type) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(cls) if field.name in given]
        pairs = {name: typed.pairs(name, getattr(args, name)) for name in flags.PAIRS}
        return {name: pairs[name] if name in pairs else getattr(args, name) for name in names}

    config = dataclasses.replace(spec.config, **changes(VPGConfig))
    hp = dataclasses.replace(spec.hyperparams, **changes(Hyperparams))
    design, seeds, pruning = spec.design, spec.seeds, spec.pruning
    if given & set(DESIGN):
        design = arguments.design_of(args)
    elif "conditions" in given:
        declared = arguments.conditions_of(args.conditions)
        design = design._replace(conditions=check_conditions(declared, list(design.names)))
    if given & set(SEEDS):
        number = args.num_seeds if "num_seeds" in given else len(seeds)
        seeds = arguments.seeds_of(number, args.seed if "seed" in given else int(seeds[0]))
    if given & set(PRUNING):
        as_begun = (METHOD, pruning.rungs, pruning.keep) if pruning else ("none", 3, 1 / 3)
        values = zip(PRUNING, as_begun, strict=True)
        method, rungs, keep = (getattr(args, n) if n in given else x for n, x in values)
        pruning = make_pruning(None if method == "none" else method, rungs, keep)
    return spec._replace(config=config, hyperparams=hp, design=design, seeds=seeds, pruning=pruning)


# ------------------------------------------------------------------------------- HOW TO GO ON


def how_to_go_on(study: Study, folder: str, args: Any, shard: Shard | None) -> str:
    """How much of a study is done, and the command that goes on with it."""
    done = f"{study.done.sum()} of {study.done.size} runs are done and kept"
    if (furthest := study.updates[~study.done]).any():
        if jax.process_count() > 1:
            done += ", the others begin again: several processes keep whole chunks only"
        else:
            done += f", the others up to update {furthest.max()}"
    return f"{done}; go on with: {command(folder, args, shard)}"


def command(folder: str, args: Any, shard: Shard | None = None) -> str:
    """The command that goes on with the study in a folder, run as it was: every flag that is
    neither a default nor kept in the folder.

    Args: shard: the one that `--shard auto` was.
    """
    name = "train" if isinstance(args, flags.Train) else "sweep"
    place = f".{os.sep}{folder}" if str(folder) == AUTO else str(folder)
    words = ["purejaxvpg", name, "--resume", place]
    imports = [*args.imports] if args.resume else []  # else the folder has them
    imports += [p for p, env in arguments.typed_files(args).items() if by_path.must_be_given(env)]
    for path in dict.fromkeys(imports):
        words += ["--import", path]
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        if field.name == "shard":
            value = f"{shard[0]}/{shard[1]}" if shard else ""
        if field.name not in (*IDENTITY, "imports") and value != field.default:
            words += typed.flag_words(field.name, value)
    return shlex.join(words)
