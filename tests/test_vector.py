"""N environments side by side: fresh starts, time limits, statistics, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.compute import select
from purejaxvpg.state import EpisodeStats, VectorState

KEY = jax.random.key(0)


def unroll(
    env, num_envs, num_steps, key=KEY, params=None, limit=None, restart=True,
    act=lambda key, obs: 0,
):  # fmt: skip
    """`[T, N]` steps and the vector states before each, of `num_envs` environments."""
    vector = envs.vectorize(env, num_envs, limit, restart=restart)
    params = env.default_params if params is None else params

    def step(carry, x):
        (state, obs), (key, index) = carry, x
        action_key, env_key = jax.random.split(key)
        action = jnp.broadcast_to(jnp.asarray(act(action_key, obs)), (num_envs,))
        after, out = vector.step(vector.keys(env_key, index), state, action, params)
        return (after, out.obs), (state, obs, out)

    @quick_jit
    def run(key):
        reset_key, key = jax.random.split(key)
        carry = vector.reset(reset_key, params)
        return jax.lax.scan(step, carry, (jax.random.split(key, num_steps), jnp.arange(num_steps)))

    (last, _), (states, obs, out) = run(key)
    return jax.tree.map(np.asarray, (states, obs, out, last))


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def random_length(request):
    """400 steps of 8 environments whose episodes last 1 to 5 steps, with random actions.

    With the resets of a CPU, drawn ahead, and with those of an accelerator, drawn at every step.
    """
    env = envs.make(probes.RandomLength(5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: request.param)
        return unroll(env, 8, 400, act=lambda key, obs: jax.random.randint(key, (8,), 0, 2))


# -------------------------------------------------------------------------------- AUTORESET


def test_after_an_end_comes_a_fresh_reset(random_length):
    """Each reset has a key of its own: no reset state is shared or used twice."""
    _, obs, out, _ = random_length
    done = out.terminated | out.truncated
    starts = np.concatenate([obs[0], out.obs[done]])  # [resets, (length, time, noise)]
    assert (starts[:, 1] == 0).all()
    noise = starts[:, 2]
    assert len(noise) > 900
    # 24 bits of noise collide by chance about once in 40 such tests; a shared reset, always.
    assert len(np.unique(noise)) >= len(noise) - 1
    np.testing.assert_array_equal(out.obs[~done], out.final_obs[~done])


def test_final_obs_is_the_observation_before_the_reset(random_length):
    """final_obs goes on from obs: same episode, one step later, ends included."""
    _, obs, out, _ = random_length
    done = out.terminated
    np.testing.assert_array_equal(out.final_obs[..., 1], obs[..., 1] + 1)
    np.testing.assert_array_equal(out.final_obs[..., ::2], obs[..., ::2])
    np.testing.assert_array_equal(out.final_obs[..., 0][done], out.final_obs[..., 1][done])
    np.testing.assert_array_equal(obs[1:], out.obs[:-1])


def test_the_time_limit_truncates_and_does_not_terminate():
    """An endless environment is cut by its clock alone, every `length` steps."""
    _, _, out, _ = unroll(envs.make(probes.Endless(4)), 2, 12)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 0], np.arange(1, 13) % 4 == 0)


def test_cartpole_terminates_and_truncates_where_it_should():
    """A limit of 5 truncates, at 5; a fallen pole terminates."""
    env = envs.make("CartPole-v1", max_steps_in_episode=5)
    _, _, out, _ = unroll(env, 2, 10)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 1], np.arange(1, 11) % 5 == 0)
    _, _, out, _ = unroll(envs.make("CartPole-v1"), 2, 20)
    assert out.terminated.any()
    assert not out.truncated.any()
    assert (np.abs(out.final_obs[out.terminated][:, 2]) > 0.2).all()


@pytest.mark.parametrize("make", [lambda: probes.Mortal(5), lambda: probes.PlainEnv(5)])
def test_max_episode_steps_truncates(make):
    """The limit cuts an episode before its own end, whoever resets, and starts a fresh one."""
    env = envs.make(make())
    _, _, out, _ = unroll(env, 2, 9, limit=3)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 0], np.arange(1, 10) % 3 == 0)
    np.testing.assert_array_equal(out.episode.lengths[:, 0], [1, 2, 3] * 3)
    np.testing.assert_array_equal(out.obs[2], out.obs[5])
    assert (out.obs[2] != out.final_obs[2]).any()


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_max_episode_steps_leaves_earlier_ends_alone(ends):
    """An environment that resets itself keeps, at its own end, the state of its own reset."""
    env = envs.make(probes.PlainEnv(3, ends))
    _, obs, out, _ = unroll(env, 2, 7, limit=3)  # both limits at once: its own end counts
    np.testing.assert_array_equal(getattr(out, ends)[:, 0], np.arange(1, 8) % 3 == 0)
    np.testing.assert_array_equal(obs[:, 0, 1], [0, 0, 0, 1, 1, 1, 2])  # it counts its episodes
    other = "truncated" if ends == "terminated" else "terminated"
    assert not getattr(out, other).any()


def test_an_environment_that_resets_itself_is_left_alone():
    """States and observations pass through where there is no further limit."""
    _, obs, out, _ = unroll(envs.make(probes.PlainEnv(3)), 2, 7)
    np.testing.assert_array_equal(obs[:, 0, 0], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(out.final_obs[:, 0, 0], [1, 2, 3, 1, 2, 3, 1])


def test_simple_bandit_resets_after_every_step():
    """Reset gives ints where step gives floats; the carry of a loop needs one type."""
    _, _, out, _ = unroll(envs.make("SimpleBandit-bsuite"), 3, 6)
    assert out.terminated.all()
    assert not out.truncated.any()
    assert (out.episode.lengths == 1).all()
    assert ((out.reward >= 0) & (out.reward <= 1)).all()


# ------------------------------------------------------------------------------- STATISTICS


def test_episode_returns_and_lengths_are_exact(random_length):
    """Every episode is counted once, with the sum of its own rewards and its own length."""
    _, obs, out, last = random_length
    done = out.terminated | out.truncated
    for n in range(done.shape[1]):
        ends = np.flatnonzero(done[:, n])
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends + 1 - starts
        sums = [out.reward[a : b + 1, n].sum() for a, b in zip(starts, ends, strict=True)]
        np.testing.assert_array_equal(out.episode.lengths[ends, n], lengths)
        np.testing.assert_array_equal(out.episode.lengths[ends, n], obs[ends, n, 0])
        np.testing.assert_array_equal(out.episode.returns[ends, n], sums)
        assert last.episode.lengths[n] == done.shape[0] - ends[-1] - 1
    assert out.episode.lengths[done].sum() + last.episode.lengths.sum() == done.size


def test_statistics_count_rewards_before_anything_is_done_to_them():
    """A truncated episode's return is its own too: reward 1 a step, cut at 4."""
    _, _, out, _ = unroll(envs.make(probes.Endless(4)), 1, 8)
    np.testing.assert_array_equal(out.episode.returns[:, 0], [1, 2, 3, 4, 1, 2, 3, 4])


