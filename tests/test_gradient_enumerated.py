"""The gradient is exact for products, masks and memory too: test_gradient_exact.py goes on here.

Every trajectory of a tiny process is enumerated.  Rows of all of them, weighted by p(tau), go
through `vpg.improve`: one step of SGD with learning rate 1 moves the parameters by the expected
policy gradient.  It must be the gradient of the expected return, a finite sum written out by hand.
"""

import functools
from types import SimpleNamespace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jax import lax
from support import trees
from support.enumeration import (
    Process,
    enumerate_trajectories,
    values_of_histories,
    weights,
    wrong_values,
)

from purejaxvpg import vpg
from purejaxvpg.agent import first_state, make_setup, memory
from purejaxvpg.compute import through_time
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs.protocol import Masked, Step
from purejaxvpg.envs.spaces import MultiDiscrete

pytestmark = pytest.mark.usefixtures("x64")

UNBIASED = {
    "total_return": ("total_return", {}),
    "future_return": ("future_return", {}),
    "leave_one_out": ("leave_one_out", {}),
    "value_baseline": ("value_baseline", {}),
    "gae, lambda 1": ("gae", {}),
    "n_step, all": ("n_step", {"n_step": 3}),
}
BOOTSTRAPPED = {
    "td": ("td", {}),
    "gae, lambda 0.5": ("gae", {"gae_lambda": 0.5}),
    "n_step, one": ("n_step", {"n_step": 1}),
}


def all_weights(taus, p) -> dict[str, np.ndarray]:
    """Psi_t `[T, N]` of every estimator, with wrong values and, of those that need it, exact."""
    wrong, exact = wrong_values(taus, 0), values_of_histories(taus, p)
    wanted = {key: (name, wrong, more) for key, (name, more) in UNBIASED.items()}
    for key, (name, more) in BOOTSTRAPPED.items():
        wanted |= {f"{key}, wrong V": (name, wrong, more), f"{key}, exact V": (name, exact, more)}
    return weights(taus, p, wanted)


def check_bias(errors: dict[str, float]) -> None:
    """The gradient is exact, but where V stands for rewards (not as a baseline) and is wrong."""
    assert len(errors) == len(UNBIASED) + 2 * len(BOOTSTRAPPED)
    for estimator, error in errors.items():
        if "wrong" in estimator:
            assert error > 1e-3, estimator
        else:
            assert error < 1e-9, estimator


def setup_of(observations, action_space, taus, mask=None, **fields):
    """A setup such that the change of the policy's parameters is the gradient; and its state, of
    zeros.  Nothing is compiled."""
    obs = jnp.zeros(observations, jnp.float32)

    def step(key, time, action, params):
        return Step(time + 1, obs, obs, jnp.zeros(()), time + 1 >= 3, jnp.zeros((), bool))

    env = trees.bare(
        "Enumerated",
        reset=lambda key, params: (obs, jnp.zeros((), jnp.int32)),
        step=step,
        action_space=lambda params: action_space,
        observation_space=lambda params: spaces.Box(0, 1, (observations,)),
        action_mask=None if mask is None else lambda state, params: mask,
    )
    shape = {"num_steps": len(taus.action), "num_envs": taus.action.shape[1]}
    config = VPGConfig(
        env=env, total_steps=taus.action.size, normalize_advantages=False, hidden_sizes=(),
        network="mlp", optimizer="sgd", diagnostics=False, **shape, **fields,
    )  # fmt: skip
    setup, key = make_setup(config), jax.random.key(0)
    shapes = jax.eval_shape(lambda key: first_state(setup, key, Hyperparams()), key)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes._replace(key=None))
    return setup, zeros._replace(key=key)


def steps(setup, state, rows: list[vpg.Rows], coefs=None):
    """Changes of the policy's parameters, `[K, ...]`, by the step that the algorithm takes, for K
    batches and entropy coefficients."""

    @jax.jit
    @jax.vmap
    def step(rows, coef):
        hp = Hyperparams(policy_lr=1.0, max_grad_norm=np.inf, entropy_coef=coef)
        after, _ = vpg.improve(setup, state, rows, hp)
        return jax.tree.map(jnp.subtract, after.params.policy, state.params.policy)

    stacked = jax.tree.map(lambda *x: np.stack(x), *rows)
    coefs = np.zeros(len(rows)) if coefs is None else np.asarray(coefs)
    return jax.tree.map(np.asarray, step(stacked, coefs))


# ------------------------------------------------------------------- PRODUCTS AND MASKS, A TABLE


