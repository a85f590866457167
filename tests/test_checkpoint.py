"""Checkpoints: a run that was stopped goes on to the bits of one that was not, or says why not."""

import dataclasses
import json
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import Seen, stop_after
from support.slow import slow_but
from support.studies import assert_same_study

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.experiment import checkpoints as module
from purejaxvpg.experiment import files, load_study, train
from purejaxvpg.experiment.checkpoints import Checkpoint, Checkpoints, OtherState
from purejaxvpg.state import Metrics

SMALL = VPGConfig(
    num_envs=2, num_steps=4, total_steps=12 * 8, hidden_sizes=(4,), value_iterations=2
)
KINDS = {
    "discrete, evaluated": dataclasses.replace(SMALL, eval_every=2, eval_episodes=2),
    "continuous, all normalised": dataclasses.replace(
        SMALL,
        env="Pendulum-v1",
        normalize_obs=True,
        normalize_rewards=True,
        normalize_advantages=True,
        lr_schedule="cosine",
        bounding="tanh",
    ),
    "whole episodes, shared torso": dataclasses.replace(
        SMALL,
        num_steps=5,
        total_steps=12 * 10,
        rollout="episodes",
        max_episode_steps=5,
        shared_torso=True,
        lr_schedule="linear",
        optimizer="rmsprop",
    ),
}
HP = Hyperparams(policy_lr=1e-2, greedy_end=0.3)
HOW = {"num_seeds": 2, "chunk_size": 2, "devices": jax.devices()[:1], "checkpoint_minutes": 0}


def run(config=SMALL, **how):
    """Train two seeds, and note the state at the end.  Returns: the study, and the segments."""
    seen = Seen(how.pop("stop", lambda _: None))
    return train(config, HP, **HOW, on_segment=seen, **how), seen


def kept(folder):
    """Names of the checkpoints in a run folder."""
    return sorted(path.name for path in folder.glob("chunks/*/*"))


def assert_same_run(one, other):
    """Every number, every policy and the whole state at the end."""
    (study, segments), (expected, wanted) = one, other
    assert_same_study(study, expected)
    assert_same_bits(study.policies.arrays([0, 1]), expected.policies.arrays([0, 1]))
    assert_same_bits(segments[-1].state, wanted[-1].state)


@pytest.fixture(scope="module")
def whole():
    """The run of SMALL that nothing interrupts."""
    return run()


@pytest.fixture
def stopped(tmp_path):
    """A folder with checkpoints of SMALL after 8 and 10 of its 12 updates."""
    folder = tmp_path / "run"
    run(folder=folder, checkpoint_updates=2, stop=stop_after(10))
    assert [name for name in kept(folder) if name >= "00000008"] == ["00000008.npz", "00000010.npz"]
    return folder


# ------------------------------------------------------------------------------- THE SAME BITS


@pytest.mark.parametrize("kind", slow_but(set(KINDS) - {"continuous, all normalised"}, KINDS))
def test_a_stopped_run_goes_on_to_the_same_bits(kind, tmp_path):
    config = KINDS[kind]
    uninterrupted = run(config)
    folder = tmp_path / "run"
    for stop, every in ((4, 4), (10, 6)):  # every so many updates, from where it goes on
        how = {"checkpoint_updates": every, "stop": stop_after(stop), "resume": stop > 4}
        study, _ = run(config, folder=folder, **how)
        assert study.updates.tolist() == [[stop, stop]]
    assert kept(folder) == ["00000004.npz", "00000010.npz"]
    resumed = run(config, folder=folder, resume=True)
    assert resumed[1].updates == [([0, 1], 11), ([0, 1], 12)]
    assert_same_run(resumed, uninterrupted)
    assert not (tmp_path / "run" / "chunks").exists()


def test_checkpoints_change_no_bit(whole, tmp_path):
    assert_same_run(run(folder=tmp_path / "run", checkpoint_updates=1), whole)


