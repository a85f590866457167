"""The gradient is exact: every trajectory of a tiny MDP is enumerated, and nothing is sampled.

With all trajectories tau and their probabilities at hand, the expectation of

    sum_t  grad log pi(a_t | s_t)  Psi_t

is a finite sum.  It must equal the gradient of the expected return, itself a finite sum, for
the estimators that theory calls unbiased, and must not for those that it calls biased.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import probes

from purejaxvpg import vpg
from purejaxvpg.advantages import ESTIMATORS, Discounts, Trajectory
from purejaxvpg.agent import first_state, make_setup
from purejaxvpg.config import Hyperparams, VPGConfig

pytestmark = pytest.mark.usefixtures("x64")

HORIZON, STATES, ACTIONS = 3, 3, 2
ROWS = HORIZON * STATES  # the policy's table has a row per (t, s): time is part of the state

_rng = np.random.default_rng(0)
START = _rng.dirichlet(np.ones(STATES))  # p(s_0)
MOVE = _rng.dirichlet(np.ones(STATES + 1), size=(STATES, ACTIONS))  # p(s'|s,a); the last: an end
REWARD = 2 + _rng.normal(size=(STATES, ACTIONS))  # r(s, a)
THETA = _rng.normal(size=(ROWS, ACTIONS))  # logits of pi(a | t, s)


class Trajectories(NamedTuple):
    """All N trajectories, padded to T = HORIZON steps with numbers that must not matter."""

    row: np.ndarray  # [T, N], index of (t, s_t)
    action: np.ndarray  # [T, N]
    reward: np.ndarray  # [T, N]
    terminated: np.ndarray  # [T, N]
    alive: np.ndarray  # [T, N]
    chance: np.ndarray  # [N], the environment's factor of p(tau)


@functools.cache
def enumerate_trajectories() -> Trajectories:
    """Every (s_0, a_0, s_1, a_1, ...) that may happen, by depth-first search."""
    found = []

    def walk(steps, state, chance):
        for action in range(ACTIONS):
            longer = [*steps, (len(steps) * STATES + state, action, REWARD[state, action])]
            if len(longer) == HORIZON:
                found.append((longer, chance))
                continue
            for following, p in enumerate(MOVE[state, action]):
                if following == STATES:
                    found.append((longer, chance * p))
                else:
                    walk(longer, following, chance * p)

    for state, p in enumerate(START):
        walk([], state, p)

    shape = (HORIZON, len(found))
    row, action = np.zeros((2, *shape), int)
    reward, terminated, alive = np.full(shape, 1e3), np.zeros(shape, bool), np.zeros(shape, bool)
    for n, (steps, _) in enumerate(found):
        for t, step in enumerate(steps):
            row[t, n], action[t, n], reward[t, n] = step
            alive[t, n] = True
        terminated[len(steps) - 1, n] = True
    return Trajectories(row, action, reward, terminated, alive, np.array([c for _, c in found]))


TAUS = enumerate_trajectories()
NUM_TAUS = len(TAUS.chance)


def log_softmax(theta: np.ndarray) -> np.ndarray:
    return theta - np.log(np.exp(theta).sum(-1, keepdims=True))


def probabilities(theta, logarithm=log_softmax, exponential=np.exp):
    """p(tau) `[N]` under the policy."""
    log_pi = logarithm(theta)[TAUS.row, TAUS.action]
    return TAUS.chance * exponential((TAUS.alive * log_pi).sum(0))


def discounted(gamma: float) -> np.ndarray:
    """R(tau) `[N]`, summed trajectory by trajectory."""
    return np.array(
        [
            sum(gamma**t * TAUS.reward[t, n] for t in range(HORIZON) if TAUS.alive[t, n])
            for n in range(NUM_TAUS)
        ]
    )


def true_gradient(gamma: float = 1.0) -> np.ndarray:
    """grad of J(theta) = sum_tau p(tau) R(tau), by autodiff through p."""

    def expected_return(theta):
        p = probabilities(theta, jax.nn.log_softmax, jnp.exp)
        return (p * discounted(gamma)).sum()

    return np.asarray(jax.grad(expected_return)(jnp.asarray(THETA)))


def scores() -> np.ndarray:
    """grad log pi(a_t | s_t) `[T, N, ROWS, ACTIONS]`: one-hot(a) - pi in the row of the state."""
    pi = np.exp(log_softmax(THETA))
    in_row = np.eye(ROWS)[TAUS.row]  # [T, N, ROWS]
    difference = np.eye(ACTIONS)[TAUS.action] - pi[TAUS.row]  # [T, N, ACTIONS]
    return TAUS.alive[..., None, None] * in_row[..., None] * difference[:, :, None, :]


def exact_values(gamma: float = 1.0) -> np.ndarray:
    """V^pi(t, s) `[ROWS]` by dynamic programming."""
    pi = np.exp(log_softmax(THETA)).reshape(HORIZON, STATES, ACTIONS)
    values = np.zeros((HORIZON + 1, STATES + 1))
    for t in reversed(range(HORIZON)):
        q = REWARD + gamma * MOVE @ values[t + 1]
        values[t, :STATES] = (pi[t] * q).sum(-1)
    return values[:HORIZON, :STATES].reshape(ROWS)


def wrong_values(seed: int) -> np.ndarray:
    return 3 * np.random.default_rng(seed).normal(size=ROWS)


def trajectory(table: np.ndarray) -> Trajectory:
    """All trajectories, with the table `[ROWS]` for V.  `[T, N]` each."""
    values = table[TAUS.row]
    next_values = np.concatenate([values[1:], np.full((1, NUM_TAUS), 1e3)])
    next_values[TAUS.terminated] = np.nan
    uncut = np.zeros_like(TAUS.alive)
    arrays = (TAUS.reward, values, next_values, TAUS.terminated, uncut, TAUS.alive)
    return Trajectory(*map(jnp.asarray, arrays))


def psi(name: str, table=None, gamma=1.0, lam=1.0, n=1) -> np.ndarray:
    """Psi_t `[T, N]` by purejaxvpg, with the table `[ROWS]` for V.  Not for leave_one_out."""
    table = np.zeros(ROWS) if table is None else table
    return np.asarray(_psi(name, trajectory(table), gamma, lam, n))


_psi = jax.jit(
    lambda name, taus, gamma, lam, n: ESTIMATORS[name](taus, Discounts(gamma, lam, n)),
    static_argnums=(0, 4),
)


@functools.cache
def psi_of_pairs(gamma: float = 1.0) -> np.ndarray:
    """Psi_t of trajectory i by leave_one_out, next to trajectory j alone.  `[T, N_i, N_j]`"""
    taus = trajectory(np.zeros(ROWS))

    def one_pair(i, j):
        pair = jax.tree.map(lambda x: jnp.stack([x[:, i], x[:, j]], axis=1), taus)
        return ESTIMATORS["leave_one_out"](pair, Discounts(gamma))[:, 0]  # [T]

    each = jnp.arange(NUM_TAUS)
    rows = jax.vmap(jax.vmap(one_pair, (None, 0), 1), (0, None), 1)
    return np.asarray(jax.jit(rows)(each, each))


def expected_leave_one_out(gamma: float = 1.0) -> np.ndarray:
    """E_j[ Psi_t ] `[T, N]`: the neighbour j is another trajectory of the same policy.

    The gradient estimate of a batch of two is 1/2 (g_ij + g_ji), and i and j are alike.  So its
    expectation is that of g_ij, which is linear in Psi.
    """
    return psi_of_pairs(gamma) @ probabilities(THETA)


def estimates(weight: np.ndarray) -> np.ndarray:
    """The gradient estimate of each trajectory, `[N, ROWS * ACTIONS]`."""
    return (scores() * weight[..., None, None]).sum(0).reshape(NUM_TAUS, -1)


def expectation(weight: np.ndarray) -> np.ndarray:
    mean = (probabilities(THETA)[:, None] * estimates(weight)).sum(0)
    return mean.reshape(ROWS, ACTIONS)


def variance(weight: np.ndarray) -> float:
    """Trace of the covariance of one trajectory's estimate."""
    p, each = probabilities(THETA)[:, None], estimates(weight)
    return float((p * (each - (p * each).sum(0)) ** 2).sum())


