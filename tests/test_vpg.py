"""Training as pure functions: sweeps, segments, divergence, keys, types, compilations."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.assertions import assert_same_bits
from support.probes import quick_jit
from support.runs import (
    ALL_NORMALIZERS,
    KEY,
    SMALL,
    assert_close,
    change,
    collect,
    member,
    primitives,
)

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_segment, make_train
from purejaxvpg.compute.compute import STEPS_AT_A_TIME

# ------------------------------------------------------------------------ MEMBERS OF A SWEEP


@pytest.fixture(scope="module")
def update():
    """One compiled update of SMALL."""
    return quick_jit(make_learner(SMALL).update)


@pytest.fixture(scope="module")
def members():
    """Four runs with keys and hyperparameters of their own, and the compiled vmapped update."""
    learner = make_learner(SMALL)
    hps = jax.tree.map(lambda x: jnp.full(4, x), Hyperparams(entropy_coef=0.1))
    hps = dataclasses.replace(
        hps, policy_lr=jnp.array([1e-3, 1e-2, 3e-2, 0.0]), gamma=jnp.array([0.9, 0.99, 0.5, 1.0])
    )
    states = quick_jit(jax.vmap(learner.init))(jax.random.split(KEY, 4), hps)
    return states, hps, quick_jit(jax.vmap(learner.update))


def test_vmap_equals_single_runs(members, update):
    """A member of a sweep over keys and hyperparameters goes as it would alone."""
    states, hps, vmapped = members
    together, metrics = states, []
    for _ in range(2):
        together, numbers = vmapped(together, hps)
        metrics.append(numbers)
    for index in range(4):
        alone = member(states, index)
        for step in range(2):
            alone, numbers = update(alone, member(hps, index))
            assert_close(numbers, member(metrics[step], index), 1e-4)
        assert_close(alone.params, member(together, index).params)
        assert_close(alone.obs, member(together, index).obs)
    first, second = member(together, 0).params, member(together, 1).params
    with pytest.raises(AssertionError):  # the members do differ
        assert_close(first, second)


@pytest.mark.parametrize("fault", ["nan_in_params", "huge_lr"])
def test_a_member_that_turns_nan_leaves_the_others_alone(members, fault):
    """The others are bitwise as without it, and it alone is marked."""
    states, hps, vmapped = members
    bad_states, bad_hps = states, hps
    if fault == "nan_in_params":
        spoil = lambda x: x.at[1].set(jnp.nan)  # noqa: E731
        bad_states = states._replace(params=jax.tree.map(spoil, states.params))
    else:
        bad_hps = dataclasses.replace(hps, policy_lr=hps.policy_lr.at[1].set(1e38))
    for _ in range(2):
        states, good = vmapped(states, hps)
        bad_states, bad = vmapped(bad_states, bad_hps)
    assert good.finite.tolist() == [True] * 4
    assert bad.finite.tolist() == [True, False, True, True]
    for index in (0, 2, 3):
        assert_same_bits(member((states, good), index), member((bad_states, bad), index))


def test_a_run_that_diverges_stays_at_its_last_finite_state(members):
    """A diverged run keeps its last finite state bit for bit; later updates report NaN."""
    states, hps, vmapped = members
    states, _ = vmapped(states, hps)
    bad_hps = dataclasses.replace(hps, policy_lr=hps.policy_lr.at[1].set(1e38))
    frozen, first = vmapped(states, bad_hps)
    assert frozen.finite.tolist() == [True, False, True, True]
    assert frozen.update.tolist() == [2, 1, 2, 2]  # the update in which it diverged is not counted
    last_finite = member(states, 1)._replace(finite=jnp.bool_(False))

    assert_same_bits(member(frozen, 1), last_finite)
    assert np.isfinite(first.policy_loss[1])  # of the update itself: it was taken before the step
    later, second = vmapped(frozen, hps)  # good hyperparameters do not bring it back
    assert_same_bits(member(later, 1), last_finite)
    assert not second.finite[1]
    assert member(later, 0).update == 3
    for name, values in second._asdict().items():
        if name.startswith("episode_"):
            assert values[1] == 0
        elif name != "finite":
            assert np.isnan(values[1])
            assert np.isfinite(np.delete(values, 1)).all()


def test_reruns_are_bitwise_equal(members):
    """The same program with the same inputs gives the same bits."""
    states, hps, vmapped = members
    assert_same_bits(vmapped(states, hps), vmapped(states, hps))


# ------------------------------------------------------------------ WHOLE RUNS AND SEGMENTS

RUNS = {
    "discrete_segments": {"eval_every": 2, "eval_episodes": 3},
    "discrete_episodes": {"rollout": "episodes", "estimator": "total_return"},
    "continuous_segments": {"env": probes.ContinuousAction(-2.0, 1.0), "bounding": "tanh"},
    "continuous_episodes": {
        "env": probes.ContinuousAction(), "rollout": "episodes", "std": "free", "eval_every": 1,
        "eval_episodes": 3,
    },
}  # fmt: skip


SLOW = pytest.mark.slow
SEGMENT_RUNS = [
    "discrete_segments",
    pytest.param("continuous_episodes", marks=SLOW),
    pytest.param("discrete_episodes", marks=SLOW),
    pytest.param("continuous_segments", marks=SLOW),
]


@pytest.mark.parametrize("kind", SEGMENT_RUNS)
def test_segments_equal_one_run(kind):
    """Segments laid end to end give the bits of one call of train, evaluations included."""
    config = change(SMALL, **RUNS[kind], **ALL_NORMALIZERS)
    whole = quick_jit(make_train(config))(KEY)
    segment = quick_jit(make_segment(config, 2))
    first = segment(quick_jit(make_learner(config).init)(KEY))
    second = segment(first.state)
    assert_same_bits(whole.state, second.state)
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), first[1:], second[1:])
    assert_same_bits(tuple(whole[1:]), tuple(joined))
    assert whole.metrics.finite.all()
    assert whole.state.update == 4
    assert whole.metrics.kl.shape == (4,)
    if config.eval_every:
        assert whole.evaluations.returns.shape == (4 // config.eval_every, 3)
    else:
        assert whole.evaluations is None


def test_a_segment_must_hold_whole_evaluation_periods():
    """Else evaluations would fall at other updates than in one run."""
    with pytest.raises(ValueError, match="eval_every=2 does not divide a segment of 3 updates"):
        make_segment(change(SMALL, eval_every=2), 3)


def test_one_compilation_serves_all_hyperparameters():
    """Every field of Hyperparams, and the environment's parameters, may change for free."""
    config = VPGConfig(
        env=probes.PlainEnv(3), total_steps=2 * 8, num_envs=2, num_steps=4, hidden_sizes=(8,)
    )
    train = quick_jit(chex.assert_max_traces(make_train(config), n=1))
    returns = []
    for scale in (1.0, 0.5, 0.25):
        hp = Hyperparams(
            policy_lr=1e-3 * scale, value_lr=1e-3 * scale, gamma=scale, gae_lambda=scale,
            entropy_coef=scale, value_coef=scale, max_grad_norm=scale, adam_eps=1e-5 * scale,
            greedy_start=scale, greedy_end=scale, env_params={"reward": scale},
        )  # fmt: skip
        result = train(KEY, hp)
        returns.append(result.metrics.episode_return_sum[0])
    assert returns == [6.0, 3.0, 1.5]  # one episode of 3 steps in each of 2 environments


