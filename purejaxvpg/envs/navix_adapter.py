"""Navix: MiniGrid in JAX (navix 0.7 on Python 3.11, navix 4 on later ones, which has more names).

Traps of navix:

- `step` resets an episode that has ended in the step after it, and ignores that step's action.
  The raw `_step` is used here, for `vectorize` starts anew.
- The time limit is in the penalty for late ends (`penalty_coeff`), so it is never lifted:
  `max_steps_in_episode` is navix's own `max_steps`, and may be traced.  Its default differs: 100
  in navix 0.7, and 4 x height x width in most of navix 4.  Navix itself tells truncated from
  terminated.
- Random numbers come from a key in the state, drawn at the reset; the key of a step is not used.
- The state holds a picture of the empty grid (49 kB for 16 x 16).  It is left out, unless
  observations are pictures.
- Grids of (tag, colour, state) are categories, declared MultiDiscrete, so networks see them
  one-hot.  In navix 0.7 one of KeyCorridor's entities has the state 254, -2 as a byte, which is no
  category: networks see zeros in all of them, and `check_env` warns of it.
"""

# The library is optional.
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.by_name import suggest
from purejaxvpg.envs.arguments import construct, sort_arguments
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.spaces import MultiDiscrete
from purejaxvpg.fields import MOST, check_count

NAMES = tuple(
    f"Navix-{name}-v0"
    for name in """
    BlockedUnlockPickup DistShift1 DistShift2 DoorKey-16x16 DoorKey-5x5 DoorKey-6x6 DoorKey-8x8
    DoorKey-Random-16x16 DoorKey-Random-5x5 DoorKey-Random-6x6 DoorKey-Random-8x8
    Dynamic-Obstacles-16x16 Dynamic-Obstacles-5x5-Random Dynamic-Obstacles-5x5
    Dynamic-Obstacles-6x6-Random Dynamic-Obstacles-6x6 Dynamic-Obstacles-8x8 Empty-16x16 Empty-5x5
    Empty-6x6 Empty-8x8 Empty-Random-16x16 Empty-Random-5x5 Empty-Random-6x6 Empty-Random-8x8
    Fetch-5x5-N2 Fetch-6x6-N2 Fetch-8x8-N3 FourRooms-11x11 FourRooms-13x13 FourRooms-15x15
    FourRooms-17x17 FourRooms-7x7 FourRooms-9x9 FourRooms GoToDoor-5x5 GoToDoor-6x6 GoToDoor-8x8
    GoToObject-6x6-N2 GoToObject-8x8-N2 KeyCorridorS3R1 KeyCorridorS3R2 KeyCorridorS3R3
    KeyCorridorS4R3 KeyCorridorS5R3 KeyCorridorS6R3 LavaCrossingS11N5 LavaCrossingS9N1
    LavaCrossingS9N2 LavaCrossingS9N3 LavaGapS5 LavaGapS6 LavaGapS7 LockedRoom MemoryS11 MemoryS13
    MemoryS13Random MemoryS17Random MemoryS7 MemoryS9 MultiRoom-N2-S4 MultiRoom-N4-S5 MultiRoom-N6
    ObstructedMaze-1Dl ObstructedMaze-1Dlh ObstructedMaze-1Dlhb ObstructedMaze-1Q
    ObstructedMaze-2Dl ObstructedMaze-2Dlh ObstructedMaze-2Dlhb ObstructedMaze-2Q
    ObstructedMaze-Full Playground PutNear-6x6-N2 PutNear-8x8-N3 RedBlueDoors-6x6 RedBlueDoors-8x8
    SimpleCrossingS11N5 SimpleCrossingS9N1 SimpleCrossingS9N2 SimpleCrossingS9N3 Unlock
    UnlockPickup
    """.split()
)

DOWNLOADS = ()

PENALTY = "penalty_coeff"  # navix 0.7 spells it penality_coeff

# Arguments that are functions, or a tuple of them, and the module of navix that has some by name.
BY_NAME = {
    "observation_fn": "observations",
    "reward_fn": "rewards",
    "termination_fn": "terminations",
    "transitions_fn": "transitions",
    "action_set": "actions",
}

STATES = 4  # of an entity: directions of a player, or a door open, closed, locked
TILE = 32  # pixels of a tile in our pictures, at least


class NavixState(NamedTuple):
    """State of an episode, as navix needs it for a step."""

    time: Array  # [] int32, steps since the reset
    inner: Any


