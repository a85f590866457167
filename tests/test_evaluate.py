"""Evaluation: exact returns, first episodes only, the run's own parameters and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.probes import linear_policy, quick_jit
from support.runs import change, loops, primitives

from purejaxvpg import Hyperparams, VPGConfig, envs, make_evaluate, make_train
from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.state import RunningStats

KEY = jax.random.key(0)
NO_STATS = init_stats((1,))


def linear(env, **fields):
    """A config whose policy is linear in the observation, so that it can be written by hand."""
    return VPGConfig(env=env, network=probes.Identity(), **fields)


def evaluate(config, params, stats=NO_STATS, hp=None, **arguments):
    """One compiled evaluation."""
    return quick_jit(make_evaluate(config, **arguments))(KEY, params, stats, hp)


RIGHT = linear_policy([[-5.0, 5.0]], [0.0, 0.0])  # action (obs > 0)
ALWAYS_ONE = linear_policy(np.zeros((3, 2)), [0.0, 0.1])  # greedy: 1; sampled: nearly either


def test_returns_and_lengths_are_exact():
    """Rewards 1, 2, .. + 0.5 a step until each environment's own end, action 1 throughout."""
    outcome = evaluate(
        linear(probes.RandomLength(6)), ALWAYS_ONE, init_stats((3,)), num_episodes=40
    )
    n = np.asarray(outcome.lengths)
    np.testing.assert_array_equal(outcome.returns, n * (n + 1) / 2 + 0.5 * n)
    assert outcome.finished.all()
    assert set(n.tolist()) == {1, 2, 3, 4, 5, 6}
    assert outcome.lengths.dtype == jnp.int32
    assert outcome.returns.dtype == jnp.float32


def test_greedy_and_sampled():
    """The mode is always action 1; samples of a nearly uniform policy are not."""
    config = linear(probes.RandomLength(6))
    rate = {}
    for greedy in (True, False):
        outcome = evaluate(config, ALWAYS_ONE, init_stats((3,)), num_episodes=200, greedy=greedy)
        n = np.asarray(outcome.lengths)
        rate[greedy] = 2 * (np.asarray(outcome.returns) - n * (n + 1) / 2).sum() / n.sum()
    assert rate[True] == 1
    assert rate[False] == pytest.approx(1 / (1 + np.exp(-0.1)), abs=0.08)


def test_short_episodes_are_not_favoured():
    """One episode of each environment: their mean length is that of the resets, 4.5 of 1..8.

    The first E to finish of a longer run would have a mean well below 4.
    """
    outcome = evaluate(
        linear(probes.RandomLength(8)), ALWAYS_ONE, init_stats((3,)), num_episodes=2000
    )
    assert np.mean(outcome.lengths) == pytest.approx(4.5, abs=0.15)
    counts = np.bincount(outcome.lengths, minlength=9)[1:]
    assert np.abs(counts - 250).max() < 60


def test_only_the_first_episode_counts():
    """Rewards that an environment pays after its first end are left out."""

    class ShortAndLong(probes.RandomLength):  # one environment in two goes on for 7 steps more
        def draw(self, key):
            return 1.0 + 7.0 * jax.random.bernoulli(key)

    outcome = evaluate(linear(ShortAndLong(9)), ALWAYS_ONE, init_stats((3,)), num_episodes=16)
    assert set(np.asarray(outcome.lengths).tolist()) == {1, 8}
    expected = np.where(np.asarray(outcome.lengths) == 1, 1.5, 36 + 4)
    np.testing.assert_array_equal(outcome.returns, expected)