def error(weight: np.ndarray, gamma: float = 1.0) -> float:
    return float(np.abs(expectation(weight) - true_gradient(gamma)).max())


# ---------------------------------------------------------------------------- the ground


def test_the_enumeration_is_complete():
    """Probabilities sum to 1, and J by enumeration is J by dynamic programming."""
    p = probabilities(THETA)
    assert abs(p.sum() - 1) < 1e-12
    assert {1, 2, 3} == set(TAUS.alive.sum(0))  # episodes of every length
    for gamma in (1.0, 0.8):
        assert abs(p @ discounted(gamma) - START @ exact_values(gamma)[:STATES]) < 1e-12


def test_actions_matter():
    """An MDP whose actions do nothing would let every estimator pass."""
    assert np.abs(true_gradient()).max() > 0.05
    assert (true_gradient() != 0).all()


# ------------------------------------------------------------------------------ unbiased


@pytest.mark.parametrize("name", ["total_return", "future_return"])
def test_returns_give_the_exact_gradient(name):
    """Both sum rewards alone."""
    assert error(psi(name)) < 1e-9


def test_leave_one_out_gives_the_exact_gradient():
    """The other trajectory saw nothing of a_t, so its return is a baseline."""
    assert error(expected_leave_one_out()) < 1e-9
    # The negative case: a mean with the trajectory's own return in it is no baseline.
    own = psi("future_return")[..., None]  # [T, N, 1]
    other = own - psi_of_pairs()  # [T, N, N]
    assert error((own - (own + other) / 2) @ probabilities(THETA)) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_baseline_leaves_the_gradient_exact_for_any_values(seed):
    """E_a[grad log pi(a|s)] V(s) = 0, whatever V is."""
    wrong = wrong_values(seed)
    assert error(psi("value_baseline", wrong)) < 1e-9
    assert error(psi("gae", wrong, lam=1.0)) < 1e-9
    assert error(psi("n_step", wrong, n=HORIZON)) < 1e-9


