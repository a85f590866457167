"""jumanji: limits that truncate, masks of two kinds, trees of arrays."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from support import suites

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder
from purejaxvpg.envs import jumanji_adapter
from purejaxvpg.envs.contract import settle
from purejaxvpg.envs.spaces import MultiDiscrete

jumanji = suites.need("jumanji")
pytestmark = pytest.mark.filterwarnings("ignore")  # jumanji's own, of types

SMALL = {"num_rows": 5, "num_cols": 5}


def test_a_snake_that_walks_up_dies_at_step_3():
    env = envs.make("jumanji/Snake-v1")
    assert env.default_params == {"max_steps_in_episode": 4000}
    _, steps = suites.walk(env, [0] * 9)
    assert [float(out.reward) for out in steps] == [0, 0, 0]
    assert (bool(steps[-1].terminated), bool(steps[-1].truncated)) == (True, False)


@pytest.mark.parametrize("argument", ["time_limit", "max_steps_in_episode"])
def test_a_limit_truncates(argument):
    env = envs.make("jumanji/Snake-v1", **{argument: 2})
    _, steps = suites.walk(env, [0] * 9)
    assert len(steps) == 2
    assert (bool(steps[-1].terminated), bool(steps[-1].truncated)) == (False, True)


def test_at_the_third_step_a_limit_of_3_is_no_death():
    """A snake that is alive there is cut; the one that walks up dies in that very step."""
    env = envs.make("jumanji/Snake-v1", time_limit=3)
    _, steps = suites.walk(env, [0] * 9)
    assert (len(steps), bool(steps[-1].terminated), bool(steps[-1].truncated)) == (3, True, False)
    choose = suites.allowed_actions(env)
    obs, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    for k in range(3):
        out = jax.jit(env.step)(jax.random.key(k), state, choose(obs), env.default_params)
        obs, state = out.obs, out.state
    assert (bool(out.terminated), bool(out.truncated)) == (False, True)
    assert obs.mask.any()


def test_the_traced_limit_cuts():
    env = envs.make("jumanji/Snake-v1", **SMALL)
    suites.assert_cut_at_five(env, env.default_params | {"max_steps_in_episode": 5})


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit("jumanji/Maze-v0")


def library(name, joint=None, **kwargs):
    """The library's own reset and step, as `assert_follows` takes them."""
    env = jumanji.make(name, **kwargs)

    def seen(timestep):
        obs = timestep.observation
        return obs._replace(action_mask=None)

    def reset(key):
        state, timestep = env.reset(key)
        return seen(timestep), state

    def step(key, state, action):
        action = jnp.stack(jnp.unravel_index(action, joint)) if joint else action
        state, timestep = env.step(state, action)
        return seen(timestep), state, timestep.reward, timestep.last(), False

    return reset, step


@pytest.mark.parametrize(
    ("name", "joint", "kwargs", "least"),
    [
        ("Snake-v1", None, SMALL, 0),
        ("Minesweeper-v0", (10, 10), {}, 1),
        pytest.param("Game2048-v1", None, {}, 0, marks=pytest.mark.slow),
        pytest.param("Tetris-v0", (4, 10), {}, 1, marks=pytest.mark.slow),
        pytest.param("Cleaner-v0", None, {}, 0, marks=pytest.mark.slow),
        pytest.param("Knapsack-v1", None, {}, 1, marks=pytest.mark.slow),
    ],
)
def test_it_is_the_librarys_environment(name, joint, kwargs, least):
    """The same bits until its own ends, which are terminations."""
    env = envs.make(f"jumanji/{name}", **kwargs)
    assert suites.assert_follows(env, *library(name, joint, **kwargs)) >= least


def test_the_mask_is_no_part_of_what_is_seen():
    env = envs.make("jumanji/Snake-v1")
    assert [name for name, _ in make_encoder(env).parts] == ["grid", "step_count"]
    obs, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    np.testing.assert_array_equal(obs.mask, state.inner.inner.action_mask)


def test_a_joint_mask_makes_a_discrete_of_all_combinations():
    """An action of Minesweeper opens the cell that its number is of, row by row."""
    env = envs.make("jumanji/Minesweeper-v0")
    assert env.action_space(None).n == 100
    obs, steps = suites.walk(env, [37])
    assert obs.mask.shape == (100,)
    assert obs.mask.all()
    opened = np.argwhere(steps[0].final_obs.board != -1)
    np.testing.assert_array_equal(opened, [[3, 7]])
    assert steps[0].obs.mask.sum() == 99
    assert not steps[0].obs.mask[37]