class Case(NamedTuple):
    """Actions of a policy that is a table of logits `[H * S, sum of sizes]`, a row per (t, s)."""

    space: Any
    sizes: tuple[int, ...]  # of the parts
    legal: tuple[np.ndarray, ...]  # [S, size] bool, of each part
    masked: bool
    horizon: int

    @property
    def rows(self) -> int:
        return self.horizon * len(self.legal[0])

    @property
    def columns(self) -> list[slice]:
        """Each part's outputs."""
        ends = np.cumsum(self.sizes)
        return [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]

    @property
    def legal_logits(self) -> np.ndarray:
        """`[H * S, sum of sizes]` bool."""
        return np.tile(np.concatenate(self.legal, axis=1), (self.horizon, 1))


ALL = np.ones((2, 2), bool), np.ones((2, 3), bool)
ONE = (np.array([[1, 1, 0], [0, 1, 1], [0, 1, 0]], bool),)
TWO = np.array([[1, 1], [0, 1]], bool), np.array([[1, 0, 1], [1, 1, 0]], bool)
MULTI, TUPLE = MultiDiscrete([2, 3]), spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
CASES = {
    "MultiDiscrete": Case(MULTI, (2, 3), ALL, False, 2),
    "Tuple": Case(TUPLE, (2, 3), ALL, False, 2),
    "Discrete, masked": Case(spaces.Discrete(3), (3,), ONE, True, 3),
    "MultiDiscrete, masked": Case(MULTI, (2, 3), TWO, True, 3),
    "Tuple, masked": Case(TUPLE, (2, 3), TWO, True, 3),
}
MASKED = [name for name, case in CASES.items() if case.masked]


@functools.cache
def problem(name):
    """A case, its process's trajectories, and a table theta `[H * S, sum of sizes]`."""
    case, rng = CASES[name], np.random.default_rng(1)
    number, actions = len(case.legal[0]), int(np.prod(case.sizes))
    joint = np.ones((number, 1), bool)
    for legal in case.legal:
        joint = (joint[:, :, None] & legal[:, None, :]).reshape(number, -1)
    process = Process(
        horizon=case.horizon,
        start=rng.dirichlet(np.ones(number)),
        move=rng.dirichlet(np.ones(number + 1), size=(number, actions)),
        reward=2 + 2 * rng.normal(size=(case.horizon, number, actions)),  # no sum over the parts
        legal=joint,
        shows=np.arange(case.rows).reshape(case.horizon, number),
    )
    return case, enumerate_trajectories(process), rng.normal(size=(case.rows, sum(case.sizes)))


def log_parts(case, theta):
    """log pi_i(. | t, s) of each part, `[H * S, size]`; of an illegal action a number without
    meaning."""
    for part in case.columns:
        odds = case.legal_logits[:, part] * jnp.exp(theta[:, part])
        yield theta[:, part] - jnp.log(odds.sum(-1, keepdims=True))


class Truth(NamedTuple):
    p: np.ndarray  # [N], probabilities of the trajectories
    gradient: np.ndarray  # of J(theta) = sum_tau p(tau) R(tau), as theta
    entropy: np.ndarray  # of sum_tau p(tau) sum_t H(pi(. | s_t)) with p as it is, as theta


@functools.cache
def truth(name) -> Truth:
    """Finite sums over trajectories, steps and joint actions, and their gradients."""
    case, taus, theta = problem(name)

    def probabilities(theta):
        chosen = np.unravel_index(taus.action, case.sizes)
        each = zip(log_parts(case, theta), chosen, strict=True)
        log_pi = sum(log_p[taus.shown, a] for log_p, a in each)  # [T, N]
        return taus.chance * jnp.exp(jnp.where(taus.alive, log_pi, 0).sum(0))

    def entropy(theta, p):
        parts, total = list(log_parts(case, theta)), jnp.zeros(case.rows)
        for action in np.ndindex(case.sizes):
            columns = [part.start + a for part, a in zip(case.columns, action, strict=True)]
            legal = case.legal_logits[:, columns].all(1)
            log_p = sum(x[:, a] for x, a in zip(parts, action, strict=True))
            total -= jnp.where(legal, jnp.exp(log_p) * log_p, 0)  # [H * S]
        return (taus.alive * p * total[taus.shown]).sum()

    @jax.jit
    def all_of(theta):
        p = probabilities(theta)
        gradient = jax.grad(lambda x: probabilities(x) @ taus.returns)(theta)
        return Truth(p, gradient, jax.grad(entropy)(theta, p))

    return Truth(*map(np.asarray, all_of(theta)))


