"""One update: its metrics and its steps against hand-made ones, and the choices that shape it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.assertions import assert_same_bits
from support.probes import quick_jit
from support.runs import (
    KEY,
    SMALL,
    assert_close,
    change,
    collect,
    smallest_change,
)

from purejaxvpg import Hyperparams, VPGConfig, make_learner
from purejaxvpg.advantages import Discounts, Trajectory, future_return, gae
from purejaxvpg.agent import make_agent

# ---------------------------------------------------------------------------------- METRICS


@pytest.fixture(scope="module")
def update():
    """One compiled update of SMALL."""
    return quick_jit(make_learner(SMALL).update)


@pytest.fixture(scope="module")
def steps(update):
    """Three updates in a row: hyperparameters, and (state before, after, metrics, batch) each."""
    hp = Hyperparams(gamma=0.9, gae_lambda=0.8, entropy_coef=0.1, policy_lr=0.02)
    rollout = quick_jit(lambda state: collect(SMALL, state, hp))
    state = quick_jit(make_learner(SMALL).init)(KEY)
    updates = []
    for _ in range(3):
        batch, _ = rollout(state)
        after, metrics = update(state, hp)
        updates.append((state, after, metrics, batch))
        state = after
    return hp, updates


def judged_by_hand(hp, state, batch):
    """V, its targets and the normalised weights, each `[T, N]`, V taken of every final_obs."""
    networks = make_agent(SMALL).networks
    v = lambda obs: networks.value(state.params.value, obs.reshape(-1, 3)).reshape(8, 4)  # noqa: E731
    values, next_values = v(batch.obs), v(batch.final_obs)
    alive = jnp.ones_like(batch.terminated)
    trajectory = Trajectory(
        batch.reward, values, next_values, batch.terminated, batch.truncated, alive
    )
    discounts = Discounts(hp.gamma, hp.gae_lambda)
    target, psi = future_return(trajectory, discounts), gae(trajectory, discounts)
    return values, target, (psi - psi.mean()) / (psi.std() + 1e-8)


def test_episodes_are_counted_exactly(steps):
    """Sums and counts over updates are those of the rewards, added up by hand."""
    _, updates = steps
    returns, lengths = np.zeros(4), np.zeros(4)
    for _, _, metrics, batch in updates:
        sums = np.zeros(3)
        for t in range(8):
            returns += np.asarray(batch.reward[t])
            lengths += 1
            for n in np.flatnonzero(batch.terminated[t] | batch.truncated[t]):
                sums += returns[n], lengths[n], 1
                returns[n] = lengths[n] = 0
        reported = (metrics.episode_return_sum, metrics.episode_length_sum, metrics.episode_count)
        assert tuple(map(float, reported)) == tuple(sums)
        assert sums[2] > 4
        assert batch.truncated.any()
        assert batch.terminated.any()


def test_value_metrics(steps):
    """value_loss and explained variance before the fit, value_loss_after after it."""
    hp, updates = steps
    networks = make_agent(SMALL).networks
    for state, after, metrics, batch in updates:
        values, target, _ = map(np.asarray, judged_by_hand(hp, state, batch))
        fitted = networks.value(after.params.value, batch.obs.reshape(-1, 3)).reshape(8, 4)
        explained = 1 - np.var(target - values) / np.var(target)
        assert metrics.value_loss == pytest.approx(np.mean((values - target) ** 2), rel=1e-4)
        left = float(np.mean(np.square(np.asarray(fitted) - target)))
        assert metrics.value_loss_after == pytest.approx(left, rel=1e-4)
        assert metrics.explained_variance == pytest.approx(explained, abs=1e-4)
        assert metrics.value_loss_after < metrics.value_loss
        loss = lambda p, batch=batch, target=target: jnp.mean(  # noqa: E731
            (networks.value(p, batch.obs.reshape(-1, 3)) - target.ravel()) ** 2
        )
        norm = optax.global_norm(jax.grad(loss)(state.params.value))
        assert metrics.value_grad_norm == pytest.approx(float(norm), rel=1e-3)


def test_policy_metrics(steps):
    """Loss, entropy and gradient norm before the step; KL and loss change after it."""
    hp, updates = steps
    networks = make_agent(SMALL).networks
    for state, after, metrics, batch in updates:
        psi = np.asarray(judged_by_hand(hp, state, batch)[2]).ravel()
        obs, action = batch.obs.reshape(-1, 3), np.asarray(batch.action).ravel()

        def losses(params, obs=obs, action=action, psi=psi):
            log_pi = jax.nn.log_softmax(networks.policy(params, obs))
            taken = log_pi[np.arange(32), action]
            entropy = -(jnp.exp(log_pi) * log_pi).sum(-1).mean()
            return -(taken * psi).mean() - hp.entropy_coef * entropy, (log_pi, taken, entropy)

        grads, (old, taken, entropy) = jax.grad(losses, has_aux=True)(state.params.policy)
        _, (new, taken_after, _) = losses(after.params.policy)
        loss, loss_after = -(taken * psi).mean(), -(taken_after * psi).mean()
        kl = (jnp.exp(old) * (old - new)).sum(-1).mean()
        norm = optax.global_norm(grads)
        assert metrics.policy_loss == pytest.approx(float(loss), abs=1e-5)
        assert metrics.entropy == pytest.approx(float(entropy), abs=1e-5)
        assert metrics.policy_grad_norm == pytest.approx(float(norm), rel=1e-3)
        assert metrics.policy_loss_change == pytest.approx(float(loss_after - loss), abs=2e-5)
        assert metrics.kl == pytest.approx(float(kl), rel=0.02, abs=2e-7)
        assert metrics.kl > 1e-6
        assert metrics.policy_loss_change < -1e-4


def test_the_first_step_is_adams_on_the_hand_made_gradient(steps):
    """Clipped by the global norm, then Adam's first step, which is lr * g / (|g| + eps)."""
    hp, updates = steps
    state, after, _, batch = updates[0]
    networks = make_agent(SMALL).networks
    psi = judged_by_hand(hp, state, batch)[2].ravel()

    def loss(params):
        log_pi = jax.nn.log_softmax(networks.policy(params, batch.obs.reshape(-1, 3)))
        entropy = -(jnp.exp(log_pi) * log_pi).sum(-1)
        return -(log_pi[jnp.arange(32), batch.action.ravel()] * psi + 0.1 * entropy).mean()

    grads = jax.grad(loss)(state.params.policy)
    norm = optax.global_norm(grads)
    clipped = jax.tree.map(lambda g: g * min(1.0, hp.max_grad_norm / norm), grads)
    expected = jax.tree.map(
        lambda p, g: p - hp.policy_lr * g / (np.abs(g) + hp.adam_eps), state.params.policy, clipped
    )
    assert_close(after.params.policy, expected, 2e-4)


