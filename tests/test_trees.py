"""Observations and actions that are trees: what networks see, and what the environment is given."""

import dataclasses

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from support import trees
from support.probes import quick_jit

from purejaxvpg import Hyperparams, VPGConfig, envs, make_evaluate, make_learner
from purejaxvpg.agent import make_agent
from purejaxvpg.agent.encoding import Encoder, make_encoder
from purejaxvpg.agent.policy import describe_actions, make_policy, policy_for
from purejaxvpg.envs.spaces import MultiDiscrete

KEY = jax.random.key(0)
HOUSE = trees.house()
SMALL = {"num_envs": 3, "num_steps": 4, "total_steps": 24, "hidden_sizes": (8,),
         "value_iterations": 1}  # fmt: skip
CONFIG = VPGConfig(env=HOUSE, **SMALL)


def some_obs(rows=None):
    obs, _ = envs.make(HOUSE).reset(KEY, None)
    return obs if rows is None else jax.tree.map(lambda x: jnp.stack([x] * rows), obs)


# ------------------------------------------------------------------------------- OBSERVATIONS


def test_each_part_is_encoded_by_its_space():
    """Bytes over 255, one-hot, integers and flags as numbers; and what is encoded stays."""
    env = envs.make(HOUSE)
    encoder = make_encoder(env)
    _, state = env.reset(KEY, None)
    obs = env.step(KEY, state, {"move": 0, "pair": [0, 0], "force": [0, 0]}, None).obs
    assert jax.tree.map(lambda x: str(x.dtype), obs) == {
        "picture": "uint8", "inner": {"kind": "int32", "where": "int32"}, "late": ("bool",)
    }  # fmt: skip
    seen = encoder(obs)
    expected = {
        "picture": np.full((4, 4, 1), 0.2),
        "inner.kind": [0, 1, 0],
        "inner.where": [1, -1],
        "late.0": 0,
    }
    assert set(seen) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value, rtol=1e-6)
        assert seen[name].dtype == jnp.float32
        np.testing.assert_array_equal(encoder(seen)[name], seen[name])
    assert encoder.size == 16 + 3 + 2 + 1
    assert Encoder.from_json(encoder.to_json()) == encoder


def test_grids_of_categories_are_one_hot_in_their_last_axis():
    grid = jnp.array([[[1, 0]]])
    part = make_encoder(
        envs.make(
            trees.bare(
                "Grid",
                reset=lambda key, params: (grid, jnp.zeros((), jnp.int32)),
                step=lambda key, s, a, p: envs.Step(s, grid, grid, 0, True, False),
                observation_space=lambda params: MultiDiscrete([[[3, 2]]]),
            )
        )
    )
    np.testing.assert_array_equal(part(grid), [[[0, 1, 0, 1, 0, 0]]])
    np.testing.assert_array_equal(
        part(jnp.array([[[[2, 1]]], [[[0, 0]]]])),
        [[[[0, 0, 1, 0, 1, 0]]], [[[1, 0, 0, 1, 0, 0]]]],
    )


def test_a_batch_keeps_the_environments_types():
    state = jax.eval_shape(make_learner(CONFIG).init, KEY)
    assert state.obs["picture"].dtype == jnp.uint8
    assert state.obs["late"][0].dtype == jnp.bool_
    assert state.obs_stats.mean["inner.kind"].shape == (3,)


@pytest.mark.parametrize("network", ["auto", "mlp"])
def test_pictures_are_convolved_and_all_else_is_laid_beside(network):
    config = dataclasses.replace(CONFIG, network=network)
    params = jax.eval_shape(make_learner(config).init, KEY).params.policy
    shapes = [x.shape for x in jax.tree.leaves(params["torso"])]
    assert ((3, 3, 1, 16) in shapes) == (network == "auto")
    width = 2 * 2 * 16 if network == "auto" else 16
    assert (width + 6, 8) in shapes


class Whole(nn.Module):
    """A user's torso of one part."""

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(3)(obs["inner.where"])


def test_a_users_torso_gets_the_parts_by_name():
    config = dataclasses.replace(CONFIG, network=Whole())
    params = jax.eval_shape(make_learner(config).init, KEY).params.policy
    assert params["torso"]["params"]["Dense_0"]["kernel"].shape == (2, 3)


