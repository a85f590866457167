"""`check_env`: environments that break their word are refused or doubted, healthy ones are not."""

import warnings

import gymnax
import gymnax.wrappers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.classic_control.cartpole import CartPole
from support import probes

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.envs import check, keys

KEY = jax.random.key(0)


class Walk:
    """Plain: a walk from a random place, over after `length` steps.  Healthy; to be spoiled."""

    default_params = {"step": 0.1}  # noqa: RUF012

    def __init__(self, length=5, low=-np.inf, high=np.inf):
        self.length, self.low, self.high = length, low, high

    def reset(self, key, params):
        state = {"time": jnp.zeros((), jnp.int32), "x": jax.random.uniform(key)}
        return state["x"][None], state

    def ended(self, state):
        return state["time"] >= self.length

    def step(self, key, state, action, params):
        moved = {"time": state["time"] + 1, "x": state["x"] + params["step"] * (action - 0.4)}
        terminated = self.ended(moved)
        obs, new = self.reset(key, params)
        after = jax.tree.map(lambda x, y: jnp.where(terminated, x, y), new, moved)
        info = {"final_observation": moved["x"][None]}
        obs = jnp.where(terminated, obs, moved["x"][None])
        return obs, after, jnp.ones(()), terminated, jnp.zeros((), bool), info

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(self.low, self.high, (1,))


class NeverResets(Walk):
    """Goes on after an end, with every step another one."""

    def step(self, key, state, action, params):
        moved = {"time": state["time"] + 1, "x": state["x"] + 0.1 * (action - 0.4)}
        obs = moved["x"][None]
        end, never = self.ended(moved), jnp.zeros((), bool)
        return obs, moved, jnp.ones(()), end, never, {"final_observation": obs}


class EndsNowAndThen(NeverResets):
    """Goes on after an end, and reports one every `length` steps."""

    def ended(self, state):
        return state["time"] % self.length == 0


class FinalIsNext(Walk):
    """final_observation is the observation after the reset."""

    def step(self, *args):
        obs, *rest, _ = super().step(*args)
        return (obs, *rest, {"final_observation": obs})


def refused(env, message, **kwargs):
    """The one line of the refusal."""
    with pytest.raises(ValueError, match=message) as error:
        envs.check_env(env, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------------- REFUSED


class EndsLate(NeverResets):
    """Reaches its first end after 1,000 steps, by a limit that is a parameter."""

    default_params = {"max_steps": 1000}  # noqa: RUF012

    def step(self, key, state, action, params):
        obs, state, reward, _, never, info = super().step(key, state, action, params)
        return obs, state, reward, never, state["time"] >= params["max_steps"], info


def cartpole_that_goes_on():
    """The gymnax environment as if its step reset itself, which step_env does not."""
    return envs.make("CartPole-v1")._replace(resets_itself=True)


@pytest.mark.parametrize("make", [NeverResets, EndsNowAndThen, EndsLate, cartpole_that_goes_on])
def test_a_step_that_does_not_reset_is_refused(make):
    """Such an environment trained: 40,000 steps gave 39,689 "episodes" of length 1.008."""
    assert "step does not reset itself" in refused(make(), "final_observation", num_steps=200)
    with pytest.raises(ValueError, match="does not reset itself"):
        envs.make(make())


def test_a_final_observation_of_the_next_episode_is_refused():
    refused(FinalIsNext(), "observation after the reset as info\\['final_observation'\\]")


def test_flags_that_are_floats_are_refused():
    class Floats(Walk):
        def step(self, *args):
            obs, state, reward, terminated, truncated, info = super().step(*args)
            return obs, state, reward, terminated.astype(jnp.float32), truncated, info

    refused(Floats(), "returned terminated of type float32; expected bool")


def test_a_wrong_obs_shape_is_refused_and_none_is_looked_up():
    made = envs.make("CartPole-v1")
    refused(made._replace(obs_shape=(5,)), r"obs_shape=\(5,\), and its observations .*\(4,\)")
    assert envs.make(made._replace(obs_shape=None)).obs_shape == (4,)


def test_an_exception_in_step_names_the_line_of_the_user():
    class Broken(Walk):
        def step(self, key, state, action, params):
            return jnp.zeros(3) @ jnp.zeros((4, state["x"].ndim))

    line = refused(Broken(), "raised TypeError")
    number = Broken.step.__code__.co_firstlineno + 1
    assert f"{__file__}:{number}" in line
    with pytest.raises(ValueError, match=f"{__file__}:{number}"):
        envs.make(Broken())


# ------------------------------------------------------------------------------------- DOUBTED


def test_observations_that_leave_their_space_are_doubted():
    with pytest.warns(UserWarning, match=r"an observation of 1\.\d+ at \[0\] leaves .*by 1 there"):
        envs.check_env(Walk(length=20, low=-2, high=1))
    with pytest.warns(UserWarning, match=r"bounded by 0\.5 there"):
        envs.make(Walk(length=20, low=0.5, high=9))


def test_observations_that_are_not_finite_are_doubted():
    class NotFinite(Walk):
        def step(self, *args):
            obs, state, reward, *rest = super().step(*args)
            return jnp.where(obs > 0.9, jnp.nan, obs), state, reward, *rest

    with pytest.warns(UserWarning, match="an observation is not finite"):
        envs.check_env(NotFinite())


def test_a_discrete_observation_without_its_one_is_doubted():
    class Beyond(probes.PlainEnv):
        def observe(self, time, episode):
            return time

        def observation_space(self, params):
            return spaces.Discrete(3)

    with pytest.warns(UserWarning, match="an observation is none of 0 to 2"):
        envs.check_env(Beyond(5))


class OwnKey(Walk):
    """Resets with a key of its own."""

    def reset(self, key, params):
        return super().reset(jax.random.key(0), params)


class ConstantKey(Walk):
    """Resets with a key made in the constructor, inside a compiled function."""

    def __init__(self):
        super().__init__()
        self.key = jax.random.key(1)

    def reset(self, key, params):
        return jax.jit(super().reset)(self.key, params)


@pytest.mark.parametrize("make", [OwnKey, ConstantKey])
def test_a_reset_that_ignores_its_key_is_doubted(make):
    with pytest.warns(UserWarning, match="reset draws random numbers, and not from its key"):
        envs.check_env(make(), num_steps=8)


@pytest.mark.parametrize("name", ["FourRooms-misc", "FrozenLake-misc", "CartPole-v1"])
def test_a_reset_that_is_always_the_same_ignores_no_key(name):
    """FourRooms draws places and does not use them; FrozenLake draws none."""
    env = envs.make(name)
    assert not keys.ignores_its_key(env.reset, env.default_params)


class Folded(CartPole):
    """CartPole as gymnax below 1.0 had it: the time limit is a termination."""

    def is_terminated(self, state, params):
        return super().is_terminated(state, params) | (state.time >= params.max_steps_in_episode)


def test_a_time_limit_reported_as_termination_is_doubted():
    with pytest.warns(UserWarning, match="time limit .* ends episodes as terminated"):
        envs.make(Folded())


# --------------------------------------------------------------------------------------- WORKS


@pytest.mark.parametrize(
    "make", [Walk, lambda: probes.PlainEnv(3), lambda: probes.PlainEnv(3, "truncated"),
             lambda: probes.RandomLength(4), lambda: probes.Mortal(5), probes.PolicyOnly,
             lambda: gymnax.wrappers.StickyActionWrapper(CartPole(), 0.1)],
)  # fmt: skip
def test_healthy_environments_pass(make):
    """Warnings are errors here."""
    envs.check_env(make(), num_steps=200)


# They leave the space that they declare: context -1 beside bounds 0 and 1, time beside bound 1,
# normal rewards beside bound 0.
LEAVE = ("MemoryChain-bsuite", "MetaMaze-misc", "GaussianBandit-misc")
DEAR = ("Acrobot-v1", "Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar",
        "SpaceInvaders-MinAtar", "Pong-misc")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in gymnax.registered_envs if not n.startswith("MNIST")])
