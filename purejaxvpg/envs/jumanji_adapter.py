# pyright: reportMissingImports=false
"""jumanji's environments.

Traps of jumanji 1.1:

- A time limit is reported as termination, with a discount of 0.  `env.time_limit` is lifted, and
  the same number is the default of our parameter `max_steps_in_episode`: such an end is truncated.
  (`time_limit=...` is another name of that argument.  MMST's state has room for as many steps as
  it was made with, so a traced limit must not be larger.)  Where there is no `time_limit`, the
  task itself ends: a tour, a bag, the blocks to place.
- Most give the possible actions as a part of the observation.  It becomes the `action_mask`, and
  is taken out of what networks see.
- Where the actions are several integers, masks are of two kinds.  One row for each integer
  `[k, n]`: the action space stays a MultiDiscrete.  One entry for each combination (Minesweeper,
  Sudoku, Tetris, BinPack, FlatPack): the action space is a Discrete of all combinations.
- Connector, LevelBasedForaging and SearchAndRescue pay each agent a reward of its own; they are
  refused.  Cleaner, RobotWarehouse, MMST and MultiCVRP pay one for all: one learner moves them all.
- Sokoban downloads its levels when it is made without a `generator`.

Integers of an observation with few values (3 to 32, from 0 on) are categories, seen one-hot; all
others, and the number of steps so far, are numbers.
"""

import functools
import warnings
from typing import Any, NamedTuple

import jax
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
from purejaxvpg.envs.spaces import MultiDiscrete
from purejaxvpg.fields import first_line

NAMES = (
    "BinPack-v2",
    "CVRP-v1",
    "Cleaner-v0",
    "FlatPack-v0",
    "Game2048-v1",
    "GraphColoring-v1",
    "JobShop-v0",
    "Knapsack-v1",
    "MMST-v0",
    "Maze-v0",
    "Minesweeper-v0",
    "MultiCVRP-v0",
    "PacMan-v1",
    "RobotWarehouse-v0",
    "RubiksCube-partly-scrambled-v0",
    "RubiksCube-v0",
    "SlidingTilePuzzle-v0",
    "Snake-v1",
    "Sokoban-v0",
    "Sudoku-v0",
    "Sudoku-very-easy-v0",
    "TSP-v1",
    "Tetris-v0",
)

DOWNLOADS = ("Sokoban-v0",)

REFUSED = dict.fromkeys(
    ("Connector-v3", "LevelBasedForaging-v0", "SearchAndRescue-v0"),
    "of several agents with a reward each, and there is one learner here",
)
"""Names of the library that are no environments for one learner, and why."""

DEAR = ("MMST-v0", "RubiksCube-v0", "SlidingTilePuzzle-v0")  # a reset takes 8 to 60 steps' time

TIME_LIMIT = "time_limit"  # the library's name for it
MOST_CATEGORIES = 32


class Carried(NamedTuple):
    """State of the library's environment, and the mask that came with its observation."""

    inner: Any
    mask: Any  # None: all actions are possible


def make(name: str, /, **kwargs: Any) -> Environment:
    """A registered environment of jumanji.

    Args:
      kwargs: arguments of its constructor (such as Snake's num_rows), and `max_steps_in_episode`
        where it has a time limit.

    Raises: ValueError for another keyword, or a value that the environment refuses; RuntimeError
    if its data cannot be loaded.
    """
    from jumanji import registration

    instance_class: Any = _class_of(name)
    accepted = constructor_arguments(instance_class, without=("viewer",))
    limits = (LIMIT,) if TIME_LIMIT in accepted else ()
    arguments, values = sort_arguments(name, kwargs, accepted, limits)
    check_one_limit(name, kwargs, TIME_LIMIT)
    if values:
        arguments[TIME_LIMIT] = values[LIMIT]
    try:
        instance = construct(name, functools.partial(registration.make, name), arguments)
    except OSError as error:
        raise RuntimeError(
            f"{name} could not load its data ({first_line(error)}): it downloads them when it is "
            f"made; make it once where there is a network, or give it a generator"
        ) from error
    limit = getattr(instance, TIME_LIMIT, None) if limits else None
    if limit is not None:
        instance.time_limit = NEVER  # after its specs were made, which name the limit
    env = _adapt(name, instance)
    return env if limit is None else clocked(env, limit)


def _class_of(name: str) -> Any:
    from jumanji import environments, registration

    entry_point = registration._REGISTRY[name].entry_point
    return getattr(environments, entry_point.partition(":")[2])