def test_equal_configs_share_their_functions():
    """Equal configs give the same functions, so jax finds the compiled program again."""
    again = change(SMALL)
    assert again is not SMALL
    assert make_train(again) is make_train(SMALL)
    assert make_learner(again).update is make_learner(SMALL).update
    assert make_segment(again, 2) is make_segment(SMALL, 2)


def test_no_host_callback():
    """A callback would keep the program out of the compilation cache and break vmap."""
    config = change(SMALL, eval_every=2, **ALL_NORMALIZERS)
    names = set(primitives(jax.make_jaxpr(make_train(config))(KEY).jaxpr))
    assert {"scan", "while", "dot_general", "random_bits"} <= names  # the walk goes inside
    assert not {name for name in names if "callback" in name}
    noisy = jax.make_jaxpr(jax.jit(lambda x: jax.debug.print("{}", x)))(1.0).jaxpr
    assert any("callback" in name or "debug_print" in name for name in primitives(noisy))
    assert not {name for name in names if "print" in name}


def test_the_state_is_arrays_only(update):
    """A state of arrays alone can be vmapped, donated, sharded and saved."""
    state, _ = update(quick_jit(make_learner(SMALL).init)(KEY), Hyperparams())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert len(jax.tree.leaves(state)) > 20
    learner = make_learner(change(SMALL, **ALL_NORMALIZERS))
    state = jax.eval_shape(learner.init, KEY)
    after, _ = jax.eval_shape(learner.update, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    same = jax.tree.map(lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype), state, after)
    assert all(jax.tree.leaves(same))