def mask_of(case, states):
    """Masks `[B, ...]` in the form of the action space.  What lies beyond a part is no action."""
    parts = [legal[states] for legal in case.legal]
    if case.space is MULTI:
        return np.stack([np.pad(parts[0], ((0, 0), (0, 1)), constant_values=True), parts[1]], 1)
    return tuple(parts) if case.space is TUPLE else parts[0]


def tabular(name):
    """Setup, state and rows of all trajectories, without Psi; the policy is the table."""
    case, taus, theta = problem(name)
    mask = jax.tree.map(lambda x: jnp.asarray(x[0]), mask_of(case, [0])) if case.masked else None
    setup, state = setup_of(case.rows, case.space, taus, mask)
    policy = state.params.policy
    shapes = jax.tree.map(np.shape, policy)
    policy["head"]["params"]["Dense_0"] = {"kernel": theta, "bias": np.zeros(theta.shape[1])}
    assert jax.tree.map(np.shape, policy) == shapes
    shown = taus.shown.reshape(-1)
    obs = np.eye(case.rows)[shown]
    parts = np.unravel_index(taus.action.reshape(-1), case.sizes)
    forms = {MULTI: lambda: np.stack(parts, 1), TUPLE: lambda: tuple(parts)}
    weight, zeros = (taus.alive * truth(name).p).reshape(-1), np.zeros(len(shown))
    fields: dict[str, Any] = {
        "obs": Masked(obs, mask_of(case, shown % len(case.legal[0]))) if case.masked else obs,
        "action": forms.get(case.space, lambda: parts[0])(),
        "outputs": np.zeros((len(shown), theta.shape[1])),
        "psi": zeros,
        "target": zeros,
        "weight": weight,
        "share": weight / weight.sum(),
    }
    rows = vpg.Rows(**fields)
    return setup, state, rows


ENTROPY, UNMASKED = "entropy", "without the mask"


def kernel(changes):
    """Changes of the table, `[K, H * S, sum of sizes]`."""
    return changes["head"]["params"]["Dense_0"]["kernel"]


@functools.cache
def expected_steps(name):
    """The expected gradient of purejaxvpg by estimator, that of an entropy bonus of coefficient 1
    alone, and that of learning without the mask."""
    case, taus, _ = problem(name)
    setup, state, rows = tabular(name)
    psis = all_weights(taus, truth(name).p)
    batches = {key: rows._replace(psi=psi.reshape(-1)) for key, psi in psis.items()}
    batches[ENTROPY] = rows
    if case.masked:
        anything = jax.tree.map(np.ones_like, rows.obs.mask)
        batch = batches["future_return"]
        batches[UNMASKED] = batch._replace(obs=batch.obs._replace(mask=anything))
    changes = kernel(steps(setup, state, [*batches.values()], [x == ENTROPY for x in batches]))
    return dict(zip(batches, changes, strict=True))


def error(change, name) -> float:
    return float(np.abs(change - truth(name).gradient).max())


@pytest.mark.parametrize("name", CASES)
def test_the_expected_gradient_is_exact(name):
    """With the negative cases: V in place of rewards, where V is wrong."""
    others = (ENTROPY, UNMASKED)
    errors = {k: error(x, name) for k, x in expected_steps(name).items() if k not in others}
    check_bias(errors)


@pytest.mark.parametrize("name", CASES)
def test_the_enumeration_is_complete_and_every_part_matters(name):
    case, taus, _ = problem(name)
    assert abs(truth(name).p.sum() - 1) < 1e-12
    assert set(taus.alive.sum(0)) == set(range(1, case.horizon + 1))  # episodes of every length
    for part in case.columns:
        assert np.abs(truth(name).gradient[:, part]).max() > 0.05


@pytest.mark.parametrize("name", CASES)
def test_the_bonus_climbs_the_entropy_of_joint_actions(name):
    """The sum over parts is the entropy of the product, and what is illegal adds nothing."""
    assert np.abs(truth(name).entropy).max() > 0.01
    np.testing.assert_allclose(expected_steps(name)[ENTROPY], truth(name).entropy, atol=1e-9)


@pytest.mark.parametrize("name", MASKED)
def test_logits_of_illegal_actions_get_no_gradient_at_all(name):
    legal = problem(name)[0].legal_logits
    for key, change in expected_steps(name).items():
        if key != UNMASKED:
            assert (change[~legal] == 0).all(), key
            assert (change[legal] != 0).any(), key


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_that_learning_ignores_gives_another_gradient(name):
    """The negative case: actions were taken under the mask, and are learned from without."""
    change, legal = expected_steps(name)[UNMASKED], problem(name)[0].legal_logits
    assert error(change, name) > 1e-3
    assert np.abs(change[~legal]).max() > 1e-3


