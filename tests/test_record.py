"""Configs, hyperparameters and records of how a study was run, written and read back."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig, envs
from purejaxvpg.experiment.record import StudyRecord, differences, made_with, versions
from purejaxvpg.serialize import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    lists_to_tuples,
    plain,
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
    back = config_from_json(json.loads(text))
    assert back == config
    assert hash(back) == hash(config)


@pytest.mark.parametrize("name", ["env", "network", "kernel_init", "env_kwargs"])
def test_objects_in_a_config_are_refused_by_name(name):
    value = {
        "env": object(),
        "network": nn.Dense(3),
        "kernel_init": jax.nn.initializers.constant(2),
    }
    value["env_kwargs"] = {"inner": object()}
    line = rf"{name}=.* cannot be written .* give it by name"
    with pytest.raises(TypeError, match=line) as error:
        config_to_json(VPGConfig(**{name: value[name]}))
    assert "\n" not in str(error.value)


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
    shown = plain(value)
    assert json.loads(json.dumps(shown)) == shown
    assert expected is None or shown == expected
    if isinstance(value, Hyperparams):
        assert (shown["gamma"], shown["env_params"]) == (0.5, None)


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
    back = hyperparams_from_json(json.loads(json.dumps(plain(hp))))
    assert plain(back) == plain(hp)
    resolved = envs.resolve_params(env, back.env_params)
    jax.tree.map(np.testing.assert_array_equal, resolved, hp.env_params)


def test_versions_name_every_library_that_matters():
    installed = versions()
    assert installed["jax"] == jax.__version__
    assert installed["numpy"] == np.__version__
    assert {"python", "purejaxvpg", "jaxlib", "flax", "optax", "distrax", "gymnax"} <= set(
        installed
    )


# ------------------------------------------------------------------------------------- RECORDS


def test_a_record_comes_back_equal():
    record = StudyRecord(
        command="purejaxvpg sweep CartPole-v1",
        versions={"jax": "1.2.3"},
        device="NVIDIA H100",
        split="envs",
        num_devices=4,
        seconds=1.5,
        widths=np.asarray([2, 4]),
        prune={"method": "successive_halving", "rungs": 3, "keep": 0.5},
        settings_at_the_end=np.arange(2),
        complete=True,
    )
    back = StudyRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert back == record
    assert (back.widths, back.settings_at_the_end) == ([2, 4], [0, 1])
    assert StudyRecord.from_json(StudyRecord().to_json()) == StudyRecord()


def test_a_record_of_the_first_format_is_read():
    """What is split was called shard then; fields of other versions are left out."""
    record = StudyRecord.from_json({"shard": "envs", "device": "cpu", "colour": "blue"})
    assert record == StudyRecord(split="envs", device="cpu")


def test_fields_that_say_nothing_are_not_written():
    assert "settings_at_the_end" not in StudyRecord().to_json()
    assert StudyRecord(settings_at_the_end=[]).to_json()["settings_at_the_end"] == []


def test_a_record_is_not_changed_in_place():
    record = StudyRecord()
    assert record.replace(complete=True).complete
    assert not record.complete


def test_differences_name_each_thing_that_bits_depend_on():
    now = made_with()
    assert differences(now, now) == []
    lines = differences(now | {"jax": "0.1.2", "device": "abacus"}, now)
    assert len(lines) == 2
    assert f"jax was 0.1.2, and is {jax.__version__}" in lines[0]
    assert lines[1].startswith("device was abacus, and is ")
    assert differences({}, now) == []  # it was not always recorded
