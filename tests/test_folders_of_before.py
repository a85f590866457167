"""Folders that commit bf46240 wrote (formats 1 and 2) are read, and gone on with.

tests/recorded/bf46240 holds, as that commit left them: a run of two seeds and 6 updates; the same
with a run.json of format 1; a study of 2 x 2 settings; the same pruned at update 3 of 6; a search
of two rounds of two settings; and of each one that was interrupted.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support import curves
from support.assertions import assert_same_bits
from support.segments import Seen, stop_after

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment import Uniform, load_study, search, sweep, train
from purejaxvpg.experiment.evaluation import evaluate_setting
from purejaxvpg.experiment.files import read_described, write_described

RECORDED = Path(__file__).parent / "recorded" / "bf46240"
CONFIG = VPGConfig(
    num_envs=2,
    num_steps=8,
    total_steps=96,
    hidden_sizes=(4,),
    value_iterations=1,
    normalize_obs=True,
)
PRUNED = dataclasses.replace(CONFIG, num_steps=32, total_steps=384)
HP, GRID = Hyperparams(policy_lr=1e-2), {"policy_lr": [1e-3, 1e-2], "gamma": [0.9, 0.99]}
HOW = {"hp": HP, "first_seed": 3, "chunk_size": 2, "devices": jax.devices()[:1]}
SPACE = {"policy_lr": Uniform(1e-3, 1e-2)}

# Runs that are done, and updates done of each, [H, S].
FOLDERS = {
    "run": (2, [[6, 6]]),
    "run-format-1": (2, [[6, 6]]),
    "run-interrupted": (0, [[0, 0]]),
    "study": (8, [[6, 6]] * 4),
    "study-interrupted": (4, [[6, 6]] * 2 + [[0, 0]] * 2),
    "pruned": (4, [[3, 3]] * 2 + [[6, 6]] * 2),
    "pruned-interrupted": (0, [[3, 3]] * 4),
    "search": (8, [[6, 6]] * 4),
    "search-interrupted": (4, [[6, 6]] * 2 + [[0, 0]] * 2),
}

# A folder of another version is gone on with by this one, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:the study was begun with:UserWarning")


def on_the_same_processor():
    """Whether jax and the processor are those that made the folders."""
    with np.load(RECORDED.parent / "curves-0.9.2.npz", allow_pickle=False) as arrays:
        return jax.__version__ == "0.9.2" and str(arrays["processor"]) == curves.processor()


@pytest.fixture
def copy(tmp_path):
    """Copies a folder, by its name."""
    return lambda name: shutil.copytree(RECORDED / name, tmp_path / name)


def contents(folder):
    """Every file and its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def go_on(name, folder, **how):
    """Go on with a folder, with the arguments that it was begun with."""
    how = {**HOW, "folder": folder, "resume": True, **how}
    if name.startswith("run"):
        return train(CONFIG, num_seeds=2, **how)
    if name.startswith("search"):
        return search(CONFIG, SPACE, 2, rounds=2, batch=2, **how).study
    if name.startswith("pruned"):
        return sweep(PRUNED, GRID, 2, prune="successive_halving", rungs=2, keep=0.5, **how)
    return sweep(CONFIG, GRID, 2, **how)


def assert_same_numbers(study, whole, exact):
    """The metrics of a study, to the last bit or up to rounding."""
    assert study.design == whole.design
    np.testing.assert_array_equal(study.updates, whole.updates)
    np.testing.assert_array_equal(study.pruned, whole.pruned)
    if exact:
        assert_same_bits(study.metrics, whole.metrics)
    for name, x in whole.metrics.items():
        np.testing.assert_allclose(study.metrics[name], x, rtol=1e-4, atol=1e-6, err_msg=name)


# --------------------------------------------------------------------------------- LOADING


def test_all_folders_are_tried():
    assert {path.name for path in RECORDED.iterdir()} == set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_loaded_and_left_as_it_is(copy, name):
    folder, (done, updates) = copy(name), FOLDERS[name]
    before = contents(folder)
    study = load_study(folder)
    assert contents(folder) == before
    assert study.done.sum() == done
    assert study.updates.tolist() == updates
    assert study.complete == ("interrupted" not in name)
    assert study.record.complete == study.complete
    assert study.pruned.tolist() == ([True, True, False, False] if name == "pruned" else
                                     [False] * study.design.size)  # fmt: skip
    assert study.seeds.tolist() == [3, 4]
    assert study.config == (PRUNED if name.startswith("pruned") else CONFIG)
    assert study.hyperparams == HP
    reached = np.arange(6) < study.updates[..., None]
    np.testing.assert_array_equal(np.isfinite(study.metrics["kl"]), reached)
    assert study.record.versions["jax"] == "0.9.2"
    if name.startswith("run"):
        assert study.record.command == "purejaxvpg train CartPole-v1 ..."
        assert study.design.axes == ()
    assert len(repr(study).splitlines()) == 10


def test_a_run_is_the_same_in_both_formats(copy):
    one, other = load_study(copy("run")), load_study(copy("run-format-1"))
    assert_same_bits(one.metrics, other.metrics)
    assert_same_bits(one.policies.arrays([0, 1]), other.policies.arrays([0, 1]))


@pytest.mark.parametrize("name", ["run", "run-format-1"])
def test_the_policies_of_an_old_run_are_evaluated(copy, name):
    """CartPole pays 1 a step.  The statistics of observations came along."""
    study = load_study(copy(name))
    outcome = evaluate_setting(study, num_episodes=3)
    np.testing.assert_array_equal(outcome.returns, outcome.lengths)
    assert outcome.returns.shape == (2, 3)
    arrays = study.policies.arrays([0, 1])
    assert arrays["obs_stats/count"].tolist() == [96, 96]
    assert not [x for x in arrays if x.startswith("params/value")]


