"""Numbers that hostile users have made go wrong, each with the right value."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from support.probes import ConstantValue, ContinuousAction, Mortal, quick_jit

from purejaxvpg import (
    Hyperparams,
    VPGConfig,
    envs,
    make_evaluate,
    make_learner,
    make_segment,
    make_train,
)
from purejaxvpg.advantages import ESTIMATORS, Discounts, Trajectory, future_return, n_step
from purejaxvpg.agent.encoding import of_array
from purejaxvpg.agent.policy import make_policy
from purejaxvpg.compute import accumulate, keep_finite
from purejaxvpg.experiment import save_policy
from purejaxvpg.experiment.accepted import Accepted
from purejaxvpg.experiment.acting import make_act
from purejaxvpg.experiment.checks import make_seeds
from purejaxvpg.experiment.design import make_design
from purejaxvpg.state import EpisodeSums, Params, RunningStats, TrainState
from purejaxvpg.statistics import trailing_return

TINY = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "value_iterations": 1}
KEY = jax.random.key(0)

# ------------------------------------------------------------------------------------ DIVERGENCE


def is_finite(weight=1.0, **numbers):
    """Whether an update that ends so is one of a healthy run."""
    none = dict.fromkeys(TrainState._fields, jnp.zeros(()))
    params = Params(*[{"head": {"params": {"w": jnp.full(2, x)}}} for x in (1.0, weight)])
    state = TrainState(**none)._replace(
        params=params, key=KEY, finite=jnp.array(True), update=jnp.int32(0)
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
    metrics = train_mortal(config)(KEY, hp).metrics
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


# ------------------------------------------------------------------------------ ADVANTAGES


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_rollout_of_no_steps_has_no_weights(name):
    assert ESTIMATORS[name](rollout([]), Discounts(0.9)).shape == (0, 1)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (0, "n_step=0 is out of range; accepted: 1 to"),
        (-1, "n_step=-1 is out of range"),
        (2.5, "n_step=2.5 is no integer"),
        (True, "n_step=True is no integer"),
    ],
)
def test_n_step_is_an_integer_above_0(steps, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        n_step(rollout([1.0, 2.0]), Discounts(0.9, n_step=steps))
    one = n_step(rollout([1.0, 2.0]), Discounts(0.9, n_step=np.int64(1)))
    assert one[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_floats_of_several_dtypes_are_refused(name):
    given = rollout([1.0, 2.0])
    mixed = given._replace(next_values=given.next_values.astype(jnp.bfloat16))
    with pytest.raises(AssertionError, match=r"has type bfloat16 but expected float32\.$") as error:
        ESTIMATORS[name](mixed, Discounts(0.9))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------- SETTINGS


def test_true_is_no_number():
    for name in ("policy_lr", "gamma", "max_grad_norm"):
        for value in (True, np.True_, np.array([True])):
            with pytest.raises(TypeError, match=f"^{name}=.*True.* is not a number; {name} acc"):
                Hyperparams(**{name: value})
    assert Hyperparams(env_params={"sutton_barto_reward": True})
    for seeds in ({"num_seeds": True}, {"num_seeds": 1, "first_seed": True}):
        with pytest.raises(ValueError, match=r"_seeds?=True is out of range; accepted: "):
            make_seeds(**seeds)
    assert make_seeds(np.int64(2), np.int64(1)).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["policy_lr", "env_params.gravity", "init_std"])
def test_values_that_are_one_number_in_float32_are_one_setting(name):
    with pytest.raises(ValueError, match=f"axis {name} has 0.1 and 0.1000000000010.*, which are o"):
        make_design({name: [0.3, 0.1, 0.1 + 1e-12]})
    assert make_design({name: [0.1, float(np.nextafter(np.float32(0.1), 1))]}).size == 2
    assert make_design(zipped={name: [0.1, 0.1 + 1e-12]}).size == 2


def test_whole_numbers_stay_apart_where_the_program_keeps_them():
    large = [2**24, 2**24 + 1]
    assert make_design({"env_params.max_steps_in_episode": large}).size == 2
    assert make_design({"total_steps": large}).size == 2
    with pytest.raises(ValueError, match="axis policy_lr has 16777216 and 16777217, which are one"):
        make_design({"policy_lr": large})
    with jax.enable_x64(True):  # the environment's parameters are float64 there, and no others
        assert make_design({"env_params.gravity": [0.1, 0.1 + 1e-12]}).size == 2
        with pytest.raises(ValueError, match="are one number in float32"):
            make_design({"gamma": [0.1, 0.1 + 1e-12]})


@pytest.mark.parametrize("given", [[1, 2], (1, 2), {1, 2}])
def test_parameters_of_an_environment_are_a_mapping_or_its_object(given):
    env = envs.make("CartPole-v1")
    with pytest.raises(TypeError, match=r"env_params=.*; accepted: a mapping from") as error:
        envs.resolve_params(env, Hyperparams(env_params=given).env_params)
    assert "\n" not in str(error.value)
    assert envs.resolve_params(env, env.default_params) is env.default_params


# ------------------------------------------------------------------------------ SPACES


class Boxed(ContinuousAction):
    """The reward is the action; its space has the shape (n,)."""

    def __init__(self, low=-1.0, high=1.0, size=1):
        super().__init__(low, high)
        self.size = size

    def outcome(self, state, action, params):
        return action.sum(), True

    def action_space(self, params=None):
        return spaces.Box(self.low, self.high, (self.size,))


class Discrete(ConstantValue):
    def __init__(self, number):
        self.num_actions = number


class Unseen(ConstantValue):
    def observation(self, state):
        return jnp.zeros(0)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Discrete(0), r"^Discrete has no action: n is below 1 in its action space Discrete\(0"),
        (Boxed(size=0), r"^Boxed has no action: shape is \(0,\) in its action space Box\("),
        (Boxed(1.0, -1.0), r"^Boxed has no action: low is above high in its action space Box\("),
    ],
)
def test_a_space_without_actions_is_refused(env, message):
    with pytest.raises(ValueError, match=f"{message}.*; accepted: a Discrete of n >= 1") as error:
        make_learner(VPGConfig(env=env))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bounding", ["clip", "tanh"])
def test_a_dimension_of_one_action_takes_it(bounding):
    """Low is high in the first dimension; the second is as it is without the first."""
    config = VPGConfig(bounding=bounding)
    one, both = (spaces.Box(jnp.array(low), jnp.array(high), (len(low),))
                 for low, high in (([-1.0], [3.0]), ([0.5, -1.0], [0.5, 3.0])))  # fmt: skip
    policy, alone = make_policy(config, both), make_policy(config, one)
    outputs = jnp.array([[0.3, -0.2, 0.1, 0.4], [9.0, 1.0, -2.0, 0.0]])
    noise = jnp.array([[0.5, -1.0], [1.5, 0.1]])

    def numbers(policy, outputs, noise):
        raw = policy.sample(outputs, noise)
        actions = [policy.to_env(x) for x in (raw, policy.mode(outputs))]
        gradient = jax.grad(lambda x: policy.log_prob(x, raw).sum())(outputs)
        return actions, gradient, policy.entropy(outputs, raw), policy.kl(outputs, outputs[::-1])

    actions, gradient, *others = quick_jit(lambda *x: numbers(policy, *x))(outputs, noise)
    alone = quick_jit(lambda *x: numbers(alone, *x))(outputs[:, 1::2], noise[:, 1:])
    for given, expected in zip(actions, alone[0], strict=True):
        assert given[:, 0].tolist() == [0.5, 0.5]
        np.testing.assert_allclose(given[:, 1:], expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 1::2], alone[1], rtol=1e-5)
    assert all(jnp.isfinite(x).all() for x in (gradient, *others))


@pytest.mark.parametrize("env", [Discrete(1), Unseen(), Boxed(0.5, 0.5)], ids=["1", "none", "box"])
def test_one_action_or_nothing_to_see_is_a_run(env):
    """Two updates of 2 x 8 episodes of one step, of reward 1 or 0.5."""
    metrics = quick_jit(make_train(VPGConfig(env=env, total_steps=32, **TINY)))(KEY).metrics
    assert metrics.finite.all()
    reward = 0.5 if isinstance(env, Boxed) else 1
    assert metrics.episode_return_sum.tolist() == [16 * reward] * 2


class Blind(nn.Module):
    """A torso of no features."""

    @nn.compact
    def __call__(self, obs):
        return jnp.zeros((len(obs), 0))


def test_a_torso_of_no_features_is_refused():
    with pytest.raises(ValueError, match=r"network Blind returned features of shape \(1, 0\), whi"):
        make_learner(VPGConfig(network=Blind()))


# ------------------------------------------------------------------- WHAT A USER HANDS IN


def has_a_typo(trajectory, discounts):
    return trajectory.rewards + undefined  # noqa: F821


def branches(trajectory, discounts):
    if trajectory.rewards.sum() > 0:
        return trajectory.rewards
    return trajectory.values


def mixes(trajectory, discounts):
    return ESTIMATORS["gae"](trajectory._replace(values=trajectory.values[None]), discounts)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (has_a_typo, r"NameError at .*{file}:\d+ \(return .*\): name 'undefined' is not defined$"),
        (branches, r"TracerBoolConversionError at .*{file}:\d+ \(if traj.*\): Attempted boolean"),
        (mixes, r"AssertionError at .*{file}:\d+ \(return ESTIM.*: \[Chex\] Assertion assert_rank"),
    ],
)
def test_an_estimator_that_raises_is_named_with_its_line(estimator, message):
    expected = message.format(file="test_surprises_numbers.py")
    with pytest.raises(
        ValueError, match=rf"^estimator={estimator.__name__} raised {expected}"
    ) as e:
        make_learner(VPGConfig(estimator=estimator))
    assert "\n" not in str(e.value)


SMALL = {**TINY, "total_steps": 32}
CONFIG = VPGConfig(**SMALL)
OTHERS = {
    "hidden_sizes": ({"hidden_sizes": (5,)}, r"state.params .*kernel has shape \(5, 2\); accepted: "
                     r"shape \(4, 2\); pass the state of a run of the same config"),
    "num_envs": ({"num_envs": 4}, r"state.obs has shape \(4, 4\); accepted: \(2, 4\), which is"),
    "optimizer": ({"optimizer": "sgd"}, r"state.opt_state .* policy/1/count is missing; accepted"),
    "std": ({"shared_torso": True}, r"state.params .* value/torso/\S+ is missing; accepted: shape"),
}  # fmt: skip


def state_of(config):
    return jax.eval_shape(make_learner(config).init, KEY)


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_config_is_refused(name):
    fields, message = OTHERS[name]
    state = state_of(VPGConfig(**{**SMALL, **fields}))
    for function in (make_learner(CONFIG).update, make_segment(CONFIG, 2)):
        with pytest.raises(ValueError, match=f"^{message}") as error:
            jax.eval_shape(function, state)
        assert "\n" not in str(error.value)


def test_a_state_whose_memory_is_of_other_environments_is_refused():
    config = VPGConfig(**SMALL, memory="gru", memory_size=3)
    state = state_of(config)
    fewer = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), state.memory)
    for memory, has in (
        (fewer, r"has shape \(1, 3\)"),
        (state.memory._replace(policy=()), "is missing"),
    ):
        message = rf"^state.memory are not .*: policy {has}; accepted: shape \(2, 3\); pass"
        with pytest.raises(ValueError, match=message) as error:
            jax.eval_shape(make_learner(config).update, state._replace(memory=memory))
        assert "\n" not in str(error.value)


def test_no_state_is_refused():
    with pytest.raises(TypeError, match=r"^state is a Params; pass a TrainState"):
        jax.eval_shape(make_learner(CONFIG).update, state_of(CONFIG).params)


def test_parameters_of_another_policy_are_refused(tmp_path):
    state, other = state_of(CONFIG), state_of(VPGConfig(**{**SMALL, "hidden_sizes": (4, 4)}))
    one_too_many = r"torso/params/Dense_1/bias has shape \(4,\); accepted: none of that name; pass"
    several = jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), state.params)
    for params, message in (
        (other.params.policy, one_too_many),
        (state.params, r"head/params/Dense_0/bias is missing; accepted: shape \(2,\)"),
        (
            several.policy,
            r"bias has shape \(3, 2\); accepted: shape \(2,\); .* \(several runs: jax.v",
        ),
    ):
        start = "^the policy's parameters are not those of one run of this config: .*"
        for function in (
            lambda params: jax.eval_shape(make_evaluate(CONFIG, 2), KEY, params, state.obs_stats),
            lambda params: save_policy(tmp_path / "policy", CONFIG, params),
        ):
            with pytest.raises(ValueError, match=start + message) as error:
                function(params)
            assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_evaluation_refuses_what_it_cannot_use():
    for greedy in ("no", 1, None):
        with pytest.raises(TypeError, match=f"^greedy={greedy!r} is neither True nor False$"):
            make_evaluate(CONFIG, greedy=greedy)
    normalising = VPGConfig(**SMALL, normalize_obs=True)
    state, evaluate = state_of(normalising), make_evaluate(normalising, 2)
    params, wide = state.params.policy, RunningStats(jnp.zeros(5), jnp.ones(5), jnp.zeros(()))
    for stats, kind, message in (
        (None, ValueError, "obs_stats is missing, and with normalize_obs=True"),
        ((1, 2, 3), TypeError, "obs_stats is a tuple; pass state.obs_stats"),
        (wide, ValueError, r"obs_stats are of observations \(5,\); accepted: .*, \(4,\)"),
    ):
        with pytest.raises(kind, match=f"^{message}"):
            evaluate(KEY, params, stats)
    assert jax.eval_shape(make_evaluate(CONFIG, 2), KEY, params, None).returns.shape == (2,)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((0,), np.int64), ((0, 3), np.float32)], ids=["discrete", "box"]
)
def test_no_observations_have_no_actions(shape, dtype):
    """`rows` is a network that flattens: 0 rows would stop it."""

    def rows(obs, mask, memory, key):
        flat = obs.reshape(len(obs), -1)
        return (flat[:, 0].astype(int) if len(shape) == 1 else flat[:, :3]), memory

    act = make_act(rows, Accepted(of_array((2, 2)), ("",)))
    for key in (None, KEY):
        given = act(np.zeros((0, 2, 2)), key)
        assert (given.shape, given.dtype) == (shape, dtype)
    assert jax.eval_shape(act, jnp.zeros((0, 2, 2))).shape == shape
    assert act(np.ones((5, 2, 2))).shape == (5, *shape[1:])
