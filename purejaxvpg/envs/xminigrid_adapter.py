"""XLand-MiniGrid: its MiniGrid rooms, and XLand's tasks by benchmark and number.

Traps of xminigrid 0.9:

- The reward of a goal is 1 - 0.9 t / limit, so the limit is never lifted: `max_steps_in_episode`
  is xminigrid's own `max_steps`, and may be traced (where it is, the reward's last bit may differ
  from that of a constant, by which XLA divides otherwise).
- The library ends an episode where t equals the limit and never where it is beyond.  Here it is
  truncated at or beyond it, and not where it ends by itself (discount 0).
- XLand's rooms have no task of their own: without a ruleset nothing is ever rewarded.  They get
  one from a benchmark, which the library downloads (to XLAND_MINIGRID_DATA, by default
  ~/.xland_minigrid) when it is first used.
- Observations are grids of (tile, colour), the room before the player, turned its way.  They are
  categories, declared MultiDiscrete, so networks see them one-hot.
"""

# The library is optional.
# pyright: reportMissingImports=false

import contextlib
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.by_name import suggest
from purejaxvpg.envs.arguments import construct, sort_arguments
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.spaces import MultiDiscrete
from purejaxvpg.fields import MOST, check_count, first_line

_MINIGRID = """
    BlockedUnlockPickUp DoorKey-5x5 DoorKey-6x6 DoorKey-8x8 DoorKey-16x16 Empty-5x5 Empty-6x6
    Empty-8x8 Empty-16x16 EmptyRandom-5x5 EmptyRandom-6x6 EmptyRandom-8x8 EmptyRandom-16x16
    FourRooms LockedRoom MemoryS8 MemoryS16 MemoryS32 MemoryS64 MemoryS128 Playground Unlock
    UnlockPickUp
    """.split()

_XLAND = """
    R1-9x9 R1-11x11 R1-13x13 R1-15x15 R1-17x17 R2-9x9 R2-11x11 R2-13x13 R2-15x15 R2-17x17
    R4-9x9 R4-11x11 R4-13x13 R4-15x15 R4-17x17 R6-13x13 R6-17x17 R6-19x19
    R9-16x16 R9-19x19 R9-25x25
    """.split()

DOWNLOADS = tuple(f"XLand-MiniGrid-{name}" for name in _XLAND)
NAMES = (*(f"MiniGrid-{name}" for name in _MINIGRID), *DOWNLOADS)

BENCHMARK, RULESET = "benchmark", "ruleset"
DEFAULT_BENCHMARK = "trivial-21k"  # the smallest
FIXED = ("max_steps", "render_mode", "grid_type", RULESET)  # fields that are no arguments of ours


def make(name: str, /, **kwargs: Any) -> Environment:
    """One of xminigrid's environments.

    Args:
      kwargs: `max_steps_in_episode`, a parameter; `height`, `width`, `view_size`.  Of XLand's also
        `benchmark` (by default trivial-21k) and `ruleset`, the number of a task in it (0).

    Raises: ValueError for another keyword, benchmark or number; RuntimeError if rulesets can be
    neither read nor downloaded.
    """
    from xminigrid.registration import make as construct_room

    instance, fixed = construct_room(name)
    sizes = tuple(x.name for x in dataclasses.fields(fixed) if x.name not in FIXED)
    of_xland = (BENCHMARK, RULESET) if name in DOWNLOADS else ()
    arguments, values = sort_arguments(name, kwargs, (*sizes, *of_xland), (LIMIT,))
    limit = values.get(LIMIT, fixed.max_steps)
    check_count(f"{name}'s parameter {LIMIT}", limit, MOST)
    if of_xland:
        benchmark, number = arguments.pop(BENCHMARK, DEFAULT_BENCHMARK), arguments.pop(RULESET, 0)
        arguments[RULESET] = _ruleset(name, benchmark, number)
    return _adapt(name, instance, construct(name, fixed.replace, arguments), limit)


def _adapt(name: str, instance: Any, fixed: Any, limit: int) -> Environment:
    from gymnax.environments import spaces
    from xminigrid.core.constants import NUM_COLORS, NUM_TILES
    from xminigrid.types import TimeStep

    zero = jnp.float32(0)
    unused = {"step_type": jnp.uint8(0), "reward": zero, "discount": zero, "observation": None}
    shape = instance.observation_shape(fixed)
    numbers = np.broadcast_to([NUM_TILES, NUM_COLORS], shape)
    observation_space = MultiDiscrete(numbers, jnp.uint8)
    action_space = spaces.Discrete(instance.num_actions(fixed))

    def moment(state: Any) -> Any:
        return TimeStep(state, **unused)

    def with_limit(params: Any) -> Any:
        return fixed.replace(max_steps=params[LIMIT])

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        first = instance.reset(with_limit(params), key)
        return first.observation, first.state

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        after = instance.step(with_limit(params), moment(state), action)
        terminated = after.discount == 0
        truncated = (after.state.step_num >= params[LIMIT]) & ~terminated
        obs = after.observation
        return Step(after.state, obs, obs, after.reward, terminated, truncated)

    def render(state: Any, params: Any) -> np.ndarray:
        """The whole room as xminigrid draws it, what the player sees lit up."""
        grid, agent = jax.device_get((state.grid, state.agent))
        on_host = state.replace(grid=grid, agent=agent)
        return np.asarray(instance.render(fixed, moment(on_host)), np.uint8)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params={LIMIT: limit},
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        time_limit=lambda params: params[LIMIT],
        render=render,
    )


# ------------------------------------------------------------------------------------ RULESETS


def _ruleset(name: str, benchmark: Any, number: Any) -> Any:
    """One task of a benchmark: its goal, its rules, and the things that lie in the room."""
    from xminigrid import benchmarks

    names = benchmarks.registered_benchmarks()
    if benchmark not in names:
        raise ValueError(f"{name}: benchmark={benchmark!r} is unknown; {suggest(benchmark, names)}")
    rulesets = _load(name, benchmark)
    count = rulesets.num_rulesets()
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    if not is_whole or not 0 <= number < count:
        raise ValueError(
            f"{name}: ruleset={number!r} is none of {benchmark}; accepted: 0 to {count - 1}"
        )
    return rulesets.get_ruleset(number)


def _load(name: str, benchmark: str) -> Any:
    """All tasks of a benchmark.  Raises: RuntimeError, in one line, if they cannot be had."""
    from xminigrid import benchmarks

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # standard output is for results
            return benchmarks.load_benchmark(benchmark)
    except Exception as error:  # of the network, of the disk, or of a file that was cut short
        file = f"{benchmarks.DATA_PATH}/{benchmarks.NAME2HFFILENAME[benchmark]}"
        raise RuntimeError(
            f"{name} could not load its rulesets ({type(error).__name__}: {first_line(error)}): it "
            f"downloads the benchmark {benchmark} ({benchmarks.HF_REPO_ID} of Hugging Face) to "
            f"{file}; make it once where there is a network, and remove that file if it was cut "
            f"short"
        ) from error
