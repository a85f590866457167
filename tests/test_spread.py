"""One run over two devices: the numbers of one device, and few exchanges."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from support.assertions import as_numpy
from support.probes import quick_jit
from support.slow import slow_but

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_segment, vpg
from purejaxvpg.advantages import Discounts, Trajectory, future_return
from purejaxvpg.agent import make_setup
from purejaxvpg.compute import Compute
from purejaxvpg.compute.layout import over_environments
from purejaxvpg.state import EpisodeSums, TrainResult

ONE, TWO = Compute(), Compute(devices=2)
MESH = Mesh(np.asarray(jax.devices()[: TWO.devices]), (TWO.axis,))
over_two = functools.partial(jax.shard_map, mesh=MESH, check_vma=False)


def less_the_mean(trajectory, discounts):
    """A user's estimator: future return, less the mean over environments."""
    future = future_return(trajectory, discounts)
    return future - future.mean(1, keepdims=True)


SMALL = {"num_envs": 4, "num_steps": 12, "total_steps": 4 * 12 * 2, "hidden_sizes": (8,)}
EPISODES = {"rollout": "episodes", "max_episode_steps": 12}
CONFIGS = {
    # Time limits, all statistics, several steps of V, chunks of rows.
    "segments": VPGConfig(
        **SMALL, max_episode_steps=9, normalize_obs=True, normalize_rewards=True,
        normalize_advantages=True, value_iterations=3, gradient_rows=7, diagnostics=True,
    ),
    # Weights that are 0, and a number of steps that only all devices together know.
    "episodes": VPGConfig(
        **SMALL, **EPISODES, normalize_obs=True, normalize_rewards=True, diagnostics=True,
    ),
    # One loss for both, and noise of more than one number.
    "shared torso": VPGConfig(**SMALL, env="Pendulum-v1", shared_torso=True),
    # Estimators that compare environments: each device needs the columns of both.
    "leave one out": VPGConfig(**SMALL, **EPISODES, estimator="leave_one_out"),
    "less the mean": VPGConfig(**SMALL, max_episode_steps=9, estimator=less_the_mean),
}  # fmt: skip


def both(config):
    """Two updates: on one device, and compiled for two."""
    spec = over_environments()
    out_specs = TrainResult(spec, P(), P())
    split = over_two(make_segment(config, 2, devices=2), in_specs=(spec,), out_specs=out_specs)
    state = quick_jit(make_learner(config).init)(jax.random.key(3))
    whole = quick_jit(make_segment(config, 2))(state)
    return whole, state, quick_jit(split).lower(state).compile()


def exchanges(compiled):
    """Names of the operations by which devices exchange numbers, one for each operation."""
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    return re.findall(rf" ({names})(?:-start)?\(", compiled.as_text())


@pytest.mark.parametrize("name", slow_but(["segments"], CONFIGS))
def test_two_devices_compute_what_one_does(name):
    """State and metrics are those of one device, up to rounding."""
    whole, state, compiled = both(CONFIGS[name])
    assert np.isfinite(whole.metrics.policy_grad_norm).all()
    assert (np.asarray(whole.metrics.episode_count) > 0).any() or name == "shared torso"
    split = compiled(jax.device_put(state, compiled.input_shardings[0][0]))
    for (path, one), two in zip(
        jax.tree.leaves_with_path(whole), jax.tree.leaves(split), strict=True
    ):
        one, two, where = as_numpy(one), as_numpy(two), jax.tree_util.keystr(path)
        np.testing.assert_allclose(one, two, rtol=2e-4, atol=2e-5, err_msg=where)


def test_devices_add_up_sums_and_exchange_nothing_else():
    """Every exchange is a sum, and there are few."""
    _, _, compiled = both(CONFIGS["segments"])
    kinds = exchanges(compiled)
    assert set(kinds) == {"all-reduce"}
    assert len(kinds) < 20


