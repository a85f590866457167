"""What a sweep leaves: scores by hand, and the same numbers in every form they are given out in."""

import json
import sys

import numpy as np
import pytest
import xarray
from studies import CONFIG, EVALUATING, PRUNE, all_parts, make_part, make_spec, make_study

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.grid import LogUniform, Uniform
from purejaxvpg.experiment.store import Store, assemble, write_cube

NAN = np.nan
ONE = make_spec(grid={}, num_seeds=1)


def episodes(counts, sums, spec=ONE, **metrics):
    """A study of one run with these episodes by update."""
    end = len(counts)
    rows = {"episode_count": np.array([counts]), "episode_return_sum": np.array([sums])}
    part = make_part(spec, [0], 0, end, **{k: v.astype(np.float32) for k, v in rows.items()})
    extra = {k: np.broadcast_to(v, part.metrics.kl.shape) for k, v in metrics.items()}
    return assemble(spec, [part._replace(metrics=part.metrics._replace(**extra))], {})


# -------------------------------------------------------------------------------------- SCORES


def test_the_score_is_the_mean_of_the_last_20_episodes():
    """8 + 12 of them in the last two updates: (80 + 360) / 20; the 100 before are not looked at."""
    assert episodes([50, 50, 8, 12], [0, 0, 80, 360]).scores() == [[22.0]]


def test_the_window_is_whole_updates_with_at_least_20_episodes():
    """15 are too few, 15 + 30 are enough: (30 + 150) / 45."""
    assert episodes([50, 0, 30, 15], [0, 0, 30, 150]).scores() == [[4.0]]


def test_fewer_than_20_episodes_are_averaged_over_all():
    assert episodes([0, 2, 0, 3], [0, 10, 0, 40]).scores() == [[10.0]]


def test_no_episode_is_no_score():
    assert np.isnan(episodes([0, 0, 0, 0], [0, 0, 0, 0]).scores()).all()


def test_a_run_that_diverged_has_no_score_whatever_came_after():
    study = episodes([9, 9, 9, 9], [9, 9, 9, 9], finite=np.array([True, False, True, True]))
    assert study.diverged.all()
    assert np.isnan(study.scores()).all()
    assert not episodes([9, 9, 9, 9], [9, 9, 9, 9]).diverged.any()


def test_a_run_that_was_not_run_has_no_score_and_did_not_diverge():
    study = assemble(make_spec(), all_parts(make_spec())[:1], {})
    np.testing.assert_array_equal(np.isnan(study.scores()), [[False] * 2, [True] * 2])
    assert not study.diverged.any()


def test_a_run_that_is_half_done_is_scored_by_its_last_update():
    assert episodes([10, 20], [0, 60]).scores() == [[3.0]]


def test_each_run_is_scored_at_its_own_last_update():
    spec = make_spec({"num_envs": [4, 2]}, num_seeds=1)  # U = 4 and 8
    parts = [
        make_part(spec, [h], episode_count=20.0, episode_return_sum=np.arange(u) * 20.0)
        for h, u in enumerate((4, 8))
    ]
    assert assemble(spec, parts, {}).scores().tolist() == [[3.0], [7.0]]


def test_a_study_that_evaluates_is_scored_by_its_last_evaluation():
    """Returns of run r at evaluation v: r + v / 4 + 0, 1, 2."""
    spec = make_spec(config=EVALUATING)
    assert make_study(spec).scores().tolist() == [[1.25, 2.25], [3.25, 4.25]]
    half = assemble(spec, [make_part(spec, [0], 0, 2)], {})
    np.testing.assert_array_equal(half.scores(), [[1.0, NAN], [NAN, NAN]])


def test_settings_with_fewer_or_shorter_evaluations_are_scored_by_their_own():
    """The rest of the cube is NaN, which is no score of theirs."""
    axes = {"eval_every": [2, 4, 0], "eval_episodes": [3, 2, 5]}
    study = make_study(make_spec(grid={}, zip=axes, config=EVALUATING))
    np.testing.assert_array_equal(study.scores(), [[1.25, 2.25], [2.5, 3.5], [NAN, NAN]])


def test_an_evaluation_that_returned_nan_is_not_passed_over_for_an_earlier_one():
    spec = make_spec(grid={}, num_seeds=1, config=EVALUATING)
    part = make_part(spec, [0])
    returns = part.evaluations.returns.copy()
    returns[0, 1, 2] = NAN
    part = part._replace(evaluations=part.evaluations._replace(returns=returns))
    assert np.isnan(assemble(spec, [part], {}).scores()).all()


# ------------------------------------------------------------------------------------- RETURNS


