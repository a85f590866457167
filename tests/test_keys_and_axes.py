"""Calls that users of jax make: raw keys, donated states, `Hyperparams` as vmap's axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.assertions import as_numpy, assert_same_bits
from support.probes import ConstantValue, quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.fields import as_key

CONFIG = VPGConfig(env=ConstantValue(), num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(4,),
                   value_iterations=1, diagnostics=False)  # fmt: skip
NAMES = list(Hyperparams.__dataclass_fields__)


def test_a_raw_key_is_the_same_key():
    for raw in (jax.random.PRNGKey(7), np.uint32([0, 7])):
        np.testing.assert_array_equal(as_numpy(as_key(raw)), as_numpy(jax.random.key(7)))
    key = jax.random.key(7)
    assert as_key(key) is key


def test_a_raw_key_trains_and_evaluates():
    """One key, and many under vmap."""
    learner = make_learner(CONFIG)
    raw, key = jax.random.PRNGKey(7), jax.random.key(7)
    state = learner.init(raw)
    assert_same_bits(state, learner.init(key))
    types = jax.eval_shape(make_train(CONFIG), key)
    assert jax.eval_shape(make_train(CONFIG), raw) == types
    many = jax.random.split(raw, 3)
    assert jax.eval_shape(jax.vmap(make_train(CONFIG)), many).metrics.finite.shape == (3, 2)
    evaluate = make_evaluate(CONFIG, num_episodes=2)
    args = (state.params.policy, state.obs_stats)
    types = jax.eval_shape(evaluate, key, *args)
    assert jax.eval_shape(evaluate, raw, *args) == types


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (3, TypeError, "key is int; pass jax.random.key"),
        (np.uint32(3), TypeError, r"key is uint32\[\]; pass"),
        (np.uint32([1, 2, 3]), TypeError, r"key is uint32\[3\]; pass"),
        (np.float32([0, 7]), TypeError, r"key is float32\[2\]; pass"),
        (np.zeros((4, 2), np.uint32), ValueError, r"shape \(4,\) where one run .* use jax.vmap"),
    ],
)
def test_what_is_no_key_is_refused(key, error, message):
    with pytest.raises(error, match=message) as refused:
        make_learner(CONFIG).init(key)
    assert "\n" not in str(refused.value)


def test_a_state_made_without_jit_can_be_donated():
    """Its arrays are each there once: a buffer that is donated twice is an error of XLA."""
    learner = make_learner(CONFIG)
    state, expected = learner.init(jax.random.key(0)), learner.init(jax.random.key(0))
    arrays = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    pointers = [x.unsafe_buffer_pointer() for x in arrays]
    assert len(set(pointers)) == len(pointers) > 20
    options = {"xla_backend_optimization_level": 0}
    after, _ = jax.jit(learner.update, donate_argnums=0, compiler_options=options)(state)
    assert_same_bits(after, quick_jit(learner.update)(expected)[0])
    assert jax.tree.leaves(state.params)[0].is_deleted()


# ------------------------------------------------------------------------------------------ AXES


def test_hyperparams_say_what_vmap_maps():
    """0 stays 0: an axis of 0.0 would be refused by vmap."""
    axes = Hyperparams(**dict.fromkeys(NAMES) | {"gamma": 0, "env_params": {"reward": -1}})
    hp = Hyperparams(gamma=jnp.array([0.5, 0.25]), env_params={"reward": jnp.array([3.0, 4.0])})
    both = jax.vmap(lambda hp: hp.gamma * hp.env_params["reward"] + hp.policy_lr, (axes,))
    np.testing.assert_allclose(both(hp), [1.503, 1.003])
    axes = Hyperparams(**dict.fromkeys(NAMES) | {"value_lr": 0})
    hp = Hyperparams(value_lr=jnp.zeros(3))
    types = jax.eval_shape(jax.vmap(make_train(CONFIG), (None, axes)), jax.random.key(0), hp)
    assert types.metrics.finite.shape == (3, 2)


def test_axes_are_no_run():
    with pytest.raises(TypeError, match=r"^gamma=None is not a number; gamma accepts a number in"):
        Hyperparams(gamma=None)
    with pytest.raises(TypeError, match="policy_lr=None is not a number"):
        Hyperparams(**dict.fromkeys(NAMES) | {"value_lr": True})
    axes = Hyperparams(**dict.fromkeys(NAMES) | {"policy_lr": 0})
    with pytest.raises(TypeError, match=r"value_lr=None is no number; None is for jax.vmap"):
        jax.eval_shape(make_train(CONFIG), jax.random.key(0), axes)
    with pytest.raises(ValueError, match=r"gamma has shape \(2,\) where one run takes a scalar"):
        make_learner(CONFIG).init(jax.random.key(0), Hyperparams(gamma=np.array([0.5, 0.9])))
