"""The weights Psi_t: identities between them, plain loops beside them, rlax, and ends."""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from purejaxvpg import advantages
from purejaxvpg.advantages import (
    ESTIMATORS,
    VALUE_TARGETS,
    future_return,
    gae,
    n_step,
    policy_weight,
    td,
    total_return,
    value_baseline,
    value_regression_target,
)

pytestmark = pytest.mark.usefixtures("x64")

T, N = 9, 6
GAMMA, LAMBDA, WINDOW = 0.9, 0.7, 3


class Trajectory(NamedTuple):
    """Arrays `[T, N]` in the order that the functions take them."""

    rewards: np.ndarray
    values: np.ndarray
    next_values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def trajectory(seed: int, truncations: bool = True) -> Trajectory:
    """Random, with V(s_{t+1}) the same number in both rows that name it, unless an end is there."""
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, T, N))
    kind = rng.choice(3, p=[0.7, 0.15, 0.15], size=(T, N))
    terminated, truncated = kind == 1, (kind == 2) & truncations
    done = terminated | truncated
    next_values[:-1] = np.where(done[:-1], next_values[:-1], values[1:])
    assert terminated.any()
    assert truncated.any() == truncations
    return Trajectory(rewards, values, next_values, terminated, truncated)


def _call(name: str, *arguments):
    """The estimator of that name, with the arguments it takes; jitted below."""
    rewards, values, next_values, terminated, truncated, gamma, lam, n = arguments
    given = {
        "rewards": rewards,
        "values": values,
        "next_values": next_values,
        "terminated": terminated,
        "truncated": truncated,
        "gamma": gamma,
        "gae_lambda": lam,
        "n": n,
    }
    function = getattr(advantages, name)
    return function(**{key: given[key] for key in inspect.signature(function).parameters})


_jitted = jax.jit(_call, static_argnums=(0, 8))


def psi(name: str, trajectory, gamma=GAMMA, lam=LAMBDA, n=WINDOW) -> np.ndarray:
    """Psi_t by one of the six functions."""
    arrays = [jnp.asarray(x) for x in trajectory]
    return np.asarray(_jitted(name, *arrays, gamma, lam, n if name == "n_step" else 0))


def same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("seed", range(4))
def test_gae_with_lambda_one_is_future_return_less_value(seed):
    """The residuals telescope: sum_k gamma^k delta_{t+k} = R^f_t - V(s_t)."""
    run = trajectory(seed)
    same(psi("gae", run, lam=1.0), psi("future_return", run) - run.values)
    same(psi("value_baseline", run), psi("future_return", run) - run.values)


@pytest.mark.parametrize("seed", range(4))
def test_gae_with_lambda_zero_and_one_step_are_td(seed):
    """One real reward, then V, by three names."""
    run = trajectory(seed)
    same(psi("gae", run, lam=0.0), psi("td", run))
    same(psi("n_step", run, n=1), psi("td", run))


@pytest.mark.parametrize("n", [T, T + 1, 1000])
def test_n_step_with_all_steps_is_value_baseline(n):
    """A window that holds the whole rollout never needs V inside it; one step less does."""
    run = trajectory(0)
    whole = psi("value_baseline", run)
    same(psi("n_step", run, n=n), whole)
    run = run._replace(terminated=np.zeros((T, N), bool), truncated=np.zeros((T, N), bool))
    assert np.abs(psi("n_step", run, n=T - 1) - psi("value_baseline", run))[0].min() > 1e-3


def test_gae_is_the_lambda_weighted_mean_of_the_n_step_estimates():
    """A_t = (1 - lambda) sum_{n < T} lambda^(n-1) A^(n)_t + lambda^(T-1) A^(T)_t."""
    run = trajectory(1)
    mean = sum((1 - LAMBDA) * LAMBDA ** (n - 1) * psi("n_step", run, n=n) for n in range(1, T))
    same(psi("gae", run), mean + LAMBDA ** (T - 1) * psi("n_step", run, n=T))


# ------------------------------------------------------------ plain loops, from the definitions


def loop_future(run: Trajectory, t: int, i: int, gamma: float, window: int = 10**6) -> float:
    """sum_k gamma^k r_{t+k+1} until an end or the window's, then V if something follows."""
    total = 0.0
    for k in range(T - t):
        total += gamma**k * run.rewards[t + k, i]
        if run.terminated[t + k, i]:
            return total
        if run.truncated[t + k, i] or k + 1 == window or t + k == T - 1:
            return total + gamma ** (k + 1) * run.next_values[t + k, i]
    raise AssertionError("the rollout's last step is an end")


