"""The platform that a program is traced for.  Nothing outside this folder asks for it."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any

import jax

_PLAINLY = contextvars.ContextVar("traced plainly", default=False)


@contextlib.contextmanager
def traced_plainly() -> Iterator[None]:
    """Context in which functions are traced as they are written, whatever the platform: for a
    program that another library is to run, where a convolution should be one."""
    token = _PLAINLY.set(True)
    try:
        yield
    finally:
        _PLAINLY.reset(token)


def on_cpu() -> bool:
    """Whether the program being traced will run on a CPU.

    A wrong guess costs time and nothing else: both ways compute the same numbers.
    (`lax.platform_dependent` would always guess right, and traces both ways, which takes seconds
    once it is nested.)
    """
    return jax.default_backend() == "cpu" and not _PLAINLY.get()


# On a CPU a wider chunk is no faster once its working set leaves the cache, and slower beyond: of
# 4 x 128 on two cores (Intel Xeon) 1.77M steps/s at 12 MB a device, 1.66M at 6 MB and at 24 MB.
CPU_WORKING_SET = 12 * 2**20


def working_set(device: Any) -> float:
    """Bytes that runs computed at once on a device may take before more of them are slower."""
    return CPU_WORKING_SET if device.platform == "cpu" else math.inf


def untuned(device: Any) -> dict[str, Any]:
    """Compiler options for a program that runs once, or never: it compiles faster.

    On a CPU, tuning the machine code is most of a compilation.
    """
    return {"xla_backend_optimization_level": 0} if device.platform == "cpu" else {}