def test_old_studies_kept_no_policies(copy):
    for name in ("study", "pruned", "search"):
        study = load_study(copy(name))
        assert study.policies.runs.tolist() == []
        with pytest.raises(ValueError, match="is not kept"):
            evaluate_setting(study, 0)


# ------------------------------------------------------------------------------- GOING ON

# Updates that are computed: what came after the last checkpoint, chunk by chunk.
COMPUTED = {
    "run-interrupted": [([0, 1], 5), ([0, 1], 6)],
    "study-interrupted": [([4, 5], u) for u in (4, 5, 6)] + [([6, 7], u) for u in range(1, 7)],
    "pruned-interrupted": [([4, 5], u) for u in (5, 6)] + [([6, 7], u) for u in (4, 5, 6)],
    "search-interrupted": [([6, 7], u) for u in range(1, 7)],
}


@pytest.mark.parametrize("name", COMPUTED)
def test_an_interrupted_one_goes_on_to_the_numbers_of_the_whole(copy, name):
    """From its checkpoint, and up to rounding for a run: its program was another one."""
    folder, whole = copy(name), load_study(RECORDED / name.removesuffix("-interrupted"))
    exact = name != "run-interrupted" and on_the_same_processor()
    seen = Seen()
    study = go_on(name, folder, on_segment=seen)
    assert seen.updates == COMPUTED[name]
    assert study.complete
    for done in (study, load_study(folder)):
        assert_same_numbers(done, whole, exact)
        fresh = sorted({run for runs, _ in COMPUTED[name] for run in runs})
        assert done.policies.runs.tolist() == fresh  # those of before are not there
    assert not (folder / "checkpoints").exists()
    assert not (folder / "chunks").exists()
    assert not list(folder.glob("round-of-setting-*"))


def test_an_interrupted_run_may_be_stopped_again(copy):
    """Its folder is of today's format then."""
    folder = copy("run-interrupted")
    study = go_on("run", folder, on_segment=stop_after(5))
    assert study.updates.tolist() == [[5, 5]]
    assert json.loads((folder / "run.json").read_text())["format"] == 3
    seen = Seen()
    study = go_on("run", folder, on_segment=seen)
    assert seen.updates == [([0, 1], 6)]
    assert_same_numbers(study, load_study(RECORDED / "run"), exact=False)
    assert study.record.command == "purejaxvpg train CartPole-v1 ..."
    outcome = evaluate_setting(load_study(folder), num_episodes=2)
    np.testing.assert_array_equal(outcome.returns, outcome.lengths)


@pytest.mark.parametrize("name", ["run", "run-format-1", "study", "pruned", "search"])
def test_a_whole_one_is_done_and_stays_whole(copy, name):
    """Nothing is computed, nothing is lost."""
    folder, whole, seen = copy(name), load_study(RECORDED / name), Seen()
    before = contents(folder)
    study = go_on(name, folder, on_segment=seen)
    assert seen == []
    assert study.complete
    for back in (study, load_study(folder)):
        assert_same_numbers(back, whole, exact=True)
        assert back.policies.runs.tolist() == whole.policies.runs.tolist()
        if len(whole.policies.runs):
            assert_same_bits(back.policies.arrays([1, 0]), whole.policies.arrays([1, 0]))
    for path, data in before.items():  # no result of the user's is removed or changed
        if path.name not in ("run.json", "study.json", "metrics.npz"):
            assert (folder / path).read_bytes() == data, path


def test_another_setting_is_refused_and_nothing_is_changed(copy):
    for name in ("run", "run-interrupted"):
        folder = copy(name)
        before = contents(folder)
        with pytest.raises(ValueError, match=r"\(its hyperparams differ: policy_lr is"):
            go_on("run", folder, hp=Hyperparams(policy_lr=2e-2))
        assert contents(folder) == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(copy):
    folder = copy("run-interrupted")
    path = folder / "checkpoints" / "00000004.npz"
    path.write_bytes(path.read_bytes()[:-1])
    seen = Seen()
    with pytest.warns(UserWarning, match=r"00000004.npz is not used: damaged"):
        study = go_on("run", folder, on_segment=seen)
    assert seen.updates == [([0, 1], 4), ([0, 1], 5), ([0, 1], 6)]
    assert_same_numbers(study, load_study(RECORDED / "run"), exact=False)
    assert path.with_suffix(".damaged").exists()


# ---------------------------------------------------------------------------------- DAMAGE

FILES = ["run.json", "metrics.npz", "policy.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_of_an_old_run_is_noticed(copy, name):
    path = copy("run") / name
    data = bytearray(path.read_bytes())
    middle = data.index(b"0.01") + 3 if name == "run.json" else len(data) // 2
    data[middle] ^= 4  # 0.01 becomes 0.05: as good a number
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its sum is wrong") as error:
        load_study(path.parent)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["run", "run-format-1"])
@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_missing_file_of_an_old_run_is_one_line(copy, folder, name):
    path = copy(folder) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cannot be read|its sum is wrong") as error:
        load_study(path.parent)
    assert str(path.parent) in str(error.value)
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_study(path.parent)


def test_parameters_of_another_shape_are_refused(copy):
    """A run.json that was changed with care: its sum is right, and its network is another."""
    path = copy("run") / "run.json"
    fields = read_described(path, [2])
    fields["config"]["hidden_sizes"] = [9]
    write_described(path, fields)
    with pytest.raises(ValueError, match=r"params/\S+ is float32\[2, 4.*accepted: .*9") as error:
        evaluate_setting(load_study(path.parent))
    assert "\n" not in str(error.value)
