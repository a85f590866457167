"""The algorithm: probes it must solve, ends it must tell apart, and numbers it must report."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from probes import quick_jit

from purejaxvpg import Hyperparams, VPGConfig, envs, make_learner, make_segment, make_train, vpg
from purejaxvpg.advantages import future_return, gae
from purejaxvpg.agent import make_agent

KEY = jax.random.key(0)
PROBE = VPGConfig(
    env=probes.ConstantValue(), total_steps=60 * 64, num_envs=16, num_steps=4, hidden_sizes=(8,)
)  # fmt: skip
FAST = Hyperparams(policy_lr=0.05, value_lr=0.05, max_grad_norm=10.0)

# Episodes of 1 to 5 steps, cut after 4: terminations, truncations and a cut end in each batch.
SMALL = VPGConfig(
    env=probes.RandomLength(5), max_episode_steps=4, total_steps=4 * 32, num_envs=4, num_steps=8,
    hidden_sizes=(8,), value_iterations=3,
)  # fmt: skip
ALL_NORMALIZERS = {"normalize_obs": True, "normalize_rewards": True, "normalize_advantages": True}
FLOAT32 = jnp.dtype("float32")


def change(config, **fields):
    return dataclasses.replace(config, **fields)


def value(config, result, *observations):
    """V of some observations after a run."""
    networks = make_agent(config).networks
    obs = jnp.asarray(observations, jnp.float32)
    params = result.state.params
    return np.asarray(networks.value(params.value, networks.value_inputs(params.policy, obs)))


def policy_outputs(config, result, *observations):
    obs = jnp.asarray(observations, jnp.float32)
    return make_agent(config).networks.policy(result.state.params.policy, obs)


def assert_same_bits(x, y):
    """Equal pytrees, to the last bit; keys too."""
    bits = lambda leaf: np.asarray(  # noqa: E731
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), x, y)


def assert_close(x, y, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), x, y)


def smallest_change(x, y):
    """Over the arrays of two pytrees, the least of the largest differences."""
    return min(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), x, y)))


def member(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def collect(config, state, hp):
    """The rollout that an update of `state` learns from."""
    agent = make_agent(config)
    env = envs.vectorize(agent.env, config.num_envs, config.max_episode_steps)
    return vpg.collect(vpg.Setup(config, agent, env), state, hp)[1:]


# ------------------------------------------------------------------------- THE PROBE LADDER


def solve(config, hp=FAST):
    result = quick_jit(make_train(config))(KEY, hp)
    assert result.metrics.finite.all()
    return result


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
    [(-1.0, 1.0, "clip"), (0.0, 4.0, "clip"), (-3.0, 1.0, "tanh")],
)
def test_probe_continuous_action(low, high, bounding):
    """The action that pays most, 0.5, is found whatever the bounds of the Box."""
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
    # The third state is only ever seen as a final observation, so its V is wrong, and told so:
    # V(s_1) = 1 + gamma V(s_2) with V(s_2) as the network has it.
    v = value(config, result, *np.eye(4))
    assert v[1] == pytest.approx(1 + 0.9 * v[2], abs=0.02)
    assert v[0] == pytest.approx(1 + 0.9 * v[1], abs=0.02)
    assert abs(v[2]) > 0.1  # else the two lines above would hold for a termination too


# ------------------------------------------------------------- WHOLE RUNS, SEGMENTS, MEMBERS


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
    """Its neighbours are bitwise as without it, and it alone is marked."""
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
    """What it did until then is kept, bit for bit; what it would do again is not counted."""
    states, hps, vmapped = members
    states, _ = vmapped(states, hps)
    bad_hps = dataclasses.replace(hps, policy_lr=hps.policy_lr.at[1].set(1e38))
    frozen, first = vmapped(states, bad_hps)
    assert frozen.finite.tolist() == [True, False, True, True]
    assert frozen.update.tolist() == [2, 1, 2, 2]  # its last one is where it happened

    def assert_kept(state):
        kept = member(states, 1)._replace(finite=jnp.bool_(False))
        assert_same_bits(state, kept)

    assert_kept(member(frozen, 1))
    assert np.isfinite(first.policy_loss[1])  # of the update itself: it was taken before the step
    later, second = vmapped(frozen, hps)  # no way back, with good hyperparameters neither
    assert_kept(member(later, 1))
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
    "continuous_episodes",
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
    config = change(PROBE, env=probes.PlainEnv(3), total_steps=2 * 8, num_envs=2)
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
    """Which is what lets jax find the compiled program again."""
    again = change(SMALL)
    assert again is not SMALL
    assert make_train(again) is make_train(SMALL)
    assert make_learner(again).update is make_learner(SMALL).update


def primitives(jaxpr):
    """Names of all primitives in a jaxpr and in those within it."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


