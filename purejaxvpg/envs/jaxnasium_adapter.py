# pyright: reportMissingImports=false
"""jaxnasium's own environments; those that it takes from other libraries have suites of their own.

Traps of jaxnasium 0.1:

- It refuses jax 0.7 and 0.9, and with Python 3.11 this package has jax 0.9: its extra installs it
  for Python 3.12 and newer.
- Its `step` resets by itself, with half of its key; `step_env` does not, and is what is used.
- Its limit `max_episode_steps` is a field of the environment.  It is lifted, and the same number
  is the default of our parameter `max_steps_in_episode`.
- Other numbers that are its fields (such as gravity) are parameters, which may be traced.
"""

import dataclasses
from typing import Any

from jax import Array

from purejaxvpg.envs.arguments import (
    check_one_limit,
    construct,
    constructor_arguments,
    sort_arguments,
)
from purejaxvpg.envs.clock import LIMIT, NEVER, clocked
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.spaces import as_gymnax

NAMES = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")

DOWNLOADS = ()

BRANCHES = ("torque_noise_max",)  # Acrobot's, which its code branches on: an argument
LIBRARY_LIMIT = "max_episode_steps"  # the library's name for it


def make(name: str, /, **kwargs: Any) -> Environment:
    """An environment of jaxnasium.

    Args: kwargs: `max_steps_in_episode`, and fields of the environment (such as gravity).

    Raises: ValueError for another keyword.
    """
    from jaxnasium import registry

    instance_class: Any = registry.get_env_class(name)
    accepted = constructor_arguments(instance_class)
    numbers = tuple(
        field.name
        for field in dataclasses.fields(instance_class)
        if isinstance(field.default, float) and field.name not in BRANCHES
    )
    arguments, values = sort_arguments(name, kwargs, accepted, (*numbers, LIMIT))
    check_one_limit(name, kwargs, LIBRARY_LIMIT)
    limit = values.pop(LIMIT, None)
    instance = construct(name, instance_class, arguments | values)
    limit = getattr(instance, LIBRARY_LIMIT) if limit is None else limit
    instance = dataclasses.replace(instance, max_episode_steps=NEVER)
    return clocked(_adapt(name, instance, numbers), limit)


def _adapt(name: str, instance: Any, numbers: tuple[str, ...]) -> Environment:
    action_space, observation_space = map(
        as_gymnax, (instance.action_space, instance.observation_space)
    )

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        return dataclasses.replace(instance, **params).reset_env(key)

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        changed = dataclasses.replace(instance, **params)
        (obs, reward, terminated, truncated, _), state = changed.step_env(key, state, action)
        return Step(state, obs, obs, reward, terminated, truncated)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params={field: getattr(instance, field) for field in numbers},
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
    )