@pytest.mark.parametrize("name", ["segments", "leave one out"])
def test_nothing_is_exchanged_while_acting(name):
    """The rollout's loop holds no exchange; after it the sums of the episodes are added up."""
    setup = make_setup(CONFIGS[name], devices=2)
    spec, hp = over_environments(), Hyperparams()

    def collect(state):
        state, _, episodes = vpg.collect(setup, state, hp)
        return state, episodes

    state = jax.eval_shape(make_learner(setup.config).init, jax.random.key(0))
    jaxpr = jax.make_jaxpr(over_two(collect, in_specs=(spec,), out_specs=(spec, P())))(state)
    (body,) = [e.params["jaxpr"] for e in jaxpr.eqns if e.primitive.name == "shard_map"]
    assert str(body).count("psum") == len(EpisodeSums._fields)  # of the episodes that ended
    assert "all_gather" not in str(body)
    (rollout,) = [e for e in body.eqns if e.primitive.name == "scan"]
    assert rollout.params["length"] == setup.config.num_steps
    assert "psum" not in str(rollout)


def test_only_estimators_that_compare_environments_gather_them():
    """gae is computed from the columns of this device; leave_one_out from those of both."""
    trajectory = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    flags = jax.ShapeDtypeStruct((3, 4), bool)

    def gathers(config):
        setup = make_setup(config, devices=2)
        psi = lambda t: setup.estimator(t, Discounts(0.9))  # noqa: E731
        columns = P(None, TWO.axis)
        arrays = Trajectory(*[trajectory] * 3, *[flags] * 3)
        split = over_two(psi, in_specs=(columns,), out_specs=columns)
        assert jax.eval_shape(split, arrays).shape == (3, 4)
        return "all_gather" in str(jax.make_jaxpr(split)(arrays))

    assert not gathers(CONFIGS["segments"])
    assert gathers(CONFIGS["leave one out"])
    assert gathers(CONFIGS["less the mean"])


def test_local_parts_are_the_whole_and_sums_are_of_all():
    """`local` deals out the columns, `sum` adds up what the devices have; on one device neither
    does anything."""
    x = np.arange(24.0).reshape(3, 8)

    def shares(x):
        return TWO.local(x, axis=1), TWO.sum(TWO.local(x, axis=1).sum())

    parts, total = over_two(shares, in_specs=P(), out_specs=(P(None, TWO.axis), P()))(x)
    np.testing.assert_array_equal(parts, x)
    assert total == x.sum()
    assert ONE.local(x) is x
    assert ONE.sum(x) is x


def test_keys_are_those_of_one_device():
    """Environment n has the same key on one device as on two, where it is half of them."""
    key = jax.random.key(7)
    split = over_two(lambda key: TWO.keys(key, 3), in_specs=P(), out_specs=P(TWO.axis))(key)
    np.testing.assert_array_equal(as_numpy(split), as_numpy(ONE.keys(key, 6)))
    assert len(np.unique(as_numpy(split), axis=0)) == 6


def test_moments_are_of_all_devices():
    """Mean, variance and explained variance under weights that sum to 1 over both devices."""
    rng = np.random.default_rng(0)
    x, values = rng.normal(size=(2, 6)).astype(np.float32)
    share = rng.uniform(size=6).astype(np.float32)
    share /= share.sum()

    def moments(compute):
        return lambda *args: (
            *compute.mean_and_variance(args[0], args[2]), compute.explained_variance(*args)
        )  # fmt: skip

    local = P(TWO.axis)
    split = over_two(moments(TWO), in_specs=(local,) * 3, out_specs=(P(),) * 3)(x, values, share)
    mean = (share * x).sum()
    variance = (share * (x - mean) ** 2).sum()
    errors = x - values
    unexplained = (share * (errors - (share * errors).sum()) ** 2).sum()
    expected = mean, variance, 1 - unexplained / variance
    np.testing.assert_allclose(split, expected, rtol=1e-5)
    np.testing.assert_allclose(moments(ONE)(x, values, share), expected, rtol=1e-5)
    assert ONE.explained_variance(jnp.ones(6), jnp.asarray(values), jnp.asarray(share)) == 0
