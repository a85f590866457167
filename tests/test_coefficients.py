"""Coefficients mean the same in both kinds of rollout."""

import jax
import numpy as np
import pytest
from support.probes import Discounting, quick_jit
from support.slow import slow_but

from purejaxvpg import Hyperparams, VPGConfig, make_learner


@pytest.mark.parametrize("shared_torso", slow_but([True], [False, True]))
def test_episodes_scale_the_whole_loss_by_their_length(shared_torso):
    """Three episodes of two steps: with `episodes` the step of SGD is twice that with `segments`,
    whatever the weights of entropy and of the value's error."""
    steps = {}
    for rollout in ("segments", "episodes"):
        config = VPGConfig(
            env=Discounting(), num_envs=3, num_steps=2, total_steps=6, max_episode_steps=2,
            hidden_sizes=(4,), value_iterations=0, rollout=rollout, optimizer="sgd",
            shared_torso=shared_torso, diagnostics=False,
        )  # fmt: skip
        hp = Hyperparams(entropy_coef=0.3, value_coef=0.7, policy_lr=1.0, max_grad_norm=np.inf)
        learner = make_learner(config)
        state = learner.init(jax.random.key(0), hp)
        # An action is certain enough that the entropy has a gradient.
        policy = jax.tree.map(lambda x: x + 0.1 * np.arange(x.size).reshape(x.shape),
                              state.params.policy)  # fmt: skip
        state = state._replace(params=state.params._replace(policy=policy))
        after = quick_jit(learner.update)(state, hp)[0]
        steps[rollout] = jax.tree.map(lambda x, y: x - y, after.params.policy, policy)
    for x, y in zip(*map(jax.tree.leaves, steps.values()), strict=True):
        assert np.abs(x).max() > 1e-4
        np.testing.assert_allclose(y, 2 * x, rtol=1e-4, atol=1e-6)
