"""Arrays without elements in an environment's state, as MuJoCo's have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.slow import slow_but

from purejaxvpg import VPGConfig, envs
from purejaxvpg.experiment import train


def with_nothing():
    """CartPole whose state has an array `[0]` beside its own."""
    env = envs.make("CartPole-v1")
    nothing = jnp.zeros((0,))

    def reset(key, params):
        obs, state = env.reset(key, params)
        return obs, (state, nothing)

    def step(key, state, action, params):
        out = env.step(key, state[0], action, params)
        return out._replace(state=(out.state, state[1]))

    return envs.Environment("Nothing", reset, step, env.default_params, env.action_space,
                            env.observation_space, time_limit=env.time_limit)  # fmt: skip


@pytest.mark.parametrize("split", slow_but(["envs"], ["runs", "envs"]))
def test_segments_follow_each_other_on_several_devices(split):
    """A second call of the program takes what the first one gave."""
    config = VPGConfig(env=with_nothing(), num_envs=4, num_steps=8, total_steps=160,
                       hidden_sizes=(4,), value_iterations=1)  # fmt: skip
    segments, seeds = [], {"num_seeds": 2 if split == "runs" else 1}
    study = train(config, **seeds, split=split, devices=jax.devices()[:2],
                  on_segment=lambda x: segments.append(x.updates))  # fmt: skip
    assert len(segments) > 1
    assert segments[-1] == 5
    assert np.isfinite(study.metrics["policy_loss"]).all()
