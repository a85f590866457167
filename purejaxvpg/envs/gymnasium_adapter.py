# pyright: reportMissingImports=false
"""gymnasium's functional environments, which are written in jax: phys2d and tabular.

All others of gymnasium step on the host, and are none for this package (Atari, MuJoCo, Box2D).
CartPole and Pendulum are also gymnax's (`CartPole-v1`), with other physics in detail.

Traps of gymnasium 1.3:

- The functional classes have no limit.  The one that gymnasium's registry names is the default of
  our parameter `max_steps_in_episode`; tabular games have none unless it is given.
- CartPole's `total_mass` and `polemass_length` are parameters of their own, which do not follow
  `masspole` and the others when those change (and `polemass_length` is a sum, as they wrote it).
- CliffWalking acts with an array `[1]` whose space is a Box of integers; the action space is
  Discrete(4) here.  Its reset gives a state of another shape than its step.
- Blackjack branches on its two parameters, so they are arguments, and cannot be traced.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.envs.arguments import sort_arguments
from purejaxvpg.envs.clock import LIMIT, clocked
from purejaxvpg.envs.params import flat_params
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.spaces import MultiDiscrete, as_gymnax
from purejaxvpg.extras import require

CLASSES = {
    "phys2d/CartPole-v0": "phys2d.cartpole:CartPoleFunctional",
    "phys2d/CartPole-v1": "phys2d.cartpole:CartPoleFunctional",
    "phys2d/Pendulum-v0": "phys2d.pendulum:PendulumFunctional",
    "tabular/Blackjack-v0": "tabular.blackjack:BlackjackFunctional",
    "tabular/CliffWalking-v0": "tabular.cliffwalking:CliffWalkingFunctional",
}
"""Modules and classes of gymnasium.envs, by the names in gymnasium's registry."""

NAMES = tuple(CLASSES)

DOWNLOADS = ()

BRANCHES = ("natural", "sutton_and_barto")  # Blackjack's, which its code branches on
CELLS = 48  # of CliffWalking


def make(name: str, /, **kwargs: Any) -> Environment:
    """A functional environment of gymnasium.

    Args: kwargs: `max_steps_in_episode`, and fields of its parameters (such as gravity).

    Raises: ValueError for another keyword.
    """
    import gymnasium

    module, _, class_name = CLASSES[name].partition(":")
    functional = getattr(importlib.import_module(f"gymnasium.envs.{module}"), class_name)()
    library_params = functional.get_default_params()
    fields = {
        key: value
        for key, value in flat_params(library_params).items()
        if not key.startswith("screen_")
    }
    fixed = tuple(key for key in fields if key in BRANCHES)
    traced = tuple(key for key in fields if key not in BRANCHES)
    arguments, values = sort_arguments(name, kwargs, fixed, (LIMIT, *traced))
    limit = values.pop(LIMIT, gymnasium.spec(name).max_episode_steps)
    defaults = {key: fields[key] for key in traced} | values
    if arguments:
        library_params = library_params.replace(**arguments)
    env = _adapt(name, functional, library_params, defaults or None)
    return env if limit is None else clocked(env, limit)


def _adapt(name: str, functional: Any, library_params: Any, defaults: Any) -> Environment:
    is_cliff = name.startswith("tabular/CliffWalking")
    action_space, observation_space = map(
        as_gymnax, (functional.action_space, functional.observation_space)
    )
    if is_cliff:
        from gymnax.environments import spaces

        action_space, observation_space = spaces.Discrete(4), MultiDiscrete([CELLS])

    def whole(params: Any) -> tuple[Any, ...]:
        """The library's parameters, as its functions take them last; nothing, if there are none."""
        if library_params is None:
            return ()
        return (library_params.replace(**params) if params else library_params,)

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        state = functional.initial(key, *whole(params))
        if is_cliff:
            state = state._replace(fallen=jnp.zeros(1, jnp.bool_))
        return functional.observation(state, key, *whole(params)), state

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        action = action[None] if is_cliff else action
        after = functional.transition(state, action, key, *whole(params))
        obs = functional.observation(after, key, *whole(params))
        reward = functional.reward(state, action, after, key, *whole(params))
        terminated = functional.terminal(after, key, *whole(params))
        return Step(after, obs, obs, reward, terminated, jnp.zeros((), bool))

    def render(state: Any, params: Any) -> np.ndarray:
        """The library's picture, drawn by pygame without a window: uint8 [H, W, 3]."""
        with _fonts_only(require("pygame", "gymnasium")):
            _, picture = functional.render_image(state, functional.render_init(), *whole(params))
        return np.array(picture, np.uint8)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=defaults,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        render=render,
    )


@contextlib.contextmanager
def _fonts_only(pygame: Any) -> Iterator[None]:
    """Context in which `pygame.init` starts no display and no sound, which pictures need not."""
    init, pygame.init = pygame.init, pygame.font.init
    try:
        yield
    finally:
        pygame.init = init
