"""A study on disk: begun, joined, read back, merged; what cannot be is one line."""

import json
import os
import warnings

import numpy as np
import pytest
from studies import (
    EVALUATING,
    PRUNE,
    all_parts,
    assert_same_study,
    make_part,
    make_spec,
    make_study,
)

from purejaxvpg import Hyperparams, VPGConfig, envs
from purejaxvpg.experiment import files
from purejaxvpg.experiment import store as module
from purejaxvpg.experiment.store import Store, assemble, load_study, merge, read_spec

SPEC = make_spec()
OTHER = make_spec({"policy_lr": [1e-3, 2e-2]})


def filled(folder, parts, spec=SPEC):
    store = Store(spec, folder, join=False)
    for part in parts:
        store.add(part)
    return store


def change(folder, **fields):
    """Edit study.json as somebody might by hand."""
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# ------------------------------------------------------------------------------------ THERE, BACK


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        make_spec(config=EVALUATING),
        make_spec({"hidden_sizes": [(8,), (16, 16), ()], "max_episode_steps": [None, 10]}),
        make_spec({"normalize_obs": [True, False]}, hp=Hyperparams(max_grad_norm=np.inf)),
        make_spec(grid={}, zip={"num_envs": [2, 4], "num_steps": [16, 8]}, prune=PRUNE),
        make_spec({"env_params.gravity": [9, 9.8]}, hp=Hyperparams(env_params={"length": 0.4})),
        make_spec(grid={}, config=VPGConfig(total_steps=32, num_envs=4, num_steps=8)),
    ],
)
def test_a_study_comes_back_as_it_was(tmp_path, spec):
    folder = tmp_path / "deep" / "study"
    filled(folder, all_parts(spec), spec)
    found = load_study(folder)
    assert_same_study(found, make_study(spec))
    assert read_spec(folder)[0].to_json() == spec.to_json()
    assert found.complete
    assert len(Store(spec, folder, join=True).parts) == len(spec.design.settings())


def test_a_base_parameter_object_comes_back_as_a_mapping(tmp_path):
    """Acrobot has a parameter that is a vector, and JSON has no arrays."""
    params = envs.make("Acrobot-v1").default_params.replace(link_mass_1=2.0)
    config = VPGConfig(env="Acrobot-v1", total_steps=32, num_envs=4, num_steps=8)
    torques = {"env_params.available_torque": [(-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0)]}
    spec = make_spec(torques, config=config, hp=Hyperparams(env_params=params))
    filled(tmp_path / "s", all_parts(spec), spec)
    found = load_study(tmp_path / "s")
    assert found.hyperparams.env_params["link_mass_1"] == 2.0
    assert found.design == spec.design
    assert len(Store(spec, tmp_path / "s", join=True).parts) == 2


def test_a_study_is_read_where_its_environment_is_not_known(tmp_path):
    config = VPGConfig(env="NobodyHasThis-v0", total_steps=32, num_envs=4, num_steps=8)
    spec = make_spec({"env_params.colour": [1, 2]}, config=config)
    filled(tmp_path / "s", all_parts(spec), spec)
    assert load_study(tmp_path / "s").complete


def test_without_a_folder_parts_are_kept_in_memory():
    store = Store(SPEC, None, join=False)
    for part in all_parts(SPEC):
        store.add(part)
    assert store.done(0, 4) == {0, 1, 2, 3}
    assert store.done(0, 2) == set()
    assert store.record() == {}


def test_the_record_comes_back(tmp_path):
    store = Store(SPEC, tmp_path / "s", join=False, begun={"command": "x", "numbers": np.arange(2)})
    assert store.record() == {"command": "x", "numbers": [0, 1]}
    store.describe({**SPEC.to_json(), "record": {"complete": True}})
    assert load_study(tmp_path / "s").record == {"complete": True}


