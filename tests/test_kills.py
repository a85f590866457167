"""Runs and studies that are signalled or killed: the same bits at the end, whenever it was."""

import random
import signal
import time

import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.processes import (
    checkpoints,
    environment,
    finish,
    in_use,
    start,
    wait_for_a_checkpoint,
)
from support.slow import slow_but
from support.studies import assert_same_study

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.experiment import load_study, train
from purejaxvpg.experiment.locks import locked

TINY = "CartPole-v1 --num-envs 2 --num-steps 8 --hidden-sizes 8 --value-iterations 1"
COMMAND = f"train {TINY} --num-seeds 2 --checkpoint-updates 1 --checkpoint-minutes 0".split()
UPDATES = 500  # each with its checkpoint: some seconds
COMMAND += ["--total-steps", str(16 * UPDATES)]


@pytest.fixture(scope="module")
def process_environment(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, process_environment):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    code, _, said = finish(start([*COMMAND, "--out", folder], process_environment))
    assert code == 0, said
    return load_study(folder)


def assert_same_run(folder, other):
    """Numbers and policies."""
    study = load_study(folder)
    assert study.complete
    assert_same_study(study, other)
    runs = range(other.done.size)
    assert_same_bits(study.policies.arrays(runs), other.policies.arrays(runs))


# -------------------------------------------------------------------------------------- SIGNALS


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_run_and_says_how_to_go_on(
    number, tmp_path, process_environment, uninterrupted
):
    folder = tmp_path / "run"
    process = start([*COMMAND, "--out", folder], process_environment)
    wait_for_a_checkpoint(folder, process)
    process.send_signal(number)
    code, _, said = finish(process, 100)
    if code == 0:
        pytest.skip("the run was over before the signal came")
    assert code == 128 + number
    assert said.count("\n") == 1
    assert f"go on with: purejaxvpg train --resume {folder}" in said
    stopped = load_study(folder)
    assert not stopped.done.any()
    assert not stopped.record.complete
    newest = int(checkpoints(folder)[-1].stem)
    assert f"up to update {newest}" in said
    assert [path.name for path in folder.glob(".*")] == [".lock"]  # which nobody has
    code, out, said = finish(start(["train", "--resume", folder], process_environment), 100)
    assert code == 0, said
    assert f"going on after {newest} of {UPDATES} updates" in " ".join(out.split())
    assert_same_run(folder, uninterrupted)
    assert not (folder / "chunks").exists()


# ---------------------------------------------------------------------------------------- KILLS


def killed(folder, process_environment, draw, most):
    """Kill the run at a random moment, again and again, until it is done.  Returns how often."""
    kills = 0
    arguments = [*COMMAND, "--out", folder]
    while True:
        process = start(arguments, process_environment)
        if kills < most:
            begun, before = time.monotonic(), len(checkpoints(folder))
            while process.poll() is None and time.monotonic() - begun < 60:  # till it trains
                if len(checkpoints(folder)) != before or before:
                    break
                time.sleep(0.005)
            time.sleep(draw.uniform(0.0, 3.0 if before else 0.3))
            process.kill()
            kills += process.poll() is None
        code, _, said = finish(process)
        if code == 0:
            return kills
        assert "Traceback" not in said
        if (folder / "run.json").exists():
            arguments = ["train", "--resume", folder]


@pytest.mark.timeout(600)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path, process_environment, uninterrupted
):
    kills = killed(tmp_path / "run", process_environment, random.Random(0), most=2)
    assert kills >= 1
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thirty_kills(tmp_path, process_environment, uninterrupted):
    """The same until thirty have hit, in as many runs as that takes."""
    kills, draw, number = 0, random.Random(1), 0
    while kills < 30:
        kills += killed(tmp_path / f"run{number}", process_environment, draw, most=6)
        assert_same_run(tmp_path / f"run{number}", uninterrupted)
        number += 1
    print(f"{kills} kills, {number} runs, all bits the same")


KILLED = """
import os, signal, stat, sys
from purejaxvpg import cli
from purejaxvpg.experiment import files
fsync, left = os.fsync, [int(sys.argv[1])]
def dies(handle):
    "The process dies in the middle of its so-many-th write; 0: never."
    left[0] -= not stat.S_ISDIR(os.fstat(handle).st_mode)  # those of folders come after a name
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
files.os.fsync = dies
sys.exit(cli.main(sys.argv[2:]))
"""
BEGIN = {
    "train": f"train {TINY} --total-steps 160 --checkpoint-updates 3 --checkpoint-minutes 0",
    "sweep": f"sweep {TINY} --total-steps 160 --chunk-size 1 --grid gamma=0.9,0.99 --num-seeds 2 "
    "--no-report",
}
AGAIN = {"train": ["--checkpoint-updates", "3"], "sweep": ["--chunk-size", "1", "--no-report"]}


@pytest.mark.parametrize("what", slow_but([], BEGIN))
@pytest.mark.timeout(600)
def test_killed_while_writing(what, tmp_path, process_environment):
    """SIGKILL between the bytes of a file and its name, four times; then it goes on to its end."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    code, _, said = finish(start([*BEGIN[what].split(), "--out", whole], process_environment))
    assert code == 0, said
    kills, arguments = 0, [*BEGIN[what].split(), "--out", folder]
    for write in (2, 1, 3, 2, 0):
        process = start([write, *arguments], process_environment, KILLED)
        code, _, said = finish(process)
        assert "Traceback" not in said, said
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        kills += 1
        described = folder / ("run.json" if what == "train" else "study.json")
        if described.exists():
            arguments = [what, "--resume", folder, *AGAIN[what]]
        else:  # nothing has its final name, so nothing is there
            assert all(path.name.startswith(".") or path.is_dir() for path in folder.rglob("*"))
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            if folder.exists():
                folder.rmdir()
    else:
        pytest.fail("it never came to its end")
    print(f"{kills} kills while writing, all bits the same")
    assert kills >= 3
    assert_same_run(folder, load_study(whole))


# ---------------------------------------------------------------------------------------- LOCKS


def test_a_second_process_is_refused_and_the_owner_named(tmp_path):
    with (
        in_use(tmp_path) as process,
        pytest.raises(OSError, match=rf"in use by process {process.pid} on .*; wait"),
        locked(tmp_path),
    ):
        pytest.fail("entered")
    with locked(tmp_path):  # its owner was killed: it is no lock any more
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]  # else two could have it


def test_a_run_in_use_is_left_alone(tmp_path, capsys):
    """Another process trains in it, and has kept nothing yet: it is not ours to remove."""
    config = VPGConfig(num_envs=2, num_steps=4, total_steps=32, hidden_sizes=(4,))
    folder = tmp_path / "run"

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, Hyperparams(policy_lr=1e-2), 2, folder=folder, on_segment=interrupt,
              command="purejaxvpg train ...")  # fmt: skip
    capsys.readouterr()  # a line of progress, where that took long
    with in_use(folder) as process:
        assert cli.main(["train", "--resume", str(folder)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"in use by process {process.pid} on" in said
        assert (folder / "run.json").exists()
    assert cli.main(["train", "--resume", str(folder)]) == 0  # its owner was killed
    study = load_study(folder)
    assert study.record.command == "purejaxvpg train ..."
    assert np.isfinite(study.metrics["kl"]).all()
