"""Presets: files apart from code, each for an environment that exists."""

import pytest

from purejaxvpg import envs, presets


@pytest.mark.parametrize("name", presets.available())
def test_a_preset_names_its_environment_and_is_valid(name):
    preset = presets.load(name)
    assert preset.config.env == name
    assert name in envs.registered()
    assert presets.shortened(preset.config, 3).num_updates == 3
    # The command line takes these two from its own flags, and would not see a preset's.
    assert preset.config.env_kwargs == ()
    assert preset.hyperparams.env_params is None


def test_an_environment_without_preset_is_told_which_have_one():
    with pytest.raises(ValueError, match=r"'Pong-misc' has no preset.*CartPole-v1"):
        presets.load("Pong-misc")


@pytest.mark.slow
def test_every_seed_of_cartpole_reaches_475_and_stays():
    """The claim of the README, on 16 seeds."""
    import numpy as np

    from purejaxvpg.experiment.runner import run
    from purejaxvpg.statistics import trailing_return

    preset = presets.load("CartPole-v1")
    metrics = run(preset.config, preset.hyperparams, 16).metrics
    returns = trailing_return(metrics.episode_return_sum, metrics.episode_count)
    assert (np.nanmax(returns, axis=1) >= 475).all()
    assert (returns[:, -1] >= 475).sum() >= 14
