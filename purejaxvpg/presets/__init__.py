"""Tuned settings: one TOML file per environment, separate from the code.

    config, hp = presets.load("CartPole-v1", num_envs=16, gamma=0.95)
    experiment.train(config, hp, num_seeds=8)

available   environments that have a preset
load        config and hyperparameters of one, with changes
values      the fields that it sets, by name

`VPGConfig(env=...)` and `Hyperparams()` have the same defaults for every environment, and take
nothing from here; the command line takes the preset of its environment unless told `--no-preset`.

A file `<environment>.toml`, or `<suite>/<environment>.toml`, has two tables, `[config]` and
`[hyperparams]`.  They hold only the fields that differ from the defaults.  Comments in the file
give the results measured with them.
"""

import dataclasses
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from purejaxvpg.by_name import did_you_mean, suggest
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import canonical


class Preset(NamedTuple):
    """Tuned settings of one environment: `config, hp = presets.load(env)`."""

    config: VPGConfig
    hyperparams: Hyperparams


def available() -> list[str]:
    """Names of the environments that have a preset."""
    paths = [(path.name, path) for path in resources.files(__name__).iterdir()]
    for suite, folder in [pair for pair in paths if pair[1].is_dir()]:
        paths += [(f"{suite}/{path.name}", path) for path in folder.iterdir()]
    return sorted(name.removesuffix(".toml") for name, _ in paths if name.endswith(".toml"))


def load(env: str, /, **changes: Any) -> Preset:
    """Load the preset of an environment: both halves, for a preset tunes learning rates too.

    Args: changes: other values of fields of `VPGConfig` and `Hyperparams`, by name
      (`env` too: the settings of one environment for another).

    Raises: ValueError: the environment has no preset; the message lists those that have one.
      TypeError for a change that is no field; else as VPGConfig and Hyperparams.
    """
    chosen = {"env": env, **values(env), **changes}
    config, hp = (
        {f.name: chosen.pop(f.name) for f in dataclasses.fields(cls) if f.name in chosen}
        for cls in (VPGConfig, Hyperparams)
    )
    for name in chosen:
        names = [f.name for cls in (VPGConfig, Hyperparams) for f in dataclasses.fields(cls)]
        raise TypeError(
            f"{name}={chosen[name]!r} is no field of VPGConfig or Hyperparams; "
            f"{suggest(name, names)}"
        )
    return Preset(VPGConfig(**config), Hyperparams(**hp))


def values(env: str) -> dict[str, Any]:
    """The fields that the preset of an environment sets, of config and hyperparameters.

    Raises: ValueError, as `load`.
    """
    names, env = available(), canonical(env)
    if env not in names:
        close = did_you_mean(str(env), names)
        hint = f"{close} " if close else ""
        raise ValueError(
            f"environment {env!r} has no preset; {hint}presets exist for: {', '.join(names)}"
        )
    path = resources.files(__name__).joinpath(*f"{env}.toml".split("/"))
    table = tomllib.loads(path.read_text())
    return {**table.get("config", {}), **table.get("hyperparams", {})}


def shortened(config: VPGConfig, updates: int) -> VPGConfig:
    """The same config with a budget of `updates` updates and no evaluation, for a quick trial."""
    steps = updates * config.num_envs * config.num_steps
    return dataclasses.replace(config, total_steps=steps, eval_every=0)
