"""brax: its own numbers, limits, parameters, dict observations, pictures."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.envs import brax_adapter, brax_style, mujoco_pictures

pytestmark = [
    pytest.mark.skipif(find_spec("brax") is None, reason="brax is not installed"),
    pytest.mark.timeout(1800),  # for compilation on a busy machine
]

KEY = jax.random.key(0)
ONES = np.ones((50, 1), np.float32)


def library(name, **kwargs):
    """The library's reset and step, in the form that `assert_follows` takes."""
    from brax.envs import get_environment

    with brax_style.without_notices():
        env = get_environment(name, **kwargs)

    def reset(key):
        state = env.reset(key)
        return state.obs, state

    def step(key, state, action):
        state = env.step(state, action)
        return state.obs, state, state.reward, state.done, state.info.get("truncation", 0)

    return env, reset, step


@pytest.fixture(scope="module")
def pendulum():
    """Steps of constant +1, until the pole has fallen."""
    env = envs.make("brax/inverted_pendulum")
    return env, suites.walk(env, ONES)[1]


def test_fast_rewards():
    _, steps = suites.walk(envs.make("brax/fast"), ONES[:10])
    rewards = [float(step.reward) for step in steps]
    expected = [4, 12, 24, 40, 60, 84, 112, 144, 180, 220]
    np.testing.assert_allclose(rewards, np.array(expected) * 1e-4, rtol=1e-6)


def test_a_fallen_pole_is_a_termination_with_its_own_reward(pendulum):
    """The library calls it `time_out` as well."""
    _, steps = pendulum
    assert [float(step.reward) for step in steps] == [1, 1]
    assert [bool(step.terminated) for step in steps] == [False, True]
    assert not any(step.truncated for step in steps)


def test_it_is_the_library():
    _, reset, step = library("fast")
    suites.assert_follows(envs.make("brax/fast"), reset, step)


@pytest.mark.slow
def test_physics_and_ends_are_the_librarys():
    _, reset, step = library("inverted_pendulum")
    assert suites.assert_follows(envs.make("brax/inverted_pendulum"), reset, step) > 5


def test_a_limit_truncates():
    env = envs.make("brax/fast")
    assert env.time_limit(env.default_params) == 1000
    suites.assert_cut_at_five(env)
    suites.assert_cut_at_five(env, {"max_steps_in_episode": 5})
    shorter = envs.make("brax/fast", max_steps_in_episode=5)
    assert shorter.default_params == {"max_steps_in_episode": 5}


def test_it_trains():
    suites.assert_trains_with_a_limit(envs.make("brax/fast"))


def test_the_critic_may_see_more_than_the_policy():
    """Observations in a dict stay so."""
    env = envs.make("brax/fast", obs_mode="dict_state", asymmetric_obs=True)
    assert {name: x.shape for name, x in env.observed.items()} == {
        "state": (2,), "privileged_state": (4,)
    }  # fmt: skip
    suites.three_updates(
        env, policy_obs=("state",), value_obs=("state", "privileged_state"), max_episode_steps=5
    )


def test_a_step_leaves_the_state_that_it_gets():
    """The library's step writes into the dicts of that state."""

    class Counting:
        action_size = 1

        def reset(self, key):
            return State(jnp.zeros(1), jnp.zeros(()), jnp.zeros(()), {"steps": jnp.zeros(())})

        def step(self, state, action):
            state.info["steps"] += 1
            return state.replace(reward=state.info["steps"])

    from flax import struct

    @struct.dataclass
    class State:
        obs: jax.Array
        reward: jax.Array
        done: jax.Array
        info: dict

    env = brax_style.adapt("Counting", Counting(), limit=9)
    _, state = env.reset(KEY, env.default_params)
    for _ in range(2):
        assert env.step(KEY, state, jnp.ones(1), env.default_params).reward == 1
    assert state.inner.info["steps"] == 0