def _adapt(name: str, instance: Any) -> Environment:
    shapes = jax.eval_shape(instance.reset, jax.random.key(0))[1]
    mask: Any = getattr(shapes.observation, "action_mask", None)
    action_space, joint = _action_space(instance.action_spec, mask)
    observation_space = _observation_space(_without_mask(shapes.observation), instance)

    def parts(timestep: Any) -> tuple[Any, Any]:
        mask: Any = getattr(timestep.observation, "action_mask", None)
        return _without_mask(timestep.observation), mask.reshape(-1) if joint else mask

    @quietly
    def reset(key: Array, params: Any) -> tuple[Any, Carried]:
        inner, timestep = instance.reset(key)
        obs, mask = parts(timestep)
        return obs, Carried(inner, mask)

    @quietly
    def step(key: Array, state: Carried, action: Array, params: Any) -> Step:
        if joint:
            action = jnp.stack(jnp.unravel_index(action, joint)).astype(jnp.int32)
        inner, timestep = instance.step(state.inner, action)
        obs, mask = parts(timestep)
        ended, followed = timestep.last(), timestep.discount > 0
        return Step(
            Carried(inner, mask), obs, obs, timestep.reward, ended & ~followed, ended & followed
        )

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=None,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        action_mask=None if mask is None else (lambda state, params: state.mask),
        reset_cost="dear" if name in DEAR else "cheap",
        render=functools.partial(_draw, instance),
    )


def _without_mask(obs: Any) -> Any:
    if not hasattr(obs, "action_mask"):
        return obs
    replace = obs._replace if hasattr(obs, "_replace") else obs.replace
    return replace(action_mask=None)


# -------------------------------------------------------------------------------------- SPACES


def _action_space(spec: Any, mask: Any) -> tuple[Any, tuple[int, ...] | None]:
    """The action space; and the numbers of the integers, where it is of their combinations."""
    from gymnax.environments import spaces

    dtype = np.dtype(spec.dtype)
    if not np.issubdtype(dtype, np.integer):
        return spaces.Box(spec.minimum, spec.maximum, spec.shape, dtype), None
    if spec.shape == ():
        return spaces.Discrete(int(spec.maximum) + 1), None
    if mask is not None and len(mask.shape) == 2 and mask.shape[0] == spec.shape[0]:
        rows = np.broadcast_to(np.asarray(spec.maximum) + 1, spec.shape)
        if mask.shape != tuple(rows):  # MultiCVRP's bound is one more than its mask has entries
            return MultiDiscrete(np.minimum(rows, mask.shape[1]), dtype), None
    nvec = tuple(int(n) for n in np.asarray(spec.maximum) + 1)
    if mask is None:
        return MultiDiscrete(nvec, dtype), None
    return spaces.Discrete(int(np.prod(nvec))), nvec


def _observation_space(shapes: Any, instance: Any) -> Any:
    from gymnax.environments import spaces

    def convert(obs: Any, spec: Any, name: str) -> Any:
        if not hasattr(obs, "dtype"):
            fields = getattr(obs, "_fields", None) or obs.__dataclass_fields__
            parts = {field: getattr(obs, field) for field in fields}
            return spaces.Dict(
                {key: convert(x, spec[key], key) for key, x in parts.items() if x is not None}
            )
        low, high = getattr(spec, "minimum", -jnp.inf), getattr(spec, "maximum", jnp.inf)
        few = np.all(np.asarray(low) == 0) and 2 <= np.max(high) < MOST_CATEGORIES
        if jnp.issubdtype(obs.dtype, jnp.integer) and few and name != "step_count":
            if obs.shape == ():
                return spaces.Discrete(int(high) + 1)
            return MultiDiscrete(np.broadcast_to(np.asarray(high) + 1, obs.shape), obs.dtype)
        return spaces.Box(low, high, obs.shape, obs.dtype)

    return convert(shapes, instance.observation_spec, "")


# ------------------------------------------------------------------------------------- PICTURE


def _draw(instance: Any, state: Carried, params: Any) -> np.ndarray:
    """jumanji's own picture, drawn by matplotlib without a window: uint8 [H, W, 3]."""
    import matplotlib.pyplot as plt
    from jumanji.viewer import Viewer

    viewer: Any = next(x for x in vars(instance).values() if isinstance(x, Viewer))
    viewer._get_fig_ax = functools.partial(type(viewer)._get_fig_ax, viewer, show=False)
    viewer._display = functools.partial(_shown, viewer)
    backend = plt.rcParams["backend"]
    plt.switch_backend("agg")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = viewer.render(state.inner)
    finally:
        viewer.close()
        plt.switch_backend(backend)
    return np.array(picture[..., :3], np.uint8)


def _shown(viewer: Any, figure: Any) -> np.ndarray:
    if type(viewer).__name__ == "MMSTViewer":  # which draws a graph outside of its axes
        figure.axes[0].set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    return viewer._display_rgb_array(figure)
