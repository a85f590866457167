"""Small environments whose right answers are known, for the tests.

A ladder of probes, each of which adds one thing that an agent must get right; environments where
every mistake about ends changes a number; and plain classes that break gymnax's contract or keep
to it without being subclasses of its `Environment`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jax import Array


@struct.dataclass
class State:
    """State of every probe; what a probe does not need stays at zero."""

    time: Array  # [] int32, steps since the reset
    x: Array  # [] float32, drawn at the reset


@struct.dataclass
class Params:
    """Parameters of every probe."""

    reward: float = 1.0
    max_steps_in_episode: int = 1_000


class Probe(Environment):
    """Resets to time 0 and an x; subclasses say the rest.  `step` is the inherited one."""

    num_actions = 2

    @property
    def default_params(self) -> Params:
        return Params()

    def draw(self, key: Array) -> Array:
        return jnp.zeros(())

    def observation(self, state: State) -> Array:
        return state.x[None]

    def outcome(self, state: State, action: Array, params: Params) -> tuple[Array, Array]:
        """(reward, terminated) of acting in `state`."""
        raise NotImplementedError

    def reset_env(self, key: Array, params: Params) -> tuple[Array, State]:
        state = State(time=jnp.zeros((), jnp.int32), x=self.draw(key))
        return self.observation(state), state

    def step_env(self, key: Array, state: State, action: Array, params: Params) -> Any:
        reward, terminated = self.outcome(state, action, params)
        state = state.replace(time=state.time + 1)
        return self.observation(state), state, reward, jnp.asarray(terminated), {}

    def action_space(self, params: Any = None) -> Any:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: Any = None) -> Any:
        state = State(time=jnp.zeros((), jnp.int32), x=jnp.zeros(()))
        return spaces.Box(-jnp.inf, jnp.inf, jax.eval_shape(self.observation, state).shape)


# ------------------------------------------------------------------------------- THE LADDER


class ConstantValue(Probe):
    """One step, reward 1: V = 1."""

    def outcome(self, state, action, params):
        return params.reward, True


class ValueFromObservation(Probe):
    """One step, observation +1 or -1, which is the reward: V(s) = s."""

    def draw(self, key):
        return jax.random.rademacher(key, (), jnp.float32)

    def outcome(self, state, action, params):
        return state.x, True


class Discounting(Probe):
    """Two steps, observations 0 and 1, reward 1 at the second: V(0) = gamma, V(1) = 1."""

    def observation(self, state):
        return state.time[None].astype(jnp.float32)

    def outcome(self, state, action, params):
        second = state.time == 1
        return second.astype(jnp.float32), second


class PolicyOnly(Probe):
    """One step, reward +1 for action 1 and -1 for action 0."""

    def outcome(self, state, action, params):
        return jnp.where(action == 1, 1.0, -1.0), True


class PolicyAndValue(ValueFromObservation):
    """One step, observation +1 or -1, reward +1 for action (s > 0) and -1 for the other."""

    def outcome(self, state, action, params):
        return jnp.where((action == 1) == (state.x > 0), 1.0, -1.0), True


class ContinuousAction(Probe):
    """One step, reward -(a - 0.5)^2, with actions in Box(low, high)."""

    def __init__(self, low: float = -1.0, high: float = 1.0):
        self.low, self.high = low, high

    def outcome(self, state, action, params):
        return -jnp.square(action[0] - 0.5), True

    def action_space(self, params=None):
        return spaces.Box(self.low, self.high, (1,))


# ------------------------------------------------------------------------------------- ENDS


class Endless(Probe):
    """Reward 1 for ever, cut every `length` steps by the clock alone: V = 1 / (1 - gamma)."""

    def __init__(self, length: int):
        self.length = length

    @property
    def default_params(self):
        return Params(max_steps_in_episode=self.length)

    def outcome(self, state, action, params):
        return params.reward, False


class LateReward(Endless):
    """As `Endless`, but the first step after a reset pays nothing, and the observation says so.

    V(start) = gamma / (1 - gamma) and V(late) = 1 / (1 - gamma): taking V of the observation
    after the reset, in place of V(final_obs), gives another number.
    """

    def observation(self, state):
        return jnp.where(state.time == 0, -1.0, 1.0)[None]

    def outcome(self, state, action, params):
        return (state.time > 0).astype(jnp.float32), False


class Mortal(Probe):
    """Reward 1 a step, terminated after `length`: V(s_0) = (1 - gamma^length) / (1 - gamma).

    The observation is the time, one-hot.
    """

    def __init__(self, length: int):
        self.length = length

    def observation(self, state):
        return jax.nn.one_hot(state.time, self.length)

    def outcome(self, state, action, params):
        return params.reward, state.time + 1 >= self.length


class RandomLength(Probe):
    """Terminated after a length drawn at the reset, uniform in 1..`longest`.

    The reward is the number of the step, 1, 2, ..., plus half the action, so that every sum is
    exact in float32.  Observation: (length, time, noise of the reset).
    """

    def __init__(self, longest: int):
        self.longest = longest

    def draw(self, key):  # the integer part is the length, the rest is noise
        length_key, noise_key = jax.random.split(key)
        length = jax.random.randint(length_key, (), 1, self.longest + 1)
        return length + jax.random.uniform(noise_key)

    def observation(self, state):
        length = jnp.floor(state.x)
        return jnp.stack([length, state.time.astype(jnp.float32), state.x - length])

    def outcome(self, state, action, params):
        reward = state.time + 1.0 + 0.5 * action
        return reward, state.time + 1 >= jnp.floor(state.x)


# --------------------------------------------------------- PLAIN CLASSES, IN GYMNAX'S STYLE


class PlainEnv:
    """Resets itself after `length` steps, terminated or truncated; keeps count of its episodes.

    No subclass of gymnax's `Environment`.  Reward: `params["reward"]` in the first episode,
    `params["later_reward"]` in all that follow.  Observation: (time, episode).
    """

    default_params = {"reward": 1.0, "later_reward": 1.0}  # noqa: RUF012

    def __init__(self, length: int, ends: str = "terminated"):
        self.length, self.ends = length, ends

    def reset(self, key, params):
        time, episode = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return self.observe(time, episode), (time, episode)

    def observe(self, time, episode):
        return jnp.stack([time, episode]).astype(jnp.float32)

    def step(self, key, state, action, params):
        time, episode = state[0] + 1, state[1]
        reward = jnp.where(episode == 0, params["reward"], params["later_reward"])
        final_obs = self.observe(time, episode)
        end, never = time >= self.length, jnp.zeros((), bool)
        terminated, truncated = (end, never) if self.ends == "terminated" else (never, end)
        state = (jnp.where(end, 0, time), episode + end)
        obs = self.observe(*state)
        return obs, state, reward, terminated, truncated, {"final_observation": final_obs}

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0, jnp.inf, (2,))


class SpoiledEnv(PlainEnv):
    """A `PlainEnv` one of whose results is passed through `spoil` before it is returned."""

    def __init__(self, spoil):
        super().__init__(3)
        self.spoil = spoil

    def step(self, key, state, action, params):
        return self.spoil(super().step(key, state, action, params))


class Identity(nn.Module):
    """A torso that hands the observation on, for policies written by hand."""

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        return obs.reshape(obs.shape[0], -1)


def linear_policy(kernel: Any, bias: Any) -> dict[str, Any]:
    """Parameters of a policy over an `Identity` torso: outputs = obs @ kernel + bias."""
    dense = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    return {"torso": {}, "head": {"params": {"Dense_0": dense}}}


def quick_jit(function: Any, **kwargs: Any) -> Any:
    """`jax.jit` that compiles twice as fast, to code that need not be fast."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **kwargs)
