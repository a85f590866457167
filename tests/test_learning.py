"""Learning: probes that must be solved, ends that must be told apart, whole episodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.assertions import assert_same_bits
from support.probes import quick_jit
from support.runs import ALL_NORMALIZERS, KEY, SMALL, assert_close, change
from support.slow import slow_but

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.agent import make_agent

PROBE = VPGConfig(
    env=probes.ConstantValue(), total_steps=60 * 64, num_envs=16, num_steps=4, hidden_sizes=(8,)
)  # fmt: skip
FAST = Hyperparams(policy_lr=0.05, value_lr=0.05, max_grad_norm=10.0)


def value(config, result, *observations):
    """V of some observations after a run."""
    networks = make_agent(config).networks
    obs = jnp.asarray(observations, jnp.float32)
    params = result.state.params
    return np.asarray(networks.value(params.value, networks.value_inputs(params.policy, obs)))


def policy_outputs(config, result, *observations):
    """Outputs of the policy network for some observations after a run."""
    obs = jnp.asarray(observations, jnp.float32)
    return make_agent(config).networks.policy(result.state.params.policy, obs)


def solve(config, hp=FAST):
    """A whole run, finite throughout."""
    result = quick_jit(make_train(config))(KEY, hp)
    assert result.metrics.finite.all()
    return result


# ------------------------------------------------------------------------- THE PROBE LADDER


def test_probe_constant_value():
    """V = 1 where each episode is one step that pays 1."""
    assert value(PROBE, solve(PROBE), [0.0]) == pytest.approx(1.0, abs=0.02)


def test_probe_value_from_observation():
    """V(s) = s."""
    config = change(PROBE, env=probes.ValueFromObservation())
    assert value(config, solve(config), [-1.0], [1.0]) == pytest.approx([-1.0, 1.0], abs=0.05)


def test_probe_discounting():
    """V = (gamma, 1) where only the second step of two pays."""
    config = change(PROBE, env=probes.Discounting())
    result = solve(config, dataclasses.replace(FAST, gamma=0.5))
    assert value(config, result, [0.0], [1.0]) == pytest.approx([0.5, 1.0], abs=0.03)


def test_probe_policy():
    """The action that pays +1 is taken, the one that pays -1 is not."""
    config = change(PROBE, env=probes.PolicyOnly())
    result = solve(config)
    probability = jax.nn.softmax(policy_outputs(config, result, [0.0]))
    assert probability[0, 1] > 0.95
    assert value(config, result, [0.0]) == pytest.approx(1.0, abs=0.1)
    assert result.metrics.episode_return_sum[0] < 40  # of 64: it was learnt, not given
    assert result.metrics.episode_return_sum[-1] > 55


@pytest.mark.parametrize("shared_torso", [False, True])
def test_probe_policy_and_value(shared_torso):
    """The right action in both states, also with one torso for policy and value."""
    config = change(PROBE, env=probes.PolicyAndValue(), shared_torso=shared_torso)
    result = solve(config)
    probability = jax.nn.softmax(policy_outputs(config, result, [-1.0], [1.0]))
    assert min(probability[0, 0], probability[1, 1]) > 0.95
    assert value(config, result, [-1.0], [1.0]) == pytest.approx([1.0, 1.0], abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "bounding"),
    slow_but([(0.0, 4.0, "clip")], [(-1.0, 1.0, "clip"), (0.0, 4.0, "clip"), (-3.0, 1.0, "tanh")]),
)
def test_probe_continuous_action(low, high, bounding):
    """The action that pays most, 0.5, is learnt whatever the bounds of the Box."""
    env = probes.ContinuousAction(low, high)
    config = change(PROBE, env=env, total_steps=150 * 64, bounding=bounding)
    result = solve(config, dataclasses.replace(FAST, policy_lr=0.02))
    agent = make_agent(config)
    policy = agent.policy(agent.env.default_params)
    before = policy.to_env(policy.mode(jnp.zeros((1, 2))))
    action = policy.to_env(policy.mode(policy_outputs(config, result, [0.0])))
    assert before[0, 0] == pytest.approx((low + high) / 2)
    assert action[0, 0] == pytest.approx(0.5, abs=0.1)


# ------------------------------------------------------------------------------------- ENDS

ENDS = VPGConfig(
    env=probes.Endless(4), total_steps=80 * 24, num_envs=4, num_steps=6, network=probes.Identity(),
    optimizer="sgd", value_iterations=20,
)  # fmt: skip
EXACT_FIT = Hyperparams(value_lr=0.25, gamma=0.9, max_grad_norm=np.inf)


@pytest.mark.parametrize("value_target", ["future_return", "lambda_return"])
def test_a_truncation_is_no_end(value_target):
    """Reward 1 for ever, cut every 4 steps by the clock: V = 1 / (1 - gamma), not a sum of 4."""
    config = change(ENDS, value_target=value_target)
    assert value(config, solve(config, EXACT_FIT), [0.0]) == pytest.approx(10.0, abs=0.05)


def test_a_truncated_step_bootstraps_from_final_obs():
    """V(start) = gamma / (1 - gamma), V(late) = 1 / (1 - gamma): the cut step goes on from late."""
    config = change(ENDS, env=probes.LateReward(3))
    result = solve(config, EXACT_FIT)
    assert value(config, result, [-1.0], [1.0]) == pytest.approx([9.0, 10.0], abs=0.05)


def test_a_termination_is_an_end():
    """Reward 1 for 4 steps and then nothing: V(s_t) = (1 - gamma^(4-t)) / (1 - gamma)."""
    config = change(ENDS, env=probes.Mortal(4))
    expected = [(1 - 0.9**left) / 0.1 for left in (4, 3, 2, 1)]
    assert value(config, solve(config, EXACT_FIT), *np.eye(4)) == pytest.approx(expected, abs=0.02)


def test_max_episode_steps_is_no_end_either():
    """The same environment cut after 2 of its 4 steps still has the value of 4."""
    config = change(ENDS, env=probes.Mortal(4), max_episode_steps=2)
    result = solve(config, EXACT_FIT)
    # The third state is only ever seen as a final observation, so nothing teaches its V:
    # V(s_1) = 1 + gamma V(s_2) with V(s_2) as the network has it.
    v = value(config, result, *np.eye(4))
    assert v[1] == pytest.approx(1 + 0.9 * v[2], abs=0.02)
    assert v[0] == pytest.approx(1 + 0.9 * v[1], abs=0.02)
    assert abs(v[2]) > 0.1  # else the two lines above would hold for a termination too


# --------------------------------------------------------------------------- WHOLE EPISODES


@pytest.fixture(scope="module")
def episodes():
    """Two updates on whole episodes; later episodes of an environment pay `later_reward`."""
    config = change(
        SMALL, env=probes.PlainEnv(3), max_episode_steps=None, rollout="episodes",
        estimator="total_return", **ALL_NORMALIZERS,
    )  # fmt: skip
    learner = make_learner(config)
    update = quick_jit(learner.update)

    def run(later_reward):
        hp = Hyperparams(env_params={"later_reward": later_reward})
        state, metrics = quick_jit(learner.init)(KEY, hp), []
        for _ in range(2):
            state, numbers = update(state, hp)
            metrics.append(numbers)
        return state, metrics

    return run


@pytest.mark.parametrize("later_reward", [-1e6, np.inf])
def test_nothing_after_the_end_counts(episodes, later_reward):
    """Rewards after an episode's end, whatever they are, leave every number as it was."""
    (state, metrics), (other, others) = episodes(1.0), episodes(later_reward)
    assert_same_bits(state.params, other.params)
    assert_same_bits(state.reward_stats.stats, other.reward_stats.stats)
    assert_same_bits(state.obs_stats, other.obs_stats)
    assert_same_bits(metrics, others)
    assert metrics[1].episode_count == 4
    assert metrics[1].episode_return_sum == 12
    assert state.obs_stats.count == 2 * 4 * 3


