# pyright: reportMissingImports=false
"""octax: arcade games of the CHIP-8, emulated.

Traps of octax 0.1:

- Observations are the last frames as `[frames, width, height]`; they become pictures
  `[height, width, frames]`, so that a CNN takes them.
- The limit of 4500 steps is our parameter `max_steps_in_episode` (as an argument also
  `max_num_steps_per_episodes`, the library's name), and truncates.
- All episodes of a game begin alike; chance is drawn from the key of the reset, and no step takes
  a key.
- It imports opencv without declaring it; our extra installs that too.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.envs.arguments import (
    check_one_limit,
    construct,
    constructor_arguments,
    sort_arguments,
)
from purejaxvpg.envs.clock import LIMIT, NEVER, clocked
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.quiet import quietly

NAMES = (
    "airplane",
    "blinky",
    "brix",
    *(f"cavern{level}" for level in (1, 2, 3, 5, 6)),
    "deep",
    "filter",
    "flight_runner",
    "missile",
    "pong",
    "rocket",
    "shooting_stars",
    *(f"space_flight{level}" for level in range(1, 11)),
    "spacejam",
    "squash",
    "submarine",
    "tank",
    *(f"target_shooter{level}" for level in range(1, 4)),
    "tetris",
    "ufo",
    "vertical_brix",
    "wipe_off",
    "worm",
)

DOWNLOADS = ()

GIVEN = (  # arguments that each game gives itself
    "rom_path",
    "score_fn",
    "terminated_fn",
    "action_set",
    "startup_instructions",
    "custom_startup",
    "disable_delay",
    "render_mode",
)
LIBRARY_LIMIT = "max_num_steps_per_episodes"  # the library's name for it


def make(name: str, /, **kwargs: Any) -> Environment:
    """A game of octax.

    Args:
      kwargs: `max_steps_in_episode`, and arguments of `OctaxEnv` (such as frame_skip).

    Raises: ValueError for another keyword, or a value that octax refuses.
    """
    from octax.env import OctaxEnv
    from octax.environments import create_environment

    accepted = constructor_arguments(OctaxEnv, without=GIVEN)
    arguments, values = sort_arguments(name, kwargs, accepted, (LIMIT,))
    check_one_limit(name, kwargs, LIBRARY_LIMIT)
    create = functools.partial(create_environment, name, render_mode="rgb_array")
    game, _ = construct(name, quietly(create), arguments)
    limit = values.get(LIMIT, game.max_num_steps_per_episodes)
    game.max_num_steps_per_episodes = NEVER
    return clocked(_adapt(name, game), limit)


def _adapt(name: str, game: Any) -> Environment:
    from gymnax.environments import spaces
    from octax.constants import SCREEN_HEIGHT, SCREEN_WIDTH

    action_space = spaces.Discrete(game.num_actions)
    shape = (SCREEN_HEIGHT, SCREEN_WIDTH, game.frame_skip)
    observation_space = spaces.Box(0, 1, shape, jnp.bool_)

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        state, frames, _ = game.reset(key)
        return frames.transpose(2, 1, 0), state

    @quietly
    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        state, frames, reward, terminated, truncated, _ = game.step(state, action)
        obs = frames.transpose(2, 1, 0)
        return Step(state, obs, obs, reward, terminated, truncated)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=None,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        render=lambda state, params: np.asarray(game.render(state), np.uint8),
    )
