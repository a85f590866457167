"""Running statistics against numpy over everything seen, and the reward scale against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.assertions import assert_same_bits

from purejaxvpg.advantages import Trajectory
from purejaxvpg.agent.normalize import (
    init_reward_stats,
    init_stats,
    merge,
    normalize,
    scale_rewards,
)
from purejaxvpg.state import RunningStats, TrainState

ROWS = (np.random.default_rng(0).normal(size=(30, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -7.0]).astype(
    np.float32
)


def merge_all(rows, weights, cuts):
    """Merge the rows in pieces cut at the given places."""
    stats = init_stats(rows.shape[1:])
    for piece, weight in zip(np.split(rows, cuts), np.split(weights, cuts), strict=True):
        stats = merge(stats, jnp.asarray(piece), jnp.asarray(weight))
    return stats


def assert_stats(stats, rows):
    np.testing.assert_allclose(stats.mean, rows.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats.var, rows.var(0), rtol=1e-4, atol=1e-6)
    assert stats.count == len(rows)


# ------------------------------------------------------------------------ running statistics


@pytest.mark.parametrize("cuts", [[], [1], [15], [29], [1, 2, 3], [10, 20], [5, 5, 12]])
def test_merge_equals_numpy_over_everything(cuts):
    """Mean and population variance do not depend on how the rows were split, not even in two
    equal cuts, between which lies an empty batch."""
    assert_stats(merge_all(ROWS, np.ones(30), cuts), ROWS)


def test_masked_rows_do_not_count_whatever_they_hold():
    """Weight 0 leaves a row out, though it holds NaN, inf or 1e30."""
    kept = np.arange(30) % 3 != 0
    spoiled = ROWS.copy()
    spoiled[~kept] = np.resize(np.array([np.nan, np.inf, 1e30], np.float32), (10, 3))
    for cuts in ([], [1], [12]):  # the first row is masked: [1] merges nothing at first
        assert_stats(merge_all(spoiled, kept, cuts), ROWS[kept])


def test_nothing_merged_is_the_identity():
    """Before the first row that counts, mean 0 and variance 1: normalising changes nothing."""
    stats = merge(init_stats((3,)), jnp.full((4, 3), jnp.nan), jnp.zeros(4))
    assert stats.count == 0
    np.testing.assert_array_equal(stats.mean, np.zeros(3))
    np.testing.assert_array_equal(stats.var, np.ones(3))
    rows = jnp.array([[0.5, -2.0, 3.0]])
    np.testing.assert_allclose(normalize(stats, rows, 10.0), rows, rtol=1e-6)


def test_merging_an_empty_batch_changes_nothing():
    """All weights 0: the statistics stay to the last bit."""
    stats = merge_all(ROWS, np.ones(30), [])
    again = merge(stats, jnp.full((2, 3), jnp.nan), jnp.zeros(2))
    assert_same_bits(again, stats)


def test_a_first_batch_of_one_row_has_variance_zero():
    """Variance 1 of the empty state does not linger."""
    stats = merge(init_stats((3,)), jnp.asarray(ROWS[:1]), jnp.ones(1))
    np.testing.assert_array_equal(stats.mean, ROWS[0])
    np.testing.assert_array_equal(stats.var, np.zeros(3))


def test_rows_may_have_any_shape():
    """Images [B, H, W] have statistics [H, W], and rewards [B] a scalar."""
    for shape in ((), (2, 3)):
        rows = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
        assert_stats(merge_all(rows, np.ones(6), [2]), rows)


def test_merge_may_be_vmapped():
    """Runs side by side, each with statistics and masks of its own."""
    rows = jnp.asarray(ROWS.reshape(3, 10, 3))
    weights = jnp.asarray(np.random.default_rng(2).integers(0, 2, size=(3, 10)))
    together = jax.vmap(lambda r, w: merge(init_stats((3,)), r, w))(rows, weights)
    for i in range(3):
        kept = np.asarray(rows[i])[np.asarray(weights[i]) > 0]
        assert_stats(jax.tree.map(lambda x, i=i: x[i], together), kept)


def test_merge_keeps_its_digits_far_from_zero():
    """Mean 1000 and standard deviation 1, which the difference of sums would lose in float32."""
    rows = (1000 + np.random.default_rng(3).normal(size=(4000, 1))).astype(np.float32)
    stats = merge_all(rows, np.ones(4000), np.arange(100, 4000, 100))
    np.testing.assert_allclose(stats.var, rows.astype(np.float64).var(0), rtol=1e-3)


def test_normalize_shifts_scales_and_clips():
    """(x - mean) / std, and nothing beyond clip on either side."""
    stats = RunningStats(jnp.array([1.0, -2.0]), jnp.array([4.0, 0.25]), jnp.array(10.0))
    rows = jnp.array([[3.0, -2.5], [1.0, 100.0], [-1e6, -2.0]])
    out = normalize(stats, rows, 5.0)
    np.testing.assert_allclose(out, [[1.0, -1.0], [0.0, 5.0], [-5.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(normalize(stats, rows[None], 0.5)[0, 0], [0.5, -0.5])


def test_normalize_survives_a_constant():
    """A feature that never changes becomes 0, not NaN."""
    stats = merge(init_stats((1,)), jnp.full((5, 1), 3.0), jnp.ones(5))
    assert normalize(stats, jnp.full((2, 1), 3.0), 10.0).tolist() == [[0.0], [0.0]]


# ----------------------------------------------------------------------------- reward scale

T, N, GAMMA = 12, 3, 0.9
REWARDS = np.random.default_rng(4).normal(size=(T, N)).astype(np.float32) + 1
DONE = np.random.default_rng(5).random((T, N)) < 0.25
DONE[6, 0] = True
ALL = np.ones((T, N), bool)


@jax.jit
def scale(before, rewards, done, alive, gamma):
    """`scale_rewards` of a state that holds the reward statistics `before` and numbers of which
    none may change: (reward statistics, scaled rewards)."""
    num_steps, num_envs = rewards.shape
    evens = jnp.arange(num_envs) % 2 == 0  # half of the environments end by the clock
    values = jnp.arange(2.0 * rewards.size).reshape(2, num_steps, num_envs)
    run = Trajectory(rewards, *values, done & evens, done & ~evens, alive)
    others = dict.fromkeys(TrainState._fields, jnp.float32(7))
    state = TrainState(**{**others, "reward_stats": before})
    after, scaled = scale_rewards(state, run, gamma)
    for field in set(TrainState._fields) - {"reward_stats"}:
        assert getattr(after, field) is getattr(state, field)
    for field in set(Trajectory._fields) - {"rewards"}:
        assert getattr(scaled, field) is getattr(run, field)
    return after.reward_stats, scaled.rewards


def running_returns(rewards, done) -> np.ndarray:
    """Discounted sum of the episode's rewards so far, each from the episode's own steps."""
    returns = np.zeros(rewards.shape)
    for i in range(rewards.shape[1]):
        start = 0
        for t in range(rewards.shape[0]):
            episode = rewards[start : t + 1, i]
            returns[t, i] = sum(r * GAMMA ** (t - start - k) for k, r in enumerate(episode))
            if done[t, i]:
                start = t + 1
    return returns


def test_scale_rewards_equals_a_plain_loop():
    """Rewards divided by the standard deviation of the running returns; only the scale moves."""
    assert DONE.any(0).all()
    state, scaled = scale(init_reward_stats(N), REWARDS, DONE, ALL, GAMMA)
    returns = running_returns(REWARDS, DONE)
    np.testing.assert_allclose(state.stats.mean, returns.mean(), rtol=1e-5)
    np.testing.assert_allclose(state.stats.var, returns.var(), rtol=1e-5)
    assert state.stats.count == T * N
    np.testing.assert_allclose(scaled, REWARDS / returns.std(), rtol=1e-5)
    np.testing.assert_allclose(state.returns, np.where(DONE[-1], 0, returns[-1]), rtol=1e-5)


def test_no_reward_leaks_over_an_end():
    """A huge reward at an episode's last step is in no return after it."""
    huge = REWARDS.copy()
    end = 4
    done = np.zeros((T, N), bool)
    done[end] = True
    huge[end] = 1e6
    after = (np.arange(T) > end)[:, None] & ALL
    state, _ = scale(init_reward_stats(N), huge, done, after, GAMMA)
    alone, _ = scale(init_reward_stats(N), REWARDS, done, after, GAMMA)
    assert_same_bits(state, alone)
    leaking, _ = scale(init_reward_stats(N), huge, np.zeros_like(done), after, GAMMA)
    assert leaking.stats.mean > 1e3  # the same without the end


