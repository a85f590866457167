"""Before anything runs: how many programs, how wide, in how much memory, for how long."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from purejaxvpg.compute import working_set
from purejaxvpg.experiment import memory
from purejaxvpg.experiment.checks import check_pruned_alone, check_resources, checked_groups
from purejaxvpg.experiment.devices import smallest_of_processes
from purejaxvpg.experiment.groups import Group
from purejaxvpg.experiment.program import Split, compile_program
from purejaxvpg.experiment.runs import Shard
from purejaxvpg.experiment.segments import capacity
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.stacking import stack_hyperparams

ChunkSize = int | Literal["auto"]


class Resources(NamedTuple):
    """The devices, and how many runs at a time they take."""

    devices: Sequence[Any]
    split: Split = "runs"
    chunk_size: ChunkSize = "auto"
    memory_limit: int | None = None  # bytes of a device


class GroupPlan(NamedTuple):
    """How the runs of one compiled program will be computed."""

    group: Group
    num_runs: int
    width: int  # runs on each device
    num_devices: int  # that compute runs of their own
    chunks: int
    device_bytes: int | None  # predicted, on each device; None where nothing was measured
    measuring: int  # programs compiled to measure memory

    def at_a_time(self, resources: Resources) -> str:
        """Runs at a time, in words."""
        if resources.split == "envs":
            return f"{self.width} over {len(resources.devices)}"
        return f"{self.width} x {self.num_devices}"

    def devices(self, resources: Resources) -> Sequence[Any]:
        """The devices of its program: all that share a run's environments, or that have runs."""
        split_envs = resources.split == "envs"
        return resources.devices if split_envs else resources.devices[: self.num_devices]


def plan_group(group: Group, num_runs: int, resources: Resources) -> GroupPlan:
    """Width and chunks of a group.

    Raises: ValueError, with the remedy, if not even one run fits.
    """
    devices, split, chunk_size, memory_limit = resources
    number = len(devices) if split == "runs" else 1
    if split == "envs":
        chunk_size = 1 if chunk_size == "auto" else chunk_size
    per_device = math.ceil(num_runs / number)
    used, measuring = None, 0
    if chunk_size != "auto":
        width = chunk_size
    elif memory_limit is None and (
        per_device == 1 or memory.small_rollouts(group.config, per_device, devices[0])
    ):
        width = per_device  # no narrower one to choose, or none that is faster
    else:
        local = [device for device in devices if device.process_index == jax.process_index()]
        limit = memory.device_limit(local) if memory_limit is None else memory_limit
        hps = stack_hyperparams(group.config, group.hyperparams)
        line = memory.measure_memory(group.config, capacity(group.config.num_updates), local, hps)
        faster_within = working_set(devices[0]) if memory_limit is None else math.inf
        width = memory.choose_width(num_runs, number, line, limit, faster_within)
        width = smallest_of_processes(width)
        used, measuring = line.at(width), len(memory.MEASURED_WIDTHS)
    if split == "runs" and jax.process_count() == 1:  # devices without a run would compute padding
        number = min(number, math.ceil(num_runs / width))
    chunks = math.ceil(num_runs / (width * number))
    return GroupPlan(group, num_runs, width, number, chunks, used, measuring)


def plan_shard(
    spec: Spec, group: Group, resources: Resources, shard: Shard | None = None
) -> GroupPlan | None:
    """Width and chunks of a group, or of a shard's runs of it; None if it has none.

    Raises: as `plan_group`.
    """
    runs, shard = spec.index.of_settings(group.settings), shard or (0, 1)
    in_shard = spec.index.in_shard(runs, shard)
    if not len(in_shard):
        return None
    # All shards plan alike; and a chunk is not wider than what is left after pruning.
    number = len(runs)
    if spec.pruning:
        in_group = [np.intersect1d(places, group.settings) for places in spec.compared()]
        left = sum(spec.pruning.smallest(len(places)) for places in in_group if len(places))
        number = left * len(spec.seeds)
    group_plan = plan_group(group, math.ceil(number / shard[1]), resources)
    chunks = math.ceil(len(in_shard) / (group_plan.width * group_plan.num_devices))
    return group_plan._replace(num_runs=len(in_shard), chunks=chunks)


def updates_of(spec: Spec, group_plan: GroupPlan) -> tuple[int, int]:
    """Updates to run of a group: of all its runs together, and of one chunk after the other.

    After each rung a group is taken to keep as large a share of its settings as all together do.
    """
    group = group_plan.group
    bounds = spec.bounds(group.config)
    shares = [1.0] * (len(bounds) - 1)
    if spec.pruning:
        shares = [count / spec.design.size for count in spec.numbers()]
    of_runs = of_chunks = 0
    for start, end, share in zip(bounds[:-1], bounds[1:], shares, strict=True):
        runs = round(share * group_plan.num_runs)
        rows = group_plan.width * group_plan.num_devices
        of_runs += runs * (end - start)
        of_chunks += math.ceil(runs / rows) * (end - start)
    return of_runs, of_chunks


def plan(
    spec: Spec, resources: Resources, shard: Shard | None = None
) -> Iterator[tuple[GroupPlan, float, float]]:
    """Plan of every group that the shard has runs of, with times: `(plan, compile seconds, seconds
    predicted)`.

    The time comes from a short probe: a few updates of one chunk at the width planned.

    Raises: ValueError, in one line, for what a sweep would refuse.
    """
    check_resources(resources)
    check_pruned_alone(spec.pruning, shard is not None)
    for group in checked_groups(spec, resources):
        begun, most = time.perf_counter(), capacity(group.config.num_updates)
        group_plan = plan_shard(spec, group, resources, shard)
        if group_plan is None:
            continue
        hps = stack_hyperparams(group.config, group.hyperparams)
        devices, width = group_plan.devices(resources), group_plan.width
        program = compile_program(group.config, most, width, devices, hps, resources.split)
        compiling = time.perf_counter() - begun
        rows = np.arange(program.rows) % len(group.settings)
        hp_rows = program.place(jax.tree.map(lambda x, rows=rows: x[rows], hps))
        seeds = np.arange(program.rows, dtype=np.uint32)
        state = jax.block_until_ready(program.init(seeds, hp_rows))
        state, *_ = jax.block_until_ready(program.advance(state, hp_rows, 0, 1))  # to warm up
        begun = time.perf_counter()
        jax.block_until_ready(program.advance(state, hp_rows, 1, most))
        _, updates = updates_of(spec, group_plan)
        seconds = (time.perf_counter() - begun) / most * updates
        yield group_plan._replace(device_bytes=program.device_bytes), compiling, seconds