# ------------------------------------------------------------------------------------- DAMAGE


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "of another run", "no zip"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(harm, whole, stopped):
    (path,) = stopped.glob("chunks/*/00000010.npz")
    data = bytearray(path.read_bytes())
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "flipped":
        data[len(data) // 3] ^= 1
    elif harm == "emptied":
        data = bytearray()
    elif harm == "no zip":
        data = bytearray(b"x" * 500)
    path.write_bytes(data)
    if harm == "of another run":
        arrays = files.read_summed(path)
        files.write_summed(path, arrays | {"origin": np.asarray("0" * 64)})
    reason = "another run" if harm == "of another run" else "its sum is wrong"
    with pytest.warns(UserWarning, match=rf"00000010.npz is not used: .*{reason}"):
        resumed = run(folder=stopped, resume=True, stop=lambda s: s.updates == 9)
    assert resumed[1].updates == [([0, 1], 9)]  # from the checkpoint after 8
    assert path.with_suffix(".damaged").exists() == (harm != "of another run")
    assert path.exists() == (harm == "of another run")  # whole, so it stays
    again = pytest.warns(UserWarning, match="another run") if path.exists() else nullcontext()
    with again:  # it is there still
        assert_same_run(run(folder=stopped, resume=True), whole)


def test_with_no_good_checkpoint_it_starts_again(whole, stopped):
    paths = list(stopped.glob("chunks/*/*.npz"))
    for path in paths:
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is not used") as warned:
        resumed = run(folder=stopped, resume=True)
    assert len([w for w in warned if "is not used" in str(w.message)]) == len(paths)
    assert resumed[1].updates[0][1] == 1
    assert_same_run(resumed, whole)


def test_a_state_of_other_shapes_stops_the_run_and_stays(stopped):
    """Of another version or setting of a library, say: it is whole, and can be gone on from."""
    (path,) = stopped.glob("chunks/*/00000010.npz")
    arrays = files.read_summed(path)
    name = next(name for name, x in arrays.items() if name.startswith("state.") and x.ndim > 1)
    files.write_summed(path, arrays | {name: arrays[name][:, :-1]})
    before = {file: file.read_bytes() for file in stopped.rglob("*.npz")}
    with pytest.raises(OtherState, match=r"00000010.npz holds a state of other shapes or types"):
        run(folder=stopped, resume=True)
    assert before == {file: file.read_bytes() for file in stopped.rglob("*.npz")}
    assert not list(stopped.rglob("*.damaged"))


# --------------------------------------------------------------------------- WHICH, AND WHEN


def make(update, score):
    """A checkpoint of one seed whose episodes all returned `score`."""
    rows = {name: np.ones((1, update), np.float32) for name in Metrics._fields}
    rows["episode_return_sum"] = np.full((1, update), score, np.float32)
    fields = {"update": update, "metrics": Metrics(**rows), "state": [np.arange(3)]}
    return Checkpoint(**fields, evaluations=None, seconds=1.0, made_with={"jax": "0"})


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, {}, keep=2)
    for update, score in ((30, 5.0), (40, 9.0), (50, 1.0), (60, 2.0), (70, 3.0)):
        checkpoints.save(make(update, score))
    checkpoints.wait()
    names = ["00000040.npz", "00000060.npz", "00000070.npz"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    newest = Checkpoints(tmp_path, {}).newest()
    assert (newest.update, newest.score, newest.seconds) == (70, 3.0, 1.0)
    assert newest.made_with == {"jax": "0"}
    np.testing.assert_array_equal(newest.state[0], [0, 1, 2])
    newest_alone = Checkpoints(tmp_path / "other", {}, keep=2, keep_best=False)
    for update, score in ((30, 5.0), (40, 9.0), (50, 1.0), (60, 2.0)):
        newest_alone.save(make(update, score))
    newest_alone.wait()
    names = ["00000050.npz", "00000060.npz"]
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == names


def test_when_one_is_due(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    checkpoints = Checkpoints(tmp_path, {}, every_seconds=60, every_updates=10)
    assert [checkpoints.due(9), checkpoints.due(10)] == [False, True]
    assert [checkpoints.updates_left(9), checkpoints.seconds_left()] == [1, 60]
    clock[0] = 159.9
    assert not checkpoints.due(1)
    clock[0] = 160.0
    assert checkpoints.due(1)
    checkpoints.save(make(1, 0.0))
    assert [checkpoints.due(2), checkpoints.due(11)] == [False, True]
    checkpoints.wait()
    later = Checkpoints(tmp_path / "later", {}, every_seconds=0, every_updates=10, start=50)
    assert [later.due(59), later.due(60)] == [False, True]
    assert not Checkpoints(tmp_path, {}, every_seconds=0, every_updates=0).due(10**9)


def test_a_full_disk_is_told_and_ends_no_run(whole, tmp_path, monkeypatch):
    """But one that is asked to stop: that it could not be kept is no news to lose."""
    folder = tmp_path / "run"
    run(folder=folder, checkpoint_updates=2, stop=stop_after(4))
    assert kept(folder)[-1] == "00000004.npz"
    write = module.write_summed

    def full(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(module, "write_summed", full)
    told = pytest.warns(UserWarning, match="could not be written")  # after 6 updates
    nowhere = pytest.raises(OSError, match=r"no space, and nothing could be written elsewhere")
    with told, nowhere:
        run(folder=folder, resume=True, checkpoint_updates=2, stop=stop_after(8))
    assert kept(folder)[-1] == "00000004.npz"
    with pytest.warns(UserWarning, match="a checkpoint could not be written") as warned:
        resumed = run(folder=folder, resume=True, checkpoint_updates=2)
    lines = [str(w.message) for w in warned if "could not be written" in str(w.message)]
    assert len(lines) == 3  # after 6, 8 and 10 updates
    assert all("no space" in line and "training goes on" in line for line in lines)
    monkeypatch.setattr(module, "write_summed", write)
    assert resumed[1].updates[0][1] == 5
    assert_same_run(resumed, whole)


# --------------------------------------------------------------------------- THE COMMAND LINE


def test_other_versions_are_announced(tmp_path, capsys, monkeypatch):
    """And a run that is done is not gone on with."""
    folder = tmp_path / "run"
    small = "--num-envs 2 --num-steps 8 --hidden-sizes 8 --total-steps 64 --value-iterations 1"
    saved, save = [], Checkpoints.save

    def stopping(self, checkpoint):
        saved.append(checkpoint.update)
        save(self, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", stopping)
    command = ["train", "CartPole-v1", *small.split(), "--checkpoint-updates", "1"]
    assert cli.main([*command, "--out", str(folder)]) == 130
    assert saved == [1]
    assert f"go on with: purejaxvpg train --resume {folder}" in capsys.readouterr().err
    monkeypatch.undo()
    (path,) = folder.glob("chunks/*/*.npz")
    arrays = files.read_summed(path)
    made_with = json.loads(str(arrays["made_with"])) | {"jax": "0.1.2"}
    files.write_summed(path, arrays | {"made_with": np.asarray(json.dumps(made_with))})
    assert cli.main(["eval", str(folder)]) == 2
    assert f"no run in {folder} is done; go on with it" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "going on after 1 of 4 updates" in out
    assert f"jax was 0.1.2, and is {jax.__version__}" in out
    assert load_study(folder).complete
    parts = {path: path.stat().st_mtime_ns for path in folder.glob("parts/*")}
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("parts/*")} == parts