def test_nothing_moves_with_a_learning_rate_of_zero(steps, update):
    """KL and loss change describe the step: none taken, none reported."""
    _, updates = steps
    state = updates[1][0]
    after, metrics = update(state, Hyperparams(policy_lr=0.0, value_lr=0.0))
    assert abs(metrics.kl) < 1e-7
    assert abs(metrics.policy_loss_change) < 1e-6
    assert metrics.value_loss_after == pytest.approx(float(metrics.value_loss), rel=1e-5)
    assert_same_bits(after.params, state.params)
    assert after.update == state.update + 1


def test_metrics_that_are_not_measured_are_none():
    """diagnostics=False spares their forward passes, and is no sign of trouble."""
    update = quick_jit(make_learner(change(SMALL, diagnostics=False)).update)
    state = quick_jit(make_learner(SMALL).init)(KEY)
    _, metrics = update(state)
    missing = {name for name, x in metrics._asdict().items() if x is None}
    assert missing == {"kl", "policy_loss_change", "value_loss_after"}
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    assert metrics.finite
    spoiled = jax.tree.map(lambda x: x.at[...].set(jnp.nan), state.params)
    _, metrics = update(state._replace(params=spoiled))
    assert not metrics.finite


def test_gradient_in_chunks_equals_the_whole(steps, update):
    """32 rows in chunks of at most 7 (so some are padding) give the same step."""
    hp, updates = steps
    chunked = quick_jit(make_learner(change(SMALL, gradient_rows=7)).update)
    state = updates[1][0]
    (one, numbers), (other, others) = update(state, hp), chunked(state, hp)
    assert_close(one.params, other.params)
    assert_close(numbers, others, 1e-4)


