"""Checks, folder and widths of a study, before it runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg.experiment.checks import (
    check_as_begun,
    check_group,
    check_options,
    check_scores_alike,
    check_something_compared,
)
from purejaxvpg.experiment.devices import use_every_core
from purejaxvpg.experiment.folder import Contents
from purejaxvpg.experiment.groups import Group, resolve
from purejaxvpg.experiment.planning import GroupPlan, Resources, plan_group
from purejaxvpg.experiment.prepared import Options, Prepared
from purejaxvpg.experiment.progress import Clock
from purejaxvpg.experiment.pruning import pruning_to_json
from purejaxvpg.experiment.record import StudyRecord, commit, compiler_flags, versions
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.store import Store, existing, width_of


def make_resources(
    devices: Sequence[Any] | None, split: Any, chunk_size: Any, memory_limit: Any
) -> Resources:
    """The devices given, or all of them (each core of a CPU), and how they are used."""
    if devices is None:
        use_every_core()
    return Resources(
        list(jax.devices() if devices is None else devices), split, chunk_size, memory_limit
    )


def prepare(
    spec: Spec,
    options: Options,
    folder: Any = None,
    resume: bool = False,
    grown: Contents | None = None,
) -> Prepared:
    """A study that is checked, has its folder and its widths.  A study that does not fit leaves no
    folder.

    Args:
      folder, resume: as in `sweep`.
      grown: the study before it grew by settings, which it goes on from.

    Raises: as `sweep`.
    """
    check_options(options, spec.pruning, folder, resume)
    groups = resolve(spec.design, spec.config, spec.hyperparams)
    for group in groups:
        check_group(group, options.resources)
    if spec.pruning:
        check_scores_alike(groups)
        check_something_compared(spec.compared(), spec.design.conditions)
    contents = grown or existing(spec, folder, join=resume or _together(options))
    now = StudyRecord(
        command=options.command,
        versions=versions(),
        commit=commit(),
        device=options.resources.devices[0].device_kind,
        split=options.resources.split,
        xla_flags=compiler_flags(),
        keep_policies=options.keep_policies or "all",
        prune=pruning_to_json(spec.pruning),
    )
    record = now
    if contents is not None:
        spec, record = (spec if grown else contents.spec), contents.record
        check_as_begun(record, now)
        if options.keep_policies:
            record = record.replace(keep_policies=options.keep_policies)
    clock, num_devices = Clock(options.on_progress), len(options.resources.devices)
    planned = dict(enumerate(record.program_widths)) if record.num_devices == num_devices else {}
    parts, plans = contents.parts if contents else [], []
    for place, group in enumerate(groups):
        done = width_of(parts, spec.index.of_settings(group.settings))
        plans.append(_plan(spec, group, done or planned.get(place, 0), options, clock))
    if contents is None:
        widths = [group_plan.width if group_plan else 0 for group_plan in plans]
        record = record.replace(num_devices=num_devices, program_widths=widths)
    store = Store(spec, None if folder is None else Path(folder), record, contents)
    return Prepared(
        spec, groups, plans, store, now.replace(keep_policies=record.keep_policies), options, clock
    )


def _together(options: Options) -> bool:
    """Whether other processes put their parts into the same folder."""
    return options.shard is not None or jax.process_count() > 1


def _plan(spec: Spec, group: Group, begun: int, options: Options, clock: Clock) -> GroupPlan | None:
    """Width and chunks of a group; None if this shard has no runs of it.

    Args: begun: the width that it was begun with; 0 if it begins.
    """
    runs, shard = spec.index.of_settings(group.settings), options.shard or (0, 1)
    in_shard = spec.index.in_shard(runs, shard)
    if not len(in_shard):
        return None
    resources = options.resources
    # A study that goes on keeps the width it began with: another width rounds otherwise.
    if resources.chunk_size == "auto" and begun:
        resources = resources._replace(chunk_size=begun, memory_limit=None)
    # All shards plan alike; and a chunk is not wider than what is left after pruning.
    number = len(runs)
    if spec.pruning:
        in_group = [np.intersect1d(places, group.settings) for places in spec.compared()]
        left = sum(spec.pruning.smallest(len(places)) for places in in_group if len(places))
        number = left * len(spec.seeds)
    with clock.compiling("measuring memory"):
        group_plan = plan_group(group, math.ceil(number / shard[1]), resources)
    chunks = math.ceil(len(in_shard) / (group_plan.width * group_plan.num_devices))
    return group_plan._replace(num_runs=len(in_shard), chunks=chunks)
