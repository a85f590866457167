"""`make_setup`: the environments of each device, the estimator, the numbers that are refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from support import probes

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_segment
from purejaxvpg.advantages import ESTIMATORS
from purejaxvpg.agent import first_state, make_setup

CONFIG = VPGConfig(
    env=probes.RandomLength(5), num_envs=6, num_steps=4, total_steps=24, hidden_sizes=(8,),
    gradient_rows=7,
)  # fmt: skip


def inner_shapes(setup, devices):
    """First axes of the arrays of one device: of its environments' state, and of one step's keys
    and results."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("envs",))
    axes = set()

    def on_one_device(key):
        state = first_state(setup, key, Hyperparams())
        params = setup.agent.env.default_params
        keys = setup.env.keys(key, jnp.zeros((), jnp.int32))
        action = jnp.zeros(setup.num_envs, jnp.int32)
        after, out = setup.env.step(keys, state.env_state, action, params)
        arrays = (state.env_state, state.obs, state.reward_stats.returns, keys.step, after, out)
        axes.update(x.shape[0] for x in jax.tree.leaves(arrays))
        return jnp.zeros(())

    split = jax.shard_map(on_one_device, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    jax.eval_shape(split, jax.random.key(0))
    return axes


@pytest.mark.parametrize(("devices", "local_envs"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_each_device_has_its_share_of_the_environments(devices, local_envs):
    """N / D, in the setup, in the environments' state and in what one step takes and gives."""
    setup = make_setup(CONFIG, devices)
    assert setup.num_envs == local_envs
    assert setup.config.num_envs == 6
    assert setup.compute.devices == devices
    assert setup.compute.gradient_rows == 7
    assert inner_shapes(setup, devices) == {local_envs}


def test_another_number_of_environments():
    """`num_envs` stands for the config's, and is split in the same way."""
    assert make_setup(CONFIG, num_envs=10).num_envs == 10
    setup = make_setup(CONFIG, devices=2, num_envs=10)
    assert setup.num_envs == 5
    assert inner_shapes(setup, 2) == {5}


@pytest.mark.parametrize(
    "make",
    [make_setup, make_learner, lambda config, devices: make_segment(config, 1, devices)],
    ids=["make_setup", "make_learner", "make_segment"],
)
def test_devices_that_do_not_divide_the_environments_are_refused(make):
    """One line with both numbers and the remedy."""
    with pytest.raises(ValueError, match=r"num_envs=6 over 4 devices.*a multiple") as error:
        make(CONFIG, 4)
    assert "\n" not in str(error.value)


def test_without_restart_there_are_no_spares():
    """restart=False is for one episode each: no reset states are drawn ahead."""
    key = jax.random.key(0)
    params = probes.Params()
    for restart in (False, True):
        reset = functools.partial(make_setup(CONFIG, restart=restart).env.reset, params=params)
        state, _ = jax.eval_shape(reset, key)
        assert (state.spares is None) == (not restart)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_of_one_device_is_the_function_itself(name):
    """With one device there is nothing to gather."""
    rollout = {"rollout": "episodes", "max_episode_steps": 4}
    config = VPGConfig(env=CONFIG.env, num_envs=6, num_steps=4, total_steps=24, estimator=name,
                       **rollout)  # fmt: skip
    assert make_setup(config).estimator is ESTIMATORS[name]
