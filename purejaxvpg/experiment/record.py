"""How a study was run: versions, device, widths, timing."""

import dataclasses
import functools
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from purejaxvpg.compute import NUMBERS
from purejaxvpg.experiment.jax_settings import FLAGS, flags_that_matter, jax_settings
from purejaxvpg.serialize import plain

LIBRARIES = ("purejaxvpg", "jax", "jaxlib", "flax", "optax", "distrax", "gymnax", "numpy")
RENAMED = {"shard": "split"}  # fields of format 1


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """How a study was run.  Not part of its identity: another machine may go on with it."""

    command: str = ""  # that began it, and a line for each that made it longer
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions_at_the_end: Mapping[str, str] | None = None  # where they changed on the way
    imports: Mapping[str, str] = dataclasses.field(default_factory=dict)  # see code.py
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of environments
    commit: str = ""  # of the checkout that it ran from
    device: str = ""
    jax_settings: Mapping[str, Any] | None = None  # None: begun before they were recorded
    jax_settings_at_the_end: Mapping[str, Any] | None = None  # where they changed on the way
    xla_flags: str = ""
    split: str = "runs"  # what was laid over the devices: runs, envs
    keep_policies: str = "all"
    keep_states: bool | None = None  # of runs that are done; None: begun before that was asked
    num_devices: int = 0
    num_processes: int = 1
    seconds: float = 0.0  # running, summed over parts
    compile_seconds: float = 0.0
    steps: int = 0  # environment steps
    widths: Sequence[int] = ()  # runs at a time on a device, of the parts that are there
    program_widths: Sequence[int] = ()  # of each program; 0: other shards have its runs
    chunks: Sequence[int] = ()  # of each program
    compilations: int = 0  # programs that trained: of each group, length and width
    compilations_to_measure_memory: int = 0
    prune: Mapping[str, Any] | None = None
    settings_at_the_end: Sequence[int] | None = None  # that pruning left
    merged_from: int = 0  # shards
    lengths: Sequence[int] = ()  # total_steps before it was made longer, each time
    complete: bool = False

    def __post_init__(self):
        for name in ("widths", "program_widths", "chunks", "settings_at_the_end", "lengths"):
            object.__setattr__(self, name, plain(getattr(self, name)))  # as a file gives them back

    def to_json(self) -> dict[str, Any]:
        """The fields that say something, as JSON has them."""
        fields = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "StudyRecord":
        """The record that `to_json` wrote, of this format or the first.  Other fields are left."""
        named = {RENAMED.get(name, name): value for name, value in fields.items()}
        names = {f.name for f in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in named.items() if name in names})

    def replace(self, **changes: Any) -> "StudyRecord":
        """The record with some fields changed."""
        return dataclasses.replace(self, **changes)


def compiler_flags() -> str:
    """XLA's flags, as the environment has them."""
    return os.environ.get("XLA_FLAGS", "")


def versions() -> dict[str, str]:
    """Versions of Python and of every library that the numbers may depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            installed[name] = "not installed"
    return installed


@functools.cache
def commit() -> str:
    """The commit of the checkout that this package is imported from, or ""."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists() or not (checkout / "pyproject.toml").exists():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def made_with() -> dict[str, Any]:
    """The things that the bits of a run depend on beside its settings."""
    return {**versions(), "platform": jax.devices()[0].platform, **jax_settings()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each of the things that the bits depend on and that are other ones now."""
    before = {**before, FLAGS: flags_that_matter(before.get(FLAGS, ""))}  # once recorded whole
    return [
        f"{name} was {before.get(name)}, and is {value}: "
        + ("they are other numbers" if name in NUMBERS else "the numbers agree but for rounding")
        for name, value in now.items()
        if before.get(name, value) != value  # it was not always recorded
    ]