def test_an_accelerator_is_given_the_same_algorithm(monkeypatch):
    """Loops unrolled (8 steps at a time, of 11), rounds, chunks, resets: all that is chosen by the
    platform while tracing.  Reset states are drawn from other keys, and are all alike here."""
    config = change(
        SMALL, env=probes.LateReward(3), max_episode_steps=None, num_steps=11, total_steps=88
    )
    assert config.num_steps % STEPS_AT_A_TIME
    learner = make_learner(config)
    state = learner.init(KEY)

    def two_updates(state):
        return jax.lax.scan(lambda state, _: learner.update(state), state, length=2)

    here, metrics = jax.jit(lambda state: two_updates(state))(state)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    there, metrics_there = jax.jit(lambda state: two_updates(state))(state)
    assert metrics.episode_count.min() > 0
    assert_close(metrics_there, metrics)
    assert_close(there.params, here.params)


# ----------------------------------------------------------------------------- RANDOM NUMBERS


@pytest.mark.parametrize("kind", RUNS)
def test_no_key_is_used_twice(kind):
    """jax's own checker follows every key through the traced program."""
    config = change(SMALL, **RUNS[kind], **ALL_NORMALIZERS)

    def careless(key):
        return make_train(config)(key).state, jax.random.normal(key)

    with jax.debug_key_reuse(True):
        jax.jit(make_train(config)).lower(KEY)
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(careless).lower(KEY)


def test_random_numbers_never_repeat():
    """Actions and resets of successive updates and of all environments differ."""
    config = change(SMALL, env=probes.ContinuousAction(), num_steps=4, total_steps=2 * 16)
    learner, hp = make_learner(config), Hyperparams(policy_lr=0.0)
    step = quick_jit(lambda state: (*learner.update(state, hp), collect(config, state, hp)[0]))
    state = quick_jit(learner.init)(KEY)
    actions = []
    for _ in range(2):
        state, _, batch = step(state)
        actions.append(np.asarray(batch.action).ravel())
    assert len(np.unique(np.concatenate(actions))) == 2 * 16


# -------------------------------------------------------------------------------- PRECISION


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("hp", ["default", "arrays"])
def test_traces_with_x64_on(kind, hp):
    """float64 hyperparameters, as jax makes them under x64, leave a float32 run float32."""
    config = change(SMALL, **RUNS[kind], **ALL_NORMALIZERS)
    arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), Hyperparams())
    result = jax.eval_shape(make_train(config), KEY, None if hp == "default" else arrays)
    ours = result._replace(state=result.state._replace(env_state=None))  # that is the library's
    leaves = jax.tree_util.tree_leaves_with_path(ours)
    wide = [jax.tree_util.keystr(path) for path, x in leaves if x.dtype == jnp.float64]
    assert wide == []


@pytest.mark.usefixtures("x64")
def test_runs_with_x64_on():
    """Finite numbers, float32 parameters, and one step of the state's clock per update."""
    result = quick_jit(make_train(change(SMALL, total_steps=32)))(KEY)
    assert result.metrics.finite.all()
    assert result.metrics.episode_count[0] > 4
    assert {x.dtype for x in jax.tree.leaves(result.state.params)} == {jnp.dtype("float32")}
    assert result.state.update == 1


# ------------------------------------------------------------------------- WRONG ARGUMENTS


@pytest.mark.parametrize("name", ["gamma", "gae_lambda", "greedy_start", "policy_lr"])
def test_a_vector_where_a_scalar_belongs_is_refused(name):
    """As many values as environments would broadcast over them, and train a wrong run."""
    config = VPGConfig(num_envs=2, num_steps=4, total_steps=8)
    hp = Hyperparams(**{name: np.array([0.1, 0.2])})
    with pytest.raises(ValueError, match=rf"{name} has shape \(2,\).*jax.vmap"):
        jax.eval_shape(make_train(config), jax.random.key(0), hp)


def test_arguments_of_another_type_are_named():
    """A dict for Hyperparams, or a name for a config, is refused with what to pass."""
    config = VPGConfig(num_envs=2, num_steps=4, total_steps=8)
    with pytest.raises(TypeError, match="pass Hyperparams"):
        make_train(config)(jax.random.key(0), {"gamma": 0.9})
    with pytest.raises(TypeError, match="pass VPGConfig"):
        make_train("CartPole-v1")
