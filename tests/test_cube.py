"""A study in every form it is given out in: xarray, NetCDF, pandas, npz; the same numbers."""

import json
import os
import sys
import warnings

import numpy as np
import pytest
import xarray
from support.studies import CONFIG, EVALUATING, PRUNE, make_part, make_spec, make_study

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.cube import write_cube
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.scoring import with_means
from purejaxvpg.experiment.store import Store
from purejaxvpg.ranges import LogUniform, Uniform

# --------------------------------------------------------------------------------------- XARRAY


GRID = make_spec(
    grid={"gamma": [0.9, 0.99], "hidden_sizes": [(8,), (16, 16)]},
    zipped={"activation": ["tanh", "relu"], "num_envs": [4, 2]},
    num_seeds=3,
    config=EVALUATING,
)
DIMS = ("gamma", "hidden_sizes", "zip")


def test_the_cube_has_a_dimension_for_each_axis():
    study = make_study(GRID)
    data = study.to_xarray()
    assert data["kl"].dims == (*DIMS, "seed", "update")
    assert data["score"].dims == data["diverged"].dims == (*DIMS, "seed")
    assert data["pruned"].dims == DIMS
    assert data["steps"].dims == ("zip", "update")  # along which num_envs varies
    assert data["evaluation_returns"].dims == (*DIMS, "seed", "evaluation", "episode")
    sizes = {"gamma": 2, "hidden_sizes": 2, "zip": 2, "seed": 3, "update": 8}
    assert dict(data.sizes) == sizes | {"evaluation": 4, "episode": 3}


def test_the_coordinates_are_the_values():
    data = make_study(GRID).to_xarray()
    assert data["gamma"].values.tolist() == [0.9, 0.99]
    assert data["hidden_sizes"].values.tolist() == ["(8,)", "(16, 16)"]
    assert data["seed"].values.tolist() == [5, 6, 7]
    assert data["update"].values.tolist() == list(range(1, 9))
    for name, values in (("activation", ["tanh", "relu"]), ("num_envs", [4, 2])):
        assert data[name].dims == ("zip",)
        assert data[name].values.tolist() == values


def test_every_number_is_found_by_the_labels_of_its_run():
    study = make_study(GRID)
    data = study.to_xarray()
    scores = study.scores()
    for h, setting in enumerate(GRID.design.settings()):
        place = {"gamma": setting["gamma"], "hidden_sizes": str(setting["hidden_sizes"])}
        at = data.sel(place).isel(zip=["tanh", "relu"].index(setting["activation"]))
        assert int(at["num_envs"]) == setting["num_envs"]
        for s, seed in enumerate(study.seeds):
            run = at.sel(seed=seed)
            np.testing.assert_array_equal(run["kl"], study.metrics["kl"][h, s])
            assert float(run["score"]) == scores[h, s]
            assert float(run["kl"].sel(update=1)) == study.metrics["kl"][h, s, 0]
            returns = study.evaluations["returns"][h, s]
            np.testing.assert_array_equal(run["evaluation_returns"], returns)
        np.testing.assert_array_equal(at["steps"], study.steps[h])
        assert int(at["updates_done"][0]) == study.updates[h, 0]


def test_samples_are_one_dimension_with_their_values_along_it():
    spans = {"policy_lr": LogUniform(1e-4, 1e-2), "gamma": Uniform(0.9, 1.0)}
    spec = make_spec(sample=spans, num_samples=4)
    data = make_study(spec).to_xarray()
    assert data["kl"].dims == ("sample", "seed", "update")
    for name in spans:
        assert data[name].dims == ("sample",)
        assert data[name].values.tolist() == [s[name] for s in spec.design.settings()]


def test_no_axes_leave_seed_and_update():
    data = make_study(make_spec(grid={})).to_xarray()
    assert data["kl"].dims == ("seed", "update")
    assert data["pruned"].dims == ()


@pytest.mark.parametrize(
    ("name", "given", "labels"),
    [
        ("normalize_obs", [True, False], [True, False]),
        ("max_episode_steps", [None, 10], ["None", "10"]),
        ("obs_clip", [5, 7.5], [5.0, 7.5]),
        ("env", ["CartPole-v1", "Acrobot-v1"], ["CartPole-v1", "Acrobot-v1"]),
        ("max_grad_norm", [0.5, np.inf], [0.5, np.inf]),
        ("num_envs", [2, 4], [2, 4]),
    ],
)
def test_labels_have_one_type_for_all_of_an_axis(tmp_path, name, given, labels):
    data = make_study(make_spec({name: given})).to_xarray()
    assert data[name].values.tolist() == labels
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    back = xarray.load_dataset(tmp_path / "x.nc", engine="h5netcdf")
    assert back[name].values.tolist() == labels
    np.testing.assert_array_equal(back["kl"].sel({name: labels[1]}), data["kl"][1])


def test_units_and_origin_are_in_the_attributes():
    study = make_study(GRID, versions={"jax": "1.2.3"}, widths=np.arange(2))
    data = study.to_xarray()
    assert data["kl"].attrs["units"] == "nats"
    assert data["score"].attrs["units"] == "reward, undiscounted"
    assert data["episode_length_sum"].attrs["units"] == "environment steps"
    assert all("units" in x.attrs for x in data.data_vars.values())
    assert json.loads(data.attrs["config"])["num_steps"] == 8
    assert json.loads(data.attrs["hyperparams"])["gamma"] == 0.99
    record = StudyRecord.from_json(json.loads(data.attrs["record"]))
    assert record == StudyRecord(versions={"jax": "1.2.3"}, widths=[0, 1])


