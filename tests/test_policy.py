"""Distributions over actions: scipy, closed formulas and quadrature beside them."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from gymnax.environments import spaces
from scipy.integrate import trapezoid

from purejaxvpg.agent.policy import make_policy
from purejaxvpg.config import VPGConfig

CLIP = VPGConfig(bounding="clip")
TANH = VPGConfig(bounding="tanh")
LOW, HIGH = np.array([-1.0, 0.0]), np.array([3.0, 10.0])  # not symmetric, not alike
CENTER, HALF = np.array([1.0, 5.0]), np.array([2.0, 5.0])
MAX = np.finfo(np.float32).max

# Network outputs of three states: means, then spreads, of two dimensions.
OUTPUTS = np.array([[0.0, 0.0, 0.0, 0.0], [0.4, -0.7, 0.3, -0.5], [-1.2, 0.2, -1.0, 0.8]])
MEAN, SPREAD = OUTPUTS[:, :2], OUTPUTS[:, 2:]
STD = 1e-3 + np.log1p(np.exp(SPREAD + np.log(np.expm1(0.6 - 1e-3))))  # std="state"
RAW = np.array([[0.5, 2.0], [3.5, -1.0], [-2.0, 11.0]])  # some beyond the bounds


def box(low=LOW, high=HIGH, shape=(2,)):
    return spaces.Box(jnp.asarray(low), jnp.asarray(high), shape)


def same(actual, expected, rtol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-12)


# ----------------------------------------------------------------------------- categorical


@pytest.mark.usefixtures("x64")
def test_categorical_equals_scipy():
    """log pi, entropy, KL(old || new) and mode of logits, against scipy."""
    policy = make_policy(VPGConfig(), spaces.Discrete(4))
    assert (policy.num_outputs, policy.free_outputs) == (4, ())
    old, new = np.random.default_rng(0).normal(size=(2, 5, 4)) * 2
    log_p, log_q = scipy.special.log_softmax([old, new], axis=-1)
    for action in range(4):
        same(policy.log_prob(old, jnp.full(5, action)), log_p[:, action])
    p, q = np.exp(log_p), np.exp(log_q)
    same(policy.entropy(old, None), scipy.stats.entropy(p, axis=-1))
    same(policy.kl(old, new), scipy.stats.entropy(p, q, axis=-1))
    np.testing.assert_array_equal(policy.mode(old), old.argmax(-1))


def test_categorical_samples_have_the_probabilities():
    """Frequencies of 40,000 draws lie within five standard errors; the env gets the index."""
    policy = make_policy(VPGConfig(), spaces.Discrete(3))
    p, count = np.array([0.1, 0.3, 0.6]), 40_000
    raw = policy.sample(jnp.log(jnp.tile(p, (count, 1))), policy.noise(jax.random.key(0), (count,)))
    assert raw.shape == (count,)
    assert jnp.issubdtype(raw.dtype, jnp.integer)
    frequency = np.bincount(raw, minlength=3) / count
    assert (np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / count)).all()
    np.testing.assert_array_equal(policy.to_env(raw), raw)


# ------------------------------------------------------------------------- clipped Gaussian


@pytest.mark.usefixtures("x64")
def test_clipped_gaussian_log_prob_is_the_formula_in_units_of_the_space():
    """log pi = -1/2 (n log 2pi + sum_i [(a_i - mu_i)^2 / sigma_i^2 + 2 log sigma_i]), unclipped."""
    policy = make_policy(CLIP, box())
    assert policy.num_outputs == 4
    mu, sigma = CENTER + HALF * MEAN, HALF * STD
    log_prob = policy.log_prob(OUTPUTS, RAW)
    terms = ((RAW - mu) / sigma) ** 2 + 2 * np.log(sigma)
    same(log_prob, -0.5 * (2 * np.log(2 * np.pi) + terms.sum(-1)))
    same(log_prob, scipy.stats.norm.logpdf(RAW, mu, sigma).sum(-1))


@pytest.mark.usefixtures("x64")
def test_clipped_gaussian_entropy_and_kl_are_exact():
    """1/2 log(2 pi e sigma^2) per dimension, and the closed KL(old || new)."""
    policy = make_policy(CLIP, box())
    mu, sigma = CENTER + HALF * MEAN, HALF * STD
    same(policy.entropy(OUTPUTS, RAW), scipy.stats.norm.entropy(mu, sigma).sum(-1))
    same(policy.kl(OUTPUTS, OUTPUTS[::-1]), gaussian_kl(mu, sigma, mu[::-1], sigma[::-1]))


def gaussian_kl(mu, sigma, mu_new, sigma_new):
    ratio = (sigma / sigma_new) ** 2
    return 0.5 * (ratio - 1 - np.log(ratio) + ((mu - mu_new) / sigma_new) ** 2).sum(-1)


@pytest.mark.usefixtures("x64")
def test_gaussian_kl_is_the_mean_log_ratio():
    """KL(old || new) = E_old[log old - log new], by quadrature; for tanh too."""
    for config in (CLIP, TANH):
        policy = make_policy(config, spaces.Box(-1.0, 3.0, (1,)))
        old, new = np.array([[0.3, 0.2]]), np.array([[-0.2, -0.4]])
        raw = np.linspace(-15, 15, 20_001)[:, None]
        log_p, log_q = [policy.log_prob(np.tile(x, (len(raw), 1)), raw) for x in (old, new)]
        # exp(log pi) is per unit of the env's action; for tanh, da/du makes it per unit of raw.
        slope = 1.0 if config is CLIP else 2 / np.cosh(raw[:, 0]) ** 2
        value = trapezoid(np.exp(log_p) * slope * (log_p - log_q), raw[:, 0])
        same(policy.kl(old, new)[0], value, 1e-6)


# ------------------------------------------------------------------------------------ tanh


@pytest.mark.usefixtures("x64")
def test_tanh_log_prob_is_the_change_of_variables():
    """log pi(a) = sum_i log N(u_i; mu_i, sigma_i) - log(half_range_i (1 - tanh(u_i)^2))."""
    policy = make_policy(TANH, box())
    raw = np.array([[0.5, 2.0], [1.5, -1.0], [-2.0, 0.1]])
    expected = scipy.stats.norm.logpdf(raw, MEAN, STD) - np.log(HALF * (1 - np.tanh(raw) ** 2))
    same(policy.log_prob(OUTPUTS, raw), expected.sum(-1), 1e-7)  # the bounds are float32


def tanh_density(outputs, action, low=-2.0, high=7.0):
    """exp(log pi) at actions in the units of the space, `[M]`."""
    policy = make_policy(TANH, spaces.Box(low, high, (1,)))
    raw = np.arctanh((action - (low + high) / 2) / ((high - low) / 2))[:, None]
    same(policy.to_env(raw)[:, 0], action)
    return np.exp(policy.log_prob(np.tile(outputs, (len(raw), 1)), raw))


@pytest.mark.usefixtures("x64")
def test_tanh_density_integrates_to_one():
    """Density per unit of the environment's action: 1 over the range, the CDF up to a limit."""
    action = np.linspace(-2, 7, 40_001)[1:-1]
    density = tanh_density([0.3, 0.1], action)
    assert abs(trapezoid(density, action) - 1) < 1e-6
    std = 1e-3 + np.log1p(np.exp(0.1 + np.log(np.expm1(0.599))))
    for limit in (-1.0, 2.0, 5.5):
        inside = action <= limit
        below = scipy.stats.norm.cdf(np.arctanh((limit - 2.5) / 4.5), 0.3, std)
        assert abs(trapezoid(density[inside], action[inside]) - below) < 1e-4


