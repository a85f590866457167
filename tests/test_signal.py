"""Batches without signal: equal weights Psi give no gradient, and one row is not normalised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from support.probes import ConstantValue, PolicyOnly

from purejaxvpg import Hyperparams, VPGConfig, make_learner
from purejaxvpg.advantages import Trajectory
from purejaxvpg.agent.normalize import init_reward_stats, scale_rewards
from purejaxvpg.compute import Compute

ONE = Compute()


def standardized(x, mask=None):
    """By a compiled program, as in an update: XLA sums in another order than numpy."""
    mask = np.ones(np.shape(x), np.float32) if mask is None else np.float32(mask)

    def function(x, mask):
        return ONE.standardized(x, mask / mask.sum(), mask.sum())

    return np.asarray(jax.jit(function)(jnp.asarray(x), jnp.asarray(mask)))


# Where a mean of equal numbers is off: 1e-6 of it at 10 x 13, 1.4e-5 at 1024 x 1024.
SHAPES = [(10, 13), (128, 2048), (1024, 1024)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [2.71, 0.1, -1e6, 3e-7, 0.0])
def test_equal_weights_become_0(shape, value):
    assert not standardized(np.full(shape, value, np.float32)).any()


def test_equal_weights_become_0_beside_rows_that_do_not_count():
    x = np.full((10, 13), 2.71, np.float32)
    x[7:, ::2] = 1e3
    mask = x < 3
    assert not standardized(x, mask)[mask].any()


def test_equal_weights_become_0_over_devices():
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("envs",))
    x = jnp.full((10, 26), 2.71)

    def function(x):
        share = jnp.full(x.shape, 1 / 260)
        return Compute(devices=2).standardized(x, share, jnp.float32(260))

    columns = P(None, "envs")
    split = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=columns, out_specs=columns))
    assert not np.asarray(split(x)).any()
    x = x.at[0, 25].set(30.0)  # the other device's signal is this one's too
    np.testing.assert_allclose(split(x), standardized(x), rtol=1e-3)
    assert np.abs(split(x)[:, :13]).min() > 0.05


def test_a_small_signal_is_one():
    """Weights that differ by 1e-4 of their mean have standard deviation 1 afterwards."""
    x = np.float32(1 + 1e-4 * np.random.default_rng(0).normal(size=(10, 13)))
    np.testing.assert_allclose(standardized(x), (x - x.mean()) / x.std(), atol=1e-2)


def test_one_row_stays_as_it_is():
    assert standardized(np.full((1, 1), 2.71)) == np.float32(2.71)
    two = standardized(np.float32([[2.71, 7.0], [5.0, 6.0]]), np.float32([[1, 0], [0, 0]]))
    assert two[0, 0] == np.float32(2.71)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_target_explains_nothing(shape):
    """0, as the field of `Metrics` says, and not 1 - Var(error) / (rounding)^2 = -1e14."""
    target, values = np.full(shape, 2.71, np.float32), np.random.default_rng(0).normal(size=shape)
    share = np.full(shape, 1 / np.prod(shape), np.float32)
    assert jax.jit(ONE.explained_variance)(target, np.float32(values), share) == 0
    target[0, 0] = 3.0
    assert jax.jit(ONE.explained_variance)(target, target, share) == pytest.approx(1)


def test_equal_returns_have_no_scale():
    """Rewards of 12345.678, each its own return: divided by their rounding they would be 1e8."""
    rewards, no = jnp.full((10, 13), 12345.678), jnp.zeros((10, 13), bool)
    trajectory = Trajectory(rewards, rewards, rewards, ~no, no, ~no)
    config = VPGConfig(num_envs=13, num_steps=10, total_steps=130, hidden_sizes=(2,))
    state = jax.eval_shape(make_learner(config).init, jax.random.key(0))
    state = state._replace(reward_stats=init_reward_stats(13))
    for _ in range(3):
        state, scaled = jax.jit(lambda s, t: scale_rewards(s, t, 0.0))(state._replace(
            **{name: None for name in state._fields if name != "reward_stats"}
        ), trajectory)  # fmt: skip
        np.testing.assert_array_equal(scaled.rewards, rewards)


def updated(env, num_envs, num_steps, hp):
    fields = {"rollout": "episodes", "estimator": "total_return", "max_episode_steps": num_steps}
    config = VPGConfig(env=env, num_envs=num_envs, num_steps=num_steps, hidden_sizes=(4,),
                       total_steps=num_envs * num_steps, value_iterations=1, **fields)  # fmt: skip
    learner = make_learner(config)
    return jax.jit(lambda key: learner.update(learner.init(key, hp), hp))(jax.random.key(0))[1]


def test_episodes_of_one_return_give_no_gradient():
    """130 episodes that return 2.71: the gradient is 0, and 0 of no variance is explained."""
    hp = Hyperparams(env_params={"reward": 2.71})
    metrics = updated(ConstantValue(), 130, 1, hp)
    assert metrics.episode_return_sum == pytest.approx(130 * 2.71)
    assert (metrics.policy_grad_norm, metrics.explained_variance) == (0, 0)
    assert metrics.policy_loss_change == 0


def test_one_step_of_one_episode_teaches():
    """The one row of the batch that is alive has Psi = R = +-1, and a gradient."""
    metrics = updated(PolicyOnly(), 1, 2, Hyperparams())
    assert metrics.episode_count == 1
    assert metrics.policy_grad_norm > 0.1