def test_policy_and_value_see_their_own_parts():
    """The asymmetric critic: a part that the policy does not see changes V alone."""
    config = dataclasses.replace(CONFIG, policy_obs=("picture",), value_obs=("inner", "late"))
    networks = make_agent(config).networks
    params = networks.init(KEY, some_obs(2))
    obs = some_obs(2)
    moved = obs | {"inner": obs["inner"] | {"where": obs["inner"]["where"] + 1}}
    brighter = obs | {"picture": obs["picture"] + 100}
    policy, value = (
        lambda o: networks.policy(params.policy, o),
        lambda o: networks.value(params.value, o),
    )
    assert (policy(moved) == policy(obs)).all()
    assert (value(moved) != value(obs)).all()
    assert (policy(brighter) != policy(obs)).any()
    assert (value(brighter) == value(obs)).all()


@pytest.mark.parametrize("field", ["policy_obs", "value_obs"])
def test_parts_that_are_not_there_are_refused(field):
    with pytest.raises(
        ValueError, match=rf"{field}=\('outer',\) has no 'outer'; accepted: \['inner"
    ):
        make_agent(dataclasses.replace(CONFIG, **{field: ("outer",)}))
    with pytest.raises(ValueError, match="accepted: None, for observations are one array"):
        make_agent(VPGConfig(**{field: ("outer",)}))
    with pytest.raises(TypeError, match=f"{field}=.* accepted: a tuple of names or None"):
        VPGConfig(**{field: "outer"})


# ------------------------------------------------------------------------------------ ACTIONS


def test_a_product_is_a_sum_of_logarithms():
    """log pi, entropy and KL of three parts, against the parts alone."""
    space = HOUSE.action_space(None)
    policy = make_policy(CONFIG, space)
    old, new = np.random.default_rng(0).normal(size=(2, 5, 3 + 2 + 4 + 4)).astype(np.float32)
    raw = policy.sample(jnp.asarray(old), policy.noise(KEY, (5,)))
    move, pair, force = raw
    assert (move.shape, pair.shape, force.shape) == ((5,), (5, 2), (5, 2))

    def parts(outputs):
        gaussian = make_policy(CONFIG, space.spaces["force"])
        categorical = [distrax.Categorical(x) for x in np.split(outputs[:, :9], [3, 5], axis=1)]
        return categorical, gaussian

    (before, gaussian), (after, _) = parts(old), parts(new)
    log_p = sum(
        d.log_prob(x) for d, x in zip(before, [move, pair[:, 0], pair[:, 1]], strict=True)
    ) + gaussian.log_prob(old[:, 9:], force)
    np.testing.assert_allclose(policy.log_prob(old, raw), log_p, rtol=1e-5)
    entropy = sum(d.entropy() for d in before) + gaussian.entropy(old[:, 9:], force)
    np.testing.assert_allclose(policy.entropy(old, raw), entropy, rtol=1e-5)
    kl = sum(p.kl_divergence(q) for p, q in zip(before, after, strict=True))
    kl += gaussian.kl(old[:, 9:], new[:, 9:])
    np.testing.assert_allclose(policy.kl(old, new), kl, rtol=1e-4)
    np.testing.assert_array_equal(policy.mode(old)[1], np.stack([d.mode() for d in before[1:]], 1))
    again = policy_for(CONFIG, describe_actions(space))
    np.testing.assert_array_equal(again.log_prob(old, raw), policy.log_prob(old, raw))
    given = policy.to_env(raw)
    assert list(given) == ["move", "pair", "force"]


def test_a_free_deviation_inside_a_product_depends_on_no_state():
    config = dataclasses.replace(CONFIG, std="free")
    networks = make_agent(config).networks
    params = networks.init(KEY, some_obs(2))
    free = jnp.arange(2.0)
    params.policy["head"]["params"]["log_std"] = free
    outputs = networks.policy(params.policy, some_obs(2))
    np.testing.assert_array_equal(outputs[:, 11:], jnp.stack([free, free]))
    assert params.policy["head"]["params"]["Dense_0"]["kernel"].shape == (8, 11)


def test_it_trains_and_the_environment_gets_what_its_space_says():
    """The reward is -1 for actions of another structure, type or range."""
    learner = make_learner(dataclasses.replace(CONFIG, normalize_obs=True))
    state = quick_jit(learner.init)(KEY)
    update = quick_jit(learner.update)
    for _ in range(2):
        state, metrics = update(state)
        assert metrics.finite
        assert metrics.episode_return_sum >= 0
    assert metrics.episode_count == 3
    np.testing.assert_allclose(state.obs_stats.mean["inner.where"], [1.5, -1.5])
    assert state.obs_stats.count == 24


# -------------------------------------------------------------------------------------- MASKS


def numbers(policy, outputs):
    """Everything that a distribution says, of all four actions."""
    rows = jnp.repeat(outputs, 4, 0)
    return jnp.exp(policy.log_prob(rows, jnp.arange(4))), policy.entropy(outputs, jnp.zeros(1))