def test_repeated_actions_are_one_step():
    """As by the library's wrapper: rewards summed, the limit counted in its own steps."""
    from brax.envs.wrappers.training import EpisodeWrapper

    raw, _, _ = library("fast")
    wrapped = EpisodeWrapper(raw, episode_length=20, action_repeat=2)
    env = brax_style.adapt("fast twice", raw, limit=10, action_repeat=2)
    state, (_, steps) = quick_jit(wrapped.reset)(KEY), suites.walk(env, ONES)
    step = quick_jit(wrapped.step)
    assert len(steps) == 10
    for out in steps:
        state = step(state, ONES[0])
        np.testing.assert_array_equal(out.obs, state.obs)
        assert out.reward == state.reward
        assert out.truncated == state.info["truncation"]
    np.testing.assert_allclose(steps[0].reward, 0.0016, rtol=1e-6)


def test_numbers_of_a_constructor_are_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = envs.suites.make("brax/halfcheetah", ctrl_cost_weight=0.5)  # untraced: in no time
    assert env.default_params == {
        "forward_reward_weight": 1.0, "ctrl_cost_weight": 0.5, "reset_noise_scale": 0.1,
        "max_steps_in_episode": 1000,
    }  # fmt: skip
    assert not list(tmp_path.iterdir())  # MuJoCo writes warnings of its models to a file here


@pytest.mark.slow
def test_parameters_may_be_traced():
    """One program for all weights: the reward is a line in the weight of its cost."""
    env = envs.make("brax/halfcheetah", backend="positional")
    _, state = quick_jit(env.reset)(KEY, env.default_params)
    action = np.linspace(-1, 1, 6, dtype=np.float32)

    def reward(weight):
        params = env.default_params | {"ctrl_cost_weight": weight}
        return env.step(KEY, state, action, params).reward

    rewards = quick_jit(jax.vmap(reward))(jnp.array([0.0, 1.0, 3.0]))
    cost = float((action**2).sum())
    np.testing.assert_allclose(rewards[0] - rewards[1:], [cost, 3 * cost], rtol=1e-4)


def test_arguments_that_it_does_not_take():
    with pytest.raises(ValueError, match=r"brax/ant has no .*'ctrl_cost_wait'.*ctrl_cost_weight"):
        envs.make("brax/ant", ctrl_cost_wait=1)
    with pytest.raises(ValueError, match=r"brax/fast has no argument or parameter 'backend'"):
        envs.make("brax/fast", backend="mjx")  # which it would take, and do nothing with
    with pytest.raises(ValueError, match=r"brax/fast cannot be made with .*asymmetric") as error:
        envs.make("brax/fast", asymmetric_obs=True)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="max_steps_in_episode=0 is out of range; accepted: 1 to"):
        envs.make("brax/fast", max_steps_in_episode=0)
    with pytest.raises(ValueError, match=r"brax/hoper' is unknown; did you mean .*hopper"):
        envs.make("brax/hoper")


def test_pictures(pendulum):
    env, steps = pendulum
    try:
        pictures = [env.render(step.state, env.default_params) for step in steps]
    except RuntimeError as error:
        pytest.skip(str(error))
    suites.assert_mujoco_pictures(pictures)
    assert envs.make("brax/fast").render is None


def test_without_opengl_one_line_says_so(pendulum, monkeypatch):
    env, steps = pendulum

    def missing():
        raise ImportError("no EGL\nhere")

    monkeypatch.setattr(mujoco_pictures, "_gl_context", missing)
    again = envs.suites.make("brax/inverted_pendulum")
    line = r"brax/inverted_pendulum cannot be drawn here, .* \(no EGL\); install libegl1"
    with pytest.raises(RuntimeError, match=line):
        again.render(steps[0].state, env.default_params)


def test_all_names_are_listed():
    from brax import envs as library

    assert set(brax_adapter.NAMES) == set(library._envs)


@pytest.mark.slow
@pytest.mark.parametrize("name", brax_adapter.NAMES)
def test_every_name(name):
    suites.assert_steps(f"brax/{name}")


def test_a_missing_suite_names_the_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "brax")