def test_gymnax_environments_pass(name):
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        envs.check_env(name, num_steps=check.SHORT if name in DEAR else 1000)
    leaves = ["leaves its space" in str(doubt.message) for doubt in doubts]
    assert leaves == ([True] if name in LEAVE else [])


def test_parameters_without_a_hash_work():
    """A dict, or arrays, as parameters of an `Environment`: a config holds it, and trains."""
    made = envs.make(Walk())
    for params in ({"step": 0.2}, {"step": jnp.float32(0.2)}):
        env = made._replace(default_params=params)
        config = VPGConfig(env=env, num_envs=2, num_steps=4, total_steps=8, hidden_sizes=(4,))
        assert hash(config) == hash(VPGConfig(**vars(config)))
        assert make_learner(config) is make_learner(VPGConfig(**vars(config)))
        assert env != made
        state = jax.eval_shape(make_learner(config).init, KEY)
        assert state.obs.shape == (2, 1)


def test_the_types_of_a_hand_made_environment_are_settled():
    """State int at the reset and float after, observation and reward int: one type each."""
    env = envs.Environment(
        name="Drift",
        reset=lambda key, params: (0, {"x": 0, "key": key}),
        step=lambda key, state, action, params: envs.Step(
            {"x": state["x"] + 0.5, "key": key}, 1, 1, 1, False, state["x"] > 2
        ),
        default_params=None,
        action_space=lambda params: spaces.Discrete(2),
        observation_space=lambda params: spaces.Discrete(2),
    )
    made = envs.make(env)
    obs, state = made.reset(KEY, None)
    out = made.step(KEY, state, 0, None)
    assert state["x"].dtype == out.state["x"].dtype == jnp.float32
    assert out.state["x"] == 0.5
    assert (obs.tolist(), out.obs.tolist()) == (0, 1)
    assert (out.reward.dtype, out.terminated.dtype) == (jnp.float32, jnp.bool_)
    assert made.obs_shape == ()
    assert envs.make(made) is made


def test_the_check_runs_once_and_whatever_the_caller_does(monkeypatch):
    """Inside a trace, without jit, and while NaNs are looked for; gymnax's own are taken as run."""
    runs, run = [], check.run
    monkeypatch.setattr(check, "run", lambda env, steps: (runs.append(env.name), run(env, steps)))
    env = Walk()
    jax.make_jaxpr(lambda key: envs.make(env).reset(key, env.default_params))(KEY)
    assert envs.make(envs.make(env)) is envs.make(env)
    envs.make(envs.make("CartPole-v1"))
    assert runs == ["Walk"]
    with jax.disable_jit(), jax.debug_nans(True):
        assert envs.make(Walk(4)).obs_shape == (1,)
    assert runs == ["Walk", "Walk"]
