"""What a study may be asked for: each refusal in one line, before anything runs."""

import warnings
from numbers import Real
from typing import Any

import jax
import numpy as np

from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.experiment.grid import Group
from purejaxvpg.experiment.placement import Shard


def check_group(group: Group, shard: Shard, num_devices: int) -> None:
    """ValueError if the settings of a group cannot be run, or not so spread over the devices."""
    agent = make_agent(group.config)
    for hp in group.hyperparams:
        check_episodes_fit(group.config, agent.env, agent.env_params(hp))
    if shard == "envs" and group.config.num_envs % num_devices:
        raise ValueError(
            f"shard='envs' splits num_envs={group.config.num_envs} over {num_devices} devices, "
            f"which does not divide it; choose a multiple"
        )


def make_seeds(num_seeds: int, first_seed: int = 0) -> np.ndarray:
    """first_seed, first_seed + 1, ...  [S].  Raises: ValueError for numbers out of range."""
    if not isinstance(num_seeds, int | np.integer) or num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: an integer >= 1")
    last = 2**32 - num_seeds
    if not isinstance(first_seed, int | np.integer) or not 0 <= first_seed <= last:
        raise ValueError(f"first_seed={first_seed} is out of range; accepted: 0 to {last}")
    return np.arange(first_seed, first_seed + num_seeds)


def check_combination(
    chunk_size: Any,
    memory_limit: Any,
    shard: Any,
    part: Any,
    pruning: Any,
    folder: Any,
    resume: Any,
) -> None:
    """ValueError for how a study is to be run, if that cannot be."""
    if chunk_size != "auto" and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(
            f"chunk_size={chunk_size!r} is out of range; accepted: auto, integers >= 1"
        )
    if memory_limit is not None and (not isinstance(memory_limit, Real) or memory_limit <= 0):
        raise ValueError(f"memory_limit={memory_limit!r} is out of range; accepted: bytes > 0")
    if memory_limit is not None and (chunk_size != "auto" or shard == "envs"):
        raise ValueError("memory_limit chooses the chunk_size; leave out one of them (and shard)")
    if shard not in ("runs", "envs"):
        raise ValueError(f"shard={shard!r} is unknown; choose one of: runs, envs")
    if part is not None and not (0 <= part[0] < part[1]):
        raise ValueError(f"part={part} is out of range; accepted: (i, n) with 0 <= i < n")
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the study; pass folder=")
    if folder is None and (part is not None or jax.process_count() > 1):
        raise ValueError("a study in several parts needs a place to keep them; pass folder=")
    if pruning and (part is not None or jax.process_count() > 1):
        raise ValueError(
            "prune compares all settings, and a shard sees only its own; run it in one process "
            "(it uses all local devices)"
        )


def check_as_begun(record: dict[str, Any], now: dict[str, Any]) -> None:
    """ValueError for another layout; a warning for what else may round otherwise."""
    begun = record.get("shard", now["shard"])
    if begun != now["shard"]:
        raise ValueError(f"the study was begun with shard={begun!r}; go on with the same")
    for name in ("versions", "device"):
        if record.get(name, now[name]) != now[name]:
            warnings.warn(
                f"the study was begun with {name} {record[name]}, and goes on with {now[name]}: "
                f"its runs may round differently",
                stacklevel=4,
            )