BOOTSTRAPPED = [
    ("td", {}),
    ("gae", {"lam": 0.5}),
    ("gae", {"lam": 0.0}),
    ("n_step", {"n": 1}),
    ("n_step", {"n": 2}),
]


@pytest.mark.parametrize(("name", "settings"), BOOTSTRAPPED)
def test_bootstrapping_is_biased_by_wrong_values(name, settings):
    """The negative case: V in place of rewards, and V is wrong."""
    for seed in range(3):
        assert error(psi(name, wrong_values(seed), **settings)) > 1e-3


@pytest.mark.parametrize(("name", "settings"), BOOTSTRAPPED)
def test_bootstrapping_with_exact_values_is_exact(name, settings):
    """With V^pi the residuals past the first have mean zero, whatever a_t was."""
    assert error(psi(name, exact_values(), **settings)) < 1e-9


# ------------------------------------------------------------------------------ variance


def test_variance_falls_as_theory_tells():
    """Each rung of the ladder leaves the expectation and takes out noise."""
    exact = exact_values()
    ladder = [
        variance(psi("total_return")),
        variance(psi("future_return")),
        variance(psi("value_baseline", exact)),
        variance(psi("gae", exact, lam=0.5)),
        variance(psi("td", exact)),
    ]
    for noisier, calmer in itertools.pairwise(ladder):
        assert noisier > 1.01 * calmer, ladder
    assert ladder[-1] > 0


def test_leave_one_out_lowers_the_variance():
    """A batch of two trajectories, all pairs of which are enumerated."""
    weight = TAUS.alive[..., None] * psi_of_pairs()
    each = np.einsum("tnra,tnm->nmra", scores(), weight).reshape(NUM_TAUS, NUM_TAUS, -1)
    each = (each + each.swapaxes(0, 1)) / 2  # [N, N, ROWS * ACTIONS]
    p = probabilities(THETA)
    chance = (p[:, None] * p)[..., None]
    spread = (chance * (each - (chance * each).sum((0, 1))) ** 2).sum()
    assert 1.01 * spread < variance(psi("future_return")) / 2


# ------------------------------------------------------------------------------ discount


