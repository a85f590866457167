"""Environments by name: `make`, `register`, `registered`.

gymnax is imported when an environment is first made or listed: importing it takes a while.
"""

from collections.abc import Callable
from typing import Any

from purejaxvpg.compute.numerics import memoized
from purejaxvpg.envs.protocol import (
    Environment,
    check_contract,
    get_param,
    param_names,
    resolve_params,
    suggest,
    zero_action,
)
from purejaxvpg.envs.vector import VectorEnv, vectorize

__all__ = [
    "Environment",
    "VectorEnv",
    "downloads",
    "get_param",
    "make",
    "param_names",
    "register",
    "registered",
    "resolve_params",
    "suggest",
    "vectorize",
]

_user_factories: dict[str, Callable[..., Any]] = {}


def register(name: str, factory: Callable[..., Any]) -> None:
    """Make an environment of your own known under a name.

    Args:
      factory: takes the keyword arguments given to `make`; returns an object in gymnax's style
        (see envs/gymnax_adapter.py) or an `Environment`.

    Raises: ValueError if the name is taken; TypeError if the factory cannot be called.
    """
    if not callable(factory):
        raise TypeError(f"factory={factory!r} cannot be called; pass a class or a function")
    if name in registered():
        raise ValueError(f"environment {name!r} is registered already; choose another name")
    _user_factories[name] = factory


def registered() -> list[str]:
    """Names that `make` knows: gymnax's, then the user's."""
    from purejaxvpg.envs import gymnax_adapter

    return [*gymnax_adapter.REGISTERED, *_user_factories]


def downloads() -> tuple[str, ...]:
    """Names of the environments that download their data when they are made."""
    from purejaxvpg.envs import gymnax_adapter

    return gymnax_adapter.DOWNLOADS


def make(env: Any, /, **kwargs: Any) -> Environment:
    """An environment by name, or from an object in gymnax's style.

    The same arguments give the same object again: a new instance would compile anew.

    Args:
      env: a registered name, an object in gymnax's style, or an `Environment`.
      kwargs: parameters or constructor arguments of a named environment.

    Raises: ValueError for an unknown name or keyword (with the close ones) or a broken
    contract; TypeError for an object that is no environment; RuntimeError if its data cannot
    be loaded.
    """
    try:
        return _make_cached(env, tuple(sorted(kwargs.items())))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _make(env, kwargs)


@memoized(256)
def _make_cached(env: Any, kwargs: tuple) -> Environment:
    return _make(env, dict(kwargs))


def _make(env: Any, kwargs: dict[str, Any]) -> Environment:
    if isinstance(env, Environment):
        return _checked(env)
    if isinstance(env, type):
        raise TypeError(f"env={env!r} is a class; pass an instance of it, or register it by a name")
    from purejaxvpg.envs import gymnax_adapter

    if not isinstance(env, str):
        if kwargs:
            raise ValueError("keyword arguments go with an environment's name, not with an object")
        return gymnax_adapter.adapt(env)
    if env in _user_factories:
        made = _user_factories[env](**kwargs)
        return _checked(made) if isinstance(made, Environment) else gymnax_adapter.adapt(made, env)
    if env in gymnax_adapter.REGISTERED:
        return gymnax_adapter.make(env, **kwargs)
    raise ValueError(f"environment {env!r} is unknown; {suggest(env, registered())}")


def _checked(env: Environment) -> Environment:
    action = zero_action(env.action_space(env.default_params))
    check_contract(env.name, env.reset, env.step, env.default_params, action)
    return env
