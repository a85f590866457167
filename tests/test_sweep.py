"""Sweeps: the same bits wherever and however a run is computed."""

import dataclasses
import inspect
import re

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.slow import slow_but
from support.sweeps import (
    CONFIG,
    GRID,
    LAMBDAS,
    ONE,
    RATES,
    assert_same_runs,
    runs_of,
    whole_study,
)

from purejaxvpg import Hyperparams, make_train
from purejaxvpg.experiment import LogUniform, load_study, merge, search, segments, sweep, train


@pytest.fixture(scope="module")
def study():
    """3 x 2 settings, 2 seeds: 12 runs, two at a time on one device."""
    return whole_study()


# --------------------------------------------------------------------------------- SAME BITS


def test_a_study_is_whole_and_labelled(study):
    assert study.complete
    assert study.metrics["entropy"].shape == (6, 2, 10)
    assert np.isfinite(study.metrics["policy_loss"]).all()
    assert study.design.settings()[1] == {"policy_lr": 1e-3, "gae_lambda": 1.0}
    np.testing.assert_array_equal(study.steps[0], 16 * np.arange(1, 11))


def test_a_run_is_the_training_that_make_train_gives(study):
    """Another width is another program: the first update agrees to 1e-6."""
    keys = jax.vmap(jax.random.key)(study.seeds.astype(np.uint32))
    function = jax.jit(jax.vmap(make_train(CONFIG), in_axes=(0, None)))
    result = function(keys, Hyperparams(policy_lr=1e-2, gae_lambda=0.9))
    for name, expected in result.metrics._asdict().items():
        first = study.metrics[name][4, :, 0]
        np.testing.assert_allclose(first, expected[:, 0], rtol=1e-6, atol=1e-6, err_msg=name)


def test_settings_matter_and_seeds_matter(study):
    """Else all that follows would hold of a sweep that ran one setting with one seed."""
    last = study.metrics["policy_loss"][:, :, -1]
    assert len(np.unique(last)) == 12


def test_the_order_of_the_grid_changes_no_bit(study):
    turned = {"gae_lambda": LAMBDAS[::-1], "policy_lr": RATES[::-1]}
    assert assert_same_runs(study, sweep(CONFIG, turned, 2, **ONE)) == 12


def test_the_number_of_runs_changes_no_bit(study):
    more = {"policy_lr": [3e-3, 7e-3], "gae_lambda": [1.0]}
    assert assert_same_runs(study, sweep(CONFIG, more, 3, **ONE)) == 2


def test_what_else_is_swept_changes_no_bit(study):
    """A hyperparameter that varies and one that does not are both arrays in the program."""
    other = sweep(CONFIG, {"gamma": [0.99, 0.5]}, 2, hp=Hyperparams(policy_lr=3e-3), **ONE)
    plain = sweep(CONFIG, None, 2, hp=Hyperparams(policy_lr=3e-3), **ONE)
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(values[0], other.metrics[name][0], err_msg=name)


def test_the_first_seed_changes_no_bit(study):
    later = sweep(CONFIG, {"policy_lr": RATES, "gae_lambda": [1.0]}, 2, first_seed=1, **ONE)
    assert assert_same_runs(study, later) == 3


@pytest.mark.parametrize(("number", "num_seeds"), slow_but([(8, 3)], [(2, 2), (8, 3)]))
def test_the_number_of_devices_changes_no_bit(study, number, num_seeds):
    """18 runs on 8 devices, two on each: of the second chunk all but two rows are padding."""
    spread = sweep(CONFIG, GRID, num_seeds, chunk_size=2, devices=jax.devices()[:number])
    assert assert_same_runs(study, spread) == 12
    assert spread.record.num_devices == number
    assert np.isfinite(spread.metrics["policy_loss"]).all()


def test_shards_that_ran_apart_merge_to_the_same_bits(study, tmp_path):
    for index in range(4):
        shard = sweep(CONFIG, GRID, 2, shard=(index, 4), folder=tmp_path / str(index), **ONE)
        assert not shard.complete
        assert shard.done.sum() == 3
    merged = merge(tmp_path / "all", [tmp_path / str(i) for i in (2, 0, 3, 1)])
    assert merged.complete
    assert assert_same_runs(study, merged) == 12
    assert assert_same_runs(study, load_study(tmp_path / "all")) == 12


def test_shards_may_share_a_folder(study, tmp_path):
    for index in (1, 0):
        last = sweep(CONFIG, GRID, 2, shard=f"{index}/2", folder=tmp_path / "one", **ONE)
    assert last.complete  # the last one sees the others' parts
    loaded = load_study(tmp_path / "one")
    assert assert_same_runs(study, loaded) == 12
    assert loaded.record.complete
    assert loaded.record.steps == 12 * 160


