"""Before anything runs: how many programs, how wide, in how much memory, for how long."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import memory
from purejaxvpg.experiment.checks import check_group
from purejaxvpg.experiment.devices import smallest_of_processes
from purejaxvpg.experiment.grid import Design, Group, resolve
from purejaxvpg.experiment.placement import Shard, compile_program, stack_hyperparams
from purejaxvpg.experiment.segments import segment_length

SEGMENTS = 10  # at least so many looks at a chunk, if the number of updates can be divided so


class GroupPlan(NamedTuple):
    """How the runs of one compiled program will be computed."""

    group: Group
    num_runs: int
    width: int  # runs on each device
    num_devices: int
    chunks: int
    device_bytes: int | None  # predicted, on each device; None where nothing was measured
    measuring: int  # programs compiled to measure memory


def plan_group(
    group: Group,
    hps: Hyperparams,
    num_runs: int,
    devices: Sequence[Any],
    shard: Shard,
    chunk_size: int | Literal["auto"],
    memory_limit: int | None,
) -> GroupPlan:
    """Width and chunks of a group.

    Raises: ValueError, with the remedy, if not even one run fits.
    """
    number = len(devices) if shard == "runs" else 1
    length = segment_length(group.config, SEGMENTS)
    if shard == "envs":
        chunk_size = 1 if chunk_size == "auto" else chunk_size
    per_device = math.ceil(num_runs / number)
    used, measuring, on_cpu = None, 0, devices[0].platform == "cpu"
    if chunk_size != "auto":
        width = chunk_size
    elif on_cpu and memory_limit is None and per_device <= memory.NOT_MEASURED:
        width = per_device
    else:
        own = [device for device in devices if device.process_index == jax.process_index()]
        limit = memory.device_limit(own) if memory_limit is None else memory_limit
        line = memory.measure_memory(group.config, length, own, hps)
        width = memory.choose_width(
            num_runs, number, line, limit, cache_bound=on_cpu and memory_limit is None
        )
        width = smallest_of_processes(width)
        used, measuring = line.at(width), len(memory.MEASURED_WIDTHS)
    chunks = math.ceil(num_runs / (width * number))
    return GroupPlan(group, num_runs, width, number, chunks, used, measuring)


def plan(
    config: VPGConfig,
    design: Design,
    num_seeds: int,
    hp: Hyperparams | None = None,
    *,
    chunk_size: int | Literal["auto"] = "auto",
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Iterator[tuple[GroupPlan, float, float]]:
    """What a sweep would do, group by group: `(plan, compile seconds, seconds predicted)`.

    The time comes from a short probe: one segment of one chunk at the width planned.
    """
    devices = list(jax.devices() if devices is None else devices)
    for group in resolve(design, config, Hyperparams() if hp is None else hp):
        check_group(group, "runs", len(devices))
        hps = stack_hyperparams(group.config, group.hyperparams)
        num_runs = len(group.settings) * num_seeds
        begun = time.perf_counter()
        found = plan_group(group, hps, num_runs, devices, "runs", chunk_size, memory_limit)
        length = segment_length(group.config, SEGMENTS)
        program = compile_program(group.config, length, found.width, devices, hps)
        compiling = time.perf_counter() - begun
        rows = np.arange(program.rows) % len(group.settings)
        hp_rows = program.place(jax.tree.map(lambda x, rows=rows: x[rows], hps))
        state = jax.block_until_ready(
            program.init(np.arange(program.rows, dtype=np.uint32), hp_rows)
        )
        state, *_ = jax.block_until_ready(program.advance(state, hp_rows))  # to warm up
        begun = time.perf_counter()
        jax.block_until_ready(program.advance(state, hp_rows))
        segments = group.config.num_updates // length * found.chunks
        seconds = (time.perf_counter() - begun) * segments
        yield found._replace(device_bytes=program.device_bytes), compiling, seconds
