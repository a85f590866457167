"""Devices and processes: every core of a CPU, clusters and their agreements, compiled programs."""

import contextlib
import hashlib
import os
import platform
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


def use_compilation_cache() -> None:
    """Keep compiled programs in a folder of the user: a second start compiles nothing.

    JAX_COMPILATION_CACHE_DIR names another folder; JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.  Does nothing where the folder cannot be had.
    """
    platformdirs = require("platformdirs", "cli")
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder
        folder = Path(platformdirs.user_cache_dir("purejaxvpg")) / f"compiled-{_processor()}"
        if not folder.is_absolute():  # the same, in earlier versions of platformdirs
            return
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
