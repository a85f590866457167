"""XLand-MiniGrid: rooms, and tasks by benchmark and number."""

import bz2
import pickle
import urllib.error

import jax
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder
from purejaxvpg.envs import xminigrid_adapter

xminigrid = suites.need("xminigrid")
EMPTY, XLAND = "MiniGrid-Empty-5x5", "XLand-MiniGrid-R1-9x9"
FORWARD, RIGHT, LEFT = range(3)
TO_THE_GOAL = [FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]


def make(name=EMPTY, **kwargs):
    return envs.make(f"xminigrid/{name}", **kwargs)


def ends(out):
    return bool(out.terminated), bool(out.truncated)


@pytest.fixture(scope="module")
def play():
    """A function of actions and a limit: the first observation, and the steps until an end."""
    env = make()
    reset, step = quick_jit(env.reset), quick_jit(env.step)

    def walk(actions, limit=100, late=0):
        params = {"max_steps_in_episode": limit}
        obs, state = reset(suites.KEY, params)
        state, steps = state.replace(step_num=state.step_num + late), []
        for action in actions:
            steps.append(step(suites.KEY, state, action, params))
            state = steps[-1].state
            if steps[-1].terminated or steps[-1].truncated:
                break
        return obs, steps

    return walk


def test_the_goal_pays_less_the_later_it_is(play):
    """1 - 0.9 t / limit, at the default limit of 100."""
    obs, steps = play(TO_THE_GOAL)
    assert make().default_params == {"max_steps_in_episode": 100}
    assert (obs.shape, str(obs.dtype)) == ((7, 7, 2), "uint8")
    assert [float(out.reward) for out in steps[:4]] == [0] * 4
    assert float(steps[4].reward) == pytest.approx(0.955, abs=1e-7)
    assert [ends(out) for out in steps] == [(False, False)] * 4 + [(True, False)]


@pytest.mark.parametrize(("limit", "expected"), [(10, 0.55), (5, 0.1)])
def test_the_limit_is_in_the_reward(play, limit, expected):
    """One that was lifted would pay more.  An end at the very limit is a termination."""
    last = play(TO_THE_GOAL, limit)[1][-1]
    assert float(last.reward) == pytest.approx(expected, abs=1e-6)
    assert ends(last) == (True, False)


def test_a_limit_cuts(play):
    """The traced parameter; the final observation is the one without a limit."""
    steps, without = play([LEFT] * 9, 5)[1], play([LEFT] * 5)[1]
    assert [ends(out) for out in steps] == [(False, False)] * 4 + [(False, True)]
    suites.assert_equal(steps[-1].final_obs, without[-1].obs)
    env = make(max_steps_in_episode=30)
    assert env.time_limit(env.default_params) == 30


def test_an_episode_beyond_a_limit_ends(play):
    """The library compares by ==, and would go on for ever."""
    (out,) = play([LEFT], 5, late=7)[1]
    assert ends(out) == (False, True)


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit(f"xminigrid/{EMPTY}")


def constant(env):
    """The environment with its default parameters, whatever it is given.

    XLA makes t / limit a product where the limit is a constant, which rounds otherwise.
    """
    params = env.default_params
    return env._replace(
        reset=lambda key, _: env.reset(key, params),
        step=lambda key, state, action, _: env.step(key, state, action, params),
    )


@pytest.mark.parametrize(
    "name", ["MiniGrid-EmptyRandom-5x5", pytest.param("MiniGrid-MemoryS8", marks=pytest.mark.slow)]
)
def test_it_is_the_librarys_environment(name):
    room, fixed = xminigrid.make(name, max_steps=15)

    def reset(key):
        first = room.reset(fixed, key)
        return first.observation, first

    def step(key, state, action):
        after = room.step(fixed, state, action)
        terminated = after.discount == 0
        return after.observation, after, after.reward, terminated, after.last() & ~terminated

    assert suites.assert_follows(constant(make(name, max_steps_in_episode=15)), reset, step) >= 3


def test_grids_are_categories():
    env = make(view_size=5)
    assert env.observation_space(None).nvec[0, 0].tolist() == [13, 12]
    assert make_encoder(env).shapes == (5, 5, 26)
    assert env.action_space(None).n == 6


