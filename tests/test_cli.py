"""The command line, end to end; and one line for everything that can be given wrongly."""

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.refusals import assert_refused

import purejaxvpg
from purejaxvpg import Hyperparams, VPGConfig, cli, presets
from purejaxvpg.cli import arguments, parsing, training
from purejaxvpg.experiment import engine, load_study

TINY = "--total-steps 64 --num-envs 2 --num-steps 8 --hidden-sizes 8 --value-iterations 1".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder made by the command, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = ["train", "CartPole-v1", *TINY, "--num-seeds", "2", "--out", str(folder)]
    command += ["--env-params", "max_steps_in_episode=5", "--policy-lr", "1e-2"]
    words, chosen = [sys.executable, "-m", "purejaxvpg"], ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    env = {name: value for name, value in os.environ.items() if name not in chosen}
    done = subprocess.run([*words, *command], capture_output=True, text=True, timeout=200, env=env)
    return folder, done


def test_train_prints_a_table_and_leaves_a_run_folder(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "last 20 episodes" in done.stdout
    assert "steps/s" in done.stdout
    assert sorted(file.name for file in folder.iterdir()) == [
        ".lock", "learning_curve.png", "metrics.jsonl", "metrics.npz", "parts", "policies",
        "run.json",
    ]  # fmt: skip
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    fields = json.loads((folder / "run.json").read_text())
    assert fields["config"]["hidden_sizes"] == [8]
    assert fields["hyperparams"]["policy_lr"] == 1e-2
    assert fields["hyperparams"]["env_params"] == {"max_steps_in_episode": 5}
    assert fields["record"]["command"].startswith("purejaxvpg train CartPole-v1")
    study = load_study(folder)
    assert study.complete
    assert study.policies.runs.tolist() == [0, 1]
    assert study.record.num_devices == len(os.sched_getaffinity(0))  # each core is a device
    with np.load(folder / "metrics.npz") as metrics:
        assert metrics["entropy"].shape == (2, 4)


def test_eval_uses_the_environment_that_training_used(trained, capsys):
    assert cli.main(["eval", str(trained[0]), "--num-episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert "3 greedy and 3 sampled episodes a seed" in printed
    rows = [line for line in printed.splitlines() if "length" in line]
    assert [re.findall(r"\d+\.\d", row)[0] for row in rows] == ["5.0"] * 2  # not CartPole's 500


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"purejaxvpg {purejaxvpg.__version__}\n"


def test_out_of_memory_is_one_line_with_the_remedy(tmp_path, monkeypatch, capsys):
    def exhausted(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "run", exhausted)
    assert cli.main(["train", "CartPole-v1", *TINY]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "out of memory; lower --chunk-size (or give --memory-limit), --num-envs" in printed
    (folder,) = (tmp_path / "runs").iterdir()
    assert not load_study(folder).done.any()  # it may be gone on with, narrower


def test_envs_lists_names_spaces_limits_and_presets(capsys):
    assert cli.main(["envs"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "CartPole-v1" in line)
    assert "Discrete(2)" in row
    assert "Box(4,)" in row
    assert "500" in row
    assert "yes" in row
    row = next(line for line in printed.splitlines() if "Pendulum-v1" in line)
    assert "Box(1,) in" in row  # the bounds may go to the next line
    assert "[-2, 2]" in printed
    row = next(line for line in printed.splitlines() if "MNISTBandit" in line)
    assert "downloads" in row


def test_every_field_is_a_flag_with_its_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for cls in (VPGConfig, Hyperparams):
        for field in dataclasses.fields(cls):
            if field.name != "env":
                assert f"--{field.name.replace('_', '-')}" in text, field.name
    assert "Discount per step" in text
    for name in ("chunk-size", "memory-limit", "split", "keep-policies", "checkpoint-minutes"):
        assert f"--{name}" in text, name


@pytest.mark.parametrize("command", ["train", "sweep", "plan"])
def test_how_a_study_is_run_is_a_flag_of_every_command_that_runs_one(command):
    flags = "--chunk-size 3 --split envs --keep-policies best --checkpoint-minutes 2.5"
    words = [command, "CartPole-v1", *flags.split(), "--checkpoint-updates", "7"]
    options = arguments.options_of(parsing.parse(words), (0, 2), "words")
    assert options.resources[1:] == ("envs", 3, None)
    assert options.resources.devices == jax.devices()
    assert (options.shard, options.keep_policies, options.command) == (
        (0, 2),
        "best",
        "words",
    )
    assert (options.checkpoint_minutes, options.checkpoint_updates) == (2.5, 7)
    plain = arguments.options_of(parsing.parse([command, "CartPole-v1"]), None, "")
    assert plain.resources[1:] == ("runs", "auto", None)
    assert plain.keep_policies is None
    limited = parsing.parse([command, "CartPole-v1", "--memory-limit", "2GiB"])
    assert arguments.resources_of(limited).memory_limit == 2**31


def test_the_preset_gives_the_defaults_and_flags_go_before_it():
    args = parsing.parse(["train", "Pendulum-v1", "--gamma", "0.5"])
    config, hp = parsing.config_of(args)
    preset = presets.load("Pendulum-v1")
    assert config == preset.config
    assert hp == dataclasses.replace(preset.hyperparams, gamma=0.5)
    config, hp = parsing.config_of(parsing.parse(["train", "Pendulum-v1", "--no-preset"]))
    assert config == VPGConfig(env="Pendulum-v1")
    assert hp == Hyperparams()


BAD = {
    "": "Expected one of {train, eval, export, render, repro, sweep, plan, merge, report, plot, "
    "compare, envs, doctor, completion}",
    "train": "train needs ENV, or --resume FOLDER",
    "train --resume {tmp}/none": "is no run or study folder",
    "train CartPole-v1 --resume {tmp}/none": "is no run or study folder",
    "train CartPole-v1 --resume auto": "--resume auto needs --out FOLDER",
    "train CartPole-v1 --checkpoint-minutes -1": "checkpoint_minutes=-1",
    "train CartPole-v1 --checkpoint-updates -1": "checkpoint_updates=-1",
    "tran CartPole-v1": "tran",
    "train CartPole-v2": "did you mean CartPole-v1",
    "train CartPole-v1 --num-env 3": "perhaps you meant --num-envs",
    "train CartPole-v1 --num-envs 0": "num_envs=0 is out of range",
    "train CartPole-v1 --num-envs many": "--num-envs",
    "train CartPole-v1 --num-seeds 0": "num_seeds=0",
    "train CartPole-v1 --seed -1": "--seed -1 is out of range",
    "train CartPole-v1 --seed 4294967296": "accepted: 0 to 4294967295",
    "train CartPole-v1 --env-params gravity=1 gravity=2": "gives gravity twice",
    "train CartPole-v1 --env-kwargs gravity=heavy": "gravity='heavy' is not a number",
    "train CartPole-v1 --env-kwargs env=x": "no parameter or argument 'env'",
    "train DeepSea-bsuite --env-kwargs size=abc": "cannot be made with {'size': 'abc'}",
    "train CartPole-v1 --estimator gaee": "gaee",
    "train CartPole-v1 --policy-lr -1": "policy_lr=-1 is out of range",
    "train CartPole-v1 --gamma nan": "gamma=nan",
    "train CartPole-v1 --total-steps 1001": "nearest budgets: 1_000 or 2_000",
    "train CartPole-v1 --activation tan": "activation='tan' is unknown",
    "train CartPole-v1 --network cnn": "(H, W, C)",
    "train CartPole-v1 --env-params gravty=1": "did you mean gravity",
    "train CartPole-v1 --env-params gravity": "is not name=value",
    "train CartPole-v1 --env-params gravity=heavy": "env_params.gravity='heavy' is not a number",
    "train CartPole-v1 --env-kwargs size=3": "no parameter or argument 'size'",
    "train CartPole-v1 --rollout episodes": "pass num_steps=500",
    "train CartPole-v1 --chunk-size few": "is neither auto nor an integer",
    "train CartPole-v1 --memory-limit lots": "is no size",
    "train CartPole-v1 --memory-limit 1KB": "one run takes",
    "train CartPole-v1 --chunk-size 2 --memory-limit 1GB": "leave out one of them",
    "train CartPole-v1 --split rows": "rows",
    "train CartPole-v1 --keep-policies some": "some",
    "train CartPole-v1 --grid gamma=0.9": "--grid",
    "train CartPole-v1 --zip gamma=0.9": "--zip is called --zipped now",
    "train CartPole-v1 --out {tmp}": "is not empty",
    "train CartPole-v1 --out {tmp}/file/run": "cannot write",
    "eval {tmp}/none": "is no run or study folder",
    "eval {tmp} --num-episodes 0": "num_episodes=0",
    "export {tmp}/none": "is no run or study folder",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    printed = assert_refused(line.format(tmp=tmp_path).split(), BAD[line], capsys)
    assert "Traceback" not in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['tyro'] = None; from purejaxvpg.__main__ import main; main()"
    block = f"import sys\n{code}\n".replace("main()", "sys.exit(main())")
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'purejaxvpg[cli]'" in done.stderr


# ------------------------------------------------------------------------------- INTERRUPTIONS


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_an_interrupt_before_the_folder_is_there_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "prepare", interrupted)
    assert cli.main(["train", "CartPole-v1", *TINY, "--out", "kept"]) == 130
    assert capsys.readouterr().err == "purejaxvpg: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_a_folder_that_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "run", interrupted)
        assert cli.main(["train", "CartPole-v1", *TINY, "--out", "kept here"]) == 130
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("purejaxvpg: interrupted; 0 of 1 runs are done and kept; go on with: ")
    command = shlex.split(line.partition("go on with: ")[2])
    assert command == ["purejaxvpg", "train", "--resume", "kept here"]
    assert cli.main(command[1:]) == 0
    assert load_study("kept here").complete
    assert load_study("kept here").config.hidden_sizes == (8,)


def test_a_signal_stops_after_the_segment_and_keeps_it(tmp_path, monkeypatch, capsys):
    """The run goes on to the bits of one that was not stopped."""
    monkeypatch.chdir(tmp_path)
    command, segments = ["train", "CartPole-v1", *TINY, "--num-seeds", "2"], []
    original = training.Bar.show

    def show(self, now):
        original(self, now)
        segments.extend([1] * (now.steps_done > 0))
        if len(segments) == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(training.Bar, "show", show)
        assert cli.main([*command, "--out", "kept"]) == 130
    printed = capsys.readouterr()
    assert "stopping after this segment, to keep it; once more: at once" in printed.out
    assert "0 of 2 runs are done and kept, the others up to update 2; go on with" in printed.err
    assert len(segments) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as it was before
    assert cli.main(["train", "--resume", "kept"]) == 0
    assert "going on after 2 of 4 updates" in capsys.readouterr().out
    assert cli.main([*command, "--out", "whole"]) == 0
    kept, whole = load_study("kept"), load_study("whole")
    assert_same_bits(kept.metrics, whole.metrics)
    assert_same_bits(kept.policies.arrays([0, 1]), whole.policies.arrays([0, 1]))


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def show(self, now):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(engine, "run", lambda prepared: show(None, None))
    assert cli.main(["train", "CartPole-v1", *TINY, "--out", "kept"]) == 130
    assert "0 of 1 runs are done and kept; go on with" in capsys.readouterr().err


def test_a_run_that_is_done_is_not_trained_again(trained, capsys):
    parts = {path: path.stat().st_mtime_ns for path in trained[0].glob("parts/*")}
    assert cli.main(["train", "--resume", str(trained[0])]) == 0  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in trained[0].glob("parts/*")} == parts
    capsys.readouterr()
    before = (trained[0] / "run.json").read_bytes()
    assert cli.main(["train", "CartPole-v1", *TINY, "--out", str(trained[0])]) == 2
    assert "holds a study already; resume it" in capsys.readouterr().err
    assert (trained[0] / "run.json").read_bytes() == before
