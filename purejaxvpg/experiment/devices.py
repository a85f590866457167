"""Devices, before jax starts them: every core of a CPU, every process of a cluster."""

import contextlib
import os

import jax


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


def join_cluster(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Make one program of several processes, before jax has started its devices.

    Without arguments SLURM, Open MPI, Kubernetes and TPU pods are recognised by jax.

    Raises: ValueError, in one line, if none of them is found.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"no cluster could be joined ({first}); give coordinator=HOST:PORT, num_processes and "
            f"process_id"
        ) from error
