"""Tuned settings: one TOML file per environment, separate from the code.

A file `<environment>.toml` has two tables, `[config]` and `[hyperparams]`.  They hold only the
fields that differ from the defaults.  Comments in the file give the results measured with them.
"""

import dataclasses
import tomllib
from importlib import resources
from typing import NamedTuple

from purejaxvpg.config import Hyperparams, VPGConfig


class Preset(NamedTuple):
    """Tuned settings of one environment."""

    config: VPGConfig
    hyperparams: Hyperparams


def available() -> list[str]:
    """Names of the environments that have a preset."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(env: str) -> Preset:
    """Load the preset of an environment.

    Raises: ValueError: the environment has no preset; the message lists those that have one.
    """
    if env not in available():
        raise ValueError(
            f"environment {env!r} has no preset; presets exist for: {', '.join(available())}"
        )
    table = tomllib.loads(resources.files(__name__).joinpath(f"{env}.toml").read_text())
    config = VPGConfig(**{"env": env, **table.get("config", {})})
    return Preset(config, Hyperparams(**table.get("hyperparams", {})))


def shortened(config: VPGConfig, updates: int) -> VPGConfig:
    """The same config with a budget of `updates` updates and no evaluation, for a quick trial."""
    steps = updates * config.num_envs * config.num_steps
    return dataclasses.replace(config, total_steps=steps, eval_every=0)
