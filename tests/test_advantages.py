"""The weights Psi_t: identities between them, plain loops beside them, rlax, and ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from support.assertions import assert_same_bits

from purejaxvpg import advantages
from purejaxvpg.advantages import (
    COMPARES_ENVIRONMENTS,
    ESTIMATORS,
    VALUE_TARGETS,
    Discounts,
    Trajectory,
)
from purejaxvpg.agent import make_setup
from purejaxvpg.config import VPGConfig

pytestmark = pytest.mark.usefixtures("x64")

T, N = 9, 6
GAMMA, LAMBDA, WINDOW = 0.9, 0.7, 3
DISCOUNTS = Discounts(GAMMA, LAMBDA, WINDOW)


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
    return Trajectory(rewards, values, next_values, terminated, truncated, np.ones((T, N), bool))


def episodes(seed: int) -> Trajectory:
    """One episode in each column, of a length of its own (1 to T); NaN stands after its end."""
    run, rng = trajectory(seed), np.random.default_rng(seed)
    last = np.array([0, 2, 2, 5, T - 1, T - 1])  # the last step alive, N columns
    step = np.arange(T)[:, None]
    ends = rng.integers(2, size=N).astype(bool)  # terminated or truncated
    alive = step <= last
    arrays = [np.where(alive, x, np.nan) for x in run[:3]]
    return Trajectory(*arrays, (step == last) & ends, (step == last) & ~ends, alive)


_jitted = jax.jit(
    lambda name, trajectory, gamma, lam, n: ESTIMATORS[name](trajectory, Discounts(gamma, lam, n)),
    static_argnums=(0, 4),
)


def psi(name: str, run: Trajectory, gamma=GAMMA, lam=LAMBDA, n=WINDOW) -> np.ndarray:
    """Psi_t by one of the seven functions."""
    run = jax.tree.map(jnp.asarray, run)
    return np.asarray(_jitted(name, run, gamma, lam, n if name == "n_step" else 0))


def less_mean_of_others(x: np.ndarray) -> np.ndarray:
    """x_i - mean_{j != i} x_j along the last axis."""
    total = x.sum(-1, keepdims=True)
    return x - (total - x) / (x.shape[-1] - 1)


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


def loop_leave_one_out(run: Trajectory, t: int, i: int, gamma: float) -> float:
    """Future return, less the mean of the other environments that are alive."""
    others = [loop_future(run, t, j, gamma) for j in range(N) if j != i and run.alive[t, j]]
    return loop_future(run, t, i, gamma) - (sum(others) / len(others) if others else 0.0)


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
    same(psi("leave_one_out", run, gamma), table(loop_leave_one_out))
    same(psi("gae", run, gamma), table(loop_gae, LAMBDA))
    same(psi("td", run, gamma), np.array(table(loop_future, 1)) - run.values)
    for n in (2, WINDOW, T - 1):
        same(psi("n_step", run, gamma, n=n), np.array(table(loop_future, n)) - run.values)


def test_worked_example():
    """Three rewards 1, 2, 4 and gamma = 1/2, with pencil and paper."""
    no, end = np.zeros((3, 1), bool), np.array([[False], [False], [True]])
    alive = np.ones((3, 1), bool)
    rewards = np.array([[1.0], [2.0], [4.0]])
    values = np.array([[10.0], [20.0], [30.0]])
    next_values = np.array([[20.0], [30.0], [40.0]])

    terminated = Trajectory(rewards, values, next_values, end, no, alive)
    assert psi("future_return", terminated, 0.5)[:, 0].tolist() == [3.0, 4.0, 4.0]
    assert psi("total_return", terminated, 0.5)[:, 0].tolist() == [3.0, 3.0, 3.0]
    assert psi("value_baseline", terminated, 0.5)[:, 0].tolist() == [-7.0, -16.0, -26.0]
    assert psi("td", terminated, 0.5)[:, 0].tolist() == [1.0, -3.0, -26.0]
    assert psi("n_step", terminated, 0.5, n=2)[:, 0].tolist() == [-0.5, -16.0, -26.0]
    assert psi("gae", terminated, 0.5, lam=0.5)[:, 0].tolist() == [-1.375, -9.5, -26.0]

    truncated = Trajectory(rewards, values, next_values, no, end, alive)
    assert psi("future_return", truncated, 0.5)[:, 0].tolist() == [8.0, 14.0, 24.0]
    assert psi("td", truncated, 0.5)[:, 0].tolist() == [1.0, -3.0, -6.0]


# --------------------------------------------------------------------------- leave one out


def test_worked_example_of_leave_one_out():
    """Three episodes of 3, 2 and 1 steps and gamma = 1/2, with pencil and paper.

    The future returns are (3, 4, 4), (6, 4) and (5): at t = 0 the others' means are 5.5, 4 and
    4.5, at t = 1 they are 4 and 4, and at t = 2 the first episode is alone.
    """
    rewards = np.array([[1.0, 4.0, 5.0], [2.0, 4.0, 70.0], [4.0, 80.0, 90.0]])
    alive = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    ends = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], bool)
    zeros = np.zeros((3, 3))
    out = psi("leave_one_out", Trajectory(rewards, zeros, zeros, ends, zeros > 0, alive), 0.5)
    assert out[0].tolist() == [-2.5, 2.0, 0.5]
    assert out[1, :2].tolist() == [0.0, 0.0]
    assert out[2, 0] == 4.0


def test_leave_one_out_is_future_return_less_the_mean_of_the_others():
    """V plays no part in it, but where the clock cut an episode."""
    run = trajectory(0)
    future = psi("future_return", run)
    same(psi("leave_one_out", run), less_mean_of_others(future))
    np.testing.assert_array_equal(
        psi("leave_one_out", run._replace(values=np.full((T, N), np.nan))),
        psi("leave_one_out", run),
    )


@pytest.mark.parametrize("planted", [np.nan, np.inf, 1e9])
def test_dead_trajectories_do_not_count(planted):
    """Whatever stands after an episode's end is in nobody's baseline, nor in the divisor."""
    run = episodes(1)
    spoiled = run._replace(**{
        name: np.where(run.alive, getattr(run, name), planted)
        for name in ("rewards", "values", "next_values")
    })  # fmt: skip
    out = psi("leave_one_out", spoiled)
    for t, i in np.argwhere(run.alive):
        same(out[t, i], loop_leave_one_out(run, t, i, GAMMA))
    assert (run.alive.sum(1) < N).any()


def test_a_trajectory_alone_has_no_baseline():
    """With one environment, or where all others have ended, it is future_return."""
    run = Trajectory(*[x[:, :1] for x in trajectory(2)])
    np.testing.assert_array_equal(psi("leave_one_out", run), psi("future_return", run))
    run = episodes(2)
    alone = run.alive & (run.alive.sum(1, keepdims=True) == 1)
    assert not alone.any()  # the last two columns end together
    run.alive[:, -1] = False
    alone = run.alive & (run.alive.sum(1, keepdims=True) == 1)
    assert alone.sum() == 3
    np.testing.assert_array_equal(
        psi("leave_one_out", run)[alone], psi("future_return", run)[alone]
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_environments_are_compared_by_leave_one_out_alone(name):
    """Psi of one environment depends on the others only where `COMPARES_ENVIRONMENTS` says so.

    A run that is split over devices shows the others to these functions alone.
    """
    run, other = trajectory(3), trajectory(4)
    changed = Trajectory(
        *[np.where(np.arange(N) == 0, x, y) for x, y in zip(run, other, strict=True)]
    )
    depends = not np.array_equal(psi(name, changed)[:, 0], psi(name, run)[:, 0])
    assert depends == (ESTIMATORS[name] in COMPARES_ENVIRONMENTS)
    assert depends == (name == "leave_one_out")


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
    if name == "leave_one_out":  # the others gain as well: compared with future_return instead
        future = psi("future_return", more) - psi("future_return", run)
        same(difference, less_mean_of_others(future))
        assert (np.abs(difference) > 1e-3).any()
        return
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


# ------------------------------------------------------------------- dtype, shapes, dispatch


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


def spoiled_arrays():
    """Kind of mistake -> field -> the field's array with that mistake."""
    floats, bools = Trajectory._fields[:3], Trajectory._fields[3:]
    return {
        "[T, N, 1]": (Trajectory._fields, lambda x: x[..., None]),
        "[T]": (Trajectory._fields, lambda x: x[:, 0]),
        "a step less": (Trajectory._fields, lambda x: x[1:]),
        "one environment": (Trajectory._fields, lambda x: x[:, :1]),  # would broadcast
        "integers": (floats, lambda x: np.round(x).astype(int)),
        "float flags": (bools, lambda x: x.astype(float)),
        "integer flags": (bools, lambda x: x.astype(int)),
    }