def loop_total(run: Trajectory, t: int, i: int, gamma: float) -> float:
    """The future of the first step of the episode that step t belongs to."""
    ends = [k for k in range(t) if run.terminated[k, i] or run.truncated[k, i]]
    return loop_future(run, max(ends, default=-1) + 1, i, gamma)


def loop_gae(run: Trajectory, t: int, i: int, gamma: float, lam: float) -> float:
    """sum_k (gamma lambda)^k delta_{t+k}, up to and with the episode's last step."""
    total = 0.0
    for k in range(t, T):
        follows = 0.0 if run.terminated[k, i] else run.next_values[k, i]
        delta = run.rewards[k, i] + gamma * follows - run.values[k, i]
        total += (gamma * lam) ** (k - t) * delta
        if run.terminated[k, i] or run.truncated[k, i]:
            break
    return total


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_estimators_equal_plain_loops(gamma):
    """Each function, at every step of every environment, against its definition."""
    run = trajectory(2)

    def table(definition, *arguments):
        return [[definition(run, t, i, gamma, *arguments) for i in range(N)] for t in range(T)]

    future = np.array(table(loop_future))
    same(psi("future_return", run, gamma), future)
    same(psi("value_baseline", run, gamma), future - run.values)
    same(psi("total_return", run, gamma), table(loop_total))
    same(psi("gae", run, gamma), table(loop_gae, LAMBDA))
    same(psi("td", run, gamma), np.array(table(loop_future, 1)) - run.values)
    for n in (2, WINDOW, T - 1):
        same(psi("n_step", run, gamma, n=n), np.array(table(loop_future, n)) - run.values)


def test_worked_example():
    """Three rewards 1, 2, 4 and gamma = 1/2, with pencil and paper."""
    no, end = np.zeros((3, 1), bool), np.array([[False], [False], [True]])
    rewards = np.array([[1.0], [2.0], [4.0]])
    values = np.array([[10.0], [20.0], [30.0]])
    next_values = np.array([[20.0], [30.0], [40.0]])

    terminated = Trajectory(rewards, values, next_values, end, no)
    assert psi("future_return", terminated, 0.5)[:, 0].tolist() == [3.0, 4.0, 4.0]
    assert psi("total_return", terminated, 0.5)[:, 0].tolist() == [3.0, 3.0, 3.0]
    assert psi("value_baseline", terminated, 0.5)[:, 0].tolist() == [-7.0, -16.0, -26.0]
    assert psi("td", terminated, 0.5)[:, 0].tolist() == [1.0, -3.0, -26.0]
    assert psi("n_step", terminated, 0.5, n=2)[:, 0].tolist() == [-0.5, -16.0, -26.0]
    assert psi("gae", terminated, 0.5, lam=0.5)[:, 0].tolist() == [-1.375, -9.5, -26.0]

    truncated = Trajectory(rewards, values, next_values, no, end)
    assert psi("future_return", truncated, 0.5)[:, 0].tolist() == [8.0, 14.0, 24.0]
    assert psi("td", truncated, 0.5)[:, 0].tolist() == [1.0, -3.0, -6.0]


# ----------------------------------------------------------------------------------- rlax


@pytest.mark.parametrize("seed", range(2))
def test_estimators_equal_rlax(seed):
    """Without truncations the settings overlap; rlax ends an episode by a discount of 0."""
    run = trajectory(seed, truncations=False)
    discounts = GAMMA * ~run.terminated
    values = np.concatenate([run.values, run.next_values[-1:]])

    def per_environment(function):
        columns = jax.vmap(function, in_axes=1, out_axes=1)
        arrays = (run.rewards, discounts, values, run.next_values)
        return columns(*[jnp.asarray(x) for x in arrays])

    same(
        psi("gae", run),
        per_environment(
            lambda r, d, v, _: rlax.truncated_generalized_advantage_estimation(r, d, LAMBDA, v)
        ),
    )
    same(
        psi("n_step", run) + run.values,
        per_environment(lambda r, d, _, v: rlax.n_step_bootstrapped_returns(r, d, v, WINDOW)),
    )
    same(
        psi("future_return", run),
        per_environment(lambda r, d, _, v: rlax.discounted_returns(r, d, v[-1])),
    )


# ------------------------------------------------------------------------- ends of episodes


