"""Types of environments with x64 on: every one steps, and its state keeps its type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.probes import quick_jit
from support.slow import slow_but

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.envs.contract import settle
from purejaxvpg.envs.gymnax_adapter import adapt

KEY = jax.random.key(0)

pytestmark = pytest.mark.usefixtures("x64")

NAMES = [name for name in envs.registered() if name not in envs.downloads()]
SLOW = ("Asterix-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar")


@pytest.mark.parametrize("name", slow_but(set(NAMES) - set(SLOW), NAMES))
def test_gymnax_environments_step(name):
    """Whatever comes in 64 bits: actions, and parameters as arrays.  Nothing is compiled."""
    env = envs.make(name)
    vector = envs.vectorize(env, 2)
    space = env.action_space(env.default_params)
    wide = jnp.float64 if jnp.issubdtype(space.dtype, jnp.floating) else jnp.int64
    params = jax.tree.map(jnp.asarray, env.default_params)

    def both(key, params):
        state, obs = vector.reset(key, params)
        actions = jnp.zeros((2, *space.shape), wide)
        after, out = vector.step(vector.keys(key, jnp.zeros((), jnp.int32)), state, actions, params)
        return (state, obs), (after, out.obs), out.reward

    before, after, reward = jax.eval_shape(both, KEY, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )
    whole = name in ("FourRooms-misc", "FrozenLake-misc")
    assert before[1].dtype == (jnp.int32 if whole else jnp.float32)
    assert reward.dtype == jnp.float32


@pytest.mark.parametrize("name", ["Catch-bsuite", "FourRooms-misc"])
def test_an_update_runs(name):
    """FourRooms mixes int32 with the int64 of its constants, Catch with that of its action."""
    config = VPGConfig(env=name, num_envs=2, num_steps=4, total_steps=8, hidden_sizes=(4,),
                       value_iterations=1)  # fmt: skip
    learner = make_learner(config)
    state, metrics = quick_jit(lambda key: learner.update(learner.init(key)))(KEY)
    assert metrics.finite
    assert state.obs.dtype == (np.int32 if name == "FourRooms-misc" else np.float32)


def test_an_environment_that_is_right_in_64_bits_stays_there():
    """Only code that 64 bits break is traced in 32."""

    class Fine(probes.PlainEnv):
        def reset(self, key, params):
            obs, (time, episode) = super().reset(key, params)
            return obs, (time.astype(jnp.float64), episode)

    class Mixed(Fine):
        def step(self, key, state, action, params):
            jax.lax.select(True, jnp.array(1), jnp.int32(1))
            return super().step(key, state, action, params)

    for make in (Fine, Mixed):
        env = settle(adapt(make(3)))
        _, state = jax.eval_shape(lambda key: env.reset(key, env.default_params), KEY)  # noqa: B023
        out = jax.eval_shape(lambda s: env.step(KEY, s, 0, env.default_params), state)  # noqa: B023
        assert state[0].dtype == out.state[0].dtype == jnp.float64
