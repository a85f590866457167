"""Outputs of -inf are actions of probability 0: no NaN in entropy, KL or gradients, never drawn.

distrax.Categorical is the measure; and actions have the dtype that their space says.
"""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from purejaxvpg import VPGConfig
from purejaxvpg.agent.policy import categorical, make_policy

ACTIONS, ROWS = 5, 400
RNG = np.random.default_rng(0)
MASK = RNG.uniform(size=(ROWS, ACTIONS)) < 0.4  # impossible
MASK[np.arange(ROWS), RNG.integers(ACTIONS, size=ROWS)] = False
MASK[0], MASK[1, 1:] = False, True  # nothing is impossible; one action is all there is
OLD, NEW = (
    jnp.asarray(np.where(MASK, -np.inf, 3 * RNG.normal(size=MASK.shape)), jnp.float32)
    for _ in range(2)
)
POLICY = categorical(ACTIONS)
TAKEN = jnp.asarray([RNG.choice(np.flatnonzero(~row)) for row in MASK])

MEASURES = {
    "entropy": (lambda x: POLICY.entropy(x, TAKEN), lambda x: distrax.Categorical(x).entropy()),
    "log_prob": (
        lambda x: POLICY.log_prob(x, TAKEN),
        lambda x: distrax.Categorical(x).log_prob(TAKEN),
    ),
    "kl": (
        lambda x: POLICY.kl(OLD, x),
        lambda x: distrax.Categorical(OLD).kl_divergence(distrax.Categorical(x)),
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_numbers_and_gradients_are_those_of_distrax(name):
    ours, theirs = MEASURES[name]
    assert np.isfinite(ours(NEW)).all()
    np.testing.assert_allclose(ours(NEW), theirs(NEW), rtol=1e-5, atol=1e-5)
    # The measure's gradient is taken where nothing is infinite: -1e4 is as impossible in float32.
    finite = jnp.where(MASK, -1e4, NEW)
    if name == "kl":
        theirs = lambda x: distrax.Categorical(jnp.where(MASK, -1e4, OLD)).kl_divergence(  # noqa: E731
            distrax.Categorical(x)
        )
    slopes = jax.grad(lambda x: ours(x).sum())(NEW)
    expected = jax.grad(lambda x: theirs(x).sum())(finite)
    np.testing.assert_allclose(slopes, expected, rtol=1e-4, atol=1e-5)
    assert not np.asarray(slopes)[MASK].any()


def test_an_action_that_becomes_impossible_is_infinitely_far():
    old, new = jnp.zeros((1, 2)), jnp.array([[0.0, -jnp.inf]])
    assert POLICY.kl(old, new) == jnp.inf
    assert POLICY.kl(new, old) == pytest.approx(np.log(2))


@pytest.mark.parametrize("noise", [0.0, 0.3, 1 - 2**-23])
def test_impossible_actions_are_never_taken(noise):
    drawn = POLICY.sample(NEW, jnp.full(ROWS, noise, jnp.float32))
    for actions in (drawn, POLICY.mode(NEW)):
        assert not MASK[np.arange(ROWS), actions].any()
    only = POLICY.sample(NEW[1:2], jnp.float32([noise]))
    assert only == 0


def test_nor_where_sums_of_many_are_rounded():
    """Of 512 actions the sum of probabilities rises by rounding at some that are impossible; here
    the noise falls on such rises."""
    mask = RNG.uniform(size=(400, 512)) < 0.5
    outputs = jnp.asarray(np.where(mask, -np.inf, RNG.normal(size=mask.shape)), jnp.float32)
    sums = np.asarray(jnp.cumsum(jnp.exp(outputs.T - outputs.max(-1)), axis=0)).T
    rows, actions = np.nonzero(mask[:, 1:] & (np.diff(sums) > 0))
    assert len(rows) > 100
    noise = np.floor(sums[rows, actions] / sums[rows, -1] * 2**23)  # in units of its last digit
    for digit in (-1, 0, 1):
        noisy = jnp.asarray((noise + digit) / 2**23, jnp.float32)
        drawn = categorical(512).sample(outputs[rows], noisy)
        assert not mask[rows, drawn].any()


# ------------------------------------------------------------------------------------------ DTYPES


def actions_of(space):
    policy = make_policy(VPGConfig(), space)
    outputs = jnp.zeros((3, policy.num_outputs), jnp.float32)
    raw = policy.sample(outputs, policy.noise(jax.random.key(0), (3,)))
    assert raw.dtype == policy.mode(outputs).dtype
    return [policy.to_env(x).dtype for x in (raw, policy.mode(outputs))]


def discrete(dtype):
    space = spaces.Discrete(3)
    space.dtype = dtype
    return space


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int8, jnp.uint8])
def test_discrete_actions_have_the_dtype_of_their_space(x64, dtype):
    assert actions_of(discrete(dtype)) == [dtype] * 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.float16])
def test_continuous_actions_have_the_dtype_of_their_space(x64, dtype):
    assert actions_of(spaces.Box(-1, 1, (2,), dtype)) == [dtype] * 2


def test_wide_dtypes_are_those_that_jax_has():
    """Without x64, float64 and int64 are float32 and int32, and no warning says so at each step."""
    assert actions_of(spaces.Box(-1, 1, (2,), np.float64)) == [jnp.float32] * 2
    assert actions_of(discrete(np.int64)) == [jnp.int32] * 2
