"""How many runs fit: bytes as a line in the width, measured by compiling two programs."""

import contextlib
import ctypes
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.placement import program_bytes

# On a CPU a wider chunk is no faster once its working set leaves the cache, and slower beyond: of
# 4 x 128 on two cores (Intel Xeon) 1.77M steps/s at 12 MB a device, 1.66M at 6 MB and at 24 MB.
CPU_WORKING_SET = 12 * 2**20
MEASURED_WIDTHS = (2, 64)
NOT_MEASURED = 4  # runs a device, and fewer, are one chunk on a CPU: measuring takes longer
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
    config: VPGConfig, length: int, devices: Sequence[Any], hp_like: Hyperparams
) -> Memory:
    """Compile a narrow and a wide program and lay a line above what they and others need.

    On a CPU runs learn one after the other: what learning takes, one run takes, and all others
    only hold their rollout.  So bytes per run fall with the width, and those of the wide program
    are more than any run adds beyond the narrow one.
    """
    narrow, wide = MEASURED_WIDTHS
    used = [program_bytes(config, length, width, devices[0], hp_like) for width in MEASURED_WIDTHS]
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
    try:  # what is free, and what is only kept in case it is read again
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    except (OSError, StopIteration):  # not Linux
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        return 2**32


def choose_width(
    num_runs: int, num_devices: int, memory: Memory, limit: int, cache_bound: bool = False
) -> int:
    """The widest chunk within the limit, evened out so that the last one is not nearly empty.

    Args: cache_bound: no wider than `CPU_WORKING_SET`, even if more would fit.

    Raises: ValueError, with the remedy, if not even one run fits.
    """
    widest = memory.widest(limit)
    if widest < 1:
        raise ValueError(
            f"one run takes {memory.at(1) / 1e6:,.1f} MB of a device and the limit is "
            f"{limit / 1e6:,.1f} MB; lower num_envs, num_steps or gradient_rows, or raise "
            f"memory_limit"
        )
    if cache_bound:
        widest = max(min(widest, memory.widest(CPU_WORKING_SET)), 1)
    chunks = math.ceil(num_runs / (widest * num_devices))
    return math.ceil(num_runs / (chunks * num_devices))


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what a device or the compiler says."""
    return "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def return_freed_memory() -> None:
    """Give what was freed back to the system.

    The compiler leaves hundreds of megabytes free but held by the C library's allocator, which
    count as this process's until a study's own arrays need them.  Does nothing where the C
    library is not GNU's.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