def test_states_come_run_by_run_in_the_order_asked():
    store = Store(SPEC, None, join=False)
    store.add(make_part(SPEC, [0, 2], 0, 2, states=True))
    store.add(make_part(SPEC, [3, 1], 0, 2, states=True))
    store.add(make_part(SPEC, [0, 2], 2, 4, states=True))
    first, second = store.states(np.array([3, 0, 3]), 2)
    np.testing.assert_array_equal(first[:, 0], [3, 0, 3])
    np.testing.assert_array_equal(second, [5, 2, 5])
    np.testing.assert_array_equal(store.states(np.array([0]), 4)[1], [4])


# -------------------------------------------------------------------------------------- FOLDERS


def test_an_existing_study_is_joined_only_on_request(tmp_path):
    filled(tmp_path, all_parts(SPEC))
    with pytest.raises(FileExistsError, match="holds a study already; resume it"):
        Store(SPEC, tmp_path, join=False)
    joined = Store(SPEC, tmp_path, join=True)
    assert joined.done(0, 4) == {0, 1, 2, 3}


def test_a_study_begins_in_an_empty_folder_of_yours(tmp_path):
    Store(SPEC, tmp_path, join=False)
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "parts"}


@pytest.mark.parametrize("join", [True, False])
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, join):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty, and no study; choose another"):
        Store(SPEC, tmp_path, join)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_another_shard_begins_at_this_moment_is_joined(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / ".study.json.k3j4").write_text("{")
    Store(SPEC, tmp_path, join=True)
    assert (tmp_path / "study.json").exists()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (OTHER, "axes"),
        (make_spec(num_seeds=3), "seeds"),
        (make_spec(config=EVALUATING), "config"),
        (make_spec(hp=Hyperparams(gamma=0.5)), "hyperparams"),
        (make_spec(prune=PRUNE), "prune"),
        (make_spec(num_seeds=3, hp=Hyperparams(gamma=0.5)), "hyperparams and seeds"),
    ],
)
def test_another_study_in_the_folder_is_refused_with_what_differs(tmp_path, spec, what):
    filled(tmp_path, all_parts(SPEC))
    with pytest.raises(ValueError, match=rf"holds another study \(its {what} differ\)") as caught:
        Store(spec, tmp_path, join=True)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_equal_make_the_same_study(tmp_path):
    filled(tmp_path, all_parts(make_spec({"policy_lr": [1, 2]})), make_spec({"policy_lr": [1, 2]}))
    joined = Store(make_spec({"policy_lr": [1.0, 2.0]}), tmp_path, join=True)
    assert len(joined.parts) == 2


@pytest.mark.parametrize("join", [True, False])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, join, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "study"):
        with pytest.raises(OSError, match=rf"cannot write {folder}: .*; choose another") as caught:
            Store(SPEC, folder, join)
        assert "\n" not in str(caught.value)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "write_whole", refuse)
    with pytest.raises(OSError, match=r"cannot write .*: Permission denied; choose another folder"):
        Store(SPEC, tmp_path / "study", join)


def test_values_without_a_name_cannot_be_kept(tmp_path):
    spec = make_spec({"kernel_init": ["orthogonal", lambda *_: None]})
    with pytest.raises(TypeError, match="an axis holds values that cannot be written"):
        Store(spec, tmp_path / "study", join=False)
    assert not (tmp_path / "study").exists()


# --------------------------------------------------------------------------------------- DAMAGE


def test_a_damaged_part_is_named_left_out_and_run_again(tmp_path):
    filled(tmp_path, all_parts(SPEC))
    path = min((tmp_path / "parts").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=rf"{path.name} is left out: damaged"):
        found = load_study(tmp_path)
    with pytest.warns(UserWarning, match=rf"{path.name} is left out, its runs are run again"):
        joined = Store(SPEC, tmp_path, join=True)
    left = {0, 1, 2, 3} - joined.done(0, 4)
    assert left in ({0, 1}, {2, 3})
    assert not found.complete
    np.testing.assert_array_equal(found.updates.ravel() == 0, [run in left for run in range(4)])
    lost = min(left) // 2
    assert np.isnan(found.metrics["kl"][lost]).all()
    np.testing.assert_array_equal(
        found.metrics["kl"][1 - lost], make_study(SPEC).metrics["kl"][1 - lost]
    )


