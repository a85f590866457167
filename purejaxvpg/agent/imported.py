"""Parts of an agent that a config gives as `module:Name`, imported and checked."""

import dataclasses
from typing import Any

import flax.linen as nn

from purejaxvpg import by_name
from purejaxvpg.agent.flax_torsos import is_nnx_maker, is_nnx_module
from purejaxvpg.config import VPGConfig

FUNCTIONS = ("kernel_init", "estimator", "optimizer")


def with_imported(config: VPGConfig) -> VPGConfig:
    """The config with objects for `module:Name`; itself if it has none.  `envs.make` knows env's.

    Raises: ImportError, in one line, if an import fails; TypeError for another kind of object.
    """
    named = {
        field: value
        for field in ("network", "memory", *FUNCTIONS)
        if by_name.is_path(value := getattr(config, field))
    }
    if not named:
        return config
    values = {field: by_name.load(field, path) for field, path in named.items()}
    for field, value in values.items():
        if field == "network":
            values[field] = _torso(named[field], value)
        elif field == "memory":
            values[field] = _cell(named[field], value, config.memory_size)
        elif not callable(value):
            given = type(value).__name__
            raise TypeError(f"{field}={named[field]!r} is a {given}, not a function; name one")
    return dataclasses.replace(config, **values)


def _torso(path: str, value: Any) -> Any:
    if is_nnx_maker(value):
        return value  # and is not called: `make_torso` does
    if is_nnx_module(value):
        raise TypeError(
            f"network={path!r} is a module of flax.nnx; name its class, or a function of rngs that "
            f"makes it"
        )
    if isinstance(value, type) and issubclass(value, nn.Module):
        try:
            value = value()
        except TypeError as error:
            raise TypeError(
                f"network={path!r} needs arguments ({error}); make one in its module, as "
                f"NAME = {value.__name__}(...), and name that"
            ) from None
    if not isinstance(value, nn.Module):
        raise TypeError(
            f"network={path!r} is a {type(value).__name__}; name a flax.linen module or its class, "
            f"a class of flax.nnx, or a function of rngs that makes one"
        )
    return value


def _cell(path: str, value: Any, size: int) -> nn.RNNCellBase:
    if isinstance(value, type) and issubclass(value, nn.RNNCellBase):
        try:
            value = value(features=size)  # type: ignore[call-arg]
        except TypeError as error:
            raise TypeError(
                f"memory={path!r} cannot be made of features={size} alone ({error}); make one in "
                f"its module, as NAME = {value.__name__}(...), and name that"
            ) from None
    if not isinstance(value, nn.RNNCellBase):
        raise TypeError(
            f"memory={path!r} is a {type(value).__name__}; name a cell of flax.linen or its class"
        )
    return value
