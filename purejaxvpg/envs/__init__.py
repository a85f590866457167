"""Environments by name: `make`, `register`, `registered`, `import_code`, and `check_env`.

protocol        one environment as pure functions
observations    their structure and types
contract        its types and contract, by tracing, once for every kind of environment
faults          exceptions of a user's code, with their place
check           its contract, by running it: a `trial`, and what it means
keys            where random numbers come from
spaces          actions and observations
params          its parameters by name
ranged          its parameters under a run's settings, some of them ranges
drawn           an environment whose ranged parameters are drawn at each reset
vector          N of them side by side
names           one form of each name, and short ones
by_path         names of the form `module:Name` and `path/mine.py:Name`
suites          names of the form `suite/name`
clock           a time limit of our own
arguments       keyword arguments of an adapter
gymnax_adapter  gymnax's environments, and objects in their style
gymnax_pictures pictures of gymnax's environments
pictures        pictures, checked, and of observations that are pictures
canvas          lines, discs and polygons
brax_style      objects in Brax's style: brax and playground
mujoco_pictures pictures of MuJoCo models

gymnax is imported when an environment is first made or listed: importing it takes a while.
"""

from collections.abc import Callable
from typing import Any

from purejaxvpg import by_name, user_code
from purejaxvpg.by_name import did_you_mean, suggest
from purejaxvpg.compute import forget, memoized
from purejaxvpg.envs import by_path, check, suites
from purejaxvpg.envs.clock import clocked
from purejaxvpg.envs.contract import settle
from purejaxvpg.envs.names import canonical, shown
from purejaxvpg.envs.params import flat_params, get_param, param_names
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.ranged import (
    Ranged,
    like_default,
    ranges_of,
    resolve_params,
    time_limit,
    without_ranges,
)
from purejaxvpg.envs.spaces import MultiDiscrete
from purejaxvpg.envs.vector import VectorEnv, vectorize
from purejaxvpg.fields import MOST, check_count, first_line
from purejaxvpg.user_code import import_code

__all__ = [
    "Environment",
    "MultiDiscrete",
    "Ranged",
    "Step",
    "VectorEnv",
    "canonical",
    "check_env",
    "clocked",
    "downloads",
    "flat_params",
    "get_param",
    "import_code",
    "like_default",
    "make",
    "param_names",
    "ranges_of",
    "register",
    "registered",
    "resolve_params",
    "shown",
    "suggest",
    "time_limit",
    "vectorize",
    "without_ranges",
]

_user_factories: dict[str, Callable[..., Any]] = {}