def test_every_changed_digit_of_study_json_is_detected(tmp_path):
    """0.001 and 0.003 are one bit apart, and both are learning rates."""
    filled(tmp_path, all_parts(SPEC))
    path = tmp_path / "study.json"
    text = path.read_text()
    digits = [i for i, letter in enumerate(text) if letter.isdigit()]
    for place in digits[:: max(len(digits) // 60, 1)]:
        path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        with pytest.raises(ValueError, match=r"study.json cannot be read: "):
            load_study(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"format": 1, ', "Expecting property name"),
        ("[1, 2]", "it is no description of a run or study"),
        ("{}", "it is no description of a run or study"),
        ('{"format": 99}', "format 99, and this version reads 1"),
        ('{"format": 1}', "its sum is wrong"),
    ],
)
def test_a_damaged_study_json_is_one_line(tmp_path, text, why):
    filled(tmp_path, [])
    (tmp_path / "study.json").write_text(text)
    for read in (load_study, lambda folder: Store(SPEC, folder, join=True)):
        with pytest.raises(ValueError, match=rf"study.json cannot be read: .*{why}") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    filled(tmp_path, [])
    (tmp_path / "study.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"study.json cannot be read: "):
        load_study(tmp_path)


def test_edited_fields_are_refused(tmp_path):
    filled(tmp_path, all_parts(SPEC))
    change(tmp_path, seeds=[7, 8])
    with pytest.raises(ValueError, match="it was changed or damaged"):
        load_study(tmp_path)


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_what_is_no_study_folder_is_said(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=f"{folder} is no study folder: it has no study"):
        load_study(tmp_path / folder)


# ------------------------------------------------------------------------------------- ASSEMBLY


def test_parts_go_to_their_runs_and_updates():
    parts = [make_part(SPEC, [2, 1], 0, 2), make_part(SPEC, [1], 2, 4), make_part(SPEC, [3])]
    study = assemble(SPEC, parts, {})
    np.testing.assert_array_equal(study.updates, [[0, 4], [2, 4]])
    whole = make_study(SPEC).metrics["kl"]
    expected = np.where(np.arange(4) < study.updates[..., None], whole, np.nan)
    np.testing.assert_array_equal(study.metrics["kl"], expected)
    np.testing.assert_array_equal(study.done, [[False, True], [False, True]])
    np.testing.assert_array_equal(study.steps, [[32, 64, 96, 128]] * 2)


def test_the_order_of_parts_is_nothing():
    spec = make_spec(config=EVALUATING)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [0, 1], 2, 4), make_part(spec, [2, 3])]
    assert_same_study(assemble(spec, parts, {}), assemble(spec, parts[::-1], {}))
    assert_same_study(assemble(spec, parts, {}), make_study(spec))


def test_what_comes_after_a_lost_part_does_not_count():
    """A part of a rung is lost: the run is run again, and until then it ends before the gap."""
    spec = make_spec(config=EVALUATING, prune=PRUNE)
    parts = [make_part(spec, [0], 0, 2), make_part(spec, [0, 1], 2, 4), make_part(spec, [2, 3])]
    study = assemble(spec, parts, {"complete": True, "settings_at_the_end": [0, 1]})
    np.testing.assert_array_equal(study.updates, [[4, 0], [4, 4]])
    assert np.isnan(study.metrics["kl"][0, 1]).all()
    assert np.isnan(study.evaluations["returns"][0, 1]).all()
    assert not study.complete


