"""Observations of many bytes: the same numbers, without a second copy of the batch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from support.probes import quick_jit
from support.trees import bare

from purejaxvpg import Hyperparams, VPGConfig, make_learner
from purejaxvpg.agent import make_setup, store_final
from purejaxvpg.compute import Compute, is_large
from purejaxvpg.config import as_float32
from purejaxvpg.envs.protocol import Step
from purejaxvpg.vpg import collect, judge

KEY = jax.random.key(0)
HP = as_float32(Hyperparams())
SHAPE = (40, 40, 4)  # 6,400 bytes of uint8
NUM_ENVS, NUM_STEPS = 10, 12


def pictures(shape=SHAPE):
    """Grey pictures, lighter in every step; episodes of a drawn length of 2 to 5 are truncated."""

    def observe(state):
        time, length = state
        return jnp.full(shape, 10 * length + time, jnp.uint8)

    def reset(key, params):
        state = jnp.zeros((), jnp.int32), jax.random.randint(key, (), 2, 6)
        return observe(state), state

    def step(key, state, action, params):
        state = state[0] + 1, state[1]
        obs = observe(state)
        return Step(state, obs, obs, jnp.float32(1), jnp.bool_(False), state[0] >= state[1])

    space = spaces.Box(0, 255, shape, jnp.uint8)
    return bare("Pictures", reset=reset, step=step, observation_space=lambda params: space)


ENV = pictures()


def config_of(env=ENV, **fields):
    sizes = {"num_envs": NUM_ENVS, "num_steps": NUM_STEPS, "hidden_sizes": (4,)}
    sizes["kernel_init"] = "lecun_normal"  # quick to compile
    fields = {"network": "mlp", "value_iterations": 1} | sizes | fields
    return VPGConfig(env=env, total_steps=2 * fields["num_envs"] * fields["num_steps"], **fields)


def test_more_than_4_kib_is_large():
    """A tree's arrays count together, each with its type's bytes."""
    of = lambda size, dtype: jax.ShapeDtypeStruct((size,), dtype)  # noqa: E731
    assert not is_large(of(4096, jnp.uint8))
    assert is_large(of(4097, jnp.uint8))
    assert is_large({"a": of(1024, jnp.float32), "b": of(1, jnp.bool_)})
    assert not is_large(of(1024, jnp.float32))


@pytest.mark.parametrize(
    ("shape", "fields", "expected"),
    [
        (SHAPE, {}, (NUM_STEPS, NUM_ENVS)),
        (SHAPE, {"memory": "gru", "memory_size": 4}, (NUM_STEPS, NUM_ENVS, *SHAPE)),
        ((4, 4, 1), {}, (NUM_STEPS, NUM_ENVS, 4, 4, 1)),
    ],
    ids=["large", "large, with memory", "small"],
)
def test_a_batch_holds_values_in_place_of_large_final_observations(shape, fields, expected):
    config = config_of(pictures(shape), **fields)
    state = jax.eval_shape(make_learner(config).init, KEY)
    _, batch, _ = jax.eval_shape(lambda s: collect(make_setup(config), s, HP), state)
    assert batch.final_obs.shape == expected
    assert batch.final_obs.dtype == (jnp.float32 if len(expected) == 2 else jnp.uint8)


def test_advantages_and_targets_are_the_same():
    """V taken in the rollout of two runs under vmap, and after the rollout of one."""
    config = config_of()
    large = make_setup(config)
    assert large.compute.large
    small = large._replace(compute=large.compute._replace(large=False))

    def judged(setup):
        def run(state):
            acted, batch, _ = collect(setup, state, HP)
            return batch, judge(setup, acted, batch, HP)[1]

        return run

    states = quick_jit(jax.vmap(make_learner(config).init))(jax.random.split(KEY, 2))
    batches, rows = quick_jit(jax.vmap(judged(large)))(states)
    alone = quick_jit(judged(small))
    for run in range(2):
        state, batch, row = jax.tree.map(lambda x: x[run], (states, batches, rows))  # noqa: B023
        expected_batch, expected = alone(state)
        truncated = expected_batch.truncated
        assert (truncated.sum(1) > 2).any()  # more than one turn of the loop
        assert 0 < truncated.sum() < truncated.size
        np.testing.assert_array_equal(batch.truncated, truncated)
        np.testing.assert_array_equal(batch.reward, expected_batch.reward)
        np.testing.assert_allclose(row.target, expected.target, rtol=1e-5)
        np.testing.assert_allclose(row.psi, expected.psi, rtol=1e-4, atol=1e-5)
        seen = large.agent.see(state.obs_stats, expected_batch.final_obs[truncated])
        values = large.agent.networks.value_after(state.params, seen, ())
        assert np.ptp(values) > 1e-3
        np.testing.assert_allclose(batch.final_obs[truncated], values, rtol=1e-5)


def test_v_is_taken_only_of_what_was_truncated():
    """Under vmap too: some rows at a time, and none where nothing was truncated."""
    setup = make_setup(config_of(num_envs=16))
    turns = []

    def counted(params, obs, memory):
        jax.debug.callback(lambda: turns.append(len(obs)))
        return obs[:, 0, 0, 0].astype(jnp.float32)

    networks = setup.agent.networks._replace(value_after=counted)
    setup = setup._replace(agent=setup.agent._replace(networks=networks))
    state = jax.eval_shape(make_learner(setup.config).init, KEY)
    obs = jnp.broadcast_to(jnp.arange(1, 17, dtype=jnp.uint8)[:, None, None, None], (16, *SHAPE))
    store = quick_jit(jax.vmap(lambda truncated: store_final(setup, state, obs, truncated)))
    for truncated, expected in (([], 0), ([5], 1), ([3, 4, 15], 2)):
        mask = jnp.zeros((1, 16), bool).at[0, jnp.asarray(truncated, int)].set(True)
        turns.clear()
        values = store(mask)[0]
        jax.effects_barrier()
        assert turns == [2] * expected  # two rows at a time, an eighth of 16
        np.testing.assert_array_equal(values, np.where(mask[0], np.arange(1, 17), 0))


def arrays_in(jaxpr):
    """Shapes and types of all that a program computes, loops and calls included."""
    for equation in jaxpr.eqns:
        yield from ((x.aval.shape, x.aval.dtype) for x in equation.outvars)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from arrays_in(inner)


@pytest.mark.parametrize(("large", "expected"), [(False, 2), (True, 1)])
def test_chunks_of_large_observations_follow_each_other(large, expected):
    """Two side by side hold two chunks' activations."""
    compute = Compute(gradient_rows=2, large=large)

    def loss(params, rows):
        return (params["torso"]["params"] * rows).sum(), None

    params = {"torso": {"params": jnp.ones(())}}
    for function in (
        lambda rows: compute.map(jnp.tanh, rows),
        lambda rows: compute.grad(loss, params, rows),
    ):
        scans = [e for e in jax.make_jaxpr(function)(jnp.ones((8, 3))).eqns if "unroll" in e.params]
        assert [scan.params["unroll"] for scan in scans] == [expected]


@pytest.mark.parametrize("shared", [False, True])
def test_no_program_holds_the_whole_batch_as_floats(shared, monkeypatch):
    """Pictures become float32 a chunk at a time, in the passes that measure as well."""
    config = config_of(num_envs=10, num_steps=16, shared_torso=shared)
    size = 10 * 16 * math.prod(SHAPE)

    def whole_batches(config):
        learner = make_learner(config)
        state = jax.eval_shape(learner.init, KEY)
        arrays = arrays_in(jax.make_jaxpr(learner.update)(state).jaxpr)
        return [dtype for shape, dtype in arrays if math.prod(shape) >= size]

    whole = whole_batches(config)
    assert whole
    assert {str(dtype) for dtype in whole} == {"uint8"}
    monkeypatch.setattr("purejaxvpg.agent.setup.is_large", lambda observed: False)
    other = whole_batches(config_of(num_envs=10, num_steps=16, shared_torso=shared, n_step=6))
    assert "float32" in {str(dtype) for dtype in other}  # the walk sees them where they are