def test_no_host_callback():
    """A callback would keep the program out of the compilation cache and break vmap."""
    config = change(SMALL, eval_every=2, **ALL_NORMALIZERS)
    names = set(primitives(jax.make_jaxpr(make_train(config))(KEY).jaxpr))
    assert {"scan", "while", "dot_general", "random_bits"} <= names  # the walk goes inside
    assert not {name for name in names if "callback" in name}
    noisy = jax.make_jaxpr(jax.jit(lambda x: jax.debug.print("{}", x)))(1.0).jaxpr
    assert any("callback" in name or "debug_print" in name for name in primitives(noisy))
    assert not {name for name in names if "print" in name}


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


def test_the_state_is_arrays_only(update):
    """So that it can be vmapped, donated, sharded and saved."""
    state, _ = update(quick_jit(make_learner(SMALL).init)(KEY), Hyperparams())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert len(jax.tree.leaves(state)) > 20
    learner = make_learner(change(SMALL, **ALL_NORMALIZERS))
    state = jax.eval_shape(learner.init, KEY)
    after, _ = jax.eval_shape(learner.update, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    same = jax.tree.map(lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype), state, after)
    assert all(jax.tree.leaves(same))


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
    assert {x.dtype for x in jax.tree.leaves(result.state.params)} == {FLOAT32}
    assert result.state.update == 1


# ---------------------------------------------------------------------------------- METRICS


@pytest.fixture(scope="module")
def steps(update):
    """Three updates in a row: (state before, state after, metrics, batch, episode sums)."""
    hp = Hyperparams(gamma=0.9, gae_lambda=0.8, entropy_coef=0.1, policy_lr=0.02)
    rollout = quick_jit(lambda state: collect(SMALL, state, hp))
    state = quick_jit(make_learner(SMALL).init)(KEY)
    found = []
    for _ in range(3):
        batch, _ = rollout(state)
        after, metrics = update(state, hp)
        found.append((state, after, metrics, batch))
        state = after
    return hp, found


def judged_by_hand(hp, state, batch):
    """V, its targets and the normalised weights, each `[T, N]`, V taken of every final_obs."""
    networks = make_agent(SMALL).networks
    v = lambda obs: networks.value(state.params.value, obs.reshape(-1, 3)).reshape(8, 4)  # noqa: E731
    values, next_values = v(batch.obs), v(batch.final_obs)
    ends = (batch.terminated, batch.truncated)
    target = future_return(batch.reward, next_values, *ends, hp.gamma)
    psi = gae(batch.reward, values, next_values, *ends, hp.gamma, hp.gae_lambda)
    return values, target, (psi - psi.mean()) / (psi.std() + 1e-8)