def make(name: str, /, **kwargs: Any) -> Environment:
    """One of Navix's environments.

    Args:
      kwargs: `max_steps_in_episode` and `penalty_coeff`, which are parameters; `observation_fn`,
        `reward_fn`, `termination_fn`, `transitions_fn`, `action_set`: navix's, or their names
        there (`observation_fn="rgb_first_person"`).

    Raises: ValueError for another keyword or name, and for an environment that the installed
    navix does not have yet.
    """
    import navix

    if name not in navix.registry():
        raise ValueError(
            f"navix/{name} is not in navix {_version()}, which is installed; it came with navix 4, "
            f"for Python 3.12 or later"
        )
    arguments, values = sort_arguments(name, kwargs, tuple(BY_NAME), (LIMIT, PENALTY))
    if LIMIT in values:
        check_count(f"{name}'s parameter {LIMIT}", values[LIMIT], MOST)
        arguments["max_steps"] = values[LIMIT]
    arguments |= {key: _named(navix, key, x) for key, x in arguments.items() if isinstance(x, str)}
    instance = construct(name, lambda **given: navix.make(name, **given), arguments)
    return _adapt(name, instance, values.get(PENALTY, 0.0))


def _named(navix: Any, argument: str, name: str) -> Any:
    """A function of navix by its name.  Raises: ValueError, with the close names."""
    module = getattr(navix, BY_NAME[argument])
    if argument == "action_set":
        names = [x for x in vars(module) if x.endswith("_ACTION_SET")]
    else:
        names = [
            x for x, f in vars(module).items() if getattr(f, "__module__", 0) == module.__name__
        ]
    if name not in names:
        raise ValueError(f"{argument}={name!r} is none of navix's; {suggest(name, names)}")
    return getattr(module, name)


def _version() -> str:
    from importlib.metadata import version

    return version("navix")


def _adapt(name: str, instance: Any, penalty: float) -> Environment:
    from gymnax.environments import spaces
    from navix import Timestep, observations

    spelt = PENALTY if hasattr(type(instance), PENALTY) else "penality_coeff"
    grids = (observations.symbolic, observations.symbolic_first_person)
    categories = (*grids, observations.categorical, observations.categorical_first_person)
    without_pictures = instance.observation_fn in categories
    action_space = spaces.Discrete(len(instance.action_set))
    observation_space = _observation_space(instance, instance.observation_fn in grids)

    def with_params(params: Any) -> Any:
        return instance.replace(**{"max_steps": params[LIMIT], spelt: params[PENALTY]})

    def reset(key: Array, params: Any) -> tuple[Any, NavixState]:
        first = with_params(params).reset(key)
        inner = first.state.replace(cache=None) if without_pictures else first.state
        return first.observation, NavixState(first.t, inner)

    def step(key: Array, state: NavixState, action: Array, params: Any) -> Step:
        before = Timestep(
            t=state.time,
            observation=None,  # type: ignore[arg-type]
            action=action,
            reward=jnp.float32(0),
            step_type=jnp.int32(0),
            state=state.inner,
        )
        after = with_params(params)._step(before, action)
        ended = after.is_termination(), after.is_truncation()
        state, obs = NavixState(after.t, after.state), after.observation
        return Step(state, obs, obs, after.reward, *ended)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params={LIMIT: instance.max_steps, PENALTY: penalty},
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        time_limit=lambda params: params[LIMIT],
        render=_painter(),
    )


def _observation_space(instance: Any, is_grid: bool) -> Any:
    """MultiDiscrete of a grid of (tag, colour, state); a Box of everything else."""
    from gymnax.environments import spaces
    from navix.entities import EntityIds
    from navix.rendering.registry import PALETTE

    first = jax.eval_shape(instance.reset, jax.random.key(0)).observation
    tags = 1 + max(int(x) for x in vars(EntityIds).values() if isinstance(x, Array))
    if is_grid:
        numbers = [tags, len(PALETTE.as_array()), STATES]
        return MultiDiscrete(np.broadcast_to(numbers, first.shape), first.dtype)
    if first.dtype == jnp.int32:  # tags alone, and walls are -1
        return spaces.Box(-1, tags - 1, first.shape, first.dtype)
    declared = instance.observation_space
    bounds = float(declared.minimum), float(declared.maximum)
    return spaces.Box(*bounds, first.shape, first.dtype)


def _painter() -> Callable[[Any, Any], np.ndarray]:
    from navix import observations
    from navix.rendering.cache import RenderingCache

    @jax.jit
    def draw(state: Any) -> Array:
        return observations.rgb(state.replace(cache=RenderingCache.init(state.grid)))

    def render(state: NavixState, params: Any) -> np.ndarray:
        """The whole grid as navix draws it, enlarged."""
        picture = np.asarray(draw(state.inner), np.uint8)
        larger = -(-TILE * state.inner.grid.shape[0] // picture.shape[0])
        return picture.repeat(larger, 0).repeat(larger, 1)

    return render