def test_returns_are_means_over_the_last_episodes_by_each_update():
    study = episodes([1, 1, 2, 0], [4, 8, 30, 0])
    np.testing.assert_array_equal(study.returns(1)[0, 0], [4, 8, 15, 15])
    np.testing.assert_array_equal(study.returns(2)[0, 0], [NAN, 6, 15, 15])
    np.testing.assert_array_equal(study.returns(3)[0, 0], [NAN, NAN, 38 / 3, 38 / 3])


def test_returns_end_where_the_run_does():
    np.testing.assert_array_equal(episodes([1, 1], [4, 8]).returns(1)[0, 0], [4, 8, NAN, NAN])


@pytest.mark.parametrize("lost", [NAN, np.inf, -np.inf])
def test_a_return_that_is_no_number_is_not_taken_for_zero(lost):
    study = episodes([1, 1, 1, 1], [4, lost, 8, 8])
    np.testing.assert_array_equal(study.returns(1)[0, 0], [4, NAN, NAN, NAN])


# -------------------------------------------------------------------------------- DONE, COMPLETE


def test_done_is_at_the_last_update_of_each_setting():
    spec = make_spec({"num_envs": [4, 2]}, num_seeds=2)
    study = assemble(spec, [make_part(spec, [0, 1]), make_part(spec, [2, 3], 0, 4)], {})
    np.testing.assert_array_equal(study.updates, [[4, 4], [4, 4]])
    np.testing.assert_array_equal(study.done, [[True, True], [False, False]])
    assert not study.complete
    assert make_study(spec).complete


# --------------------------------------------------------------------------------------- XARRAY


GRID = make_spec(
    grid={"gamma": [0.9, 0.99], "hidden_sizes": [(8,), (16, 16)]},
    zip={"activation": ["tanh", "relu"], "num_envs": [4, 2]},
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
    assert data["environment_steps"].dims == (*DIMS, "update")
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
        np.testing.assert_array_equal(at["environment_steps"], study.steps[h])
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
    study = make_study(GRID, versions={"jax": "1.2.3"}, numbers=np.arange(2))
    data = study.to_xarray()
    assert data["kl"].attrs["units"] == "nats"
    assert data["score"].attrs["units"] == "reward, undiscounted"
    assert data["episode_length_sum"].attrs["units"] == "environment steps"
    assert data["environment_steps"].attrs["units"] == "environment steps of one run"
    assert all("units" in x.attrs for x in data.data_vars.values())
    assert json.loads(data.attrs["config"])["num_steps"] == 8
    assert json.loads(data.attrs["hyperparams"])["gamma"] == 0.99
    assert json.loads(data.attrs["record"]) == {"versions": {"jax": "1.2.3"}, "numbers": [0, 1]}


def test_a_config_that_holds_objects_is_told_as_text():
    config = VPGConfig(total_steps=32, num_envs=4, num_steps=8, kernel_init=np.linspace)
    data = make_study(make_spec(config=config)).to_xarray()
    assert "kernel_init=<function linspace" in data.attrs["config"]


# --------------------------------------------------------------------------------------- NETCDF


@pytest.mark.parametrize(
    "spec",
    [
        GRID,
        make_spec({"normalize_obs": [True, False], "env_params.gravity": [5, 9.8]}),
        make_spec(grid={}, num_seeds=1),
        make_spec(hp=Hyperparams(max_grad_norm=np.inf), prune=PRUNE),
    ],
)
def test_netcdf_keeps_numbers_labels_and_units(tmp_path, spec):
    parts = all_parts(spec)
    study = assemble(spec, parts, {"versions": {"jax": "1"}})
    write_cube(Store(spec, tmp_path, join=False), study)
    expected = study.to_xarray()
    found = xarray.load_dataset(tmp_path / "study.nc")
    assert dict(found.sizes) == dict(expected.sizes)
    assert found.attrs == expected.attrs
    assert set(found.variables) == set(expected.variables)
    for name, variable in expected.variables.items():
        assert found[name].dims == variable.dims
        assert found[name].attrs == variable.attrs
        np.testing.assert_array_equal(found[name].values, variable.values, name)
        if variable.dtype.kind != "U":
            assert found[name].dtype == variable.dtype


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
    study = assemble(spec, parts, {"complete": True, "settings_at_the_end": [0]})
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


def test_plain_arrays_need_no_extra(monkeypatch):
    for library in ("xarray", "pandas"):
        monkeypatch.setitem(sys.modules, library, None)
    study = make_study(make_spec(config=CONFIG))
    assert study.scores().shape == (2, 2)
    assert study.returns().shape == (2, 2, 4)
