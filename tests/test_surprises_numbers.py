"""Numbers that hostile users have made go wrong, each with the right value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import Mortal, quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_train
from purejaxvpg.advantages import Discounts, Trajectory, future_return
from purejaxvpg.compute import accumulate, keep_finite
from purejaxvpg.state import EpisodeSums, Params, TrainState
from purejaxvpg.statistics import trailing_return

TINY = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "value_iterations": 1}

# ------------------------------------------------------------------------------------ DIVERGENCE


def is_finite(weight=1.0, **numbers):
    """Whether an update that ends so is one of a healthy run."""
    none = dict.fromkeys(TrainState._fields, jnp.zeros(()))
    params = Params(*[{"head": {"params": {"w": jnp.full(2, x)}}} for x in (1.0, weight)])
    state = TrainState(**none)._replace(
        params=params, key=jax.random.key(0), finite=jnp.array(True), update=jnp.int32(0)
    )
    numbers = {name: jnp.float32(x) for name, x in numbers.items()}
    sums = EpisodeSums(*[jnp.float32(1)] * 3)
    after, metrics = keep_finite(state, state, sums, numbers)
    assert after.finite == metrics.finite
    return bool(metrics.finite)


@pytest.mark.parametrize("name", ["value_loss", "value_loss_after", "policy_loss", "kl"])
def test_a_square_may_be_as_large_as_float32_is(name):
    assert is_finite(**{name: 3e38})
    assert not is_finite(**{name: jnp.inf})
    assert not is_finite(**{name: -jnp.inf})
    assert not is_finite(**{name: jnp.nan})


@pytest.mark.parametrize("name", ["policy_grad_norm", "value_grad_norm", "weight"])
def test_what_is_squared_later_may_not(name):
    assert is_finite(**{name: 1.8e19})
    for x in (1.9e19, jnp.inf, jnp.nan):
        assert not is_finite(**{name: x})


@pytest.mark.parametrize(("reward", "finite"), [(1e10, True), (1e25, False)])
def test_returns_of_ten_billion_are_no_divergence(reward, finite):
    """Episodes of 4 steps, a batch of 4 of them.  Returns of 4e25 have no square in float32."""
    config = VPGConfig(env=Mortal(4), total_steps=64, **TINY)
    hp = Hyperparams(env_params={"reward": reward})
    metrics = train_mortal(config)(jax.random.key(0), hp).metrics
    assert (metrics.finite == finite).all()
    assert metrics.episode_return_sum[0] == pytest.approx(16 * reward)
    if finite:
        assert (metrics.value_loss > 1.8e19).all()


def train_mortal(config):
    return TRAINED.setdefault("train", quick_jit(make_train(config)))


TRAINED = {}

# ---------------------------------------------------------------------------------------- SUMS


def test_one_huge_return_spoils_no_later_window():
    returns = np.array([[1.0, 1e16, 3.0, 5.0, 0.0, 7.0]])
    counts = np.array([[1.0, 1.0, 1.0, 2.0, 0.0, 1.0]])
    trailing = trailing_return(returns, counts, episodes=2)
    assert trailing[0, 1:3] == pytest.approx(5e15)
    assert trailing[0, 3:].tolist() == [2.5, 2.5, 4.0]


def test_updates_that_were_not_run_have_no_window():
    counts = np.array([[1.0, 1.0, np.nan, np.nan], [1.0, 0.0, 0.0, 1.0]])
    trailing = trailing_return(3 * counts, counts, episodes=2)
    np.testing.assert_array_equal(trailing, [[np.nan, 3, np.nan, np.nan], [np.nan] * 3 + [3]])
    assert trailing_return(np.ones((2, 0)), np.ones((2, 0))).shape == (2, 0)


def rollout(rewards, ends=()):
    """A trajectory `[T, 1]` that ends at these steps."""
    rewards = jnp.asarray(rewards, jnp.float32)[:, None]
    zeros, no = jnp.zeros_like(rewards), jnp.zeros(rewards.shape, bool)
    return Trajectory(rewards, zeros, zeros, no.at[jnp.array(ends, int)].set(True), no, ~no)


@pytest.mark.parametrize("gamma", [1.0, 0.9999])
def test_future_returns_of_a_long_rollout_are_right(gamma):
    """One by one in float32 they are 0.27% and 0.05% less."""
    steps = 300_000
    trajectory = rollout(np.full(steps, 0.1), ends=[99_999])
    futures = np.asarray(jax.jit(future_return)(trajectory, Discounts(gamma))[:, 0], float)
    gamma, reward = (float(np.float32(x)) for x in (gamma, 0.1))

    def right(left):
        return reward * (left if gamma == 1 else (1 - gamma**left) / (1 - gamma))

    for place, left in ((0, 100_000), (99_999, 1), (100_000, 200_000), (299_000, 1000)):
        tolerance = 1e-6 if gamma == 1 else 2e-4
        assert futures[place] == pytest.approx(right(left), rel=tolerance)


def test_a_long_rollout_lets_nothing_past_a_stop_and_has_derivatives():
    addends, stops = np.ones((1500, 2), np.float32), np.zeros((1500, 2), bool)
    stops[700], addends[900, 0] = True, np.inf

    def first(addends, factor):
        return accumulate(addends, factor, jnp.asarray(stops))[0].sum()

    assert first(jnp.asarray(addends), 1.0) == 2 * 701
    by_addend = jax.grad(first)(jnp.asarray(addends), 1.0)
    assert (by_addend[:701] == 1).all()
    assert (by_addend[701:] == 0).all()
    assert jax.grad(first, 1)(jnp.ones((1500, 2)), 1.0) == 2 * (700 * 701 / 2)


def test_short_rollouts_stay_as_they_were():
    """To the last bit: one by one, each addition rounded."""
    addends = np.random.default_rng(0).normal(size=(1024, 1)).astype(np.float32)
    expected, last = np.zeros_like(addends), np.float32(0)
    for t in reversed(range(len(addends))):
        last = expected[t] = addends[t] + last
    given = accumulate(jnp.asarray(addends), 1.0, jnp.zeros(addends.shape, bool))
    np.testing.assert_array_equal(given, expected)