def test_settings_with_fewer_updates_have_nan_beyond_their_end():
    spec = make_spec({"num_envs": [4, 2]})  # U = 4 and 8
    study = make_study(spec)
    assert study.metrics["kl"].shape == (2, 2, 8)
    assert np.isnan(study.metrics["kl"][0, :, 4:]).all()
    assert np.isfinite(study.metrics["kl"][0, :, :4]).all()
    assert np.isfinite(study.metrics["kl"][1]).all()
    np.testing.assert_array_equal(study.num_updates, [4, 8])
    np.testing.assert_array_equal(study.steps[0], [32, 64, 96, 128] + [np.nan] * 4)
    np.testing.assert_array_equal(study.steps[1], np.arange(16, 129, 16))
    assert study.complete


def test_evaluations_go_to_their_place_padded_with_nan():
    """V = 2, 1, 0 and E = 3, 2, 0 by setting."""
    spec = make_spec(
        grid={}, zip={"eval_every": [2, 4, 0], "eval_episodes": [3, 2, 5]}, config=EVALUATING
    )
    study = make_study(spec)
    returns = study.evaluations["returns"]  # [3, 2, 2, 3]
    np.testing.assert_array_equal(returns[0, 1], [[1, 2, 3], [1.25, 2.25, 3.25]])
    np.testing.assert_array_equal(returns[1, 0], [[2, 3, np.nan], [np.nan] * 3])
    assert np.isnan(returns[2]).all()
    assert study.evaluations["finished"].dtype == np.float32
    later = [make_part(spec, [0, 1], 2, 4), make_part(spec, [0, 1], 0, 2)]
    np.testing.assert_array_equal(assemble(spec, later, {}).evaluations["returns"][0], returns[0])


def test_a_study_that_never_evaluates_has_no_evaluations():
    assert make_study(SPEC).evaluations == {}


# ---------------------------------------------------------------------------------------- MERGE


def shards(tmp_path, spec=SPEC):
    """The study in two folders, a setting in each, and the one whole study."""
    first, second = all_parts(spec)
    filled(tmp_path / "a", [first], spec)
    filled(tmp_path / "b", [second], spec)
    return tmp_path / "a", tmp_path / "b", make_study(spec)


def test_merged_shards_equal_the_whole(tmp_path):
    a, b, whole = shards(tmp_path, make_spec(config=EVALUATING))
    merged = merge(tmp_path / "all", [b, a])
    assert merged.complete
    assert merged.record["merged_from"] == 2
    assert merged.record["complete"] is True
    assert merged.record["seconds"] == 0.5
    assert_same_study(merged, whole)
    assert_same_study(load_study(tmp_path / "all"), whole)
    assert load_study(tmp_path / "all").record == merged.record
    np.testing.assert_array_equal(load_study(a).updates, [[4, 4], [0, 0]])  # as it was


def test_what_missing_shards_would_bring_is_nan(tmp_path):
    a, _, whole = shards(tmp_path)
    merged = merge(tmp_path / "all", [a])
    assert not merged.complete
    assert merged.record["complete"] is False
    np.testing.assert_array_equal(merged.updates, [[4, 4], [0, 0]])
    np.testing.assert_array_equal(merged.metrics["kl"][0], whole.metrics["kl"][0])
    assert np.isnan(merged.metrics["kl"][1]).all()
    assert not (tmp_path / "all" / "study.nc").exists()


def test_merging_in_steps_or_again_or_twice_is_harmless(tmp_path):
    a, b, whole = shards(tmp_path)
    merge(tmp_path / "all", [a, a])
    merged = merge(tmp_path / "all", [b, tmp_path / "all"])
    assert_same_study(merged, whole)
    again = merge(tmp_path / "all", [a, b, b, tmp_path / "a" / ".." / "a"])
    assert_same_study(again, whole)
    assert again.record["seconds"] == 0.5
    assert again.record["merged_from"] == 2
    assert len(list((tmp_path / "all" / "parts").iterdir())) == 2


def test_merging_into_a_source_completes_it(tmp_path):
    a, b, whole = shards(tmp_path)
    assert_same_study(merge(a, [a, b]), whole)
    assert_same_study(load_study(a), whole)


