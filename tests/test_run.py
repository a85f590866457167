"""Results: mean returns, steps beside the metrics, and a run without an axis of settings."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray
from support.assertions import assert_same_bits
from support.studies import CONFIG, EVALUATING, make_part, make_spec, make_study

from purejaxvpg.experiment import load_run, load_study
from purejaxvpg.experiment.cube import write_cube
from purejaxvpg.experiment.run import run_of

RECORDED = Path(__file__).parent / "recorded" / "bf46240"
NAN = np.nan


def ended(counts, sums, lengths=0, **more):
    """A study of one setting and seed whose updates ended these episodes."""
    spec = make_spec(grid={}, num_seeds=1)
    sums = {"episode_return_sum": sums, "episode_length_sum": lengths}
    counts = np.asarray(counts, float)
    part = make_part(spec, [0], 0, len(counts), episode_count=counts, **sums, **more)
    return make_study(spec, [part])


# ------------------------------------------------------------------------------------- RETURNS


def test_returns_are_means_over_the_episodes_of_each_update():
    study = ended([2, 0, 1, 4], [7, 0, -3, 10])
    np.testing.assert_array_equal(study.returns, [[[3.5, NAN, -3, 2.5]]])
    assert study.returns.dtype == np.float32


def test_returns_are_nan_where_nothing_was_run_and_infinite_where_a_return_was():
    np.testing.assert_array_equal(ended([1, 2], [4, 8]).returns[0, 0], [4, 4, NAN, NAN])
    np.testing.assert_array_equal(
        ended([1, 1, 0, 0], [4, np.inf, 0, 0]).returns[0, 0], [4, np.inf, NAN, NAN]
    )


# ---------------------------------------------------------------------------------------- CUBE


def test_the_cube_has_mean_returns_and_lengths_at_their_steps():
    data = ended([2, 0, 1, 4], [7, 0, -3, 10], [8, 0, 9, 10]).to_xarray()
    np.testing.assert_array_equal(data["episode_return"][0], [3.5, NAN, -3, 2.5])
    np.testing.assert_array_equal(data["episode_length"][0], [4, NAN, 9, 2.5])
    assert data["episode_return"].attrs["units"] == "reward, undiscounted"
    assert data["episode_length"].attrs["units"] == "environment steps"
    assert data["kl"].coords["steps"].values.tolist() == [32, 64, 96, 128]
    assert data["steps"].attrs["units"] == "environment steps of one run"


def test_steps_lie_along_the_axes_that_change_them_alone():
    spec = make_spec({"policy_lr": [1e-3, 1e-2], "num_envs": [4, 2]}, config=EVALUATING)
    data = make_study(spec).to_xarray()
    assert data["steps"].dims == ("num_envs", "update")
    np.testing.assert_array_equal(data["steps"].sel(num_envs=4)[:5], [32, 64, 96, 128, NAN])
    np.testing.assert_array_equal(data["steps"].sel(num_envs=2), np.arange(16, 129, 16))
    assert data["evaluation_returns"].coords["evaluation_steps"].dims == ("num_envs", "evaluation")
    taken = data["evaluation_steps"].sel(num_envs=4)
    np.testing.assert_array_equal(taken, [64, 128, NAN, NAN])
    assert make_study(make_spec()).to_xarray()["steps"].dims == ("update",)


def test_netcdf_keeps_the_steps(tmp_path):
    write_cube(tmp_path, make_study(make_spec()))
    with xarray.open_dataset(tmp_path / "study.nc", engine="h5netcdf") as back:
        assert back["episode_return"].coords["steps"].values.tolist() == [32, 64, 96, 128]


def test_metrics_of_a_run_have_their_steps_and_seeds_beside_them(tmp_path):
    write_cube(tmp_path, make_study(make_spec(grid={}, config=EVALUATING)))
    with np.load(tmp_path / "metrics.npz", allow_pickle=False) as arrays:
        assert arrays["steps"].tolist() == [32, 64, 96, 128]
        assert arrays["evaluation_steps"].tolist() == [64, 128]
        assert arrays["seeds"].tolist() == [5, 6]
        mean = arrays["episode_return_sum"] / arrays["episode_count"]
        np.testing.assert_array_equal(arrays["episode_return"], mean)


# ----------------------------------------------------------------------------------------- RUN


def test_a_run_of_a_study_is_its_setting_without_the_axis():
    spec = make_spec({"policy_lr": [1e-3, 1e-2], "num_envs": [4, 2]}, config=EVALUATING)
    study = make_study(spec)
    run = run_of(study, 2)  # policy_lr=1e-2, num_envs=4: four updates of the eight
    assert run.hyperparams.policy_lr == 1e-2
    assert (run.config.num_envs, run.seeds.tolist()) == (4, [5, 6])
    assert run.steps.tolist() == [32, 64, 96, 128]
    assert run.evaluation_steps.tolist() == [64, 128]
    np.testing.assert_array_equal(run.metrics["kl"], study.metrics["kl"][2, :, :4])
    np.testing.assert_array_equal(run.returns, study.returns[2, :, :4])
    np.testing.assert_array_equal(
        run.evaluations["returns"], study.evaluations["returns"][2, :, :2]
    )
    np.testing.assert_array_equal(run.scores, study.scores()[2])
    assert run.updates.tolist() == [4, 4]
    assert run.diverged_at.tolist() == [0, 0]
    with pytest.raises(ValueError, match="accepted: 0 to 3"):
        run_of(study, 4)


def test_without_evaluations_there_are_none():
    run = run_of(make_study(make_spec(grid={}, config=CONFIG)))
    assert run.evaluations == {}
    assert run.evaluation_steps.tolist() == []


@pytest.mark.parametrize("name", ["run", "run-format-1"])
def test_an_old_run_is_read(name, tmp_path):
    folder = shutil.copytree(RECORDED / name, tmp_path / name)
    run, study = load_run(folder), load_study(folder)
    assert run.config == study.config
    assert run.seeds.tolist() == [3, 4]
    assert run.steps.tolist() == [16, 32, 48, 64, 80, 96]
    assert_same_bits(run.metrics["entropy"], study.metrics["entropy"][0])
    assert_same_bits(run.policies.arrays([1]), study.policies.arrays([1]))


def test_one_setting_of_a_study_folder_is_read_by_its_values():
    folder = RECORDED / "study"
    run, study = load_run(folder, policy_lr=1e-2, gamma=0.9), load_study(folder)
    assert (run.hyperparams.policy_lr, run.hyperparams.gamma) == (1e-2, 0.9)
    assert_same_bits(run.metrics["kl"], study.metrics["kl"][2])
    with pytest.raises(ValueError, match=r"has 4 settings; name the values of policy_lr, gamma"):
        load_run(folder)
    with pytest.raises(ValueError, match=r"has 2 settings with these values; name .* of gamma"):
        load_run(folder, policy_lr=1e-2)
    with pytest.raises(ValueError, match="no setting of the study has policy_lr=2"):
        load_run(folder, policy_lr=2)