def test_it_draws():
    """The library's own picture."""
    env = make()
    _, state = env.reset(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert (picture.shape, picture.dtype) == ((160, 160, 3), np.uint8)
    room, fixed = xminigrid.make(EMPTY)
    np.testing.assert_array_equal(picture, room.render(fixed, room.reset(fixed, suites.KEY)))


# ------------------------------------------------------------------------------------ RULESETS


@pytest.fixture
def two_tasks(tmp_path, monkeypatch):
    """A benchmark of two tasks, in place of the one that is downloaded."""
    from xminigrid import benchmarks
    from xminigrid.core.constants import TILES_REGISTRY, Colors, Tiles
    from xminigrid.core.goals import AgentNearGoal, AgentOnTileGoal
    from xminigrid.core.rules import EmptyRule

    ball, goal = TILES_REGISTRY[Tiles.BALL, Colors.RED], TILES_REGISTRY[Tiles.GOAL, Colors.GREEN]
    tasks = [(AgentNearGoal(tile=ball), ball), (AgentOnTileGoal(tile=goal), goal)]
    data = {
        "goals": jax.numpy.stack([task.encode() for task, _ in tasks]),
        "rules": jax.numpy.stack([EmptyRule().encode()[None]] * 2),
        "init_tiles": jax.numpy.stack([tile[None] for _, tile in tasks]),
        "num_rules": jax.numpy.zeros(2, int),
    }
    (tmp_path / "trivial_21k").write_bytes(bz2.compress(pickle.dumps(data)))
    monkeypatch.setattr(benchmarks, "DATA_PATH", str(tmp_path))
    return data


def test_xland_has_a_task_of_a_benchmark(two_tasks):
    for number in (0, 1):
        env = xminigrid_adapter.make(XLAND, ruleset=number)
        _, state = env.reset(suites.KEY, env.default_params)
        suites.assert_equal(state.goal_encoding, two_tasks["goals"][number])
        tile = two_tasks["init_tiles"][number][0]
        assert (state.grid == tile).all(-1).sum() == 1


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        ({"ruleset": 2}, "ruleset=2 is none of trivial-21k; accepted: 0 to 1"),
        ({"ruleset": 0.5}, "ruleset=0.5 is none of trivial-21k"),
        ({"benchmark": "trivial"}, "benchmark='trivial' is unknown; did you mean trivial-21k"),
    ],
)
def test_a_task_that_is_not_there_is_refused(two_tasks, kwargs, line):
    with pytest.raises(ValueError, match=line):
        xminigrid_adapter.make(XLAND, **kwargs)


@pytest.mark.parametrize("name", xminigrid_adapter.DOWNLOADS)
def test_what_would_be_downloaded_is_said_in_one_line(name, tmp_path, monkeypatch, capsys):
    from xminigrid import benchmarks

    def no_network(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(benchmarks, "DATA_PATH", str(tmp_path / "data"))
    monkeypatch.setattr(benchmarks.urllib.request, "urlretrieve", no_network)
    with pytest.raises(RuntimeError, match="downloads the benchmark trivial-21k") as error:
        make(name)
    assert "no route to host" in str(error.value)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_file_that_was_cut_short_is_said_in_one_line(two_tasks, tmp_path):
    file = tmp_path / "trivial_21k"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(RuntimeError, match=f"EOFError.*{file}; .* remove that file"):
        xminigrid_adapter.make(XLAND)


# -------------------------------------------------------------------------------------- NAMES


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        ("MiniGrid-Emty-5x5", {}, "is unknown; did you mean MiniGrid-Empty-5x5"),
        (EMPTY, {"max_steps": 5}, "argument 'max_steps'; did you mean max_steps_in_episode"),
        (EMPTY, {"max_steps_in_episode": 0}, "max_steps_in_episode=0 is out of range"),
        (EMPTY, {"ruleset": 0}, "no parameter or argument 'ruleset'"),
    ],
)
def test_what_it_does_not_know_is_refused(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        make(name, **kwargs)
    assert "\n" not in str(error.value)


def test_every_name_of_the_library_is_listed():
    assert set(xminigrid_adapter.NAMES) == set(xminigrid.registered_environments())


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "xminigrid")


@pytest.mark.slow
@pytest.mark.parametrize("name", xminigrid_adapter.NAMES)
def test_every_name_keeps_its_contract(name, two_tasks):
    """Random actions for a while: types, spaces, limits that truncate."""
    envs.check_env(xminigrid_adapter.make(name), 100)
