"""One run over several devices is the run of one device, and its devices seldom wait."""

import functools
import re

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from probes import quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_segment, vpg
from purejaxvpg.agent import make_agent
from purejaxvpg.envs import vectorize
from purejaxvpg.experiment.placement import over_environments
from purejaxvpg.spread import ALONE, Spread
from purejaxvpg.state import EpisodeSums, TrainResult

TWO = Spread(2)
MESH = Mesh(np.asarray(jax.devices()[: TWO.devices]), (TWO.axis,))
over_two = functools.partial(jax.shard_map, mesh=MESH, check_vma=False)

SMALL = {"num_envs": 4, "num_steps": 12, "total_steps": 4 * 12 * 2, "hidden_sizes": (8,)}
CONFIGS = {
    # Time limits, all statistics, several steps of V, chunks of rows.
    "segments": VPGConfig(
        **SMALL, max_episode_steps=9, normalize_obs=True, normalize_rewards=True,
        normalize_advantages=True, value_iterations=3, gradient_rows=7, diagnostics=True,
    ),
    # Weights that are 0, and a number of steps that only all devices together know.
    "episodes": VPGConfig(
        **SMALL, rollout="episodes", max_episode_steps=12, normalize_obs=True,
        normalize_rewards=True, diagnostics=True,
    ),
    # One loss for both, and noise of more than one number.
    "shared torso": VPGConfig(**SMALL, env="Pendulum-v1", shared_torso=True),
}  # fmt: skip


def setup_of(config, spread):
    agent = make_agent(config)
    env = vectorize(agent.env, config.num_envs, config.max_episode_steps, spread)
    return vpg.Setup(config, agent, env, spread)


def both(config):
    """Two updates: on one device, and compiled for two."""
    spec = over_environments()
    out_specs = TrainResult(spec, P(), P())
    spread = over_two(make_segment(config, 2, TWO), in_specs=(spec,), out_specs=out_specs)
    state = quick_jit(make_learner(config).init)(jax.random.key(3))
    whole = quick_jit(make_segment(config, 2))(state)
    return whole, state, quick_jit(spread).lower(state).compile()


@pytest.mark.parametrize("name", CONFIGS)
def test_two_devices_compute_what_one_does(name):
    whole, state, compiled = both(CONFIGS[name])
    assert np.isfinite(whole.metrics.policy_grad_norm).all()
    assert (np.asarray(whole.metrics.episode_count) > 0).any() or name == "shared torso"
    split = compiled(jax.device_put(state, compiled.input_shardings[0][0]))
    # Keys are compared as data.
    whole, split = (jax.tree.map(np.asarray, r._replace(state=r.state._replace(
        key=jax.random.key_data(r.state.key)))) for r in (whole, split))  # fmt: skip
    for (path, one), two in zip(
        jax.tree.leaves_with_path(whole), jax.tree.leaves(split), strict=True
    ):
        np.testing.assert_allclose(
            one, two, rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path)
        )


def test_devices_add_up_sums_and_exchange_nothing_else():
    _, _, compiled = both(CONFIGS["segments"])
    text = compiled.as_text()
    kinds = re.findall(
        r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", text
    )
    assert set(kinds) == {"all-reduce"}
    assert len(kinds) < 20


def test_nothing_is_exchanged_while_acting():
    setup = setup_of(CONFIGS["segments"], TWO)
    spec, hp = over_environments(), Hyperparams()

    def collect(state):
        state, _, episodes = vpg.collect(setup, state, hp)
        return state, episodes

    state = jax.eval_shape(make_learner(setup.config).init, jax.random.key(0))
    jaxpr = jax.make_jaxpr(over_two(collect, in_specs=(spec,), out_specs=(spec, P())))(state)
    (body,) = [e.params["jaxpr"] for e in jaxpr.eqns if e.primitive.name == "shard_map"]
    assert str(body).count("psum") == len(EpisodeSums._fields)  # of the episodes that ended
    (rollout,) = [e for e in body.eqns if e.primitive.name == "scan"]
    assert rollout.params["length"] == setup.config.num_steps
    assert "psum" not in str(rollout)


def test_own_parts_are_the_whole_and_totals_are_of_all():
    x = np.arange(24.0).reshape(3, 8)

    def shares(x):
        return TWO.own(x, axis=1), TWO.total(TWO.own(x, axis=1).sum())

    parts, total = over_two(shares, in_specs=P(), out_specs=(P(None, TWO.axis), P()))(x)
    np.testing.assert_array_equal(parts, x)
    assert total == x.sum()
    assert ALONE.own(x) is x
    assert ALONE.total(x) is x
