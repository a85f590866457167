"""Objects in Brax's style as `Environment`: brax and mujoco_playground.

Such an object has

    reset(key) -> state;  step(state, action) -> state      a state holds obs, reward and done
    action_size                                             of actions in [-1, 1]

Traps, and how they are met here:

    a step writes into the dicts of the state that it gets      it gets a copy
    `done` is a float, 0 or 1                                   it is compared
    limit and reset are a wrapper's, whose reset repeats
    the first state of all                                      no wrapper; `clocked`, `vectorize`
    info["time_out"] is `done` in some of them                  not read: what ends there terminates
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.envs.clock import LIMIT, clocked
from purejaxvpg.envs.mujoco_pictures import without_log
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.fields import MOST, check_count, first_line


def adapt(
    name: str,
    instance: Any,
    limit: int,
    params: Mapping[str, float] | None = None,
    with_params: Callable[[Any], Any] | None = None,
    action_repeat: int = 1,
    **parts: Any,
) -> Environment:
    """An object in Brax's style, with a time limit as its parameter `max_steps_in_episode`.

    Args:
      limit: steps of an episode.
      params: further parameters by name.  with_params: parameters -> the object that has them.
      action_repeat: the object's steps in one step of ours; their rewards are summed.
      parts: `render`, `reset_cost`, as in `Environment`.

    Raises: TypeError or ValueError for a limit that is no integer >= 1.
    """
    check_count(LIMIT, limit, MOST)
    from gymnax.environments import spaces

    with_params = with_params or (lambda params: instance)

    @functools.cache
    def observed() -> Any:
        return jax.eval_shape(instance.reset, jax.eval_shape(lambda: jax.random.key(0))).obs

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        state = with_params(params).reset(key)
        return state.obs, state

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        configured = with_params(params)

        def once(state: Any, _: Any) -> tuple[Any, Any]:
            state = configured.step(jax.tree.map(lambda x: x, state), action)
            return state, state.reward

        if action_repeat == 1:
            state, reward = once(state, None)
        else:
            state, rewards = jax.lax.scan(once, state, length=action_repeat)
            reward = jnp.sum(rewards, axis=0)
        ended = jnp.asarray(state.done) > 0.5
        return Step(state, state.obs, state.obs, reward, ended, jnp.zeros((), bool))

    env = Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=dict(params or {}),
        action_space=lambda params: spaces.Box(-1.0, 1.0, (int(instance.action_size),)),
        observation_space=lambda params: _endless(spaces, observed()),
        **parts,
    )
    return clocked(env, limit)


def _endless(spaces: Any, observed: Any) -> Any:
    """Boxes without bounds, in the structure of an observation."""
    if isinstance(observed, Mapping):
        return spaces.Dict({key: _endless(spaces, child) for key, child in observed.items()})
    return spaces.Box(-np.inf, np.inf, observed.shape, observed.dtype)


def construct(name: str, kwargs: Mapping[str, Any], constructor: Callable[[], Any]) -> Any:
    """`constructor()`.  Raises: ValueError, in one line, for arguments that it does not take."""
    try:
        with without_notices():
            return constructor()
    except (OSError, RuntimeError):
        raise  # of files and machines, not of arguments
    except Exception as error:
        given = f" with {dict(kwargs)}" if kwargs else ""
        raise ValueError(f"{name} cannot be made{given}: {first_line(error)}") from error


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Context in which brax, jaxopt and MuJoCo do not say what is not developed any more."""
    with warnings.catch_warnings(), without_log():
        warnings.filterwarnings("ignore", "Brax System, piplines and environments")
        warnings.filterwarnings("ignore", "JAXopt is no longer maintained")
        yield