def test_an_update_can_be_differentiated():
    """Meta-gradients: a step of SGD is lr g, so its square's derivative for lr is 2 lr g^2.  In
    reverse mode under vmap, and forward."""
    learner = make_learner(change(SMALL, optimizer="sgd", diagnostics=False))
    state = learner.init(KEY)

    def squared_step(lr):
        new = learner.update(state, Hyperparams(policy_lr=lr, max_grad_norm=1e9))[0]
        old, new = state.params.policy, new.params.policy
        return optax.tree.norm(jax.tree.map(jnp.subtract, new, old), squared=True)

    rates = jnp.array([1.0, 2.0])
    steps, slopes = quick_jit(jax.vmap(jax.value_and_grad(squared_step)))(rates)
    forward = quick_jit(lambda lr: jax.jvp(squared_step, (lr,), (1.0,)))(rates[1])
    assert steps[0] > 1e-3
    np.testing.assert_allclose(slopes, 2 * steps / rates, rtol=1e-3)
    np.testing.assert_allclose(forward, (steps[1], slopes[1]), rtol=1e-3)


# ----------------------------------------------------------------------------------- CHOICES


def test_value_iterations_leave_the_policy_alone():
    """With a shared torso too: they move the value head, and the torso is the policy's."""
    after = {}
    for iterations in (0, 5):
        config = change(SMALL, shared_torso=True, value_iterations=iterations)
        state = quick_jit(make_learner(config).init)(KEY)
        after[iterations], metrics = quick_jit(make_learner(config).update)(state)
        assert metrics.finite
    assert_close(after[0].params.policy, after[5].params.policy, 1e-6)
    assert_same_bits(after[0].params.value, state.params.value)
    torso = lambda s: s.params.policy["torso"]  # noqa: E731
    assert smallest_change(after[5].params.value, state.params.value) > 1e-4
    assert smallest_change(torso(after[5]), torso(state)) > 1e-4


@pytest.mark.parametrize(("schedule", "factors"), [("linear", (0.75, 0.25)),
                                                   ("cosine", (0.853553, 0.146447))])  # fmt: skip
def test_schedules_lower_both_learning_rates(schedule, factors):
    """At updates 1 and 3 of 4 a step is that part of the step at update 0."""
    config = change(SMALL, optimizer="sgd", lr_schedule=schedule, value_iterations=1)
    learner = make_learner(config)
    state, update = quick_jit(learner.init)(KEY), quick_jit(learner.update)
    hp = Hyperparams(policy_lr=0.1, value_lr=0.1)

    def step_at(index):
        start = state._replace(update=jnp.int32(index))
        return jax.tree.map(lambda x, y: x - y, update(start, hp)[0].params, state.params)

    first = step_at(0)
    for index, factor in zip((1, 3), factors, strict=True):
        expected = jax.tree.map(lambda x, f=factor: f * x, first)
        assert_close(step_at(index), expected, 1e-5)
    assert max(jnp.abs(x).max() for x in jax.tree.leaves(first.value)) > 1e-3


def test_greedy_actions():
    """greedy_start=1 takes the mode everywhere; the fraction goes linearly to greedy_end."""
    config = change(SMALL, num_envs=100, num_steps=10, total_steps=3 * 1000)
    state = quick_jit(make_learner(config).init)(KEY)
    rollout = quick_jit(lambda state, hp: collect(config, state, hp)[0])

    def greedy_fraction(start, end, update):
        hp = Hyperparams(greedy_start=start, greedy_end=end)
        batch = rollout(state._replace(update=jnp.int32(update)), hp)
        return (batch.action == batch.outputs.argmax(-1)).mean()

    assert greedy_fraction(1.0, 1.0, 0) == 1
    assert greedy_fraction(1.0, 0.0, 0) == 1
    assert greedy_fraction(0.0, 1.0, 2) == 1
    # The network starts close to uniform, so a sampled action is the mode half of the time.
    assert greedy_fraction(0.0, 1.0, 0) == pytest.approx(0.5, abs=0.06)
    assert greedy_fraction(0.0, 1.0, 1) == pytest.approx(0.75, abs=0.06)


def test_action_bounds_follow_swept_environment_parameters():
    """Pendulum's torque limit is a parameter: its actions fill the range that is set."""
    config = VPGConfig(env="Pendulum-v1", num_envs=50, num_steps=4, total_steps=400,
                       hidden_sizes=(8,), init_std=3.0)  # fmt: skip
    agent = make_agent(config)

    def largest(limit):
        params = agent.env_params(Hyperparams(env_params={"max_torque": limit}))
        policy = agent.policy(params)
        return jnp.abs(
            policy.to_env(policy.sample(jnp.zeros((50, 2)), policy.noise(KEY, (50,))))
        ).max()

    np.testing.assert_allclose(jax.vmap(largest)(jnp.array([0.5, 2.0, 8.0])), [0.5, 2.0, 8.0])
