"""Requests for a study that cannot be met: each refused in one line, before anything runs."""

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import jax
import numpy as np

from purejaxvpg.agent import check_episodes_fit, check_limit, make_setup
from purejaxvpg.experiment.conditions import default_conditions
from purejaxvpg.experiment.groups import Group, resolve
from purejaxvpg.experiment.jax_settings import check_same_jax_settings
from purejaxvpg.experiment.memory import least_bytes, total_bytes
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.runs import MOST_RUNS, RunIndex
from purejaxvpg.experiment.spec import Spec

MOST_BYTES = 2**63
RENAMED = {"part": "shard", "zip": "zipped"}  # arguments of earlier versions


def checked_groups(spec: Spec, resources: Any) -> list[Group]:
    """The settings of a study by compiled program.

    Raises: ValueError or TypeError, in one line, if the study cannot be run.
    """
    check_jit()
    check_number_of_runs(spec.index)
    groups = resolve(spec.design, spec.config, spec.hyperparams)
    for group in groups:
        check_group(group, resources)
    if spec.pruning:
        check_scores_alike(groups)
        check_something_compared(spec.compared(), spec.design.conditions)
    return groups


def check_jit() -> None:
    """ValueError where nothing may be compiled."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "jax_disable_jit is on, and a study is a compiled program; unset JAX_DISABLE_JIT, or "
            "call make_train or make_learner with it"
        )


def check_group(group: Group, resources: Any) -> None:
    """ValueError if the settings of a group cannot be run, or not so split over the devices."""
    devices = len(resources.devices) if resources.split == "envs" else 1
    least, most = least_bytes(group.config) // devices, total_bytes(resources.devices[0])
    if least > most:
        raise ValueError(
            f"one run takes at least {least / 1e9:,.1f} GB of a device, which has "
            f"{most / 1e9:,.1f} GB; lower num_envs, num_steps or hidden_sizes"
        )
    agent = make_setup(group.config, devices).agent
    for hp in group.hyperparams:
        env_params = agent.env_params(hp)
        check_limit(group.config, agent.env, env_params)
        check_episodes_fit(group.config, agent.env, env_params)


def make_seeds(num_seeds: int, first_seed: int = 0) -> np.ndarray:
    """first_seed, first_seed + 1, ...  [S].  Raises: ValueError for numbers out of range."""
    if not _is_whole(num_seeds) or num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: an integer >= 1")
    if num_seeds > MOST_RUNS:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: at most {MOST_RUNS:,}")
    last = 2**32 - num_seeds
    if not _is_whole(first_seed) or not 0 <= first_seed <= last:
        raise ValueError(f"first_seed={first_seed} is out of range; accepted: 0 to {last}")
    return np.arange(first_seed, first_seed + num_seeds)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def check_number_of_runs(index: RunIndex) -> None:
    """ValueError for more runs than a study can have."""
    settings, seeds = index
    if settings * seeds > MOST_RUNS:
        raise ValueError(
            f"{settings:,} settings with num_seeds={seeds} are {settings * seeds:,} runs; "
            f"accepted: at most {MOST_RUNS:,}"
        )


def check_renamed(arguments: dict[str, Any]) -> None:
    """TypeError, in one line, for arguments that have another name now, or none."""
    for name in arguments:
        if name in RENAMED:
            raise TypeError(f"{name}= is called {RENAMED[name]}= now; pass {RENAMED[name]}=")
        raise TypeError(f"{name}= is no argument; see help(purejaxvpg.experiment)")


def check_resources(resources: Any) -> None:
    """ValueError for sizes or limits that cannot be."""
    _, split, chunk_size, memory_limit = resources
    if chunk_size != "auto" and (not _is_whole(chunk_size) or not 1 <= chunk_size <= MOST_RUNS):
        raise ValueError(
            f"chunk_size={chunk_size!r} is out of range; accepted: auto, integers >= 1 and at "
            f"most {MOST_RUNS:,}"
        )
    if memory_limit is not None and (
        not isinstance(memory_limit, Real) or not 0 < memory_limit <= MOST_BYTES
    ):
        raise ValueError(
            f"memory_limit={memory_limit!r} is out of range; accepted: bytes > 0 and at most 2^63"
        )
    if memory_limit is not None and (chunk_size != "auto" or split == "envs"):
        raise ValueError("memory_limit chooses the chunk_size; leave out one of them (and split)")
    if split not in ("runs", "envs"):
        raise ValueError(f"split={split!r} is unknown; choose one of: runs, envs")


def check_options(options: Any, pruning: Any, folder: Any, resume: bool) -> None:
    """ValueError for a way to run the study that cannot be."""
    check_resources(options.resources)
    several = options.shard is not None or jax.process_count() > 1
    if options.keep_policies not in (None, "all", "best", "none"):
        given = options.keep_policies
        raise ValueError(f"keep_policies={given!r} is unknown; choose one of: all, best, none")
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the study; pass folder=")
    if folder is None and options.keep_states:
        raise ValueError("keep_states=True keeps states in the folder of the study; pass folder=")
    if folder is None and several:
        raise ValueError("a study in several parts needs a place to keep them; pass folder=")
    check_pruned_alone(pruning, several)
    for name in ("checkpoint_minutes", "checkpoint_updates"):
        given = getattr(options, name)
        if not isinstance(given, Real) or not 0 <= given < float("inf"):
            raise ValueError(f"{name}={given} is out of range; accepted: 0 or more")


def check_pruned_alone(pruning: Any, several: bool) -> None:
    """ValueError for a pruned study in several shards or processes."""
    if pruning and several:
        raise ValueError(
            "prune compares all settings, and a shard sees only its own; run it in one process "
            "(it uses all local devices)"
        )


def check_scores_alike(groups: list[Group]) -> None:
    """ValueError if pruning would compare evaluations with training episodes."""
    if len({group.config.eval_every > 0 for group in groups}) > 1:
        raise ValueError(
            "prune compares scores, and some settings would score by evaluations (eval_every > 0) "
            "and some by training episodes; give all of them the same"
        )


def check_something_compared(compared: list[np.ndarray], conditions: tuple[str, ...]) -> None:
    """ValueError if pruning would compare nothing, since no two settings share a condition.

    Args: compared: places of the settings that it compares with each other.
    """
    if len(compared) > 1 and max(map(len, compared)) == 1:
        names = ", ".join(conditions)
        raise ValueError(
            f"prune compares settings within a condition, and no two of the {len(compared)} "
            f"settings have the same {names}; declare others, or none (conditions=[], "
            f"--conditions none)"
        )


def check_one_world(space: Mapping[str, Any], conditions: Any) -> None:
    """ValueError if the suggestions would compare settings across conditions."""
    if conditions is not None and list(conditions):
        raise ValueError(
            f"conditions={conditions!r}: a search compares all its settings, so it is of one "
            f"condition; accepted: None, or [] to search the world as well"
        )
    if conditions is None and (world := default_conditions(space)):
        raise ValueError(
            f"space has {', '.join(world)}, and the highest score would be that of the easiest "
            f"world; search under one (or sweep them), or pass conditions=[] to search it as well"
        )


def check_width_as_begun(folder: Any, plans: list[Any], begun: dict[int, int]) -> None:
    """ValueError for another chunk_size than that of a chunk that is kept half way: it could not
    go on from there."""
    if folder is None or not any(folder.glob("chunks/*/*.npz")):
        return
    for place, plan in enumerate(plans):
        if plan is not None and begun.get(place, 0) not in (0, plan.width):
            raise ValueError(
                f"{folder} keeps a chunk half way that runs {begun[place]} at a time, and "
                f"chunk_size={plan.width} would begin it again; leave chunk_size out, or pass "
                f"--other-settings (other_settings=True) to begin it again"
            )


def check_as_begun(
    folder: Any, before: StudyRecord, now: StudyRecord, other_settings: bool, done: bool
) -> None:
    """ValueError for another split, or other settings of jax that are not allowed; a warning for
    those that are, and for other changes that may round otherwise.

    Args: done: whether nothing is left to compute.
    """
    if before.split != now.split:
        raise ValueError(f"the study was begun with split={before.split!r}; go on with the same")
    if done:
        return
    settings = (before.jax_settings, now.jax_settings or {})
    if announced := check_same_jax_settings(folder, *settings, other_settings):
        warnings.warn(announced, stacklevel=4)
    device = {} if before.jax_settings else {"device": before.device}  # else it is among those
    was, is_now = {**before.versions, **device}, {**now.versions, "device": now.device}
    changed = [name for name in was if was[name] and was[name] != is_now.get(name)]
    if changed:
        begun, goes_on = (
            ", ".join(f"{name} {made_with.get(name)}" for name in changed)
            for made_with in (was, is_now)
        )
        warnings.warn(
            f"the study was begun with {begun}, and goes on with {goes_on}: its runs may round "
            f"differently",
            stacklevel=4,
        )
