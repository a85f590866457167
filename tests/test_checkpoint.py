"""A run that is stopped, killed or damaged goes on to the bits of one that was not."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.experiment import checkpoint as module
from purejaxvpg.experiment import files
from purejaxvpg.experiment.checkpoint import Checkpoint, Checkpoints, Stopped
from purejaxvpg.experiment.files import locked
from purejaxvpg.experiment.placement import fetch
from purejaxvpg.experiment.results import begin_run, load_run
from purejaxvpg.experiment.runner import run
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
SEEDS, REPORTS = 2, 6  # segments of two updates


def assert_same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, fetch(one.state), fetch(other.state))
    jax.tree.map(np.testing.assert_array_equal, one.metrics, other.metrics)
    jax.tree.map(np.testing.assert_array_equal, one.evaluations, other.evaluations)


def go(config, kept, stop_after=None):
    """Train with checkpoints; ask it to stop after so many updates."""

    def on_progress(now):
        kept.stop = now.updates == stop_after

    return run(config, HP, SEEDS, 0, on_progress, REPORTS, kept)


def checkpoints(folder, config=SMALL, **how):
    how = {"every_seconds": 0.0, "every_updates": 2, "keep": 100, **how}
    return Checkpoints(folder, {"config": repr(config)}, **how)


@pytest.fixture(scope="module")
def whole():
    """The run of SMALL that nothing interrupts."""
    return run(SMALL, HP, SEEDS, 0, lambda _: None, REPORTS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_to_the_same_bits(kind, tmp_path):
    config = KINDS[kind]
    uninterrupted = go(config, checkpoints(tmp_path / "whole", config, every_updates=0))
    for stop in (4, 10):
        with pytest.raises(Stopped) as stopped:
            go(config, checkpoints(tmp_path / "run", config, every_updates=0), stop)
        assert stopped.value.updates == stop
    resumed = go(config, checkpoints(tmp_path / "run", config))
    assert_same_bits(resumed, uninterrupted)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "00000004.npz", "00000010.npz",
    ]  # fmt: skip


def test_checkpoints_change_no_bit(whole, tmp_path):
    assert_same_bits(go(SMALL, checkpoints(tmp_path)), whole)


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "of another run", "no zip"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(harm, whole, tmp_path):
    go(SMALL, checkpoints(tmp_path))
    path = tmp_path / "00000010.npz"
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
    kept = checkpoints(tmp_path)
    assert_same_bits(go(SMALL, kept), whole)
    ((named, reason),) = kept.unusable
    assert named == path
    assert ("another run" if harm == "of another run" else "its sum is wrong") in reason
    assert path.with_suffix(".damaged").exists()


def test_with_no_good_checkpoint_it_starts_again(whole, tmp_path):
    go(SMALL, checkpoints(tmp_path))
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(b"")
    kept = checkpoints(tmp_path)
    assert_same_bits(go(SMALL, kept), whole)
    assert len(kept.unusable) == 5


def make(update, score):
    """A checkpoint of one seed whose episodes all returned `score`."""
    rows = {name: np.ones((1, update), np.float32) for name in Metrics._fields}
    rows["episode_return_sum"] = np.full((1, update), score, np.float32)
    return Checkpoint(update, [np.arange(3)], Metrics(**rows), None, 1.0, 2.0, {"jax": "0"})


def test_the_newest_and_the_best_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, {}, keep=2)
    for update, score in ((30, 5.0), (40, 9.0), (50, 1.0), (60, 2.0), (70, 3.0)):
        kept.save(make(update, score))
    kept.wait()
    names = ["00000040.npz", "00000060.npz", "00000070.npz"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    found = Checkpoints(tmp_path, {}).newest()
    assert (found.update, found.score, found.seconds, found.compile_seconds) == (70, 3.0, 1.0, 2.0)
    assert found.made_with == {"jax": "0"}
    np.testing.assert_array_equal(found.state[0], [0, 1, 2])


def test_when_one_is_due(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    kept = Checkpoints(tmp_path, {}, every_seconds=60, every_updates=10)
    assert [kept.due(9), kept.due(10)] == [False, True]
    clock[0] = 159.9
    assert not kept.due(1)
    clock[0] = 160.0
    assert kept.due(1)
    kept.save(make(1, 0.0))
    assert [kept.due(2), kept.due(11)] == [False, True]
    kept.stop = True
    assert kept.due(2)
    kept.wait()
    assert not Checkpoints(tmp_path, {}, every_seconds=0, every_updates=0).due(10**9)


def test_a_full_disk_is_told_and_ends_no_run(whole, tmp_path, monkeypatch):
    """But one that is asked to stop: that it could not be kept is no news to lose."""
    with pytest.raises(Stopped):
        go(SMALL, checkpoints(tmp_path), 4)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    told = []
    assert_same_bits(go(SMALL, checkpoints(tmp_path, on_failure=told.append)), whole)
    assert len(told) == 3  # after 6, 8 and 10 updates
    assert all("could not be written" in line and "no space" in line for line in told)
    with pytest.raises(OSError, match="no space"):
        go(SMALL, checkpoints(tmp_path, on_failure=told.append), 8)
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000002.npz", "00000004.npz"]
    assert_same_bits(go(SMALL, checkpoints(tmp_path)), whole)


# ---------------------------------------------------------------------------- THE COMMAND LINE

COMMAND = ["train", "CartPole-v1", "--num-envs", "2", "--num-steps", "8", "--hidden-sizes", "8"]
COMMAND += ["--num-seeds", "2", "--value-iterations", "1", "--checkpoint-updates", "1"]
COMMAND += ["--checkpoint-minutes", "0", "--total-steps", str(16 * 2000)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Environment of subprocesses that share compiled programs, so that each starts in seconds."""
    inherited = ("JAX_", "TF_CPP_", "XLA_")
    own = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    return own | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, "-m", "purejaxvpg", *COMMAND, "--out", str(folder)]
    subprocess.run(command, env=cache, check=True, capture_output=True, timeout=200)
    return load_run(folder)