def test_a_mask_is_a_distribution_over_what_is_possible():
    """Probabilities, entropy, KL, samples, mode and gradient, by hand."""
    policy = make_policy(VPGConfig(), spaces.Discrete(4))
    logits, mask = jnp.array([[1.0, 5.0, 0.5, 2.0]]), jnp.array([[True, False, True, True]])
    odds = np.exp([1.0, 0.5, 2.0])
    p = odds / odds.sum()
    masked = policy.masked(logits, mask)
    probabilities, entropy = numbers(policy, masked)
    np.testing.assert_allclose(probabilities, [p[0], 0, p[1], p[2]], rtol=1e-6)
    np.testing.assert_allclose(entropy, [-(p * np.log(p)).sum()], rtol=1e-6)
    assert policy.mode(masked) == 3
    noise = jnp.linspace(0, 1, 1001, endpoint=False)
    draws = policy.sample(jnp.repeat(masked, 1001, 0), noise)
    assert set(np.unique(draws)) == {0, 2, 3}
    other = policy.masked(jnp.array([[0.0, 9.0, 0.0, 0.0]]), mask)
    np.testing.assert_allclose(policy.kl(masked, other), [(p * np.log(3 * p)).sum()], rtol=1e-5)

    def loss(logits):
        masked = policy.masked(logits, mask)
        return (policy.log_prob(masked, jnp.array([2])) + policy.entropy(masked, None)).sum()

    slope = -p * (np.log(p) - (p * np.log(p)).sum())
    expected = np.array([0.0, 1.0, 0.0]) - p + slope
    (gradient,) = jax.grad(loss)(logits)
    np.testing.assert_allclose(gradient[jnp.array([0, 2, 3])], expected, rtol=1e-4, atol=1e-6)
    assert gradient[1] == 0


def test_where_nothing_is_possible_all_is():
    """After an end some environments allow nothing; a distribution over nothing would be NaN."""
    policy = make_policy(VPGConfig(), spaces.Discrete(3))
    np.testing.assert_array_equal(
        policy.masked(jnp.ones((1, 3)), jnp.zeros((1, 3), bool)), [[1] * 3]
    )


MULTI = MultiDiscrete([2, 3])
BOTH = spaces.Dict({"one": spaces.Discrete(2), "two": MULTI, "force": spaces.Box(-1.0, 1.0, (1,))})


def only(number, chosen):
    return jnp.arange(number) == chosen


@pytest.mark.parametrize(
    ("space", "mask", "expected"),
    [
        (spaces.Discrete(4), lambda time, _: only(4, time % 4), [0, 1, 2, 3, 0]),
        pytest.param(
            MULTI,
            lambda time, _: jnp.stack([only(3, time % 2), only(3, time % 3)]),
            [0, 2, 2, 1, 1],
            marks=pytest.mark.slow,
        ),
        (BOTH, lambda time, _: {"one": only(2, time % 2), "two": None}, None),
    ],
    ids=["Discrete", "MultiDiscrete", "Dict"],
)
def test_what_is_not_possible_is_never_done(space, mask, expected):
    """An impossible action costs 100.  Training, whole episodes and evaluation pay none."""
    env = trees.rooms(space, mask)
    config = VPGConfig(env=env, **SMALL | {"num_steps": 5, "total_steps": 30, "eval_steps": 5})
    learner = make_learner(config)
    state = quick_jit(learner.init)(KEY)
    state, metrics = quick_jit(learner.update)(state)
    assert metrics.finite
    assert metrics.episode_count == 3
    assert metrics.episode_return_sum > -50
    if expected is not None:
        assert metrics.episode_return_sum == 3 * sum(expected)
        assert (metrics.entropy, metrics.kl, metrics.policy_grad_norm) == (0, 0, 0)
    for greedy in (True, False):
        evaluate = make_evaluate(config, 2, greedy=greedy)
        outcome = quick_jit(evaluate)(KEY, state.params.policy, state.obs_stats, Hyperparams())
        assert (outcome.returns > -50).all()
        if expected is not None:
            assert (outcome.returns == sum(expected)).all()


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (lambda time, _: jnp.ones(3, bool), r"a mask of bool\[3\] for .*; accepted: bool\[4\]"),
        (lambda time, _: jnp.ones(4), r"a mask of float32\[4\] .* accepted: bool\[4\]"),
        (lambda time, _: time[0], "IndexError|TypeError"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(trees.rooms(spaces.Discrete(4), mask))
    assert "\n" not in str(error.value)