@pytest.mark.parametrize("size", [8.0, 20.0, 100.0, 1e4])
def test_tanh_is_finite_at_saturated_actions(size):
    """float32 cannot tell tanh(20) from 1; log pi, entropy and their gradients stay finite."""
    policy = make_policy(TANH, box())
    raw = jnp.array([[size, -size]])

    def both(outputs):
        total = policy.log_prob(outputs, raw) + policy.entropy(outputs, raw)
        return total.sum()

    value, gradient = jax.value_and_grad(both)(jnp.array([[0.1, 0.2, 0.0, 0.0]]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    # log(1 - tanh^2) = 2 log 2 - 2 |u| far out
    log_prob = policy.log_prob(jnp.zeros((1, 4)), raw)[0]
    normal = scipy.stats.norm.logpdf(size, 0, 0.6)
    jacobian = np.log(HALF).sum() + 2 * (2 * np.log(2) - 2 * size)
    np.testing.assert_allclose(log_prob, 2 * normal - jacobian, rtol=1e-5)


def numeric_tanh_entropy(outputs) -> float:
    """-int p log p da over the space, dimension by dimension, by quadrature in u."""
    total = 0.0
    for i in range(2):
        mean = outputs[i]
        std = 1e-3 + np.log1p(np.exp(outputs[2 + i] + np.log(np.expm1(0.599))))
        u = np.linspace(mean - 12 * std, mean + 12 * std, 20_001)
        slope = HALF[i] / np.cosh(u) ** 2  # da/du
        density = scipy.stats.norm.pdf(u, mean, std) / slope
        total -= trapezoid(density * np.log(density) * slope, u)
    return total


@pytest.mark.usefixtures("x64")
def test_tanh_entropy_estimate_is_unbiased_and_so_is_its_gradient():
    """Mean over actions that the policy drew = the entropy; mean gradient = its gradient."""
    policy = make_policy(TANH, box())
    outputs = np.array([0.4, -0.7, 0.3, -0.5])
    draws = 20_000
    # Equally probable actions in place of random ones: the mean is free of noise.
    noise = scipy.stats.norm.ppf((np.arange(draws) + 0.5) / draws)[:, None]
    std = 1e-3 + np.log1p(np.exp(outputs[2:] + np.log(np.expm1(0.599))))
    raw = outputs[:2] + std * noise

    def mean_estimate(outputs):
        return policy.entropy(jnp.tile(outputs, (draws, 1)), raw).mean()

    value, gradient = jax.jit(jax.value_and_grad(mean_estimate))(jnp.asarray(outputs))
    assert abs(value - numeric_tanh_entropy(outputs)) < 1e-4
    steps = 1e-4 * np.eye(4)
    numeric = [
        (numeric_tanh_entropy(outputs + h) - numeric_tanh_entropy(outputs - h)) / 2e-4
        for h in steps
    ]
    np.testing.assert_allclose(gradient, numeric, atol=1e-3)
    assert np.abs(numeric).min() > 0.01


def test_tanh_samples_have_the_density():
    """Draws, in the units of the space, follow the CDF (Kolmogorov-Smirnov), and so does raw."""
    policy = make_policy(TANH, spaces.Box(-2.0, 7.0, (1,)))
    noise = policy.noise(jax.random.key(1), (5000,))
    raw = policy.sample(jnp.tile(jnp.array([0.3, 0.0]), (5000, 1)), noise)
    action = np.asarray(policy.to_env(raw)[:, 0], np.float64)

    def cdf(a):
        return scipy.stats.norm.cdf(np.arctanh((a - 2.5) / 4.5), 0.3, 0.6)

    assert scipy.stats.kstest(action, cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.asarray(raw)[:, 0], scipy.stats.norm(0.3, 0.6).cdf).pvalue > 1e-3


# ------------------------------------------------------------------------- in the space


@pytest.mark.parametrize("config", [CLIP, TANH], ids=["clip", "tanh"])
def test_to_env_stays_in_bounds_and_reaches_them(config):
    """The environment's action is in the space, ends included, however far out raw is."""
    policy = make_policy(config, box())
    raw = jnp.array([[-1e6, -1e6], [1e6, 1e6], [0.3, 0.2]])
    action = np.asarray(policy.to_env(raw))
    np.testing.assert_array_equal(action[:2], [LOW, HIGH])
    assert ((action >= LOW) & (action <= HIGH)).all()


@pytest.mark.parametrize("config", [CLIP, TANH], ids=["clip", "tanh"])
def test_to_env_stays_in_bounds_that_float32_rounds(config):
    """The affine map may round past a bound; the action must not."""
    rng = np.random.default_rng(0)
    low = rng.normal(size=500).astype(np.float32)
    high = low + rng.exponential(size=500).astype(np.float32)
    policy = make_policy(config, box(low, high, (500,)))
    for raw in (-50.0, 50.0):
        action = np.asarray(policy.to_env(jnp.full((1, 500), raw)))[0]
        outside = (action < low) | (action > high)
        assert not outside.any(), (low[outside][0], high[outside][0], action[outside][0])


@pytest.mark.parametrize("config", [CLIP, TANH], ids=["clip", "tanh"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_to_env_takes_the_shape_of_the_space(config, shape):
    """raw is flat, `[..., n]`; the environment gets `[..., *shape]`, each in its own bounds."""
    low = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 10.0
    high = low + 2.0
    policy = make_policy(config, box(low, high, shape))
    n = low.size
    assert policy.num_outputs == 2 * n
    outputs = jnp.zeros((4, 2 * n))
    raw = policy.sample(outputs, policy.noise(jax.random.key(0), outputs.shape[:1]))
    assert raw.shape == (4, n)
    assert policy.log_prob(outputs, raw).shape == (4,)
    assert policy.entropy(outputs, raw).shape == (4,)
    assert policy.kl(outputs, outputs).shape == (4,)
    assert policy.to_env(raw).shape == (4, *shape)
    assert policy.to_env(raw[0]).shape == shape
    np.testing.assert_allclose(policy.to_env(policy.mode(outputs))[0], low + 1, rtol=1e-6)


def test_mode_is_the_middle_of_what_is_drawn():
    """Outputs of mean 0 act in the middle of the space; others at center + half_range mean."""
    clip, tanh = make_policy(CLIP, box()), make_policy(TANH, box())
    outputs = jnp.asarray(OUTPUTS, jnp.float32)
    np.testing.assert_allclose(clip.mode(outputs), CENTER + HALF * MEAN, rtol=1e-6)
    np.testing.assert_allclose(tanh.mode(outputs), MEAN, rtol=1e-6)
    action = tanh.to_env(tanh.mode(outputs))
    np.testing.assert_allclose(action, CENTER + HALF * np.tanh(MEAN), rtol=1e-6)
    np.testing.assert_array_equal(clip.to_env(clip.mode(outputs))[0], CENTER)


def test_scalar_bounds_hold_for_every_dimension():
    """gymnax writes Box(-2.0, 2.0, (3,)) with numbers for bounds."""
    policy = make_policy(CLIP, spaces.Box(-2.0, 2.0, (3,)))
    np.testing.assert_array_equal(policy.to_env(jnp.array([[-9.0, 1.0, 9.0]])), [[-2, 1, 2]])


# ------------------------------------------------------------------ standard deviations


def std_of(policy, outputs) -> np.ndarray:
    """Standard deviation of a policy of one dimension, from its entropy or its density."""
    outputs = jnp.asarray(outputs, jnp.float32)
    at_mode = policy.log_prob(outputs, policy.mode(outputs))  # -log(sigma sqrt(2 pi))
    return np.exp(-np.asarray(at_mode, np.float64)) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("std", ["state", "free"])
@pytest.mark.parametrize("init_std", [0.01, 0.6, 5.0, 1000.0])
def test_outputs_of_zero_give_the_initial_std(std, init_std):
    """init_std is in halves of the action range: 3 of them in the units of [-2, 4]."""
    config = VPGConfig(std=std, init_std=init_std)
    policy = make_policy(config, spaces.Box(-2.0, 4.0, (1,)))
    np.testing.assert_allclose(std_of(policy, [[0.0, 0.0]]), 3 * init_std, rtol=1e-4)
    assert policy.free_outputs == ((1,) if std == "free" else ())


def test_state_std_is_softplus_with_a_floor_and_free_std_is_exp():
    """The floor min_std holds however small the network's spread; a free std has none."""
    space = spaces.Box(-1.0, 1.0, (1,))
    spreads = np.array([-1000.0, -30.0, 0.0, 1.0, 30.0])
    outputs = np.stack([np.zeros(5), spreads], axis=-1)
    state = std_of(make_policy(VPGConfig(std="state", min_std=0.05), space), outputs)
    offset = np.log(np.expm1(0.55))
    np.testing.assert_allclose(state, 0.05 + np.logaddexp(0, spreads + offset), rtol=1e-4)
    np.testing.assert_allclose(state[:2], 0.05, rtol=1e-4)
    free = std_of(make_policy(VPGConfig(std="free", min_std=0.05), space), outputs[1:4])
    np.testing.assert_allclose(free, 0.6 * np.exp(spreads[1:4]), rtol=1e-4)


# ------------------------------------------------------------------------ infinite bounds


@pytest.mark.parametrize("limit", [np.inf, MAX])
def test_unbounded_dimensions_are_left_alone_by_clip(limit):
    """No centre, no scale, no clip: raw is what the network says, and the env gets it."""
    policy = make_policy(CLIP, spaces.Box(-limit, limit, (2,)))
    outputs = jnp.asarray(OUTPUTS, jnp.float32)
    np.testing.assert_allclose(policy.mode(outputs), MEAN, rtol=1e-6)
    expected = scipy.stats.norm.logpdf(RAW, MEAN, STD).sum(-1)
    log_prob = policy.log_prob(outputs, jnp.asarray(RAW, jnp.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
    raw = jnp.array([[1e6, -1e6]])
    np.testing.assert_array_equal(policy.to_env(raw), raw)


def test_bounded_and_unbounded_dimensions_side_by_side():
    """Each dimension by its own bounds, and no NaN of inf - inf between them."""
    policy = make_policy(CLIP, box([-1.0, -np.inf], [3.0, np.inf]))
    np.testing.assert_array_equal(policy.mode(jnp.array([[0.5, 0.5, 0.0, 0.0]])), [[2.0, 0.5]])
    np.testing.assert_array_equal(policy.to_env(jnp.array([[9.0, 9.0]])), [[3.0, 9.0]])
    gradient = jax.grad(lambda x: policy.log_prob(x, jnp.ones((1, 2))).sum())(jnp.ones((1, 4)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("high", [np.inf, [1.0, np.inf], MAX])
def test_tanh_needs_finite_bounds(high):
    """One line that names the setting and what to use instead."""
    with pytest.raises(ValueError, match=r"bounding='tanh' needs finite bounds.*bounding='clip'"):
        make_policy(TANH, box([-1.0, -1.0], high))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 5, (2,), jnp.int32)]),
        gymnasium.spaces.Discrete(3, start=1),
        gymnasium.spaces.Text(3),
        spaces.Dict({}),
        spaces.Box(0, 5, (2,), jnp.int32),
    ],
    ids=["integer Box in a Tuple", "from 1", "Text", "empty", "integer Box"],
)
def test_unsupported_spaces_raise(space):
    """The error names the space and the supported ones."""
    with pytest.raises(ValueError, match=r"supported are Discrete \(from 0\), Multi"):
        make_policy(VPGConfig(), space)


# -------------------------------------------------------------------------- traced bounds


@pytest.mark.parametrize("config", [CLIP, TANH], ids=["clip", "tanh"])
def test_bounds_may_be_traced(config):
    """Bounds that depend on swept environment parameters: vmap gives what single calls give."""
    default = spaces.Box(-1.0, 1.0, (1,))
    raw, outputs = jnp.array([[0.7], [-3.0]]), jnp.array([[0.1, 0.2], [0.3, -0.4]])

    def through(high, default):
        policy = make_policy(config, spaces.Box(-1.0, high, (1,)), default)
        return policy.to_env(raw), policy.log_prob(outputs, raw), policy.mode(outputs)

    highs = jnp.array([0.5, 4.0])
    swept = jax.jit(jax.vmap(lambda high: through(high, default)))(highs)
    for i, high in enumerate(highs):
        for actual, expected in zip(swept, through(float(high), None), strict=True):
            np.testing.assert_allclose(actual[i], expected, rtol=1e-5)
    assert not np.allclose(swept[0][0], swept[0][1])
