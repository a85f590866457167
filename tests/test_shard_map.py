"""Training inside the user's own `jax.shard_map`, whose check of what varies is on by default."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from support import curves
from support.probes import ConstantValue, quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.compute import vary_like
from purejaxvpg.evaluate import make_evaluate

KEYS = jax.vmap(jax.random.key)(jnp.arange(4))
SMALL = VPGConfig(env=ConstantValue(), num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(4,),
                  value_iterations=1)  # fmt: skip


def over_two(function):
    """A block of every argument's rows for each of two devices."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("devices",))
    rows = P("devices")
    return jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=rows, out_specs=rows)


@pytest.mark.parametrize("name", ["tanh", "shared_torso", "td", "n_step", "normalised"])
def test_a_run_is_traced(name):
    config, hp = curves.settings(name, 2)
    train = make_train(config)
    result = jax.eval_shape(over_two(lambda key: train(key, hp)), KEYS)
    assert result.metrics.policy_loss.shape == (4, 2)


def test_hyperparameters_alone_may_differ():
    """The key is the same everywhere; what the learning rates move is not."""
    train = make_train(dataclasses.replace(SMALL, rollout="episodes", max_episode_steps=4))

    def run(rate):
        return train(jax.random.key(0), Hyperparams(policy_lr=rate))

    rates = jnp.float32([1e-3, 1e-2, 1e-3, 1e-1])
    assert jax.eval_shape(over_two(run), rates).metrics.policy_loss.shape == (4, 2)


def test_evaluation_is_traced():
    init, evaluate = make_learner(SMALL).init, make_evaluate(SMALL, num_episodes=3)

    def run(key):
        state = init(jax.random.key(0))
        return evaluate(key, state.params.policy, state.obs_stats)

    assert jax.eval_shape(over_two(run), KEYS).returns.shape == (4, 3)


def test_numbers_are_those_of_vmap():
    train = make_train(dataclasses.replace(SMALL, diagnostics=False))
    split, plain = (quick_jit(f)(KEYS) for f in (over_two(train), jax.vmap(train)))
    for x, y in zip(*map(jax.tree.leaves, (split.metrics, plain.metrics)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_outside_of_shard_map_nothing_is_changed():
    tree = {"x": jnp.zeros(2), "n": 3, "none": None}
    assert vary_like(tree, tree) is tree
    assert "pvary" not in str(jax.make_jaxpr(lambda x: vary_like(x, x))(jnp.zeros(2)))
