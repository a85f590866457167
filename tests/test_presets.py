"""Presets: one file for each environment, valid, and as good as the README says."""

import jax
import numpy as np
import pytest

from purejaxvpg import envs, make_train, presets
from purejaxvpg.statistics import trailing_return


@pytest.mark.parametrize("name", presets.available())
def test_a_preset_names_its_environment_and_is_valid(name):
    """The preset's file name is its environment, and its settings make a config."""
    preset = presets.load(name)
    assert preset.config.env == name
    assert name in envs.registered()
    assert presets.shortened(preset.config, 3).num_updates == 3
    # The command line takes these two from its own flags, and would not see a preset's.
    assert preset.config.env_kwargs == ()
    assert preset.hyperparams.env_params is None


def test_an_environment_without_preset_is_told_which_have_one():
    """The error names the environment and lists those that have a preset."""
    with pytest.raises(ValueError, match=r"'Pong-misc' has no preset.*CartPole-v1"):
        presets.load("Pong-misc")


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