def test_the_probability_of_one_part_alone_is_not_enough():
    """The negative case: log pi of the first part in place of the sum."""
    _, taus, _ = problem("Tuple")
    setup, state, rows = tabular("Tuple")
    policy = setup.policy(Hyperparams())
    zero = jnp.zeros(taus.action.size, jnp.int32)

    def log_prob(outputs, raw):
        second = policy.log_prob(outputs.at[:, :2].set(0), (zero, raw[1])) + np.log(2)
        return policy.log_prob(outputs, raw) - second

    wrong = policy._replace(log_prob=log_prob)
    setup = setup._replace(agent=setup.agent._replace(policy=lambda _: wrong))
    returns = np.where(taus.alive, taus.returns, 0).reshape(-1)
    change = kernel(steps(setup, state, [rows._replace(psi=returns)]))[0]
    assert error(change, "Tuple") > 1e-3
    expected = truth("Tuple").gradient[:, :2]
    np.testing.assert_allclose(change[:, :2], expected, atol=1e-9)


# ------------------------------------------------------------------------------------- MEMORY

SIZE, HORIZON = 2, 3
FIRST = Process(  # two states that the first observation tells apart, and no later one
    horizon=HORIZON,
    start=np.array([0.4, 0.6]),
    move=np.array([[[0.8, 0, 0.2], [0.9, 0, 0.1]], [[0, 0.7, 0.3], [0, 0.8, 0.2]]]),
    reward=4 * np.random.default_rng(3).normal(size=(HORIZON, 2, 2)),
    legal=np.ones((2, 2), bool),
    shows=np.array([[0, 1], [2, 2], [2, 2]]),
)
TAUS = enumerate_trajectories(FIRST)
NUM_TAUS = len(TAUS.chance)


class Linear(nn.RNNCellBase):
    """h' = U h + W x + b."""

    @nn.compact
    def __call__(self, h, x):
        h = nn.Dense(SIZE, use_bias=False, name="recurrent")(h) + nn.Dense(SIZE, name="inputs")(x)
        return h, h

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], SIZE))

    @property
    def num_feature_axes(self):
        return 1


def linear_by_hand(params, h, x):
    cell = params["cell"]
    inputs = cell["inputs"]
    return h @ cell["recurrent"]["kernel"] + x @ inputs["kernel"] + inputs["bias"]


def gru_by_hand(params, h, x):
    x_r, x_z, x_n = jnp.split(x @ params["inputs"]["kernel"] + params["inputs"]["bias"], 3, -1)
    h_r, h_z, h_n = jnp.split(h @ params["recurrent"], 3, -1)
    z = 1 / (1 + jnp.exp(-x_z - h_z))
    candidate = jnp.tanh(x_n + (h_n + params["bias"]) / (1 + jnp.exp(-x_r - h_r)))
    return (1 - z) * candidate + z * h


CELLS = {"linear": (Linear(), linear_by_hand), "gru": ("gru", gru_by_hand)}


def recurrent_truth(cell, params):
    """p(tau) `[N]` under the policy with memory, and the gradient of J through it."""

    def probabilities(params):
        h, log_p = jnp.zeros((NUM_TAUS, SIZE)), 0.0
        head = params["head"]["params"]["Dense_0"]
        for t in range(HORIZON):
            h = CELLS[cell][1](params["cell"]["params"], h, np.eye(3)[TAUS.shown[t]])
            logits = h @ head["kernel"] + head["bias"]
            log_pi = logits - jnp.log(jnp.exp(logits).sum(-1, keepdims=True))
            here = log_pi[np.arange(NUM_TAUS), TAUS.action[t]]
            log_p += jnp.where(TAUS.alive[t], here, 0)
        return TAUS.chance * jnp.exp(log_p)

    both = jax.jit(
        lambda x: (probabilities(x), jax.grad(lambda y: probabilities(y) @ TAUS.returns)(x))
    )
    return jax.tree.map(np.asarray, both(params))