def test_episodes_are_counted_exactly(steps):
    """Sums and counts over updates are those of the rewards, added up by hand."""
    _, found = steps
    returns, lengths = np.zeros(4), np.zeros(4)
    for _, _, metrics, batch in found:
        sums = np.zeros(3)
        for t in range(8):
            returns += np.asarray(batch.reward[t])
            lengths += 1
            for n in np.flatnonzero(batch.terminated[t] | batch.truncated[t]):
                sums += returns[n], lengths[n], 1
                returns[n] = lengths[n] = 0
        got = (metrics.episode_return_sum, metrics.episode_length_sum, metrics.episode_count)
        assert tuple(map(float, got)) == tuple(sums)
        assert sums[2] > 4
        assert batch.truncated.any()
        assert batch.terminated.any()


def test_value_metrics(steps):
    """value_loss and explained variance before the fit, value_loss_after after it."""
    hp, found = steps
    networks = make_agent(SMALL).networks
    for state, after, metrics, batch in found:
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
    hp, found = steps
    networks = make_agent(SMALL).networks
    for state, after, metrics, batch in found:
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
    hp, found = steps
    state, after, _, batch = found[0]
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
    _, found = steps
    state = found[1][0]
    after, metrics = update(state, Hyperparams(policy_lr=0.0, value_lr=0.0))
    assert abs(metrics.kl) < 1e-7
    assert abs(metrics.policy_loss_change) < 1e-6
    assert metrics.value_loss_after == pytest.approx(float(metrics.value_loss), rel=1e-5)
    assert_same_bits(after.params, state.params)
    assert after.update == state.update + 1


def test_metrics_that_are_not_measured_are_nan():
    """diagnostics=False spares their forward passes, and is no sign of trouble."""
    update = quick_jit(make_learner(change(SMALL, diagnostics=False)).update)
    state = quick_jit(make_learner(SMALL).init)(KEY)
    _, metrics = update(state)
    missing = {name for name, x in metrics._asdict().items() if np.isnan(x)}
    assert missing == {"kl", "policy_loss_change", "value_loss_after"}
    assert metrics.finite
    spoiled = jax.tree.map(lambda x: x.at[...].set(jnp.nan), state.params)
    _, metrics = update(state._replace(params=spoiled))
    assert not metrics.finite


def test_gradient_in_chunks_equals_the_whole(members, update):
    """32 rows in chunks of at most 7 (so some are padding) give the same step."""
    states, hps, _ = members
    chunked = quick_jit(make_learner(change(SMALL, gradient_rows=7)).update)
    state, hp = member(states, 1), member(hps, 1)
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


# --------------------------------------------------------------------------- WHOLE EPISODES


@pytest.fixture(scope="module")
def episodes():
    """Whole episodes of an environment that pays otherwise in every episode but its first."""
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


@pytest.mark.parametrize("name", ["gamma", "gae_lambda", "greedy_start", "policy_lr"])
def test_a_vector_where_a_scalar_belongs_is_refused(name):
    """As many values as environments would broadcast over them, and train a wrong run."""
    config = VPGConfig(num_envs=2, num_steps=4, total_steps=8)
    hp = Hyperparams(**{name: np.array([0.1, 0.2])})
    with pytest.raises(ValueError, match=rf"{name} has shape \(2,\).*jax.vmap"):
        jax.eval_shape(make_train(config), jax.random.key(0), hp)


def test_arguments_of_another_type_are_named():
    config = VPGConfig(num_envs=2, num_steps=4, total_steps=8)
    with pytest.raises(TypeError, match="pass Hyperparams"):
        make_train(config)(jax.random.key(0), {"gamma": 0.9})
    with pytest.raises(TypeError, match="pass VPGConfig"):
        make_train("CartPole-v1")


def test_an_accelerator_is_given_the_same_algorithm(monkeypatch):
    """Loops unrolled (8 steps at a time, of 11), rounds, chunks, resets: all that is chosen by the
    platform while tracing.  Its resets come of other keys, and here are all the same."""
    config = change(SMALL, env=probes.LateReward(3), num_steps=11, total_steps=88)
    assert config.num_steps % vpg.STEPS_AT_A_TIME
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
