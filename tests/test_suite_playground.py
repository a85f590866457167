"""MuJoCo Playground: its own numbers, limits, its config, robots that are not there, pictures."""

import subprocess
from importlib.util import find_spec

import jax
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.envs import playground_adapter

pytestmark = [
    pytest.mark.skipif(
        find_spec("mujoco_playground") is None, reason="playground is not installed"
    ),
    pytest.mark.timeout(1800),  # for compilation on a busy machine
]

NAME = "playground/CartpoleBalance"
ONES = np.ones((10, 1), np.float32)


@pytest.fixture(scope="module")
def balance():
    """The environment, and its steps from one reset by actions and a time limit."""
    env = envs.make(NAME)
    reset, step = quick_jit(env.reset), quick_jit(env.step)

    def walk(actions, limit=1000):
        params, steps = {"max_steps_in_episode": limit}, []
        _, state = reset(jax.random.key(0), params)
        for action in actions:
            steps.append(step(jax.random.key(1), state, action, params))
            state = steps[-1].state
        return steps

    return env, walk


def test_return(balance):
    steps = balance[1](ONES)
    np.testing.assert_allclose(sum(float(step.reward) for step in steps), 7.6701, atol=5e-5)
    assert not any(step.terminated | step.truncated for step in steps)


def test_a_limit_truncates(balance):
    """At the fifth step of five, with the observation that a longer limit gives there."""
    env, walk = balance
    assert env.time_limit(env.default_params) == 1000
    for out, longer in zip(walk(ONES[:5], limit=5), walk(ONES[:5]), strict=True):
        assert not out.terminated
        suites.assert_equal(out.final_obs, longer.final_obs)
        assert out.truncated == (out.state.time == 5)


def test_a_body_that_is_no_more_is_a_termination(balance):
    """NaN is the only end that this environment has; also where the limit is reached with it."""
    (last,) = balance[1](np.full((1, 1), np.nan, np.float32), limit=1)
    assert last.terminated
    assert not last.truncated


@pytest.mark.slow
def test_it_is_the_library():
    from mujoco_playground import registry

    env = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})

    def reset(key):
        state = env.reset(key)
        return state.obs, state

    def step(key, state, action):
        state = env.step(state, action)
        return state.obs, state, state.reward, state.done, False

    suites.assert_follows(envs.make(NAME), reset, step)


@pytest.mark.slow
def test_it_trains():
    suites.assert_trains_with_a_limit(envs.make(NAME))


def limit(name, **kwargs):
    """The time limit of an environment, as yet untraced: tracing takes seconds."""
    env = envs.suites.make(f"playground/{name}", **kwargs)
    return env.time_limit(env.default_params)


def test_its_config():
    """The limit is the config's episode_length, in steps of the agent."""
    assert limit("CartpoleBalance") == 1000
    assert limit("CartpoleBalance", episode_length=7) == 7
    assert limit("CartpoleBalance", episode_length=7, action_repeat=2) == 4
    assert limit("CartpoleBalance", max_steps_in_episode=5) == 5
    assert envs.suites.make("playground/CheetahRun").reset_cost == "dear"


def test_arguments_that_it_does_not_take():
    with pytest.raises(ValueError, match=f"{NAME} has no entry .*'episode_len'.*episode_length"):
        envs.make(NAME, episode_len=5)
    with pytest.raises(ValueError, match=f"{NAME} cannot be made with .*'sim_dt': 'x'") as error:
        envs.make(NAME, sim_dt="x")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"unknown; did you mean .*CartpoleBalance"):
        envs.make("playground/CartpoleBallance")


def test_robots_without_a_network(monkeypatch, tmp_path):
    """Each says in one line what it would download, when git cannot."""
    from mujoco_playground._src import mjx_env

    def offline(*_):
        raise subprocess.CalledProcessError(128, ["git", "clone"])

    monkeypatch.setattr(mjx_env, "_clone_with_progress", offline)
    monkeypatch.setattr(mjx_env, "EXTERNAL_DEPS_PATH", tmp_path)
    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", tmp_path / "mujoco_menagerie")
    for name in playground_adapter.DOWNLOADS:
        with pytest.raises(
            RuntimeError,
            match=f"playground/{name} could not load its robot .*mujoco_menagerie are cloned when",
        ) as error:
            envs.make(f"playground/{name}")
        assert "\n" not in str(error.value)


def test_pictures(balance):
    env, walk = balance
    steps = walk(ONES)
    try:
        pictures = [env.render(steps[k].state, env.default_params) for k in (0, 9)]
    except RuntimeError as error:
        pytest.skip(str(error))
    suites.assert_mujoco_pictures(pictures)


def test_all_names_are_listed():
    from mujoco_playground import registry

    assert set(playground_adapter.NAMES) == set(registry.ALL_ENVS)
    assert not set(playground_adapter.DEAR) - set(registry.ALL_ENVS)


@pytest.mark.slow
@pytest.mark.parametrize("name", playground_adapter.CONTROL_SUITE)
def test_every_name(name):
    """Forces are within [-1, 1], the space that we say."""
    env = suites.assert_steps(f"playground/{name}")
    assert env.action_space(env.default_params).low == -1
    jax.clear_caches()


def test_a_missing_suite_names_the_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "playground")
