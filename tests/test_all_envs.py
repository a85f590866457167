"""Every environment that gymnax registers trains."""

import gymnax
import jax
import numpy as np
import pytest
from support.probes import quick_jit
from support.slow import slow_but

from purejaxvpg import VPGConfig, make_train
from purejaxvpg.agent import make_agent

# MNISTBandit downloads its data in its constructor; test_envs.py covers it without a network.
NAMES = [name for name in gymnax.registered_envs if name != "MNISTBandit-bsuite"]


def test_none_is_missing():
    """gymnax 1.0 registers 26 environments; fewer here would mean fewer tests below."""
    assert len(NAMES) >= 25


# One of each kind of action; the others compile for seconds each.
QUICK = ("Catch-bsuite", "Pendulum-v1")


@pytest.mark.parametrize("name", slow_but(QUICK, NAMES))
def test_trains(name):
    """Two updates of two seeds under jit and vmap: finite numbers, moved and distinct networks."""
    config = VPGConfig(
        env=name, num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(8,), value_iterations=1
    )
    result = quick_jit(jax.vmap(make_train(config)))(jax.random.split(jax.random.key(0), 2))
    assert result.metrics.finite.all()
    for number in jax.tree.leaves((result.metrics, result.state.params)):
        assert np.isfinite(number).all()
    assert result.metrics.kl.shape == (2, 2)
    assert result.state.update.tolist() == [2, 2]
    assert (result.metrics.policy_grad_norm > 0).any()
    assert result.state.obs.shape == (2, 2, *make_agent(config).env.obs_shape)
    first, second = (
        np.concatenate([np.ravel(x[i]) for x in jax.tree.leaves(result.state.params.policy)])
        for i in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-3
