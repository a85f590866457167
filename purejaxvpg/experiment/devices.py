"""Devices and processes: every core of a CPU, clusters and their agreements, compiled programs."""

import contextlib
import hashlib
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.fields import first_line


def use_every_core() -> None:
    """Make each CPU core a device of its own, so that a study uses all of them.

    One program keeps little more than one core busy (its operations are too small to split),
    and two programs keep two.  Does nothing once jax has started its devices, or where the
    user has chosen their number (XLA_FLAGS or JAX_NUM_CPU_DEVICES).
    """
    chosen = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if chosen or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # The devices run already: leave them.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores or 1)


def start_devices() -> list[Any]:
    """All devices, of all processes.

    Raises: ValueError, in one line, if jax cannot start them: JAX_PLATFORMS names an accelerator
    that is not there, for example.
    """
    try:
        return jax.devices()
    except Exception as error:  # jax raises RuntimeError or AssertionError
        platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        chosen = f" for JAX_PLATFORMS={platforms}" if platforms else ""
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        raise ValueError(
            f"jax finds no device{chosen}{reason}; choose another platform, as "
            f"JAX_PLATFORMS=cpu, or install jax for this one"
        ) from error


# A study moves numbers between host and devices throughout.  jax_transfer_guard, with which a user
# looks for slips in a program of his own, would stop it.
transfers_allowed = jax.transfer_guard("allow")  # a decorator

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # and those that it implies


def be_deterministic() -> None:
    """Have the compiler leave out operations that may give other bits each time: an accelerator
    adds up in whatever order its threads come.  Call it before any device is used; a CPU needs none
    of it.

    The flags are recorded with the runs (`XLA_FLAGS`).
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC])


def use_compilation_cache() -> Path | None:
    """Keep compiled programs in a folder of the user: a second start compiles nothing.

    JAX_COMPILATION_CACHE_DIR names another folder; JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.  Does nothing where the folder cannot be had.

    Returns: the folder, if its files are ours; None if the user named it, or there is none.
    """
    platformdirs = require("platformdirs", "cli")
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder
        folder = Path(platformdirs.user_cache_dir("purejaxvpg")) / f"compiled-{_processor()}"
        if not folder.is_absolute():  # the same, in earlier versions of platformdirs
            return None
        if chosen is not None:
            return folder if Path(chosen) == folder else None
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        return folder
    return None


def cache_line(warning: str, ours: Path | None) -> str:
    """One line for a warning of jax about its cache of compiled programs; "" for any other.

    A full disk leaves a program cut short, and jax neither removes it nor writes over it, but warns
    of it at each start.  In a folder of ours it is removed.

    Args: ours: as `use_compilation_cache` returns it.
    """
    match = re.match(
        r"Error (reading|writing) persistent compilation cache entry.*?: (.*)", warning
    )
    if match is None:
        return ""
    folder = ours or jax.config.jax_compilation_cache_dir  # pyright: ignore
    number = _remove_cut_programs(ours) if ours else 0
    if match[1] == "writing":
        return f"compiled programs cannot be kept in {folder} ({match[2]}); the work goes on"
    if number:
        return (
            f"removed from {folder}, and compiled again: {number} compiled "
            f"program{'s' * (number > 1)} cut short, as by a full disk"
        )
    return (
        f"a compiled program in {folder} cannot be read ({match[2]}), and is compiled again at "
        f"each start until it is removed there"
    )


def _remove_cut_programs(folder: Path) -> int:
    """Remove the entries of the cache that are cut.  Returns: their number.

    One that another process is still writing looks like it; that process loses an entry, and no
    more.
    """
    try:
        from jax._src.compilation_cache import decompress_executable  # zlib or zstandard
    except ImportError:  # another jax
        return 0
    number = 0
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process was faster
            try:
                decompress_executable(path.read_bytes())
            except OSError:
                raise
            except Exception:  # of zlib or zstandard
                path.unlink()
                number += 1
    return number


def _processor() -> str:
    """The machine code that this machine runs: on a cluster many machines share one home."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    except OSError:  # not Linux
        features = [platform.processor()]
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]


def join_cluster(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Make one program of several processes, before jax has started its devices.

    Without arguments SLURM, Open MPI, Kubernetes and TPU pods are recognised by jax.

    Raises: ValueError, in one line, if none of them is found.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        first = first_line(error)
        raise ValueError(
            f"no cluster could be joined ({first}); give coordinator=HOST:PORT, num_processes and "
            f"process_id"
        ) from error


def smallest_of_processes(number: int) -> int:
    """The smallest of the numbers that the processes give, to each of them."""
    return int(_gathered(np.asarray(number)).min())


def any_of_processes(flag: bool) -> bool:
    """Whether the flag of any process is set, to each of them."""
    return bool(_gathered(np.asarray(flag)).any())


def all_of_processes(members: set[int]) -> set[int]:
    """Everything that any process knows, to each of them.  Members are not negative."""
    padded = np.full(int(_gathered(np.asarray(len(members))).max()), -1, np.int32)
    padded[: len(members)] = sorted(members)
    return set(_gathered(padded).ravel().tolist()) - {-1}


def wait_for_processes(name: str) -> None:
    """Return once every process has come to the point of that name."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def _gathered(value: np.ndarray) -> np.ndarray:
    """The values of all processes, [processes, ...]."""
    if jax.process_count() == 1:
        return value[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value))
