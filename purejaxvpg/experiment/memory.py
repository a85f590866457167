"""Runs that fit at a time: bytes as a line in the width, measured by compiling two programs."""

import contextlib
import ctypes
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.agent import make_agent
from purejaxvpg.compute import working_set
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import Environment
from purejaxvpg.experiment.program import program_bytes

MEASURED_WIDTHS = (2, 64)
UNBOUNDED = 2**31  # runs a device; more than any study has


class Memory(NamedTuple):
    """Bytes on each device as a line in the width: fixed + per_run * width."""

    fixed: float
    per_run: float

    def widest(self, limit: float) -> int:
        """Runs a device that stay within `limit` bytes (0: not even one does)."""
        if self.per_run <= 0:  # the compiler found room for more runs in what it had rounded up
            return UNBOUNDED if self.fixed <= limit else 0
        return max(int((limit - self.fixed) // self.per_run), 0)

    def at(self, width: int) -> int:
        """Bytes on each device at a width."""
        return math.ceil(self.fixed + self.per_run * width)


def measure_memory(
    config: VPGConfig, capacity: int, devices: Sequence[Any], hp_like: Hyperparams
) -> Memory:
    """Compile a narrow and a wide program and lay a line above what they and others need.

    On a CPU runs learn one after the other: one run at a time takes the memory of learning, and
    all others only hold their rollout.  So bytes per run fall with the width, and those of the
    wide program are more than any run adds beyond the narrow one.
    """
    narrow, wide = MEASURED_WIDTHS
    used = [
        program_bytes(config, capacity, width, devices[0], hp_like) for width in MEASURED_WIDTHS
    ]
    return_freed_memory()
    per_run = used[1] / wide
    return Memory(used[0] - narrow * per_run, per_run)


def device_limit(devices: Sequence[Any]) -> int:
    """Bytes that a chunk may take on one device: nine tenths of what is free."""
    stats = devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(0.9 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    free = free_host_bytes()
    return int(0.9 * free / max(len(jax.local_devices()), 1))  # the host's memory is shared


def free_host_bytes() -> int:
    """Memory that this machine has left; half of all it has, where it does not say."""
    try:  # free memory, and caches that the system would give up
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    except (OSError, StopIteration):  # not Linux
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        return 2**32


def choose_width(
    num_runs: int, num_devices: int, memory: Memory, limit: int, faster_within: float = math.inf
) -> int:
    """The widest chunk within the limit, evened out so that the last one is not nearly empty.

    Args: faster_within: bytes beyond which a wider chunk is slower, even if it would fit.

    Raises: ValueError, with the remedy, if not even one run fits.
    """
    widest = memory.widest(limit)
    if widest < 1:
        raise ValueError(
            f"one run takes {memory.at(1) / 1e6:,.1f} MB of a device and the limit is "
            f"{limit / 1e6:,.1f} MB; lower num_envs, num_steps or gradient_rows, or raise "
            f"memory_limit"
        )
    widest = max(min(widest, memory.widest(min(faster_within, limit))), 1)
    chunks = math.ceil(num_runs / (widest * num_devices))
    return math.ceil(num_runs / (chunks * num_devices))


def small_rollouts(config: VPGConfig, num_runs: int, device: Any) -> bool:
    """Whether so many rollouts on a device are surely small, without compiling anything."""
    estimate = config.steps_per_update * step_bytes(config) * num_runs
    return estimate <= (working_set(device) if math.isfinite(working_set(device)) else 0)


def step_bytes(config: VPGConfig) -> int:
    """Bytes of a step of one environment in a rollout, roughly and rather too many.

    Counted: the observation in its own types and as networks see it, the mask twice, the memory of
    both networks four times (after the step, its product with the input, and both gradients), and
    16 numbers more.
    """
    agent = make_agent(config)
    parts = [part for _, part in agent.encoder.parts]
    observed = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in parts)
    remembered = _bytes(jax.eval_shape(lambda: agent.networks.no_memory(1)))
    return observed + 4 * agent.encoder.size + 2 * _mask_bytes(agent.env) + 4 * remembered + 4 * 16


def _mask_bytes(env: Environment) -> int:
    """Bytes of a mask of possible actions; 0 without."""
    if env.action_mask is None:
        return 0
    key = jax.eval_shape(lambda: jax.random.key(0))
    return _bytes(jax.eval_shape(lambda key: env.reset(key, env.default_params)[0].mask, key))


def _bytes(shapes: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def least_bytes(config: VPGConfig) -> int:
    """Bytes that a run surely takes: four numbers a row of its batch, and the layers of both
    networks with Adam's two moments (observations and actions have at least one number)."""
    hidden = sum(math.prod(pair) for pair in itertools.pairwise((1, *config.hidden_sizes, 1)))
    return 16 * config.steps_per_update + 12 * hidden * (1 if config.shared_torso else 2)


def total_bytes(device: Any) -> int:
    """Memory of a device; a CPU has that of the machine, where it says how much that is."""
    if device.process_index != jax.process_index():  # a process can ask its own alone
        device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 2**63


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the compiler ran out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def return_freed_memory() -> None:
    """Give freed memory back to the system.

    The compiler leaves hundreds of megabytes free but held by the C library's allocator, which
    count as this process's until a study's own arrays need them.  Does nothing where the C
    library is not GNU's.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
