"""From the flags of train, sweep and plan to a study, and how it is run."""

import contextlib
import os
import time
from typing import Any

import numpy as np

from purejaxvpg.cli import flags, parsing, typed
from purejaxvpg.cli.numbers import bytes_of, whole
from purejaxvpg.envs.names import in_folder_names
from purejaxvpg.experiment import devices
from purejaxvpg.experiment.checks import make_seeds
from purejaxvpg.experiment.design import Design, make_design
from purejaxvpg.experiment.logs import LOGS
from purejaxvpg.experiment.planning import Resources
from purejaxvpg.experiment.prepare import make_resources
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.pruning import make_pruning
from purejaxvpg.experiment.runs import Shard, parse_shard
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.user_code import split_file


def spec_of(args: Any) -> Spec:
    """The study that the flags describe.  Raises: ValueError or TypeError, in one line."""
    if not (args.env or typed.axis_of_envs(args)):
        command = "train" if isinstance(args, flags.Train) else "sweep"
        raise ValueError(f"{command} needs ENV, or --resume FOLDER; see: purejaxvpg envs")
    config, hp = parsing.config_of(args)
    seeds = seeds_of(args.num_seeds, args.seed)
    if isinstance(args, flags.Train):
        return Spec(config, hp, Design(()), seeds)
    prune = None if args.prune == "none" else args.prune
    return Spec(config, hp, design_of(args), seeds, make_pruning(prune, args.rungs, args.keep))


def seeds_of(number: int, first: int) -> np.ndarray:
    """The seeds of --num-seeds and --seed.  `[S]`  Raises: ValueError, which names the flag."""
    try:
        return make_seeds(number, first)
    except ValueError as error:
        raise ValueError(str(error).replace("first_seed=", "--seed ")) from None


def typed_files(args: Any) -> dict[str, str]:
    """Files of environments among the words of a command: path -> the environment's name."""
    names = [getattr(args, "env", ""), *typed.axis_of_envs(args)]
    return {file[0]: str(name) for name in names if (file := split_file(name))}


def resources_of(args: Any) -> Resources:
    """The devices, and how the flags use them.  Raises: ValueError, in one line."""
    size = args.chunk_size
    if size != "auto":
        with contextlib.suppress(ValueError):
            size = whole(size)
        if isinstance(size, str) or size < 1:
            raise ValueError(f"--chunk-size {size} is neither auto nor an integer >= 1")
    return make_resources(None, args.split, size, bytes_of(args.memory_limit))


def options_of(args: Any, shard: Shard | None, command: str) -> Options:
    """How the flags have the study run.  Raises: ValueError, in one line."""
    return Options(
        resources=resources_of(args),
        shard=shard,
        keep_policies=args.keep_policies or None,
        keep_states={"yes": True, "no": False}.get(args.keep_states),
        checkpoint_minutes=args.checkpoint_minutes,
        checkpoint_updates=args.checkpoint_updates,
        command=command,
        other_settings=args.other_settings,
        imports=tuple(args.imports),
        log=logs_of(args.log),
    )


def logs_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """The logs that --log names, each once.  Raises: ValueError, in one line."""
    each = tuple(dict.fromkeys(name for item in names for name in item.split(",")))
    if unknown := [name for name in each if name not in LOGS]:
        raise ValueError(f"--log {unknown[0]} is unknown; choose one of: {', '.join(LOGS)}")
    return each


def design_of(args: Any) -> Design:
    """The settings that --grid, --zipped and --sample name.  Raises: ValueError or TypeError."""
    lists, ranges = "policy_lr=1e-3,3e-3", "policy_lr=log:1e-4:1e-2"
    grid, zipped = (typed.texts(name, getattr(args, name), lists) for name in ("grid", "zipped"))
    return make_design(
        {name: typed.axis_values(name, text) for name, text in grid.items()},
        {name: typed.axis_values(name, text) for name, text in zipped.items()},
        {
            name: typed.range_of(f"--sample {name}", text)
            for name, text in typed.texts("sample", args.sample, ranges).items()
        },
        args.num_samples,
        args.sampler,
        args.sample_seed,
        conditions_of(args.conditions),
    )


def conditions_of(names: tuple[str, ...]) -> list[str] | None:
    """Names of --conditions: None where it is not given, [] for "none"."""
    if names == ("none",):
        return []
    return [name for item in names for name in item.split(",")] or None


def shard_of(text: str) -> Shard | None:
    """The shard of the runs that --shard names; `auto`: by the array job that this is a task of.

    Raises: ValueError, in one line.
    """
    if text != "auto":
        return None if text in ("", "none") else parse_shard(text)
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX", "STEP")]
    for name in names[:2]:
        if not os.environ.get(name):
            raise ValueError(
                f"--shard auto is for a task of a SLURM array, and {name} is not set; give "
                "--shard i/n"
            )
    index, number = int(os.environ[names[0]]), int(os.environ[names[1]])
    first, step = int(os.environ.get(names[2], "0")), int(os.environ.get(names[4], "1"))
    last = int(os.environ.get(names[3], first + step * (number - 1)))
    place, rest = divmod(index - first, step)
    # Some tasks of an array, run again: none of them may take a share for another's.
    if rest or not 0 <= place < number or last != first + step * (number - 1):
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID={index} is not one of {number} in a row; give --shard i/n"
        )
    return place, number


def default_folder(args: Any, shard: Shard | None) -> str:
    """The folder without --out.  Raises: ValueError where one must be given."""
    if isinstance(args, flags.Train):
        return f"runs/{in_folder_names(args.env)}-{time.strftime('%Y%m%d-%H%M%S')}"
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    if args.cluster or args.coordinator:
        raise ValueError("several processes need --out FOLDER, one that all of them see")
    if shard and not job:
        raise ValueError("--shard needs --out FOLDER, the same for all shards or one for each")
    now = job if shard else time.strftime("%Y%m%d-%H%M%S")
    return f"runs/{in_folder_names(args.env)}-sweep-{now}"


def join_cluster(args: Any) -> None:
    """Join the other processes of a cluster, if asked to."""
    if isinstance(args, flags.Train):
        return
    by_hand = (args.coordinator, args.num_processes or None, args.process_id)
    if args.coordinator:
        if args.num_processes < 1 or args.process_id < 0:
            raise ValueError("--coordinator needs --num-processes and --process-id")
        devices.join_cluster(*by_hand)
    elif args.cluster:
        devices.join_cluster()
    elif args.num_processes or args.process_id >= 0:
        raise ValueError("--num-processes and --process-id need --coordinator HOST:PORT")