def test_parts_of_different_studies_are_not_merged(tmp_path):
    a, _, _ = shards(tmp_path)
    filled(tmp_path / "c", all_parts(OTHER), OTHER)
    with pytest.raises(ValueError, match=r"c and .*a are parts of different studies \(their axes"):
        merge(tmp_path / "all", [a, tmp_path / "c"])
    assert not (tmp_path / "all").exists()
    with pytest.raises(ValueError, match="c holds another study"):
        merge(tmp_path / "c", [a])


def test_a_part_smuggled_in_from_another_study_stops_the_merge(tmp_path):
    a, b, _ = shards(tmp_path)
    filled(tmp_path / "c", all_parts(OTHER), OTHER)
    for path in (tmp_path / "c" / "parts").iterdir():
        (a / "parts" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"it belongs to another study; run that shard again"):
        merge(tmp_path / "all", [a, b])


def test_a_damaged_shard_is_named(tmp_path):
    a, b, _ = shards(tmp_path)
    (path,) = (b / "parts").iterdir()
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(ValueError, match=rf"{path.name}: damaged.* run that shard again") as caught:
        merge(tmp_path / "all", [a, b])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "all").exists()


def test_merging_nothing_or_no_study_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="name at least one study folder"):
        merge(tmp_path / "all", [])
    with pytest.raises(ValueError, match="in a list"):
        merge(tmp_path / "all", str(tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="empty is no study folder"):
        merge(tmp_path / "all", [tmp_path / "empty"])


# --------------------------------------------------------------------------------------- PRUNED


def pruned_study(keep_first=True, **record):
    """Two settings; the second stopped after update 2."""
    spec = make_spec(prune=PRUNE)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [2, 3], 0, 2)]
    parts += [make_part(spec, [0, 1], 2, 4)] if keep_first else []
    return assemble(spec, parts, record)


def test_a_study_with_settings_stopped_by_pruning_is_complete():
    study = pruned_study(complete=True, settings_at_the_end=[0])
    np.testing.assert_array_equal(study.pruned, [False, True])
    np.testing.assert_array_equal(study.done, [[True, True], [False, False]])
    assert study.complete


def test_an_interrupted_study_has_nothing_pruned_yet():
    study = pruned_study(complete=False, settings_at_the_end=[0, 1])
    assert not study.pruned.any()
    assert not study.complete
    assert not pruned_study().pruned.any()


def test_a_survivor_whose_part_is_lost_is_not_called_pruned():
    study = pruned_study(keep_first=False, complete=True, settings_at_the_end=[0])
    np.testing.assert_array_equal(study.pruned, [False, True])
    assert not study.complete


def test_merging_keeps_what_was_pruned(tmp_path):
    spec = make_spec(prune=PRUNE)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [2, 3], 0, 2)]
    store = filled(tmp_path / "s", [*parts, make_part(spec, [0, 1], 2, 4)], spec)
    store.describe({**spec.to_json(), "record": {"complete": True, "settings_at_the_end": [0]}})
    merged = merge(tmp_path / "all", [tmp_path / "s"])
    np.testing.assert_array_equal(merged.pruned, [False, True])
    assert merged.complete


# ------------------------------------------------------------------------------------------ CUBE


def test_the_cube_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    store = filled(tmp_path, all_parts(SPEC))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        module.write_cube(store, make_study(SPEC))
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "parts"}


@pytest.mark.parametrize("library", ["xarray", "h5netcdf", "h5py"])
def test_without_the_extra_there_is_no_cube_and_no_error(tmp_path, monkeypatch, library):
    store = filled(tmp_path, all_parts(SPEC))
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.write_cube(store, make_study(SPEC))
    assert not (tmp_path / "study.nc").exists()


def test_a_study_in_memory_writes_no_cube(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module.write_cube(Store(SPEC, None, join=False), make_study(SPEC))
    assert not list(tmp_path.iterdir())