def assert_same_run(folder, other):
    found = load_run(folder)
    assert found.metrics.keys() == other.metrics.keys()
    for name, values in other.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], values, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, found.policy_params, other.policy_params)


def start(arguments, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "purejaxvpg", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_checkpoint(folder, process):
    while not list(folder.glob("checkpoints/*.npz")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_run_and_says_how_to_go_on(number, tmp_path, cache, uninterrupted):
    folder = tmp_path / "run"
    process = start([*COMMAND, "--out", str(folder)], cache)
    wait_for_a_checkpoint(folder, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert process.returncode == 130
    assert said.count("\n") == 1
    assert f"go on with: purejaxvpg train --resume {folder}" in said
    with pytest.raises(ValueError, match="is not done"):
        load_run(folder)
    assert not (folder / ".owner").exists()
    process = start(["train", "--resume", str(folder)], cache)
    out, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "going on after" in out
    assert_same_run(folder, uninterrupted)
    assert not (folder / "checkpoints").exists()


def killed(folder, cache, draw, most):
    """Kill the run at a random moment, again and again, until it is done.  Returns how often."""
    kills = 0
    arguments = [*COMMAND, "--out", str(folder)]
    while True:
        process = start(arguments, cache)
        if kills < most:
            begun, before = time.monotonic(), len(list(folder.glob("checkpoints/*.npz")))
            while process.poll() is None and time.monotonic() - begun < 60:  # till it trains
                if len(list(folder.glob("checkpoints/*"))) != before or before:
                    break
                time.sleep(0.005)
            time.sleep(draw.uniform(0.0, 3.0 if before else 0.3))
            process.kill()
            kills += process.poll() is None
        _, said = process.communicate(timeout=200)
        if process.returncode == 0:
            return kills
        assert "Traceback" not in said
        if (folder / "run.json").exists():
            arguments = ["train", "--resume", str(folder)]


@pytest.mark.timeout(600)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, cache, uninterrupted):
    kills = killed(tmp_path / "run", cache, random.Random(0), most=2)
    assert kills >= 1
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thirty_kills(tmp_path, cache, uninterrupted):
    """The same until thirty have hit, in as many runs as that takes."""
    kills, draw, number = 0, random.Random(1), 0
    while kills < 30:
        kills += killed(tmp_path / f"run{number}", cache, draw, most=6)
        assert_same_run(tmp_path / f"run{number}", uninterrupted)
        number += 1
    print(f"{kills} kills, {number} runs, all bits the same")


def test_other_versions_are_announced(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    small = ["--num-envs", "2", "--num-steps", "8", "--hidden-sizes", "8", "--total-steps", "64"]
    monkeypatch.setattr(Checkpoints, "due", lambda self, _: setattr(self, "stop", True) or True)
    command = ["train", "CartPole-v1", *small, "--checkpoint-updates", "1", "--out", str(folder)]
    assert cli.main(command) == 130
    monkeypatch.undo()
    (path,) = (folder / "checkpoints").glob("*.npz")
    arrays = files.read_summed(path)
    made_with = json.loads(str(arrays["made_with"])) | {"jax": "0.1.2"}
    files.write_summed(path, arrays | {"made_with": np.asarray(json.dumps(made_with))})
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"jax was 0.1.2, and is {jax.__version__}" in said
    assert cli.main(["train", "--resume", str(folder)]) == 2
    assert "is done; see: purejaxvpg eval" in capsys.readouterr().err


@contextlib.contextmanager
def in_use(folder):
    """Another process has the lock of a folder, until it is killed."""
    code = f"""
import time
from pathlib import Path
from purejaxvpg.experiment.files import locked
with locked(Path({str(folder)!r})):
    print("mine", flush=True)
    time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "mine\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_in_use_is_left_alone(tmp_path, capsys):
    """Another process trains in it, and has kept nothing yet: it is not ours to remove."""
    folder = begin_run(tmp_path / "run", SMALL, HP, np.arange(2), "purejaxvpg train ...")
    with in_use(folder) as process:
        assert cli.main(["train", "--resume", str(folder)]) == 2
        said = capsys.readouterr().err
        assert f"in use by process {process.pid} on" in said
        assert (folder / "run.json").exists()
    assert cli.main(["train", "--resume", str(folder)]) == 0  # its owner was killed
    assert load_run(folder).record["command"] == "purejaxvpg train ..."


# -------------------------------------------------------------------------------------- LOCKS


def test_a_second_process_is_refused_and_the_owner_named(tmp_path):
    with (
        in_use(tmp_path) as process,
        pytest.raises(OSError, match=rf"in use by process {process.pid} on .*; wait"),
        locked(tmp_path),
    ):
        pytest.fail("entered")
    with locked(tmp_path):  # its owner was killed: it is no lock any more
        pass
    assert list(tmp_path.iterdir()) == []