def test_a_config_that_holds_objects_is_told_as_text():
    config = VPGConfig(total_steps=32, num_envs=4, num_steps=8, kernel_init=lambda *_: None)
    data = make_study(make_spec(config=config)).to_xarray()
    assert "kernel_init=<function test_a_config" in data.attrs["config"]


# ---------------------------------------------------------------------------------------- FILES


@pytest.mark.parametrize(
    "spec",
    [
        GRID,
        make_spec({"normalize_obs": [True, False], "env_params.gravity": [5, 9.8]}),
        make_spec({"gamma": [0.9]}, num_seeds=1),
        make_spec(hp=Hyperparams(max_grad_norm=np.inf), prune=PRUNE),
    ],
)
def test_netcdf_keeps_numbers_labels_and_units(tmp_path, spec):
    study = make_study(spec, versions={"jax": "1"})
    write_cube(tmp_path, study)
    assert [path.name for path in tmp_path.iterdir()] == ["study.nc"]
    expected = study.to_xarray()
    back = xarray.load_dataset(tmp_path / "study.nc")
    assert dict(back.sizes) == dict(expected.sizes)
    assert back.attrs == expected.attrs
    assert set(back.variables) == set(expected.variables)
    for name, variable in expected.variables.items():
        assert back[name].dims == variable.dims
        assert back[name].attrs == variable.attrs
        np.testing.assert_array_equal(back[name].values, variable.values, name)
        if variable.dtype.kind != "U":
            assert back[name].dtype == variable.dtype


@pytest.mark.parametrize("config", [CONFIG, EVALUATING])
def test_metrics_of_a_run_are_read_by_numpy_alone(tmp_path, config):
    """`[S, U]` by the names of Metrics, as runs were kept before they were studies."""
    study = make_study(make_spec(grid={}, config=config))
    write_cube(tmp_path, study)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.npz"]
    with np.load(tmp_path / "metrics.npz", allow_pickle=False) as arrays:
        evaluated = {f"evaluation_{name}": x for name, x in study.evaluations.items()}
        axes = {"seeds", "steps", "evaluation_steps"} if evaluated else {"seeds", "steps"}
        metrics = with_means(study.metrics)
        assert set(arrays.files) == set(metrics) | set(evaluated) | axes
        for name, x in (metrics | evaluated).items():
            np.testing.assert_array_equal(arrays[name], x[0], name)
            assert arrays[name].dtype == x.dtype


@pytest.mark.parametrize("spec", [make_spec(), make_spec(grid={})])
def test_the_cube_is_written_whole_or_not_at_all(tmp_path, monkeypatch, spec):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        write_cube(tmp_path, make_study(spec))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["xarray", "h5netcdf", "h5py"])
def test_without_the_extra_there_is_no_cube_and_no_error(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_cube(tmp_path, make_study(make_spec()))
        assert not list(tmp_path.iterdir())
        write_cube(tmp_path, make_study(make_spec(grid={})))  # needs none of them
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.npz"]


@pytest.mark.parametrize("spec", [make_spec(), make_spec(grid={})])
def test_a_study_in_memory_writes_no_cube(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    study = make_study(spec)
    assert Store(spec, None, StudyRecord()).finish(study) is study
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------ DATAFRAME


def test_the_table_has_a_row_for_each_run():
    study = make_study(GRID)
    table = study.to_dataframe()
    assert len(table) == 8 * 3
    names = ["gamma", "hidden_sizes", "activation", "num_envs"]
    assert list(table.columns) == [
        *names,
        "seed",
        "score",
        "diverged",
        "updates",
        "pruned",
        "diverged_at",
    ]
    settings = GRID.design.settings()
    for place, row in enumerate(table.to_dict("records")):
        h, s = divmod(place, 3)
        assert {name: row[name] for name in names} == settings[h]
        assert row["seed"] == study.seeds[s]
        assert row["score"] == study.scores()[h, s]
        assert row["updates"] == study.num_updates[h]
    assert not table["diverged"].any()
    assert not table["pruned"].any()


def test_the_table_tells_how_runs_ended():
    spec = make_spec(prune=PRUNE)
    parts = [make_part(spec, [0, 1], finite=[[True], [False]]), make_part(spec, [2, 3], 0, 2)]
    study = make_study(spec, parts, complete=True, settings_at_the_end=[0])
    table = study.to_dataframe()
    assert table["diverged"].tolist() == [False, True, False, False]
    assert table["pruned"].tolist() == [False, False, True, True]
    assert table["updates"].tolist() == [4, 4, 2, 2]
    assert table["score"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize(("form", "library"), [("to_xarray", "xarray"), ("to_dataframe", "pandas")])
def test_without_the_extra_the_error_names_it(monkeypatch, form, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"needs {library}.*pip install 'purejaxvpg\[sweep\]'"):
        getattr(make_study(GRID), form)()
