"""Resets that take far longer than a step: each drawn state is used once, and few are drawn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from support.probes import PlainEnv, quick_jit
from support.trees import bare

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.compute import Compute
from purejaxvpg.compute.resets import Resets
from purejaxvpg.envs.protocol import Step

KEY = jax.random.key(0)
NUM_ENVS, NUM_STEPS, LONGEST, RUNS = 16, 60, 12, 2
SPARES = 2  # an eighth of the environments
drawn = []


def numbered(cost="dear", width=1):
    """Episodes of 1 or 12 steps, observed as a number of the reset's own and the time."""

    def observe(state):
        number, time, _ = state
        return jnp.stack([number, time.astype(jnp.uint32)] * width)

    def reset(key, params):
        short = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.2)
        number = jax.random.bits(key, (), jnp.uint32)
        jax.debug.callback(lambda _: drawn.append(1), number)
        state = number, jnp.zeros((), jnp.int32), jnp.where(short, 1, LONGEST)
        return observe(state), state

    def step(key, state, action, params):
        number, time, length = state
        state = number, time + 1, length
        obs = observe(state)
        return Step(state, obs, obs, jnp.float32(1), time + 1 >= length, jnp.bool_(False))

    space = spaces.Box(0, 2**32 - 1, (2 * width,), jnp.uint32)
    return bare("Numbered", reset=reset, step=step, observation_space=lambda _: space,
                reset_cost=cost)  # fmt: skip


def unroll(vector, num_envs, key):
    """Steps `[T, N]`: number and time before each, whether it ends, and the same after it."""
    reset_key, key = jax.random.split(key)

    def step(carry, x):
        state, obs = carry
        after, out = vector.step(vector.keys(*x), state, jnp.zeros(num_envs, int), None)
        return (after, out.obs), (obs, out.terminated, out.obs)

    xs = (jax.random.split(key, NUM_STEPS), jnp.arange(NUM_STEPS))
    return jax.lax.scan(step, vector.reset(reset_key, None), xs)[1]


def counted(function, *arguments):
    """What a function returns, as numpy arrays, and how many resets it drew."""
    jax.effects_barrier()
    drawn.clear()
    result = jax.tree.map(np.asarray, function(*arguments))
    jax.effects_barrier()
    return result, len(drawn)


def assert_each_start_is_used_once(obs, done, after):
    """Args: `[R, T, N, 2]`, `[R, T, N]`, `[R, T, N, 2]`."""
    starts = np.concatenate([obs[:, 0].reshape(-1, 2), after[done]])
    assert (starts[:, 1] == 0).all()
    assert len(np.unique(starts[:, 0])) == len(starts)  # by chance alike: once in 10,000 such tests
    np.testing.assert_array_equal(obs[:, 1:], after[:, :-1])
    np.testing.assert_array_equal(after[~done][:, 0], obs[~done][:, 0])
    np.testing.assert_array_equal(after[~done][:, 1], obs[~done][:, 1] + 1)


def refills(done, renewal=None):
    """Times that one run draws SPARES states.  done: `[T, N]`."""
    left, times = 0, 0
    for t, ends in enumerate(done.sum(1)):
        due = renewal is not None and t % renewal == 0
        missing = max(0, ends - left)
        turns = max(math.ceil(missing / SPARES), int(due))
        left = left - ends if not turns else turns * SPARES - missing
        times += turns
    return times


