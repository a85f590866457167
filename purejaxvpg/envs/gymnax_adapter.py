"""gymnax environments, and any object in their style, as `Environment`.

An object in gymnax's style has

    default_params                            a pytree (gymnax: a flax dataclass)
    reset(key, params)                        -> (obs, state)
    step(key, state, action, params)          -> (obs, state, reward, terminated, truncated, info)
                                                 with info["final_observation"]; resets itself
    action_space(params), observation_space(params)

and may have `action_mask(state, params)`, `time_limit(params)`, `render(state, params)` and
`reset_cost`, as `protocol.Environment` describes them.

Subclasses of gymnax's `Environment` that keep its `step` are taken apart instead into
`step_env`, `reset_env` and `is_truncated`, so that resetting is left to `vectorize` and the
observation before a reset need not be carried in a dictionary.
"""

import inspect
import struct
import zlib
from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from purejaxvpg.by_name import suggest
from purejaxvpg.envs import gymnax_pictures
from purejaxvpg.envs.by_path import PARTS
from purejaxvpg.envs.params import param_names, replace_params
from purejaxvpg.envs.protocol import BrokenContract, Environment, Step
from purejaxvpg.extras import loaded_when_used
from purejaxvpg.fields import first_line

# gymnax imports these for pictures that nothing here draws, and they take a second to load.
with loaded_when_used("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import spaces as spaces  # spaces.py takes them from here
    from gymnax.environments.environment import Environment as GymnaxEnvironment

REGISTERED: list[str] = gymnax.registered_envs  # gymnax updates this list in place

OPTIONAL = ("time_limit", "action_mask", "render", "reset_cost")  # parts of an object

# Environments that download their data when they are made.
DOWNLOADS = ("MNISTBandit-bsuite",)


def make(name: str, /, **kwargs: Any) -> Environment:
    """A registered gymnax environment.

    Args:
      kwargs: arguments of its constructor (such as DeepSea's size), or fields of its parameters
        (such as CartPole's gravity), which become its defaults.

    Raises: ValueError for a keyword that neither knows, or a value that neither takes;
    RuntimeError if its data cannot be loaded (MNISTBandit-bsuite downloads them).
    """
    instance, params = _construct(name, {})
    accepted = inspect.signature(type(instance)).parameters
    arguments = {key: value for key, value in kwargs.items() if key in accepted}
    if arguments:
        instance, params = _construct(name, arguments)
    fields = {key: value for key, value in kwargs.items() if key not in accepted}
    names = [*param_names(params), *accepted]
    for key, value in fields.items():
        if key not in names:
            raise ValueError(f"{name} has no parameter or argument {key!r}; {suggest(key, names)}")
        if isinstance(value, str):
            raise ValueError(f"{name}'s parameter {key}={value!r} is not a number")
    return adapt(instance, name, replace_params(params, fields))


def _construct(name: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    try:
        with jax.enable_x64(False):  # arrays made here meet numbers that are written out as int32
            return gymnax.make(name, **arguments)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise RuntimeError(
            f"{name} could not load its data ({error}): it downloads them when it is made; make "
            f"it once where there is a network, or choose another environment"
        ) from error
    except (TypeError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(f"{name} cannot be made with {arguments}: {reason}") from error


def adapt(instance: Any, name: str | None = None, params: Any = None) -> Environment:
    """An object in gymnax's style as an `Environment`, as yet unchecked (see contract.py).

    Args:
      instance: the object.  name: how to call it; its own name if None.
      params: its default parameters; `instance.default_params` if None.

    Raises: TypeError if it lacks a method.
    """
    for attribute in PARTS:
        if not hasattr(instance, attribute):
            raise TypeError(
                f"{type(instance).__name__} is no environment in gymnax's style: it has no "
                f"{attribute!r} (expected: {', '.join(PARTS)})"
            )
    name = name or _name(instance)
    inherited = _keeps_gymnax_step(instance)
    return Environment(
        name=name,
        reset=instance.reset_env if inherited else instance.reset,
        step=_step_in_parts(instance, name) if inherited else _step_whole(instance, name),
        default_params=instance.default_params if params is None else params,
        action_space=instance.action_space,
        observation_space=instance.observation_space,
        resets_itself=not inherited,
        **_optional_parts(instance, inherited),
    )


def _optional_parts(instance: Any, inherited: bool) -> dict[str, Any]:
    """Parts of `OPTIONAL` that an object has.

    In the place of gymnax's `render`, which gives a figure of matplotlib or none, is ours.
    """
    parts = {part: getattr(instance, part) for part in OPTIONAL if hasattr(instance, part)}
    module = str(getattr(parts.get("render"), "__module__", "gymnax"))
    if module.partition(".")[0] == "gymnax":
        parts["render"] = gymnax_pictures.scene_of(instance) if inherited else None
    return parts


def is_gymnax_own(instance: Any) -> bool:
    """Whether the object is one of gymnax's environments, which this project's tests check."""
    return type(instance).__module__.startswith("gymnax.environments.")


def _name(instance: Any) -> str:
    """The object's `name`; of a user's subclass, which inherits "CartPole-v1", its class's."""
    cls = type(instance)
    namer = next((base for base in cls.__mro__ if "name" in vars(base)), cls)
    inherited = namer.__module__.startswith("gymnax.environments.")
    if inherited and not is_gymnax_own(instance):
        return cls.__name__
    return str(getattr(instance, "name", cls.__name__))


def _keeps_gymnax_step(instance: Any) -> bool:
    # Not `hasattr(step_env)`: gymnax's wrappers forward it to the environment they wrap, and
    # taking that would silently skip the wrapper.
    if not isinstance(instance, GymnaxEnvironment):
        return False
    return all(
        inspect.getattr_static(type(instance), method)
        is inspect.getattr_static(GymnaxEnvironment, method)
        for method in ("step", "reset")
    )


def _step_in_parts(instance: Any, name: str) -> Callable[..., Step]:
    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        out = instance.step_env(key, state, action, params)
        obs, state, reward, terminated, _ = _unpack(name, "step_env", out, _STEP_ENV_VALUES)
        truncated = instance.is_truncated(state, params)
        return Step(state, obs, obs, reward, terminated, truncated)

    return step


def _step_whole(instance: Any, name: str) -> Callable[..., Step]:
    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        out = instance.step(key, state, action, params)
        obs, state, reward, terminated, truncated, info = _unpack(name, "step", out, _STEP_VALUES)
        if "final_observation" not in info:
            raise BrokenContract(
                f"{name}.step returned no info['final_observation']; put there the observation "
                f"after the step and before any reset, as gymnax >= 1.0 does"
            )
        return Step(state, obs, info["final_observation"], reward, terminated, truncated)

    return step


_STEP_VALUES = "obs, state, reward, terminated, truncated, info"
_STEP_ENV_VALUES = "obs, state, reward, terminated, info"


def _unpack(name: str, method: str, values: Any, expected: str) -> Any:
    count = len(expected.split(","))
    given = len(values) if isinstance(values, tuple | list) else 1
    if given != count:
        raise BrokenContract(
            f"{name}.{method} returned {given} values; expected {count} (gymnax >= 1.0): {expected}"
        )
    return values