def test_a_nan_after_the_end_does_not_count():
    """An environment that ended goes on without a reset; nothing that it says then is used."""

    class NanBeyond(probes.RandomLength):
        def outcome(self, state, action, params):
            reward, terminated = super().outcome(state, action, params)
            return jnp.where(state.time + 1 > jnp.floor(state.x), jnp.nan, reward), terminated

        def observation(self, state):
            return jnp.where(state.time > jnp.floor(state.x), jnp.nan, super().observation(state))

    runs = [
        evaluate(linear(env), ALWAYS_ONE, init_stats((3,)), num_episodes=40)
        for env in (NanBeyond(6), probes.RandomLength(6))
    ]
    np.testing.assert_array_equal(runs[0].returns, runs[1].returns)
    np.testing.assert_array_equal(runs[0].lengths, runs[1].lengths)
    assert len(set(np.asarray(runs[0].lengths).tolist())) > 1
    assert runs[0].finished.all()


@pytest.mark.parametrize("max_episode_steps", [None, 15])
def test_an_evaluation_is_a_loop_by_hand(max_episode_steps):
    """CartPole, greedy, one environment at a time: the same returns, lengths and ends."""
    policy, bound = linear_policy([[0, 0], [0, 0], [-1, 1], [-1, 1]], [0.0, 0.01]), 40
    config = linear("CartPole-v1", max_episode_steps=max_episode_steps)
    outcome = evaluate(config, policy, init_stats((4,)), num_episodes=4, max_steps=bound)
    networks, env = make_agent(config).networks, envs.make("CartPole-v1")
    step = quick_jit(env.step)
    for n, key in enumerate(jax.random.split(jax.random.split(KEY)[0], 4)):
        obs, state = env.reset(key, env.default_params)
        total, length, ended = 0.0, 0, False
        while not ended and length < bound:
            action = networks.policy(policy, obs[None])[0].argmax()
            out = step(KEY, state, action, env.default_params)  # CartPole draws nothing in a step
            obs, state, length, total = out.final_obs, out.state, length + 1, total + out.reward
            ended = bool(out.terminated | out.truncated) or length == max_episode_steps
        assert (outcome.returns[n], outcome.lengths[n]) == (total, length)
        assert outcome.finished[n] == ended
    assert outcome.finished.all() == (max_episode_steps is not None)


class Marked(probes.RandomLength):
    """An environment whose reset alone has a cube root in it."""

    def draw(self, key):
        x = super().draw(key)
        return x + 0 * jnp.cbrt(x)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("limit", [None, 4])
