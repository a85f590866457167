"""A study on disk: begun, joined, read back, damaged; each refusal is one line."""

import json
import re

import numpy as np
import pytest
from support.studies import (
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
from purejaxvpg.experiment.folder import existing, face_of, load_study, read_folder, read_spec
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store

SPEC, ONE = make_spec(), make_spec(grid={})
OTHER = make_spec({"policy_lr": [1e-3, 2e-2]})
FACES = {"study.json": SPEC, "run.json": ONE}


def open_store(spec, folder, join=False, record=None):
    """A store in a folder, as `prepare` makes it."""
    return Store(spec, folder, record or StudyRecord(), existing(spec, folder, join))


def filled(folder, parts, spec=SPEC):
    store = open_store(spec, folder)
    for part in parts:
        store.add(part)
    return store


# ------------------------------------------------------------------------------------ THERE, BACK


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        make_spec(config=EVALUATING),
        make_spec({"hidden_sizes": [(8,), (16, 16), ()], "max_episode_steps": [None, 10]}),
        make_spec({"normalize_obs": [True, False]}, hp=Hyperparams(max_grad_norm=np.inf)),
        make_spec(grid={}, zipped={"num_envs": [2, 4], "num_steps": [16, 8]}, prune=PRUNE),
        make_spec({"env_params.gravity": [9, 9.8]}, hp=Hyperparams(env_params={"length": 0.4})),
        make_spec(grid={}, config=VPGConfig(total_steps=32, num_envs=4, num_steps=8)),
    ],
)
def test_a_study_comes_back_as_it_was(tmp_path, spec):
    folder = tmp_path / "deep" / "study"
    filled(folder, all_parts(spec), spec)
    study = load_study(folder)
    assert_same_study(study, make_study(spec))
    assert read_spec(folder)[0].to_json() == spec.to_json()
    assert study.complete
    assert len(open_store(spec, folder, join=True).parts) == len(spec.design.settings())


@pytest.mark.parametrize("face", FACES)
def test_a_single_setting_is_a_run_and_several_are_a_study(tmp_path, face):
    spec = FACES[face]
    filled(tmp_path, all_parts(spec), spec)
    assert face_of(tmp_path) == tmp_path / face
    assert {path.name for path in tmp_path.iterdir()} == {face, "parts", ".lock"}
    assert read_folder(tmp_path).record == StudyRecord()


def test_a_base_parameter_object_comes_back_as_a_mapping(tmp_path):
    """Acrobot has a parameter that is a vector, and JSON has no arrays."""
    params = envs.make("Acrobot-v1").default_params.replace(link_mass_1=2.0)
    config = VPGConfig(env="Acrobot-v1", total_steps=32, num_envs=4, num_steps=8)
    torques = {"env_params.available_torque": [(-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0)]}
    spec = make_spec(torques, config=config, hp=Hyperparams(env_params=params))
    filled(tmp_path / "s", all_parts(spec), spec)
    study = load_study(tmp_path / "s")
    assert study.hyperparams.env_params["link_mass_1"] == 2.0
    assert study.design == spec.design
    assert len(open_store(spec, tmp_path / "s", join=True).parts) == 2


def test_a_study_is_read_where_its_environment_is_not_known(tmp_path):
    config = VPGConfig(env="NobodyHasThis-v0", total_steps=32, num_envs=4, num_steps=8)
    spec = make_spec({"env_params.colour": [1, 2]}, config=config)
    filled(tmp_path / "s", all_parts(spec), spec)
    assert load_study(tmp_path / "s").complete


def test_without_a_folder_parts_are_kept_in_memory():
    store = filled(None, all_parts(SPEC))
    assert store.done(0, 4) == {0, 1, 2, 3}
    assert store.done(0, 2) == set()
    assert store.record == StudyRecord()
    assert_same_study(store.study(store.record), make_study(SPEC))


def test_the_record_comes_back(tmp_path):
    begun = StudyRecord(command="x", widths=np.arange(2), prune=None)
    store = open_store(SPEC, tmp_path / "s", record=begun)
    back = load_study(tmp_path / "s").record
    assert back == StudyRecord(command="x", widths=[0, 1])
    store.describe(SPEC, StudyRecord(complete=True, settings_at_the_end=[1]))
    back = load_study(tmp_path / "s").record
    assert back == StudyRecord(complete=True, settings_at_the_end=[1])


def test_states_come_run_by_run_in_the_order_asked():
    store = open_store(SPEC, None)
    store.add(make_part(SPEC, [0, 2], 0, 2, states=True))
    store.add(make_part(SPEC, [3, 1], 0, 2, states=True))
    store.add(make_part(SPEC, [0, 2], 2, 4, states=True))
    first, second = store.states(np.array([3, 0, 3]), 2)
    np.testing.assert_array_equal(first[:, 0], [3, 0, 3])
    np.testing.assert_array_equal(second, [5, 2, 5])
    np.testing.assert_array_equal(store.states(np.array([0]), 4)[1], [4])


# -------------------------------------------------------------------------------------- FOLDERS


@pytest.mark.parametrize("face", FACES)
def test_an_existing_study_is_joined_only_on_request(tmp_path, face):
    spec = FACES[face]
    filled(tmp_path, all_parts(spec), spec)
    with pytest.raises(FileExistsError, match="holds a study already; resume it"):
        existing(spec, tmp_path, join=False)
    joined = open_store(spec, tmp_path, join=True)
    assert joined.done(0, 4) == set(range(len(spec.index)))


def test_a_study_begins_in_an_empty_folder_of_yours(tmp_path):
    open_store(SPEC, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "parts", ".lock"}


