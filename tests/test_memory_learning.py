"""What only memory can learn, each beside a memoryless policy: minutes each, so marked slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.classic_control.cartpole import CartPole

from purejaxvpg import Hyperparams, VPGConfig, make_evaluate, make_train
from purejaxvpg.envs import Environment, Step, clocked
from purejaxvpg.statistics import interquartile_mean as iqm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SEEDS = 8
NETWORK = {"value_iterations": 2, "hidden_sizes": (32,), "memory_size": 32, "lr_schedule": "linear"}


class PositionOnly(CartPole):
    """CartPole that shows position and angle, and no velocity."""

    def get_obs(self, state, params=None, key=None):
        return jnp.array([state.x, state.theta])

    def observation_space(self, params):
        return spaces.Box(-5.0, 5.0, (2,))


def t_maze(length):
    """A corridor of `length` steps with a fork at its end, whose right side was shown at first.

    Observations: the sign at the first step (0 later), and 1 at the fork.  Forward is action 0;
    1 and 2 turn, which does nothing but at the fork: +4 for the right side, -1 for the wrong one.
    Every step before the fork that is not forward costs 0.1.
    Source: Bakker 2001, "Reinforcement learning with long short-term memory".
    """

    def observe(state):
        place, sign, time = state
        shown = jnp.where(time == 0, sign, 0)
        return jnp.array([shown, place == length], jnp.float32)

    def reset(key, params):
        state = (jnp.zeros((), jnp.int32), jax.random.rademacher(key, (), jnp.int32), 0)
        return observe(state), state

    def step(key, state, action, params):
        place, sign, time = state
        fork = place == length
        right = jnp.where(action == 1, sign > 0, sign < 0)
        turned = fork & (action > 0)
        reward = jnp.where(turned, jnp.where(right, 4.0, -1.0), -0.1 * (action > 0) - 0.1 * fork)
        state = (jnp.minimum(place + (action == 0), length), sign, time + 1)
        obs = observe(state)
        return Step(state, obs, obs, reward, turned, False)

    return clocked(
        Environment("TMaze", reset, step, None, lambda p: spaces.Discrete(3),
                    lambda p: spaces.Box(-1, 1, (2,))), 3 * length)  # fmt: skip


def learned(memory, hp, **fields):
    """Interquartile mean over seeds of greedy returns after training, and the returns of each."""
    config = VPGConfig(memory=memory, **fields)

    def run(key):
        state = make_train(config)(key, hp).state
        evaluate = make_evaluate(config, 32)
        return evaluate(key, state.params.policy, state.obs_stats, hp).returns.mean()

    returns = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS)))
    name = getattr(fields["env"], "name", fields["env"])
    print(f"{name} {memory}: IQM {iqm(returns):.2f} of {np.sort(returns).round(2).tolist()}")
    return float(iqm(returns))


def test_memory_chain():
    """bsuite's chain of 20: the bit of the first step is asked for at the last.  Chance gives 0."""
    hp = Hyperparams(policy_lr=1e-2, value_lr=1e-2)
    fields = {
        "env": "MemoryChain-bsuite", "env_kwargs": {"memory_length": 20}, "num_envs": 32,
        "num_steps": 42, "total_steps": 32 * 42 * 1_200, **NETWORK,
    }  # fmt: skip
    assert learned("gru", hp, **fields) == 1
    assert abs(learned(None, hp, **fields)) < 0.5


def test_a_pole_without_velocities():
    hp = Hyperparams(policy_lr=3e-3, value_lr=3e-3, gae_lambda=0.98)
    fields = {
        "env": PositionOnly(), "num_envs": 16, "num_steps": 125, "total_steps": 2_000_000,
        **NETWORK,
    }  # fmt: skip
    assert learned("gru", hp, **fields) >= 450
    assert learned(None, hp, **fields) < 300


def test_a_maze():
    hp = Hyperparams(policy_lr=1e-2, value_lr=1e-2, entropy_coef=0.02)
    fields = {
        "env": t_maze(10), "num_envs": 16, "num_steps": 60, "total_steps": 16 * 60 * 1_500,
        **NETWORK,
    }  # fmt: skip
    assert learned("gru", hp, **fields) > 3.9
    assert learned(None, hp, **fields) < 2.5