def test_an_end_on_the_last_step_starts_the_next_rollout_afresh():
    """What is carried over is 0 where the episode ended and its sum so far where it did not."""
    done = np.zeros((T, N), bool)
    done[-1] = [True, False, True]
    state, _ = scale(init_reward_stats(N), REWARDS, done, ALL, GAMMA)
    expected = running_returns(REWARDS, done)[-1, 1]
    np.testing.assert_allclose(state.returns, [0, expected, 0], rtol=1e-5)


@pytest.mark.parametrize("cut", [1, 5, T - 1])
def test_two_rollouts_equal_one_long_rollout(cut):
    """The running returns and the statistics know nothing of where a rollout was cut."""
    whole, scaled = scale(init_reward_stats(N), REWARDS, DONE, ALL, GAMMA)
    state = init_reward_stats(N)
    for part in (slice(0, cut), slice(cut, T)):
        state, last = scale(state, REWARDS[part], DONE[part], ALL[part], GAMMA)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state, whole)
    np.testing.assert_allclose(last, scaled[cut:], rtol=1e-5)


def test_masked_steps_do_not_enter_the_scale():
    """Steps beyond an episode's end in rollout="episodes" weigh nothing."""
    alive = ALL.copy()
    alive[8:, 1] = False
    spoiled = REWARDS.copy()
    spoiled[8:, 1] = np.nan
    state, scaled = scale(init_reward_stats(N), spoiled, DONE, alive, GAMMA)
    returns = running_returns(REWARDS, DONE)[alive]
    np.testing.assert_allclose(state.stats.var, returns.var(), rtol=1e-5)
    assert state.stats.count == len(returns)
    np.testing.assert_allclose(scaled[alive], REWARDS[alive] / returns.std(), rtol=1e-5)


def test_environments_do_not_mix():
    """Each environment's running return is its own."""
    state, _ = scale(init_reward_stats(N), REWARDS, DONE, ALL, GAMMA)
    other = REWARDS.copy()
    other[:, 0] += 5
    changed, _ = scale(init_reward_stats(N), other, DONE, ALL, GAMMA)
    np.testing.assert_array_equal(changed.returns[1:], state.returns[1:])
    assert changed.stats.mean > state.stats.mean


def test_rewards_whose_return_never_varies_are_left_as_they_are():
    """There is no scale to divide by; the square root of almost nothing would blow them up."""
    ones = jnp.ones((3, 2))
    done = jnp.ones((3, 2), bool)  # one-step episodes: every return is 1
    _, scaled = scale(init_reward_stats(2), ones, done, done, 0.9)
    np.testing.assert_array_equal(scaled, ones)