@pytest.mark.parametrize(("platform", "renewal"), [("cpu", None), ("cpu", 7), ("gpu", None)])
def test_no_start_is_shared_and_few_are_drawn(platform, renewal, monkeypatch):
    """Of two runs under vmap, with more ends in a step than there are spares; and of one alone."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    vector = envs.vectorize(envs.make(numbered()), NUM_ENVS, renewal=renewal)
    run = quick_jit(jax.vmap(lambda key: unroll(vector, NUM_ENVS, key)))
    (obs, done, after), count = counted(run, jax.random.split(KEY, RUNS))
    assert_each_start_is_used_once(obs, done, after)
    assert done.sum(-1).max() > 2 * SPARES
    each = [NUM_ENVS + SPARES * refills(x, renewal) for x in done]
    if platform == "cpu":  # runs draw in turn, each what it needs
        assert count == sum(each)
    else:  # a run draws when another one needs to
        assert sum(each) < count <= RUNS * sum(each)
    assert count < RUNS * NUM_ENVS * NUM_STEPS / 2
    if renewal is None:
        assert sum(each) <= done.sum() + RUNS * (NUM_ENVS + SPARES)
        alone = quick_jit(lambda key: unroll(vector, NUM_ENVS, key))(jax.random.split(KEY, RUNS)[1])
        for x, y in zip((obs, done, after), alone, strict=True):
            np.testing.assert_array_equal(x[1], y)


def test_environments_of_several_devices_have_starts_of_their_own():
    vector = envs.vectorize(envs.make(numbered()), NUM_ENVS // 2, compute=Compute(devices=2))
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("envs",))
    run = jax.shard_map(
        lambda key: unroll(vector, NUM_ENVS // 2, key), mesh=mesh, in_specs=P(),
        out_specs=P(None, "envs"), check_vma=False,
    )  # fmt: skip
    obs, done, after = (np.asarray(x)[None] for x in quick_jit(run)(KEY))
    assert obs.shape[1:3] == (NUM_STEPS, NUM_ENVS)
    assert_each_start_is_used_once(obs, done, after)


@pytest.mark.slow
def test_training_is_traced_inside_a_shard_map_that_checks():
    """Large observations too, of which V is taken in the rollout."""
    sizes = {"num_envs": 8, "num_steps": 2, "total_steps": 32, "hidden_sizes": (4,)}
    learner = make_learner(VPGConfig(env=numbered(width=600), value_iterations=1, **sizes))
    rows = {"mesh": Mesh(np.asarray(jax.devices()[:2]), ("devices",)), "out_specs": P("devices")}

    def run(key):
        return learner.update(learner.init(key))[0]

    split = jax.shard_map(jax.vmap(run), in_specs=P("devices"), **rows)
    state = jax.eval_shape(split, jax.random.split(KEY, 2))
    assert state.env_state.spares.used.shape == (2, 1)


def test_cheap_resets_are_renewed_when_asked():
    """Every 8 steps, or so many; on an accelerator only if a number is given."""
    index = jnp.arange(20)
    for renewal, expected in ((None, 8), (3, 3)):
        resets = Resets(jax.vmap(lambda key, params: (key, params)), 4, Compute(), renewal)
        renew = jax.vmap(lambda i: resets.keys(KEY, i).renew)(index)  # noqa: B023
        np.testing.assert_array_equal(renew, index % expected == 0)


@pytest.mark.parametrize(("renewal", "fewest", "most"), [(None, 60, 60), (30, 2, 30)])
def test_a_renewal_is_kept_on_an_accelerator(renewal, fewest, most, monkeypatch):
    """By default N cheap resets are drawn in each of 60 steps there."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    vector = envs.vectorize(envs.make(numbered("cheap")), 4, renewal=renewal)
    (obs, done, after), count = counted(quick_jit(lambda key: unroll(vector, 4, key)), KEY)
    assert_each_start_is_used_once(obs[None], done[None], after[None])
    assert 4 * (1 + fewest) <= count <= 4 * (1 + most)


def test_a_renewal_that_does_nothing_is_refused():
    with pytest.raises(ValueError, match=r"renewal=0 .*>= 1"):
        VPGConfig(renewal=0)
    with pytest.raises(ValueError, match=r"renewal=4 does nothing: .* itself; pass renewal=None"):
        make_learner(VPGConfig(env=PlainEnv(3), renewal=4))
    make_learner(VPGConfig(env=PlainEnv(3), renewal=4, max_episode_steps=2))


def test_a_config_chooses_the_renewal(monkeypatch):
    given = []
    monkeypatch.setattr(
        "purejaxvpg.agent.setup.vectorize", lambda *arguments: given.append(arguments[-1])
    )
    make_learner(VPGConfig(env=PlainEnv(4), renewal=5, max_episode_steps=2))
    assert given == [5]