def test_the_gradient_is_divided_by_the_number_of_trajectories():
    """1/|D| sum_tau sum_t: more of the same trajectories change nothing."""
    config = change(
        SMALL, env=probes.Mortal(3), max_episode_steps=8, rollout="episodes", total_steps=8 * 12,
        estimator="total_return", optimizer="sgd", normalize_advantages=False,
    )  # fmt: skip
    hp = Hyperparams(policy_lr=0.1, gamma=0.9, max_grad_norm=np.inf, greedy_start=1.0,
                     greedy_end=1.0)  # fmt: skip
    state = quick_jit(make_learner(change(config, num_envs=2)).init)(KEY)
    after = {}
    for num_envs in (2, 4):
        learner = make_learner(change(config, num_envs=num_envs))
        started = state._replace(
            env_state=jax.tree.map(lambda x, n=num_envs: jnp.resize(x, (n, *x.shape[1:])),
                                   state.env_state),
            obs=jnp.resize(state.obs, (num_envs, 3)),
        )  # fmt: skip
        after[num_envs] = quick_jit(learner.update)(started, hp)[0].params.policy
    assert_close(after[2], after[4], 1e-6)

    networks = make_agent(config).networks
    episode_return = 1 + 0.9 + 0.81

    def objective(params):  # of one trajectory, the same for all
        log_pi = jax.nn.log_softmax(networks.policy(params, jnp.eye(3)))
        return log_pi.max(-1).sum() * episode_return

    grads = jax.grad(objective)(state.params.policy)
    expected = jax.tree.map(lambda p, g: p + 0.1 * g, state.params.policy, grads)
    assert_close(after[2], expected, 1e-5)


def test_total_return_needs_whole_episodes():
    """Segments cut episodes, and the return of a part is not that of the whole."""
    with pytest.raises(ValueError, match="total_return' needs whole episodes"):
        change(SMALL, estimator="total_return")


def test_a_rollout_must_hold_the_longest_episode():
    """The message names the length that is needed and the other way out."""
    config = VPGConfig(rollout="episodes", num_steps=100, num_envs=5, total_steps=5000)
    with pytest.raises(ValueError, match=r"num_steps=100 cannot .*pass num_steps=500") as error:
        make_learner(config)
    assert "max_episode_steps=100" in str(error.value)
    assert make_learner(change(config, max_episode_steps=100))
    with pytest.raises(ValueError, match="pass num_steps=4"):
        make_train(change(SMALL, rollout="episodes", num_steps=2))