@pytest.mark.parametrize("planted", [np.nan, 1e9])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_flows_back_over_an_end(name, planted):
    """What stands beyond an end, terminated or truncated, changes nothing up to it."""
    end = T // 2
    run = trajectory(3)
    run.terminated[end], run.truncated[end] = np.arange(N) % 2 == 0, np.arange(N) % 2 == 1
    spoiled = Trajectory(*[x.copy() for x in run])
    for array in (spoiled.rewards, spoiled.values, spoiled.next_values):
        array[end + 1 :] = planted
    before = psi(name, run)[: end + 1]
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(psi(name, spoiled)[: end + 1], before)
    assert not np.array_equal(psi(name, spoiled), psi(name, run))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_value_after_termination_is_never_used(name):
    """NaN in next_values at terminated steps never shows, not even at the last step."""
    run = trajectory(4)
    run.terminated[-1], run.truncated[-1] = True, False
    spoiled = run._replace(next_values=np.where(run.terminated, np.nan, run.next_values))
    np.testing.assert_array_equal(psi(name, spoiled), psi(name, run))
    assert np.isfinite(psi(name, run)).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_truncation_bootstraps_from_next_values(name):
    """One more in V(s_{t+1}) at a truncated step is worth gamma to that step's weight."""
    run = trajectory(5)
    run.truncated[0], run.terminated[0] = True, False  # total_return: the first step is the whole
    more = run._replace(next_values=run.next_values + run.truncated)
    difference = psi(name, more) - psi(name, run)
    same(difference[0], GAMMA)
    if name != "total_return":
        same(difference[run.truncated], GAMMA)
    later = np.logical_or.accumulate(run.truncated[::-1])[::-1]
    assert (difference[~later] == 0).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_terminated_wins_over_truncated(name):
    """A step that is both bootstraps from nothing."""
    run = trajectory(6)
    both = run._replace(truncated=run.truncated | run.terminated)
    np.testing.assert_array_equal(psi(name, both), psi(name, run))


# ------------------------------------------------------------------------- dtype, dispatch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_dtype_out_is_dtype_in(name, dtype):
    """float32 stays float32 and float64 stays float64, to the last digit it has."""
    exact = trajectory(7)
    run = Trajectory(*[x.astype(dtype) for x in exact[:3]], *exact[3:])
    out = psi(name, run)
    assert out.dtype == dtype
    error = np.abs(out - psi(name, exact)).max()
    assert error < (1e-14 if dtype == np.float64 else 1e-5)


def test_policy_weight_dispatches_by_name():
    """Each name is its function, and each argument reaches it."""
    run = trajectory(8)
    rewards, values, next_values, terminated, truncated = [jnp.asarray(x) for x in run]
    ends = (terminated, truncated)
    expected = {
        "total_return": total_return(rewards, next_values, *ends, GAMMA),
        "future_return": future_return(rewards, next_values, *ends, GAMMA),
        "value_baseline": value_baseline(rewards, values, next_values, *ends, GAMMA),
        "td": td(rewards, values, next_values, terminated, GAMMA),
        "n_step": n_step(rewards, values, next_values, *ends, GAMMA, WINDOW),
        "gae": gae(rewards, values, next_values, *ends, GAMMA, LAMBDA),
    }
    assert set(expected) == set(ESTIMATORS)
    assert len({np.asarray(x).tobytes() for x in expected.values()}) == len(ESTIMATORS)
    for name, out in expected.items():
        weight = policy_weight(
            name, rewards, values, next_values, *ends, gamma=GAMMA, gae_lambda=LAMBDA, n=WINDOW
        )
        np.testing.assert_array_equal(weight, out, err_msg=name)


def test_value_regression_target_dispatches_by_name():
    """future_return is itself, and lambda_return is gae + V."""
    run = trajectory(9)
    expected = {
        "future_return": psi("future_return", run),
        "lambda_return": psi("gae", run) + run.values,
    }
    assert set(expected) == set(VALUE_TARGETS)
    arrays = [jnp.asarray(x) for x in run]
    for name, out in expected.items():
        same(value_regression_target(name, *arrays, gamma=GAMMA, gae_lambda=LAMBDA), out)


def test_unknown_names_raise_and_list_the_known():
    """The error says what was given and what is accepted."""
    arrays = trajectory(0)
    with pytest.raises(ValueError, match=r"estimator='reward_to_go' is unknown.*future_return"):
        policy_weight("reward_to_go", *arrays, GAMMA, LAMBDA, WINDOW)
    with pytest.raises(ValueError, match=r"value_target='gae' is unknown.*lambda_return"):
        value_regression_target("gae", *arrays, GAMMA, LAMBDA)
