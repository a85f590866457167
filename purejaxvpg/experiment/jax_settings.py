"""jax settings that a study's bits depend on: recorded, compared, and given back.

A *jax setting* is one of jax's own (generator, x64, ...), of XLA's flags or the device; a *setting*
alone is a point of a study's design.  The lower half, those of jax alone, is compute/numerics.py.
"""

import os
import shlex
from collections.abc import Mapping
from typing import Any

import jax

from purejaxvpg.compute import number_settings
from purejaxvpg.experiment.devices import DETERMINISTIC

FLAGS = "XLA_FLAGS"
# Variables that are read by the libraries below jax, and recorded where they are set.
VARIABLES = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
# Flags of XLA that leave every number as it is.
HARMLESS = ("--xla_force_host_platform_device_count", "--xla_dump", "--xla_gpu_cuda_data_dir",
            "--xla_hlo_profile", "--xla_gpu_force_compilation_parallelism")  # fmt: skip
DEVICE = "device"


def jax_settings(device: Any = None) -> dict[str, Any]:
    """The jax settings as they are here and now, by the names that a folder records them under.

    Args: device: the one that computes; None: the first.
    """
    device = jax.devices()[0] if device is None else device
    settings = {**number_settings(), FLAGS: flags_that_matter(os.environ.get(FLAGS, ""))}
    settings |= {name: os.environ.get(name, "") for name in VARIABLES}
    return {**settings, DEVICE: device.device_kind}


def flags_that_matter(flags: str) -> str:
    """The flags of XLA that may change numbers, in one order."""
    return " ".join(sorted(word for word in flags.split() if not word.startswith(HARMLESS)))


def changed_jax_settings(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Names of the jax settings that are other ones now.  Those not recorded are not compared, nor
    those that differed among shards that were merged: a list of values."""
    single = {name: x for name, x in (before or {}).items() if not isinstance(x, list)}
    return [name for name, value in single.items() if value != now.get(name)]


def explained(before: Mapping[str, Any], now: Mapping[str, Any], names: list[str]) -> str:
    """Each jax setting with its value then and now."""
    pairs = [f"{name}={before[name]!r}, and not {now.get(name)!r}" for name in names]
    return "; ".join(pairs)


def way_back(name: str, before: Any, now: Any) -> str:
    """How to give this jax setting back the value that a study was begun with."""
    if name == DEVICE:
        return f"run it on {before}"
    if name == FLAGS and set(f"{before}".split()) ^ set(f"{now}".split()) == {DETERMINISTIC}:
        return "pass --deterministic" if DETERMINISTIC in before else "leave out --deterministic"
    if before in (None, ""):
        return f"unset {name.upper()}"
    return f"set {_assigned(name, before)}"


def _assigned(name: str, value: Any) -> str:
    """A jax setting as a shell sets it."""
    return f"{name.upper()}={shlex.quote(str(int(value) if isinstance(value, bool) else value))}"


def exported(settings: Mapping[str, Any]) -> list[str]:
    """The jax settings as a shell sets them; those of libraries below jax too."""
    rest = {name: x for name, x in settings.items() if name not in (FLAGS, DEVICE)}
    single = {name: x for name, x in rest.items() if not isinstance(x, list)}
    return [_assigned(name, value) for name, value in single.items() if value not in (None, "")]


def restore_jax_settings(settings: Mapping[str, Any] | None) -> list[str]:
    """Set jax as a study had it.  Returns: a line for each jax setting that was another."""
    lines, now = [], number_settings()
    for name, value in (settings or {}).items():
        if name in now and now[name] != value and not isinstance(value, list):
            jax.config.update(name, value)
            lines.append(f"{name} is {value}, as the study had it (here it was {now[name]})")
    return lines


def check_same_jax_settings(
    folder: Any, before: Mapping[str, Any] | None, now: Mapping[str, Any], allowed: bool
) -> str:
    """A line to announce the jax settings that differ, if they are allowed to; "" if none does.

    Raises: ValueError, in one line with the way back, if they differ and are not allowed to.
    """
    names = changed_jax_settings(before, now)
    if not names or before is None:
        return ""
    differ = f"{folder} was begun with {explained(before, now, names)}"
    if allowed:
        return f"{differ}: going on with other numbers than it would have had"
    back = ", ".join(way_back(name, before[name], now.get(name)) for name in names)
    raise ValueError(
        f"{differ}: it would go on with other numbers; {back}, or pass --other-settings "
        f"(other_settings=True) to go on all the same"
    )