def register(name: str, factory: Callable[..., Any]) -> None:
    """Make an environment of your own known under a name.

    A name that you registered before stands for the new factory from now on (so that a
    notebook's cell can be run again): `make`, `make_train` and the like give new functions for
    it.  Functions that they gave before keep the environment they were made with.

    Args:
      factory: takes the keyword arguments given to `make`; returns an object in gymnax's style
        (see envs/gymnax_adapter.py) or an `Environment`.

    Raises: ValueError for a name of gymnax or of a suite; TypeError if the factory cannot be
    called.
    """
    from purejaxvpg.envs import gymnax_adapter

    if not isinstance(name, str) or not name.isprintable() or ":" in name or not name.strip():
        raise ValueError(f"name={name!r} is no name; accepted: text on one line, without a colon")
    if not callable(factory):
        raise TypeError(f"factory={factory!r} cannot be called; pass a class or a function")
    if name in gymnax_adapter.REGISTERED:
        raise ValueError(f"environment {name!r} is gymnax's; choose another name")
    if (suite := name.partition("/")[0]) != name and suite in (*suites.SUITES, "gymnax"):
        raise ValueError(f"environment {name!r} is one of the suite {suite}; choose another name")
    if name in _user_factories:
        forget()
    _user_factories[name] = factory
    user_code.note_registered(name, factory)


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

    The same arguments give the same object again: a new instance would compile anew.  An
    environment that is not gymnax's own is checked when it is first made, as by `check_env`, for
    some steps.

    Args:
      env: a registered name; `suite/name` (see suites.py; `gymnax/CartPole-v1` is
        `CartPole-v1`); `module:Name`, a class in gymnax's style, a function annotated
        `-> Environment`, or an environment, in a module that can be imported;
        `path/mine.py:Name`, the same in a file (see by_path.py); an object in gymnax's style; or
        an `Environment`.
      kwargs: parameters or constructor arguments of a named environment.

    Raises: ValueError for an unknown name or keyword (with the close ones) or a broken
    contract; TypeError for an object that is no environment; RuntimeError if its data cannot
    be loaded.
    """
    env = canonical(env)
    arguments = (env, tuple(sorted(kwargs.items())))
    try:
        hash(arguments)
    except TypeError:
        return _make(env, kwargs)
    return _make_once(*arguments)


def check_env(env: Any, /, num_steps: int = 1000, **kwargs: Any) -> None:
    """Check that an environment does what the protocol says, by tracing it and by running it.

    Sixteen environments take `num_steps` random actions each, and a few more with a short time
    limit where the parameters have one.

    Args: env, kwargs: as in `make`.

    Raises: as `make`.  ValueError, in one line, for a `step` that does not reset itself where it
    should, a final observation that is the one after the reset, values of wrong types or shapes,
    and exceptions of the environment's own code (with file and line).

    Warns: UserWarning for what may be meant: observations that leave their space or are not
    finite, rewards that are not finite, a reset that draws random numbers and not from its key,
    a time limit reported as termination.
    """
    check_count("num_steps", num_steps, MOST)
    check.run(settle(_adapted(canonical(env), kwargs)[0]), num_steps)


@memoized(maxsize=256)
def _make_once(env: Any, kwargs: tuple) -> Environment:
    return _make(env, dict(kwargs))


def _make(env: Any, kwargs: dict[str, Any]) -> Environment:
    adapted, tested = _adapted(env, kwargs)
    made = settle(adapted)
    check.run_once(made, tested)
    return made


def _made_by_user(name: str, kwargs: dict[str, Any]) -> Any:
    try:
        return _user_factories[name](**kwargs)
    except Exception as error:
        kind = error if isinstance(error, TypeError | ValueError) else ValueError()
        given = f" with {kwargs}" if kwargs else ""
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise type(kind)(f"environment {name!r} cannot be made{given}: {reason}") from error


def _advice(name: str) -> str:
    """Close names, of gymnax, of the user and of the suites; or how to list them."""
    if name.endswith(".py"):
        return f"it is a file; name one of those that are in it: {name}:Name"
    if close := did_you_mean(name, registered()):
        return close
    if elsewhere := suites.of_any(name):
        return f"did you mean {' or '.join(elsewhere)}?"
    return (
        f"known: {', '.join(registered())}, those of suites (see: purejaxvpg envs), and your own "
        f"by module:Name or path/mine.py:Name (a name that a module registers: --import it)"
    )


def _adapted(env: Any, kwargs: dict[str, Any]) -> tuple[Environment, bool]:
    """The environment as its library or user gives it, and whether this project tests it."""
    if isinstance(env, type):
        raise TypeError(f"env={env!r} is a class; pass an instance of it, or register it by a name")
    from purejaxvpg.envs import gymnax_adapter

    name = env if isinstance(env, str) else None
    if name is None:
        if kwargs:
            raise ValueError("keyword arguments go with an environment's name, not with an object")
    elif name in _user_factories:
        env = _made_by_user(name, kwargs)
    elif name in gymnax_adapter.REGISTERED:
        return gymnax_adapter.make(name, **kwargs), True
    elif by_name.is_path(name) or user_code.split_file(name):
        env = by_path.load(name, kwargs)
    elif suites.split(name) and not name.endswith(".py"):
        return suites.make(name, **kwargs), True  # this project's tests check it
    else:
        raise ValueError(f"environment {name!r} is unknown; {_advice(name)}")
    if isinstance(env, Environment):
        return env, False
    if suites.is_of_envelope(env):
        return suites.adapter("envelope").bridge(env, name=name), False
    return gymnax_adapter.adapt(env, name), gymnax_adapter.is_gymnax_own(env)