def test_a_nan_reward_stays_in_its_own_episode():
    """The statistics after the episode's end know nothing of it."""
    env = envs.make(probes.PlainEnv(2))
    params = {"reward": jnp.nan, "later_reward": 1.0}
    _, _, out, last = unroll(env, 2, 6, params=params)
    np.testing.assert_array_equal(out.episode.returns[:, 0], [np.nan, np.nan, 1, 2, 1, 2])
    np.testing.assert_array_equal(last.episode.returns, [0, 0])


def test_the_vector_state_holds_the_running_statistics():
    """Running statistics are saved, sharded and continued with the rest of the state."""
    vector = envs.vectorize(envs.make(probes.Mortal(3)), 2)
    state, obs = vector.reset(KEY, probes.Params())
    assert isinstance(state, VectorState)
    assert isinstance(state.episode, EpisodeStats)
    assert obs.shape == (2, 3)
    assert state.episode.lengths.dtype == jnp.int32


# -------------------------------------------------------------------------------- PRECISION


@pytest.mark.usefixtures("x64")
def test_environments_step_in_float32_with_x64_on():
    """Rewards, observations and statistics stay float32, and a scan's carry keeps its type."""
    for instance in ("CartPole-v1", "SimpleBandit-bsuite"):
        states, obs, out, last = unroll(envs.make(instance), 2, 3)
        assert obs.dtype == out.reward.dtype == out.episode.returns.dtype == np.float32
        assert out.episode.lengths.dtype == np.int32
        types = jax.tree.map(lambda x, y: x.dtype == y.dtype, states, last)
        assert all(jax.tree.leaves(types))


def test_select_takes_whole_rows_of_key_arrays():
    """Two rows of two keys each: a mask `[2]` chooses rows, not columns."""
    mask = jnp.array([True, False])
    one, other = (jax.random.split(jax.random.key(i), (2, 2)) for i in range(2))
    taken = jax.random.key_data(select(mask, one, other))
    np.testing.assert_array_equal(taken[0], jax.random.key_data(one)[0])
    np.testing.assert_array_equal(taken[1], jax.random.key_data(other)[1])


# ------------------------------------------------------------------------------ NO RESTARTS


@pytest.mark.parametrize(
    ("make", "limit"),
    [(lambda: probes.RandomLength(5), None), (lambda: probes.PlainEnv(5), 3)],
    ids=["reset here", "resets itself, with a limit"],
)
def test_without_restart_first_episodes_are_the_same(make, limit):
    """restart=False holds no spares, and changes nothing up to the first end."""
    env = envs.make(make())
    once, again = (unroll(env, 8, 5, limit=limit, restart=restart) for restart in (False, True))
    assert once[3].spares is None
    assert again[3].spares is not None
    done = once[2].terminated | once[2].truncated
    first = np.cumsum(done, axis=0) - done == 0  # [T, N], steps of the first episode
    assert done.any(axis=0).all()
    for name in ("final_obs", "reward", "terminated", "truncated"):
        x, y = getattr(once[2], name), getattr(again[2], name)
        np.testing.assert_array_equal(x[first], y[first], name)
    for x, y in zip(once[2].episode, again[2].episode, strict=True):
        np.testing.assert_array_equal(x[first], y[first])
    np.testing.assert_array_equal(once[1][first], again[1][first])  # obs before each step