def memories_after(setup, state, taus):
    """The policy's memory after each step, `[T, N, SIZE]`, as a rollout hands it on."""
    cell = memory.make_cell(setup.config, 3)
    ended = np.concatenate([np.zeros_like(taus.terminated[:1]), taus.terminated[:-1]])
    x, starts = jnp.eye(3)[taus.shown.T], jnp.asarray(ended.T)
    variables = jax.tree.map(jnp.asarray, state.params.policy["cell"])
    after, _ = jax.jit(cell.replay)(variables, state.memory.policy, x, starts)
    return np.asarray(memory.steps_first(after))


@functools.cache
def recurrent(cell):
    """Setup, state, rows that `judge` makes of a rollout of two episodes an environment, p(tau) and
    the true gradient.

    The second episodes are all trajectories.  The first ones count nothing, and neither does the
    memory that the rollout started with: an episode begins without.
    """
    draw = np.random.default_rng(2)
    order = draw.permutation(NUM_TAUS)
    both = {k: np.concatenate([x[:, order], x]) for k, x in TAUS._asdict().items() if k != "chance"}
    both["terminated"][HORIZON - 1] = True
    both = TAUS._replace(**both)
    setup, state = setup_of(3, spaces.Discrete(2), both, memory=CELLS[cell][0], memory_size=SIZE,
                            estimator="value_baseline")  # fmt: skip
    obs = np.eye(3)[both.shown]
    params, remembered = jax.tree.map(
        lambda x: draw.normal(size=x.shape), (state.params, state.memory)
    )
    state = state._replace(params=params, memory=remembered, obs=obs[0])
    fields: dict[str, Any] = {
        "obs": obs,
        "action": both.action,
        "outputs": np.zeros((2 * HORIZON, NUM_TAUS, 2)),
        "reward": both.reward,
        "terminated": both.terminated,
        "truncated": np.zeros_like(both.terminated),
        "final_obs": obs,
        "alive": np.ones_like(both.alive),
        "memory": remembered,
        "after": memories_after(setup, state, both),
    }
    batch = vpg.Batch(**fields)
    judged = jax.jit(lambda s, b: vpg.judge(setup, s, b, Hyperparams(gamma=1.0))[1])(state, batch)
    p, gradient = recurrent_truth(cell, params.policy)
    weight = np.concatenate([np.zeros(TAUS.alive.shape), TAUS.alive * p]).T  # [N, T]
    rows = judged._replace(weight=weight, share=weight / weight.sum())
    return setup, state, jax.tree.map(np.asarray, rows), p, gradient


def errors_of(cell, batches: dict[str, vpg.Rows]) -> dict[str, float]:
    """Largest error of the expected gradient over all parameters of the policy, by batch."""
    setup, state, _, _, gradient = recurrent(cell)
    changes = steps(setup, state, list(batches.values()))
    each = jax.tree.map(
        lambda x, y: np.abs(x - y).reshape(len(batches), -1).max(1), changes, gradient
    )
    return dict(zip(batches, np.max(jax.tree.leaves(each), axis=0), strict=True))


def batches_of(cell):
    """Rows by estimator.  Psi of the first episodes must not matter."""
    _, _, rows, p, _ = recurrent(cell)
    return {
        key: rows._replace(psi=np.concatenate([np.full_like(psi, 1e3), psi]).T)
        for key, psi in all_weights(TAUS, p).items()
    }


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_goes_back_through_memory(cell):
    """For all estimators, and for Psi of `judge`, whose V remembers and knows nothing.  The
    negative cases: a wrong V in place of rewards, and memory that outlives its episode."""
    _, _, rows, p, gradient = recurrent(cell)
    assert abs(p.sum() - 1) < 1e-12
    assert all(np.abs(x).max() > 1e-2 for x in jax.tree.leaves(gradient))
    batches = batches_of(cell)
    endless = rows.obs._replace(starts=np.zeros_like(rows.obs.starts))
    more = {"judge": rows, "endless": batches["future_return"]._replace(obs=endless)}
    errors = errors_of(cell, batches | more)
    assert errors.pop("judge") < 1e-9
    assert errors.pop("endless") > 1e-3
    check_bias(errors)


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_that_is_cut_through_time_is_another(cell, monkeypatch):
    """The negative case: memory as a constant, as if no parameter had made it."""
    select = memory.select  # of a user's cell
    monkeypatch.setattr(memory, "select", lambda *args: lax.stop_gradient(select(*args)))
    no_loop = SimpleNamespace(scan=lambda step, start, xs: (start, xs[0]))  # of a GRU
    monkeypatch.setattr(through_time, "Compute", lambda: no_loop)
    name = "future_return"
    assert errors_of(cell, {name: batches_of(cell)[name]})[name] > 1e-3
