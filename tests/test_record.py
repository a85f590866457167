"""What is written beside numbers: configs, hyperparameters and versions, there and back."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig, envs
from purejaxvpg.experiment.record import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    lists_to_tuples,
    plain,
    versions,
)


@pytest.mark.parametrize(
    "config",
    [
        VPGConfig(),
        VPGConfig(hidden_sizes=(8, 16, 32), max_episode_steps=7, normalize_obs=True),
        VPGConfig(hidden_sizes=()),
        VPGConfig(env_kwargs={"shape": (3, (4, "x")), "size": 5}),
        VPGConfig(env_kwargs={"size": np.int64(5), "sides": (np.float32(0.5), np.bool_(True))}),
        VPGConfig(init_std=np.float32(0.5), num_envs=np.int32(8)),
    ],
)
def test_a_config_comes_back_equal(config):
    text = json.dumps(config_to_json(config))
    found = config_from_json(json.loads(text))
    assert found == config
    assert hash(found) == hash(config)


@pytest.mark.parametrize("name", ["env", "network", "kernel_init", "env_kwargs"])
def test_objects_in_a_config_are_refused_by_name(name):
    value = {"env": object(), "network": nn.Dense(3), "kernel_init": jax.nn.initializers.ones}
    value["env_kwargs"] = {"inner": object()}
    with pytest.raises(TypeError, match=rf"{name}=.* cannot be written .* give it by name") as told:
        config_to_json(VPGConfig(**{name: value[name]}))
    assert "\n" not in str(told.value)


def test_a_config_with_a_missing_or_unknown_field_is_refused():
    fields = config_to_json(VPGConfig())
    assert config_from_json({k: v for k, v in fields.items() if k != "n_step"}) == VPGConfig()
    with pytest.raises(TypeError, match="colour"):
        config_from_json(fields | {"colour": "blue"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.asarray(3), 3),
        (jnp.asarray([0.5, 1.5]), [0.5, 1.5]),
        (jnp.asarray(True), True),
        ((1, (2.5, "a"), None), [1, [2.5, "a"], None]),
        ({"a": {"b": np.int8(1)}}, {"a": {"b": 1}}),
        (Hyperparams(gamma=jnp.float32(0.5)), None),
    ],
)
def test_arrays_and_objects_become_what_json_knows(value, expected):
    found = plain(value)
    assert json.loads(json.dumps(found)) == found
    assert expected is None or found == expected
    if isinstance(value, Hyperparams):
        assert (found["gamma"], found["env_params"]) == (0.5, None)


def test_lists_become_tuples_at_every_depth():
    assert lists_to_tuples({"a": [1, [2, {"b": []}]]}) == {"a": (1, (2, {"b": ()}))}


@pytest.mark.parametrize(
    "hp",
    [
        Hyperparams(),
        Hyperparams(max_grad_norm=np.inf, policy_lr=np.float32(1e-3), gamma=jnp.float32(0.9)),
        Hyperparams(env_params={"gravity": 9.8, "max_steps_in_episode": 20}),
    ],
)
def test_hyperparameters_come_back_equal(hp):
    assert hyperparams_from_json(json.loads(json.dumps(plain(hp)))) == hp


def test_a_parameter_object_with_vectors_comes_back_as_a_mapping_that_means_the_same():
    env = envs.make("Acrobot-v1")
    hp = Hyperparams(env_params=env.default_params.replace(link_mass_1=2.0))
    found = hyperparams_from_json(json.loads(json.dumps(plain(hp))))
    assert plain(found) == plain(hp)
    resolved = envs.resolve_params(env, found.env_params)
    jax.tree.map(np.testing.assert_array_equal, resolved, hp.env_params)


def test_versions_name_every_library_that_matters():
    found = versions()
    assert found["jax"] == jax.__version__
    assert found["numpy"] == np.__version__
    assert {"python", "purejaxvpg", "jaxlib", "flax", "optax", "distrax", "gymnax"} <= set(found)