@pytest.mark.parametrize("mistake", spoiled_arrays())
@pytest.mark.parametrize("name", [*ESTIMATORS, *VALUE_TARGETS])
def test_arrays_of_another_shape_or_type_are_refused(name, mistake):
    """AssertionError, also for someone who imports the mathematics alone."""
    function = {**ESTIMATORS, **VALUE_TARGETS}[name]
    run = trajectory(8)
    assert function(run, DISCOUNTS).shape == (T, N)
    fields, spoil = spoiled_arrays()[mistake]
    for field in fields:
        with pytest.raises(AssertionError):
            function(run._replace(**{field: spoil(getattr(run, field))}), DISCOUNTS)


def test_arrays_that_are_all_wrong_in_the_same_way_are_refused():
    """Equal shapes are not enough: `[T, N, 1]` and `[T]` throughout."""
    run = jax.tree.map(jnp.asarray, trajectory(8))
    for spoil in (lambda x: x[..., None], lambda x: x[:, 0]):
        for function in (*ESTIMATORS.values(), *VALUE_TARGETS.values()):
            with pytest.raises(AssertionError):
                function(jax.tree.map(spoil, run), DISCOUNTS)


def test_estimators_by_name():
    """Each name is its function, no two give the same numbers, and a config finds each of them."""
    run = trajectory(8)
    names = ("total_return", "future_return", "leave_one_out", "value_baseline", "td", "n_step",
             "gae")  # fmt: skip
    assert {name: getattr(advantages, name) for name in names} == ESTIMATORS
    assert tuple(ESTIMATORS) == names
    arrays = jax.tree.map(jnp.asarray, run)
    expected = {name: function(arrays, DISCOUNTS) for name, function in ESTIMATORS.items()}
    assert len({np.asarray(x).tobytes() for x in expected.values()}) == len(ESTIMATORS)
    for name, out in expected.items():
        setup = make_setup(VPGConfig(estimator=name, rollout="episodes", num_steps=500))
        assert_same_bits(setup.estimator(arrays, DISCOUNTS), out)


