"""Tuned settings, one TOML file per environment, apart from the code.

A file `<environment>.toml` has two tables, `[config]` and `[hyperparams]`, of the fields that
differ from the defaults; its comments say what was measured with them.
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
    """The preset of an environment.

    Raises: ValueError if it has none, with those that do.
    """
    if env not in available():
        raise ValueError(
            f"environment {env!r} has no preset; presets exist for: {', '.join(available())}"
        )
    table = tomllib.loads(resources.files(__name__).joinpath(f"{env}.toml").read_text())
    config = VPGConfig(**{"env": env, **table.get("config", {})})
    return Preset(config, Hyperparams(**table.get("hyperparams", {})))


def shortened(config: VPGConfig, updates: int) -> VPGConfig:
    """The same config with a budget of so many updates, to try something out."""
    steps = updates * config.num_envs * config.num_steps
    return dataclasses.replace(config, total_steps=steps, eval_every=0)