@pytest.mark.parametrize(
    ("spec", "mask", "space", "joint"),
    [
        ("Minesweeper-like", (2, 5), spaces.Discrete, (2, 5)),  # two rows of five columns
        ("agents", (2, 5), MultiDiscrete, None),  # two agents of five moves
        ("agents", None, MultiDiscrete, None),
    ],
)
def test_a_mask_is_joint_where_it_has_the_shape_of_the_numbers(spec, mask, space, joint):
    from jumanji import specs

    numbers = [2, 5] if spec == "Minesweeper-like" else [5, 5]
    array = specs.MultiDiscreteArray(jnp.array(numbers))
    mask = None if mask is None else jax.ShapeDtypeStruct(mask, bool)
    made, combined = jumanji_adapter._action_space(array, mask)
    assert (type(made), combined) == (space, joint)


def test_rows_of_a_mask_stay_a_multidiscrete():
    env = settle(jumanji_adapter.make("Cleaner-v0"))
    space = env.action_space(env.default_params)
    np.testing.assert_array_equal(space.nvec, [4, 4, 4])
    obs, _ = jax.eval_shape(env.reset, suites.KEY, env.default_params)
    assert obs.mask.shape == (3, 4)


def test_few_values_are_categories_and_steps_are_not():
    parts = dict(make_encoder(settle(jumanji_adapter.make("Maze-v0"))).parts)
    assert parts["agent_position.row"].seen_shape == (10,)
    assert parts["step_count"].categories is None
    assert parts["walls"].seen_shape == (10, 10)
    puzzle = dict(make_encoder(settle(jumanji_adapter.make("SlidingTilePuzzle-v0"))).parts)
    assert puzzle["puzzle"].seen_shape == (5, 125)


@pytest.mark.parametrize("name", sorted(jumanji_adapter.REFUSED))
def test_agents_with_a_reward_each_are_refused(name):
    assert "agents" in jumanji_adapter.REFUSED[name]
    instance = jumanji.make(name)
    assert jax.eval_shape(instance.reset, suites.KEY)[1].reward.ndim == 1
    with pytest.raises(ValueError, match=f"'jumanji/{name}' is refused: it is of several agents"):
        envs.make(f"jumanji/{name}")


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        (
            "Snake-v1",
            {"num_row": 5},
            "no parameter or argument 'num_row'; did you mean num_row",
        ),
        ("Knapsack-v1", {"max_steps_in_episode": 5}, "no parameter or argument 'max_steps_in"),
        ("Snake-v1", {"time_limit": 3, "max_steps_in_episode": 4}, "takes one of max_steps_in_ep"),
        ("Snake-v1", {"num_rows": "many"}, "Snake-v1 cannot be made with {'num_rows': 'many'}"),
        ("Snake-v2", {}, "is unknown; did you mean Snake-v1"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(f"jumanji/{name}", **kwargs)
    assert "\n" not in str(error.value)


def test_levels_that_are_not_there_are_one_line(monkeypatch):
    def offline(name, **kwargs):
        raise OSError("no network\nat all")

    monkeypatch.setattr(jumanji.registration, "make", offline)
    with pytest.raises(RuntimeError, match=r"Sokoban-v0 could not load its data .*give it a gen"):
        jumanji_adapter.make("Sokoban-v0")


def test_every_name_of_the_library_is_accepted_or_refused():
    names = {*jumanji_adapter.NAMES, *jumanji_adapter.REFUSED}
    assert names == set(jumanji.registered_environments())


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "jumanji")


def test_it_draws_without_a_window():
    env = envs.make("jumanji/Snake-v1")
    _, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    plt = sys.modules["matplotlib.pyplot"]
    before = plt.get_fignums()
    pictures = [env.render(state, env.default_params) for _ in range(2)]
    assert pictures[0].dtype == np.uint8
    assert pictures[0].ndim == 3
    assert pictures[0].shape[2] == 3
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 3
    np.testing.assert_array_equal(*pictures)
    assert plt.get_fignums() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in jumanji_adapter.NAMES if n != "Sokoban-v0"])
def test_every_name_steps_and_draws(name):
    env = suites.assert_steps(f"jumanji/{name}")
    _, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert (picture.ndim, picture.dtype, picture.shape[2]) == (3, np.uint8, 3)
    assert picture.std() > 0


@pytest.mark.slow
def test_sokoban_needs_no_network_with_a_generator():
    from jumanji.environments.routing.sokoban.generator import SimpleSolveGenerator

    env = suites.assert_steps("jumanji/Sokoban-v0", generator=SimpleSolveGenerator())
    assert env.default_params == {"max_steps_in_episode": 120}
