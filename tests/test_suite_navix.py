"""Navix: MiniGrid's rooms."""

import contextlib
from importlib import metadata

import jax
import numpy as np
import pytest
from support import suites

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder
from purejaxvpg.envs import navix_adapter

navix = suites.need("navix")
EMPTY, BALLS = "Navix-Empty-5x5-v0", "Navix-Dynamic-Obstacles-5x5-v0"
DOOR = "Navix-DoorKey-Random-5x5-v0"
LEFT, RIGHT, FORWARD = range(3)
TO_THE_GOAL = [FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]
LATEST = hasattr(navix.Environment, "penalty_coeff")  # navix 4


def make(name=EMPTY, **kwargs):
    return envs.make(f"navix/{name}", **kwargs)


def test_the_goal_pays_one_and_ends():
    env = make()
    obs, steps = suites.walk(env, TO_THE_GOAL)
    assert (obs.shape, str(obs.dtype)) == ((5, 5, 3), "uint8")
    assert [float(out.reward) for out in steps] == [0, 0, 0, 0, 1]
    assert [bool(out.terminated) for out in steps] == [False] * 4 + [True]
    assert not any(out.truncated for out in steps)
    assert obs[1, 1].tolist() == [10, 0, 0]  # the player
    assert steps[-1].final_obs[3, 3].tolist() == [10, 0, 1]
    assert steps[-1].final_obs[1, 1].tolist() == [1, 0, 0]  # the floor


@pytest.mark.parametrize("name", [BALLS, pytest.param(DOOR, marks=pytest.mark.slow)])
def test_it_is_the_librarys_environment(name):
    """Balls move by keys that the state holds; a hit or a goal ends."""
    room = navix.make(name, max_steps=20)

    def reset(key):
        first = room.reset(key)
        return first.observation, first

    def step(key, state, action):
        after = room.step(state, action)
        ends = after.is_termination(), after.is_truncation()
        return after.observation, after, after.reward, *ends

    assert suites.assert_follows(make(name, max_steps_in_episode=20), reset, step) > 1


def test_a_limit_cuts():
    """The parameter, which is traced; and an end at the limit is a termination."""
    env = make(max_steps_in_episode=30)
    assert env.default_params == {"max_steps_in_episode": 30, "penalty_coeff": 0.0}
    assert env.time_limit(env.default_params) == 30
    params = env.default_params | {"max_steps_in_episode": 5}
    suites.assert_cut_at_five(env, params)
    last = suites.walk(env, TO_THE_GOAL, params)[1][-1]
    assert (bool(last.terminated), bool(last.truncated)) == (True, False)


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit(f"navix/{EMPTY}")


def test_the_default_limit_is_that_of_the_installed_version():
    limit = make("Navix-Empty-6x6-v0").default_params["max_steps_in_episode"]
    assert limit == (144 if LATEST else 100)


def test_the_penalty_is_of_the_limit():
    """1 - penalty t / limit; a limit that was lifted would leave no penalty."""
    env = make(penalty_coeff=0.5, max_steps_in_episode=20)
    assert float(suites.walk(env, TO_THE_GOAL)[1][-1].reward) == 1 - 0.5 * 5 / 20
    params = {"penalty_coeff": 0.25, "max_steps_in_episode": 10}
    assert float(suites.walk(env, TO_THE_GOAL, params)[1][-1].reward) == 1 - 0.25 * 5 / 10


def test_a_state_holds_no_picture():
    """Unless it is what is observed."""

    def largest(env):
        _, state = jax.eval_shape(env.reset, suites.KEY, env.default_params)
        return max(x.size for x in jax.tree.leaves(state))

    assert largest(make("Navix-Empty-16x16-v0")) == 256
    assert largest(make("Navix-Empty-16x16-v0", observation_fn="rgb")) > 40_000


def test_grids_are_categories():
    env = make()
    assert env.observation_space(None).nvec[0, 0].tolist() == [11, 6, 4]
    assert make_encoder(env).shapes == (5, 5, 33)


@pytest.mark.parametrize(
    ("function", "shape", "dtype"),
    [
        ("symbolic_first_person", (7, 7, 3), "uint8"),
        ("categorical", (5, 5), "int32"),
        ("rgb_first_person", (56, 56, 3), "uint8"),
    ],
)
def test_observations_by_name(function, shape, dtype):
    """As the library's function gives them, within their space."""
    env = make(observation_fn=function)
    room = navix.make(EMPTY, observation_fn=getattr(navix.observations, function))
    obs, _ = env.reset(suites.KEY, env.default_params)
    suites.assert_equal(obs, room.reset(suites.KEY).observation)
    if not LATEST or dtype != "uint8":
        assert obs.shape == shape
    assert str(obs.dtype) == dtype
    space = env.observation_space(None)
    assert space.contains(obs)


def test_actions_by_name():
    assert make().action_space(None).n == 7
    assert make(action_set="COMPLETE_ACTION_SET").action_space(None).n == 10


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        ("Navix-Empty-5x-v0", {}, "is unknown; did you mean Navix-Empty-"),
        (EMPTY, {"max_steps": 5}, "argument 'max_steps'; did you mean max_steps_in_episode"),
        (EMPTY, {"max_steps_in_episode": 0}, "max_steps_in_episode=0 is out of range"),
        (EMPTY, {"penalty_coeff": "1"}, "penalty_coeff='1' is not a number"),
        (EMPTY, {"reward_fn": "on_goal"}, "reward_fn='on_goal' .* did you mean on_goal_reached"),
    ],
)
def test_what_it_does_not_know_is_refused(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        make(name, **kwargs)
    assert "\n" not in str(error.value)


def test_every_name_of_the_library_is_listed():
    """navix 0.7 has half of them, and a missing one says which version has it."""
    listed, there = set(navix_adapter.NAMES), set(navix.registry())
    assert listed == there if LATEST else listed > there
    if not LATEST:
        with pytest.raises(
            ValueError, match=r"navix/Navix-Unlock-v0 is not in navix 0\.7.*navix 4"
        ):
            make("Navix-Unlock-v0")


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "navix")


def test_it_draws():
    """The library's own picture, enlarged."""
    env = make(BALLS)
    _, state = env.reset(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert picture.dtype == np.uint8
    first = navix.make(BALLS).reset(suites.KEY)
    own = np.asarray(navix.observations.rgb(first.state))
    larger = len(picture) // len(own)
    assert len(picture) >= 160
    np.testing.assert_array_equal(picture[::larger, ::larger], own)
    np.testing.assert_array_equal(picture[larger - 1 :: larger, larger - 1 :: larger], own)


@pytest.mark.slow
@pytest.mark.parametrize("name", navix_adapter.NAMES)
def test_every_name_keeps_its_contract(name):
    """Random actions for a while: types, spaces, limits that truncate."""
    if name not in navix.registry():
        pytest.skip(f"{name} came with navix 4")
    of_0_7 = metadata.version("navix").startswith("0.7")
    beyond = of_0_7 and name.startswith("Navix-KeyCorridor")  # -2 as a byte
    warned = pytest.warns(UserWarning, match="an observation is none of 0 to 10")
    with warned if beyond else contextlib.nullcontext():
        envs.check_env(f"navix/{name}", 100)