def test_discounted_return_needs_gamma_to_the_t():
    """With gamma < 1 total_return is exact; the others are once weighted by gamma^t."""
    gamma = 0.7
    powers = gamma ** np.arange(HORIZON)[:, None]
    assert error(psi("total_return", gamma=gamma), gamma) < 1e-9
    exact, wrong = exact_values(gamma), wrong_values(0)
    for weight in (
        psi("future_return", gamma=gamma),
        psi("value_baseline", wrong, gamma=gamma),
        psi("gae", wrong, gamma=gamma, lam=1.0),
        psi("gae", exact, gamma=gamma, lam=0.5),
        psi("td", exact, gamma=gamma),
        expected_leave_one_out(gamma),
    ):
        assert error(powers * weight, gamma) < 1e-9
        assert error(weight, gamma) > 1e-3


# --------------------------------------------------------------- what vpg.py makes of it


def tabular_run(config: VPGConfig):
    """A policy and V that are tables: one-hot observations, no hidden layer."""
    setup = make_setup(config)
    state = first_state(setup, jax.random.key(0), Hyperparams())
    tables = {"policy": THETA, "value": wrong_values(0)[:, None]}  # [ROWS, outputs]
    params = state.params._replace(**{
        name: {
            **getattr(state.params, name),
            "head": {"params": {"Dense_0": {"kernel": table, "bias": np.zeros(table.shape[1])}}},
        }
        for name, table in tables.items()
    })  # fmt: skip
    same_form = jax.tree.map(lambda x, y: x.shape == y.shape, params, state.params)
    assert all(jax.tree.leaves(same_form))
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    return setup, state._replace(params=params)


def plain_sgd(**changes) -> VPGConfig:
    """Such that the change of the parameters is the gradient."""
    settings = {
        "env": probes.Mortal(ROWS),  # observations [ROWS], two actions
        "max_episode_steps": HORIZON,
        "num_steps": HORIZON,
        "rollout": "episodes",
        "normalize_advantages": False,
        "hidden_sizes": (),
        "network": "mlp",
        "optimizer": "sgd",
    }
    config = {**settings, **changes}
    return VPGConfig(total_steps=HORIZON * config["num_envs"], **config)


def kernel(state) -> np.ndarray:
    """The policy's table, `[ROWS, ACTIONS]`."""
    return np.asarray(state.params.policy["head"]["params"]["Dense_0"]["kernel"])


@pytest.mark.parametrize("gradient_rows", [16_384, 100])
def test_improve_climbs_the_true_gradient(gradient_rows):
    """Rows of all trajectories, weighted by p(tau): one step of SGD with learning rate 1 moves
    the policy's table by the gradient of the expected return, at once or in chunks."""
    config = plain_sgd(num_envs=NUM_TAUS, gradient_rows=gradient_rows)
    setup, state = tabular_run(config)
    obs = jnp.eye(ROWS)[TAUS.row.reshape(-1)]
    weight = (TAUS.alive * probabilities(THETA)).reshape(-1)
    rows = vpg.Rows(
        obs=obs,
        action=jnp.asarray(TAUS.action.reshape(-1)),
        outputs=setup.agent.networks.policy(state.params.policy, obs),
        psi=jnp.asarray(psi("gae", wrong_values(1), lam=1.0).reshape(-1)),
        target=jnp.zeros(len(obs)),
        weight=jnp.asarray(weight),
        share=jnp.asarray(weight / weight.sum()),
    )
    hp = Hyperparams(policy_lr=1.0, max_grad_norm=np.inf)
    after, metrics = jax.jit(lambda state, rows: vpg.improve(setup, state, rows, hp))(state, rows)
    change = kernel(after) - THETA
    np.testing.assert_allclose(change, true_gradient(), atol=1e-9)
    norm = optax.global_norm(jax.tree.map(jnp.subtract, after.params.policy, state.params.policy))
    np.testing.assert_allclose(metrics["policy_grad_norm"], norm, rtol=1e-12)