def test_every_discount_reaches_the_estimators_that_use_it():
    """gamma all of them, lambda gae alone and n n_step alone."""
    run = trajectory(8)
    for change, users in (
        ({"gamma": 0.5}, set(ESTIMATORS)),
        ({"lam": 0.1}, {"gae"}),
        ({"n": WINDOW + 1}, {"n_step"}),
    ):
        moved = {n for n in ESTIMATORS if not np.array_equal(psi(n, run, **change), psi(n, run))}
        assert moved == users, change


def test_value_targets_by_name():
    """future_return is itself, and lambda_return is gae + V."""
    run = trajectory(9)
    expected = {
        "future_return": psi("future_return", run),
        "lambda_return": psi("gae", run) + run.values,
    }
    assert set(expected) == set(VALUE_TARGETS)
    for name, out in expected.items():
        assert VALUE_TARGETS[name] is getattr(advantages, name)
        same(VALUE_TARGETS[name](jax.tree.map(jnp.asarray, run), DISCOUNTS), out)


def test_unknown_names_raise_and_list_the_known():
    """The error says what was given and what is accepted."""
    with pytest.raises(ValueError, match=r"estimator='reward_to_go' is unknown.*future_return"):
        VPGConfig(estimator="reward_to_go")
    with pytest.raises(ValueError, match=r"value_target='gae' is unknown.*lambda_return"):
        VPGConfig(value_target="gae")