@pytest.mark.parametrize("join", [True, False])
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, join):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty, and no study; choose another"):
        existing(SPEC, tmp_path, join)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("face", FACES)
def test_a_folder_that_another_shard_begins_at_this_moment_is_joined(tmp_path, face):
    (tmp_path / "parts").mkdir()
    (tmp_path / f".{face}.k3j4").write_text("{")
    open_store(FACES[face], tmp_path, join=True)
    assert (tmp_path / face).exists()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (OTHER, "axes"),
        (ONE, "axes"),
        (make_spec(num_seeds=3), "seeds"),
        (make_spec(config=EVALUATING), "config"),
        (make_spec(hp=Hyperparams(gamma=0.5)), "hyperparams"),
        (make_spec(prune=PRUNE), "prune"),
        (make_spec(num_seeds=3, hp=Hyperparams(gamma=0.5)), "hyperparams and seeds"),
    ],
)
def test_another_study_in_the_folder_is_refused_with_what_differs(tmp_path, spec, what):
    filled(tmp_path, all_parts(SPEC))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"holds another study \(its {what} differ: ") as error:
        existing(spec, tmp_path, join=True)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_numbers_that_are_equal_make_the_same_study(tmp_path):
    filled(tmp_path, all_parts(make_spec({"policy_lr": [1, 2]})), make_spec({"policy_lr": [1, 2]}))
    joined = open_store(make_spec({"policy_lr": [1.0, 2.0]}), tmp_path, join=True)
    assert len(joined.parts) == 2


@pytest.mark.parametrize("join", [True, False])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, join, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "study"):
        with pytest.raises(OSError, match=rf"cannot write {folder}: .*; choose another") as error:
            open_store(SPEC, folder, join)
        assert "\n" not in str(error.value)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "write_whole", refuse)
    with pytest.raises(OSError, match=r"cannot write .*: Permission denied; choose another folder"):
        open_store(SPEC, tmp_path / "study", join)


def test_values_without_a_name_cannot_be_kept(tmp_path):
    spec = make_spec({"kernel_init": ["orthogonal", lambda *_: None]})
    with pytest.raises(TypeError, match="an axis holds values that cannot be written"):
        open_store(spec, tmp_path / "study")
    assert not (tmp_path / "study").exists()


# --------------------------------------------------------------------------------------- DAMAGE


def test_a_damaged_part_is_named_left_out_and_run_again(tmp_path):
    filled(tmp_path, all_parts(SPEC))
    path = min((tmp_path / "parts").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=rf"{path.name} is left out: damaged"):
        study = load_study(tmp_path)
    with pytest.warns(UserWarning, match=rf"{path.name} is left out, its runs are run again"):
        joined = open_store(SPEC, tmp_path, join=True)
    assert path.with_suffix(".damaged").exists()  # set aside, not removed
    left = {0, 1, 2, 3} - joined.done(0, 4)
    assert left in ({0, 1}, {2, 3})
    assert not study.complete
    np.testing.assert_array_equal(study.updates.ravel() == 0, [run in left for run in range(4)])
    lost = min(left) // 2
    assert np.isnan(study.metrics["kl"][lost]).all()
    np.testing.assert_array_equal(
        study.metrics["kl"][1 - lost], make_study(SPEC).metrics["kl"][1 - lost]
    )


@pytest.mark.parametrize("face", FACES)
def test_every_changed_digit_of_the_description_is_detected(tmp_path, face):
    """0.001 and 0.003 are one bit apart, and both are learning rates."""
    filled(tmp_path, all_parts(FACES[face]), FACES[face])
    path = tmp_path / face
    text = path.read_text()
    digits = [i for i, letter in enumerate(text) if letter.isdigit()]
    for place in digits[:: max(len(digits) // 60, 1)]:
        path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        with pytest.raises(ValueError, match=rf"{face} cannot be read: "):
            load_study(tmp_path)


READABLE = {"study.json": "1 and 3", "run.json": "2 and 3"}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"format": 1, ', "Expecting property name"),
        ("[1, 2]", "it is no description of a run or study"),
        ("{}", "it is no description of a run or study"),
        ('{"format": 99}', "format 99, and this version reads {readable}"),
        ('{"format": 3}', "its sum is wrong"),
        ('{"format": 1, "sha256": "0"}', "its sum is wrong"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path, face, text, why):
    spec = FACES[face]
    filled(tmp_path, [], spec)
    (tmp_path / face).write_text(text)
    if face == "run.json" and '"format": 1, "sha' in text:
        why = "format 1, and this version reads 2"  # a run of format 1 had no sum
    why = re.escape(why.format(readable=READABLE[face]))
    for read in (load_study, lambda folder: existing(spec, folder, join=True)):
        with pytest.raises(ValueError, match=rf"{face} cannot be read: .*{why}") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("face", FACES)
def test_bytes_that_are_no_text_are_one_line(tmp_path, face):
    filled(tmp_path, [], FACES[face])
    (tmp_path / face).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=rf"{face} cannot be read: ") as error:
        load_study(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("face", FACES)
def test_edited_fields_are_refused(tmp_path, face):
    filled(tmp_path, all_parts(FACES[face]), FACES[face])
    path = tmp_path / face
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seeds": [7, 8]}))
    with pytest.raises(ValueError, match="it was changed or damaged"):
        load_study(tmp_path)


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_what_is_no_study_folder_is_said(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    said = f"{folder} is no run or study folder: it has no run.json and no study.json"
    with pytest.raises(FileNotFoundError, match=said):
        load_study(tmp_path / folder)
