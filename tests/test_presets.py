"""Presets: one file for each environment, valid, and as good as docs/benchmarks.md says."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from support.probes import quick_jit

from purejaxvpg import envs, make_learner, make_train, presets
from purejaxvpg.statistics import trailing_return


@pytest.mark.parametrize("name", presets.available())
def test_a_preset_names_its_environment_and_is_valid(name):
    """The preset's file name is its environment, and its settings make a config."""
    preset = presets.load(name)
    assert preset.config.env == name
    suite = envs.suites.split(name)
    assert name in (envs.suites.names(suite[0]) if suite else envs.registered())
    assert presets.shortened(preset.config, 3).num_updates == 3
    # The command line takes these two from its own flags, and would not see a preset's.
    assert preset.config.env_kwargs == ()
    assert preset.hyperparams.env_params is None


def test_an_environment_without_preset_is_told_which_have_one():
    """The error names the environment and lists those that have a preset."""
    with pytest.raises(ValueError, match=r"'Pong-misc' has no preset.*CartPole-v1"):
        presets.load("Pong-misc")


def test_an_unknown_environment_is_told_the_close_ones():
    for name, close in (("CartPole", "CartPole-v1"), ("pendulum-v1", "Pendulum-v1")):
        with pytest.raises(ValueError, match=f"no preset; did you mean {close}") as error:
            presets.load(name)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"environment namespace\(.* has no preset"):
        presets.load(types.SimpleNamespace(name="CartPole-v1"))


def test_changes_of_both_halves():
    """Static and traced fields by name; everything else stays the preset's."""
    before = presets.load("CartPole-v1")
    config, hp = presets.load("CartPole-v1", num_envs=16, gamma=0.5, env_params={"gravity": 5.0})
    assert config == dataclasses.replace(before.config, num_envs=16)
    assert hp == dataclasses.replace(before.hyperparams, gamma=0.5, env_params={"gravity": 5.0})
    assert hp.gae_lambda == 0.98  # which VPGConfig alone could not hold
    assert presets.load("CartPole-v1", env="Acrobot-v1").config.env == "Acrobot-v1"


def test_changes_that_cannot_be_are_one_line():
    with pytest.raises(TypeError, match=r"num_env=3 is no field of .*; did you mean num_envs"):
        presets.load("CartPole-v1", num_env=3)
    with pytest.raises(ValueError, match="gamma=2 is out of range"):
        presets.load("CartPole-v1", gamma=2)
    with pytest.raises(ValueError, match="does not divide total_steps"):
        presets.load("CartPole-v1", num_envs=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in presets.available() if "/" in name])
def test_a_preset_of_a_suite_trains(name):
    """Two updates at the preset's own sizes: all numbers finite, and both networks have moved."""
    suite = envs.suites.SUITES[name.partition("/")[0]]
    if not suite.installed:
        pytest.skip(f"{suite.package} is not installed")
    config, hp = presets.load(name)
    config = presets.shortened(config, 2)
    learner = make_learner(config)
    first = state = quick_jit(learner.init)(jax.random.key(0), hp)
    update = quick_jit(learner.update)
    for _ in range(2):
        state, metrics = update(state, hp)
        assert metrics.finite
    for before, after in zip(first.params, state.params, strict=True):
        old, new = map(jax.tree.leaves, (before, after))
        assert all(np.isfinite(x).all() for x in new)
        assert any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(old, new, strict=True))


@pytest.mark.slow
def test_every_seed_of_cartpole_reaches_475_and_stays():
    """16 seeds reach 475, and 14 of them are still there at the end: the claim of the README."""
    config, hp = presets.load("CartPole-v1")
    keys = jax.vmap(jax.random.key)(np.arange(16, dtype=np.uint32))
    result = jax.jit(jax.vmap(make_train(config), in_axes=(0, None)))(keys, hp)
    metrics = jax.tree.map(np.asarray, result.metrics)
    returns = trailing_return(metrics.episode_return_sum, metrics.episode_count)
    assert (np.nanmax(returns, axis=1) >= 475).all()
    assert (returns[:, -1] >= 475).sum() >= 14
