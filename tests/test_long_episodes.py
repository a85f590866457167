"""Returns of long episodes are right to float32, in training and in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import Probe, quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_learner
from purejaxvpg.compute import add
from purejaxvpg.compute.layout import completed
from purejaxvpg.envs import make, vectorize
from purejaxvpg.evaluate import make_evaluate


class Endless(Probe):
    """`reward` a step; ends after `max_steps_in_episode`."""

    def outcome(self, state, action, params):
        return params.reward, False


def summed(rewards, before=(0.0, 0.0), steps=0):
    def one(carry, x):
        total, lost, steps = carry
        return (*add(total, lost, x, steps + 1), steps + 1), None

    start = *map(jnp.float32, before), jnp.int32(steps)
    total, lost, _ = jax.jit(lambda x: jax.lax.scan(one, start, x)[0])(jnp.float32(rewards))
    return total, lost


def test_two_million_rewards_of_a_tenth():
    """By a compiled program: XLA does not undo what the sum is made of.  (Plain: 197,025.)"""
    assert summed(np.full(2_000_000, 0.1))[0] == 200_000


def test_ones_go_past_2_to_the_24():
    assert summed(np.ones(1_001), (2**24 - 1, 0), 2**24 - 1)[0] == 2**24 + 1000


def test_numbers_that_cancel():
    rewards = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    rewards = np.concatenate([1e6 * rewards, -1e6 * rewards[::-1], rewards])
    exact = rewards.astype(np.float64).sum()
    assert summed(rewards)[0] == pytest.approx(exact, rel=1e-6)


def test_short_sums_are_plain():
    """To the last bit, as earlier versions added them up."""
    rewards = np.random.default_rng(0).normal(size=1024).astype(np.float32)
    assert summed(rewards)[0] == np.cumsum(rewards, dtype=np.float32)[-1]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(value):
    rewards = np.ones(2_000)
    rewards[7] = value
    total, lost = summed(rewards)
    np.testing.assert_equal(float(total), value)
    assert lost == 0


ENVIRONMENT = make(Endless())


def test_an_environment_starts_each_sum_afresh():
    """2,000 steps of 0.1, twice: 200 each, to the last bit; a plain sum is off by 3e-3."""
    env = vectorize(ENVIRONMENT, 2, max_episode_steps=2_000)
    params = Endless().default_params.replace(reward=0.1, max_steps_in_episode=10**6)

    def one(state, index):
        keys = env.keys(jax.random.key(1), index)
        state, out = env.step(keys, state, jnp.zeros(2, jnp.int32), params)
        return state, (out.episode.returns, out.truncated)

    def run(key):
        return jax.lax.scan(one, env.reset(key, params)[0], jnp.arange(4_000))

    state, (returns, truncated) = quick_jit(run)(jax.random.key(0))
    np.testing.assert_array_equal(np.flatnonzero(truncated[:, 0]), [1999, 3999])
    np.testing.assert_array_equal(returns[truncated], np.float32([200] * 4))
    assert np.cumsum(np.full(2_000, 0.1, np.float32))[-1] != 200
    assert (state.episode.lost == 0).all()


def test_training_and_evaluation_report_it():
    """One update ends episodes that had 2^24 steps behind them; an evaluation of 3,000 steps."""
    hp = Hyperparams(env_params={"reward": 1.0, "max_steps_in_episode": 2**24 + 5})
    config = VPGConfig(env=Endless(), num_envs=2, num_steps=8, total_steps=16, hidden_sizes=(2,),
                       value_iterations=0, diagnostics=False)  # fmt: skip
    learner = make_learner(config)
    state = learner.init(jax.random.key(0), hp)
    inner = state.env_state.inner
    episode = state.env_state.episode
    state = state._replace(
        env_state=state.env_state._replace(
            inner=inner.replace(time=inner.time + 2**24),
            episode=episode._replace(
                returns=episode.returns + 2**24, lengths=episode.lengths + 2**24
            ),
        )
    )
    metrics = quick_jit(learner.update)(state, hp)[1]
    assert metrics.episode_count == 2
    assert metrics.episode_return_sum / 2 == 2**24 + 4  # to float32: 2^24 + 5 is none
    hp = Hyperparams(env_params={"reward": 0.1, "max_steps_in_episode": 3_000})
    evaluate = make_evaluate(config, num_episodes=2)
    returns = quick_jit(evaluate)(jax.random.key(0), state.params.policy, state.obs_stats, hp)[0]
    np.testing.assert_array_equal(returns, np.float32([300, 300]))


def test_states_of_before_have_lost_nothing():
    """One leaf fewer, of the rows that were saved; a state of another make stays as it is."""
    config = VPGConfig(env=Endless(), num_envs=3, num_steps=1, total_steps=3, hidden_sizes=(2,))
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    like = jax.eval_shape(jax.vmap(make_learner(config).init), keys)
    like = like._replace(key=jax.eval_shape(jax.vmap(jax.random.key_data), like.key))
    whole = [np.full((2, *x.shape[1:]), n, x.dtype) for n, x in enumerate(jax.tree.leaves(like))]
    state = jax.tree.unflatten(jax.tree.structure(like), whole)
    before = jax.tree.leaves(state._replace(
        env_state=state.env_state._replace(episode=tuple(state.env_state.episode[:2]))
    ))  # fmt: skip
    expected = state.env_state.episode._replace(lost=np.zeros((2, 3), np.float32))
    expected = state._replace(env_state=state.env_state._replace(episode=expected))
    for x, y in zip(completed(before, like), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert completed(whole, like) is whole
    assert completed(before[1:], like) == before[1:]