@pytest.mark.parametrize(
    ("rollout", "estimator"),
    [
        ("episodes", "total_return"),
        ("episodes", "leave_one_out"),
        ("episodes", "value_baseline"),
        ("segments", "value_baseline"),
        ("segments", "gae"),
    ],
)
def test_judge_and_improve_take_the_gradient_of_the_formula(rollout, estimator):
    """A batch through `judge` and `improve`, against the formula written out: 1/|D| sum_tau sum_t
    for episodes and the mean over steps for segments, of log pi Psi + entropy_coef H."""
    gamma, lam, coef = 0.9, 0.6, 0.3
    p = probabilities(THETA)
    chosen = np.random.default_rng(1).choice(NUM_TAUS, size=7, p=p)
    row, action, reward, terminated, alive = [x[:, chosen] for x in TAUS[:5]]
    assert (alive.sum(0) < HORIZON).any()  # some are shorter than the rollout
    if rollout == "segments":
        alive = np.ones_like(alive)

    config = plain_sgd(num_envs=len(chosen), rollout=rollout, estimator=estimator)
    setup, state = tabular_run(config)
    after_row = np.arange(len(chosen)) % ROWS  # where the rollout was cut
    state = state._replace(obs=jnp.eye(ROWS)[after_row])
    obs = jnp.eye(ROWS)[row]
    outputs = setup.agent.networks.policy(state.params.policy, obs.reshape(-1, ROWS))
    batch = vpg.Batch(
        obs=obs,
        action=jnp.asarray(action),
        outputs=outputs.reshape(*row.shape, ACTIONS),
        reward=jnp.asarray(reward),
        terminated=jnp.asarray(terminated),
        truncated=jnp.zeros_like(jnp.asarray(terminated)),
        final_obs=obs,
        alive=jnp.asarray(alive),
        memory=(),
        after=(),
    )
    hp = Hyperparams(
        policy_lr=1.0, max_grad_norm=np.inf, gamma=gamma, gae_lambda=lam, entropy_coef=coef
    )

    @jax.jit
    def step(state, batch):
        state, rows, _ = vpg.judge(setup, state, batch, hp)
        return vpg.improve(setup, state, rows, hp)[0]

    change = kernel(step(state, batch)) - THETA

    table = wrong_values(0)
    values = table[row]
    following = np.concatenate([values[1:], table[after_row][None]])
    weight = _by_loops(estimator, reward, values, following, terminated, alive, gamma, lam)
    terms = [(t, n) for t in range(HORIZON) for n in range(len(chosen)) if alive[t, n]]
    divisor = len(chosen) if rollout == "episodes" else len(terms)

    def formula(theta):
        log_pi = jax.nn.log_softmax(theta)
        total = 0.0
        for t, n in terms:
            here = log_pi[row[t, n]]
            total += here[action[t, n]] * weight[t, n] - coef * (jnp.exp(here) * here).sum()
        return total / divisor

    np.testing.assert_allclose(change, jax.grad(formula)(jnp.asarray(THETA)), atol=1e-9)


def _by_loops(estimator, reward, values, following, terminated, alive, gamma, lam) -> np.ndarray:
    """Psi_t of a batch without truncations, by the definitions."""
    steps, num_envs = reward.shape
    out = np.zeros((steps, num_envs))
    for n, start in itertools.product(range(num_envs), range(steps)):
        decay = gamma * lam if estimator == "gae" else gamma
        for k in range(start, steps):
            if estimator == "gae":
                bootstrap = 0.0 if terminated[k, n] else gamma * following[k, n]
                out[start, n] += decay ** (k - start) * (reward[k, n] + bootstrap - values[k, n])
            else:
                out[start, n] += decay ** (k - start) * reward[k, n]
                if k == steps - 1 and not terminated[k, n]:
                    out[start, n] += decay ** (k - start + 1) * following[k, n]
            if terminated[k, n]:
                break
    if estimator == "total_return":
        return np.broadcast_to(out[:1], out.shape)  # of the first episode, which is what counts
    if estimator == "leave_one_out":
        baseline = np.zeros_like(out)
        for n, t in itertools.product(range(num_envs), range(steps)):
            others = [out[t, m] for m in range(num_envs) if m != n and alive[t, m]]
            baseline[t, n] = np.mean(others) if others else 0.0
        return out - baseline
    return out - values if estimator == "value_baseline" else out
