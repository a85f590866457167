"""jaxnasium's own environments."""

import jax
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.envs import jaxnasium_adapter

jaxnasium = suites.need("jaxnasium")


def library(name):
    env = jaxnasium.registry.get_env_class(name)()

    def step(key, state, action):
        (obs, reward, terminated, truncated, _), state = env.step_env(key, state, action)
        return obs, state, reward, terminated, truncated

    return lambda key: env.reset_env(key), step  # a bound method has no hash


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("CartPole-v1", True),
        ("Pendulum-v1", False),
        *[
            pytest.param(name, False, marks=pytest.mark.slow)
            for name in ("Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
        ],
    ],
)
def test_it_is_the_librarys_environment(name, ends):
    assert bool(suites.assert_follows(envs.make(f"jaxnasium/{name}"), *library(name))) == ends


@pytest.mark.parametrize("argument", ["max_episode_steps", "max_steps_in_episode"])
def test_a_limit_truncates(argument):
    env = envs.make("jaxnasium/Pendulum-v1", **{argument: 3})
    assert env.default_params["max_steps_in_episode"] == 3
    _, steps = suites.walk(env, [np.zeros(1)] * 5)
    assert (len(steps), bool(steps[-1].terminated), bool(steps[-1].truncated)) == (3, False, True)


def test_the_traced_limit_cuts():
    env = envs.make("jaxnasium/Pendulum-v1")
    assert env.default_params["max_steps_in_episode"] == 200
    suites.assert_cut_at_five(env, env.default_params | {"max_steps_in_episode": 5})


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit("jaxnasium/Pendulum-v1")


@pytest.mark.parametrize("name", jaxnasium_adapter.NAMES)
def test_all_its_numbers_are_traced(name):
    """No parameter decides a branch; and a longer, faster step of a pendulum turns it further."""
    env = envs.make(f"jaxnasium/{name}")
    limit = env.default_params["max_steps_in_episode"]
    assert limit == jaxnasium.registry.get_env_class(name)().max_episode_steps

    def first_step(params):
        _, state = env.reset(suites.KEY, params)
        action = env.action_space(params).sample(suites.KEY)
        return env.step(suites.KEY, state, action, params).obs

    assert jax.eval_shape(first_step, env.default_params).shape == env.obs_shape
    if name == "Pendulum-v1":
        step = quick_jit(first_step)
        faster = step(env.default_params | {"dt": 0.5, "max_speed": 100.0})
        assert abs(faster[2]) > 2 * abs(step(env.default_params)[2])


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        ({"gravty": 5}, "no parameter or argument 'gravty'; did you mean gravity"),
        ({"gravity": "5"}, "parameter gravity='5' is not a number"),
        ({"max_episode_steps": 3, "max_steps_in_episode": 4}, "takes one of max_steps_in_episode"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make("jaxnasium/CartPole-v1", **kwargs)
    assert "\n" not in str(error.value)


def test_every_name_that_is_its_own():
    assert set(jaxnasium_adapter.NAMES) == set(jaxnasium.registry._environments)


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "jaxnasium")