def test_another_width_agrees_in_the_first_update(study):
    wider = sweep(CONFIG, GRID, 2, chunk_size=6, devices=jax.devices()[:1])
    for run, rows in runs_of(wider).items():
        np.testing.assert_allclose(rows[:, 0], runs_of(study)[run][:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_environments_of_one_run_split_over_devices_agree():
    config = dataclasses.replace(CONFIG, num_envs=16, total_steps=16 * 8 * 2)
    whole = sweep(config, None, 1, chunk_size=1, devices=jax.devices()[:1])
    split = sweep(config, None, 1, split="envs", devices=jax.devices())
    assert (whole.record.split, split.record.split) == ("runs", "envs")
    for name, values in whole.metrics.items():
        np.testing.assert_allclose(values, split.metrics[name], rtol=1e-5, atol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match="num_envs=2 over 8 devices"):
        sweep(CONFIG, None, 1, split="envs")


# ----------------------------------------------------------------------------------- SEGMENTS


def test_where_segments_fall_changes_no_bit(tmp_path, monkeypatch):
    """32 updates in segments of 1 and of at most 4, which evaluations (every 4) do not keep to."""
    config = dataclasses.replace(CONFIG, total_steps=16 * 32, eval_every=4, eval_episodes=2)
    config = dataclasses.replace(config, eval_steps=20)
    falls, studies = [], []
    monkeypatch.setattr(segments, "SECONDS", 1e6)  # a busy machine would cut them short
    for updates in (0, 1, 3):
        ends = []
        kept = {"folder": tmp_path / str(updates), "checkpoint_updates": updates}
        hook = {"on_segment": lambda segment, ends=ends: ends.append(segment.updates)}
        studies.append(train(config, None, 2, checkpoint_minutes=0, **kept, **hook, **ONE))
        falls.append(ends)
    assert falls == [
        [1, 5, 9, 13, 17, 21, 25, 29, 32],
        [*range(1, 33)],
        [1, *range(3, 32, 3), 32],
    ]
    first = studies[0]
    assert first.evaluations["returns"].shape == (1, 2, 8, 2)
    assert len(np.unique(first.metrics["policy_loss"])) == 64
    for other in studies[1:]:
        assert_same_bits(first.metrics, other.metrics)
        assert_same_bits(first.evaluations, other.evaluations)
        assert_same_bits(first.policies.arrays([0, 1]), other.policies.arrays([0, 1]))


# ------------------------------------------------------------------------------------- TRAIN


@pytest.fixture(scope="module")
def trained():
    """15 seeds of one setting on all devices there are, two on each: a row is padding."""
    held = set()
    hook = {"on_segment": lambda segment: held.update(segment.state.update.devices())}
    return train(CONFIG, Hyperparams(policy_lr=3e-3), 15, chunk_size=2, **hook), held


def test_train_uses_all_local_devices(trained):
    study, held = trained
    assert study.record.num_devices == 8
    assert held == set(jax.local_devices())
    assert study.complete
    assert study.design.settings() == [{}]
    assert study.metrics["entropy"].shape == (1, 15, 10)
    assert len(study.policies.runs) == 15


@pytest.mark.parametrize("number", [1, 2, 4])
def test_train_gives_the_same_bits_on_any_number_of_devices(trained, number):
    devices = jax.devices()[:number]
    fewer = train(CONFIG, Hyperparams(policy_lr=3e-3), 8, chunk_size=2, devices=devices)
    assert fewer.record.num_devices == number
    assert assert_same_runs(trained[0], fewer) == 8
    assert_same_bits(trained[0].policies.arrays(range(8)), fewer.policies.arrays(range(8)))


def test_train_is_a_sweep_of_one_setting(study, trained):
    alike = dict(runs_of(trained[0]))
    rows = runs_of(sweep(CONFIG, {"policy_lr": [3e-3]}, 2, **ONE))
    for seed in range(2):
        np.testing.assert_array_equal(alike[seed,], rows[("policy_lr", 3e-3), seed])


# -------------------------------------------------------------------------------- DIVERGENCE


def test_a_hopeless_setting_is_marked_and_its_neighbours_untouched():
    hopeless = sweep(CONFIG, {"policy_lr": [1e-3, 1e30, 1e-2]}, 3, **ONE)
    tame = sweep(CONFIG, {"policy_lr": [1e-3, 2e-3, 1e-2]}, 3, **ONE)
    np.testing.assert_array_equal(hopeless.diverged, [[False] * 3, [True] * 3, [False] * 3])
    assert hopeless.complete
    assert assert_same_runs(hopeless, tame) == 6
    assert np.isnan(hopeless.scores()[1]).all()
    assert np.isfinite(hopeless.scores()[[0, 2]]).all()


# -------------------------------------------------------------------------------------- AXES


def test_zipped_sample_and_static_axes_combine():
    study = sweep(
        CONFIG,
        {"num_envs": [2, 4]},
        1,
        zipped={"policy_lr": [1e-3, 1e-2], "gae_lambda": [0.9, 1.0]},
        sample={"gamma": LogUniform(0.9, 0.99)},
        num_samples=2,
        **ONE,
    )
    assert study.design.shape == (2, 2, 2)
    assert study.complete
    np.testing.assert_array_equal(study.num_updates, [10] * 4 + [5] * 4)
    assert np.isnan(study.metrics["entropy"][4:, :, 5:]).all()
    assert np.isfinite(study.metrics["entropy"][4:, :, :5]).all()


def test_evaluations_come_along():
    config = dataclasses.replace(CONFIG, eval_every=5, eval_episodes=3)
    study = sweep(config, {"policy_lr": RATES[:2]}, 2, **ONE)
    assert study.evaluations["returns"].shape == (2, 2, 2, 3)
    last = study.evaluations["returns"][:, :, -1].astype(np.float64)
    np.testing.assert_allclose(study.scores(), last.mean(-1), rtol=1e-12)


# -------------------------------------------------------------------------------------- HELP


@pytest.mark.parametrize("function", [sweep, train, search])
def test_help_names_every_parameter(function):
    words = set(re.findall(r"\w+", inspect.getdoc(function)))
    assert inspect.signature(function).parameters.keys() <= words