def test_an_evaluation_draws_the_first_resets_alone(platform, limit, monkeypatch):
    """One reset in the program and none in its loop, where training holds one in each."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    config = linear(Marked(5), max_episode_steps=limit, total_steps=8, num_envs=2, num_steps=4)

    def resets(jaxpr):
        return list(primitives(jaxpr)).count("cbrt")

    arguments = (KEY, ALWAYS_ONE, init_stats((3,)))
    program = jax.make_jaxpr(make_evaluate(config, num_episodes=3))(*arguments).jaxpr
    (loop,) = loops(program, "while")
    assert (resets(program), resets(loop)) == (1, 0)
    assert "dot_general" in set(primitives(loop))  # it is the loop that acts
    training = jax.make_jaxpr(make_train(config))(KEY).jaxpr
    (updates,) = loops(training, "scan")
    assert (resets(training), resets(updates)) == (2, 1)
    evaluating = change(config, eval_every=1)
    assert resets(jax.make_jaxpr(make_train(evaluating))(KEY).jaxpr) == 3


@pytest.mark.parametrize(
    ("fields", "arguments"), [({"eval_steps": 3}, {}), ({"eval_steps": 100}, {"max_steps": 3})]
)
def test_the_step_bound_marks_the_unfinished(fields, arguments):
    """An environment without a limit is stopped, its partial return reported as such."""
    policy = linear_policy(np.zeros((2, 2)), [0.0, 1.0])
    config = linear(probes.PlainEnv(5), **fields)
    outcome = evaluate(config, policy, init_stats((2,)), num_episodes=3, **arguments)
    assert outcome.finished.tolist() == [False] * 3
    assert outcome.lengths.tolist() == [3, 3, 3]
    assert outcome.returns.tolist() == [3, 3, 3]


def test_an_episode_that_ends_at_the_bound_is_finished():
    """The bound of an environment with a time limit is that limit, and truncation is an end."""
    policy = linear_policy([[0.0, 0.0]], [0.0, 1.0])
    outcome = evaluate(linear(probes.Endless(4), eval_steps=2), policy, num_episodes=2)
    assert outcome.finished.tolist() == [True, True]
    assert outcome.lengths.tolist() == [4, 4]
    for env in (probes.Endless(4), probes.PlainEnv(4)):  # the second resets itself, at its own end
        size = make_agent(linear(env)).env.obs_shape
        policy = linear_policy(np.zeros((*size, 2)), [0.0, 1.0])
        limited = linear(env, max_episode_steps=3)
        outcome = evaluate(limited, policy, init_stats(size), num_episodes=2)
        assert outcome.finished.tolist() == [True, True]
        assert outcome.lengths.tolist() == [3, 3]
        assert outcome.returns.tolist() == [3, 3]


def test_swept_environment_parameters_are_used():
    """Reward and time limit of hp.env_params, one compilation, and under vmap."""
    policy = linear_policy([[0.0, 0.0]], [0.0, 1.0])
    run = make_evaluate(linear(probes.Endless(4)), num_episodes=2)

    def swept(reward, limit):
        hp = Hyperparams(env_params={"reward": reward, "max_steps_in_episode": limit})
        return run(KEY, policy, NO_STATS, hp)

    outcome = quick_jit(jax.vmap(swept))(jnp.array([1.0, 0.5, 2.0]), jnp.array([4, 6, 2]))
    assert outcome.lengths.tolist() == [[4, 4], [6, 6], [2, 2]]
    assert outcome.returns.tolist() == [[4, 4], [3, 3], [4, 4]]
    assert outcome.finished.all()


def test_observations_are_normalised():
    """With a mean of 3 every observation is negative to the policy, which is then wrong at +1."""
    stats = RunningStats(jnp.array([3.0]), jnp.array([1.0]), jnp.array(10.0))
    env = probes.PolicyAndValue()
    plain = evaluate(linear(env), RIGHT, stats, num_episodes=16)
    assert plain.returns.tolist() == [1.0] * 16
    seen = evaluate(linear(env, normalize_obs=True), RIGHT, stats, num_episodes=16)
    assert set(seen.returns.tolist()) == {-1.0, 1.0}


def test_evaluation_within_training():
    """`[U / K, E]` of them, at the parameters of their time, and training goes on as it would."""
    fields = dict(total_steps=8 * 64, num_envs=16, num_steps=4, hidden_sizes=(8,))  # noqa: C408
    config = VPGConfig(env=probes.PolicyOnly(), eval_every=2, eval_episodes=5, **fields)
    hp = Hyperparams(policy_lr=0.3, max_grad_norm=10.0)
    result = quick_jit(make_train(config))(KEY, hp)
    assert result.evaluations.returns.shape == (4, 5)
    assert result.evaluations.finished.shape == (4, 5)
    assert result.evaluations.finished.all()
    assert (result.evaluations.lengths == 1).all()
    assert (result.evaluations.returns[-1] == 1).all()
    assert result.metrics.kl.shape == (8,)
    assert (result.metrics.episode_count == 64).all()
    assert (result.metrics.episode_length_sum == 64).all()
    returns = np.asarray(result.metrics.episode_return_sum)
    assert returns[0] < 40
    assert returns[-1] > 55
    # The last evaluation is of the parameters that the run leaves.
    again = quick_jit(make_evaluate(config))(
        jax.random.key(5), result.state.params.policy, result.state.obs_stats, hp
    )
    np.testing.assert_array_equal(again.returns, result.evaluations.returns[-1])


def test_a_number_of_episodes_below_one_is_refused():
    """Before anything is traced, with what is accepted; a bound below one step too."""
    with pytest.raises(ValueError, match="num_episodes=0 is out of range"):
        make_evaluate(linear(probes.PolicyOnly()), num_episodes=0)
    with pytest.raises(ValueError, match="max_steps=0 is out of range"):
        make_evaluate(linear(probes.PolicyOnly()), max_steps=0)
