"""The command line, end to end; and one line for everything that can be given wrongly."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import purejaxvpg
from purejaxvpg import Hyperparams, VPGConfig, cli, presets
from purejaxvpg.cli import flags
from purejaxvpg.experiment import runner

TINY = [
    "--total-steps",
    "64",
    "--num-envs",
    "2",
    "--num-steps",
    "8",
    "--hidden-sizes",
    "8",
    "--value-iterations",
    "1",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder made by the command, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = ["train", "CartPole-v1", *TINY, "--num-seeds", "2", "--out", str(folder)]
    command += ["--env-params", "max_steps_in_episode=5", "--policy-lr", "1e-2"]
    done = subprocess.run(
        [sys.executable, "-m", "purejaxvpg", *command], capture_output=True, text=True, timeout=200
    )
    return folder, done


def test_train_prints_a_table_and_leaves_a_run_folder(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "last 20 episodes" in done.stdout
    assert "steps/s" in done.stdout
    assert sorted(file.name for file in folder.iterdir()) == [
        "learning_curve.png", "metrics.npz", "policy.safetensors", "run.json",
    ]  # fmt: skip
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["hidden_sizes"] == [8]
    assert record["hyperparams"]["policy_lr"] == 1e-2
    assert record["hyperparams"]["env_params"] == {"max_steps_in_episode": 5}
    assert record["command"].startswith("purejaxvpg train CartPole-v1")
    with np.load(folder / "metrics.npz") as metrics:
        assert metrics["entropy"].shape == (2, 4)


def test_eval_uses_the_environment_that_training_used(trained, capsys):
    assert cli.main(["eval", str(trained[0]), "--num-episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert "3 greedy episodes a seed" in printed
    row = next(line for line in printed.splitlines() if "episode length" in line)
    assert re.findall(r"\d+\.\d", row)[0] == "5.0"  # not CartPole's own 500


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"purejaxvpg {purejaxvpg.__version__}\n"


def test_out_of_memory_is_one_line_with_the_remedy(tmp_path, monkeypatch, capsys):
    def exhausted(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run", exhausted)
    assert cli.main(["train", "CartPole-v1", *TINY]) == 2
    assert "lower --num-seeds" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


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


def test_the_preset_gives_the_defaults_and_flags_go_before_it():
    args = flags.parse(["train", "Pendulum-v1", "--gamma", "0.5"])
    config, hp = flags.config_of(args)
    preset = presets.load("Pendulum-v1")
    assert config == preset.config
    assert hp == dataclasses.replace(preset.hyperparams, gamma=0.5)
    config, hp = flags.config_of(flags.parse(["train", "Pendulum-v1", "--no-preset"]))
    assert config == VPGConfig(env="Pendulum-v1")
    assert hp == Hyperparams()


BAD = {
    "": "Expected one of {train, eval, export, repro, sweep, plan, merge, report, envs}",
    "train": "train needs ENV, or --resume FOLDER",
    "train --resume {tmp}/none": "is no run folder",
    "train CartPole-v1 --resume {tmp}/none": "leave out env",
    "train CartPole-v1 --checkpoint-minutes -1": "checkpoint_minutes=-1",
    "train CartPole-v1 --checkpoint-updates -1": "checkpoint_updates=-1",
    "tran CartPole-v1": "tran",
    "train CartPole-v2": "did you mean CartPole-v1",
    "train CartPole-v1 --num-env 3": "perhaps you meant --num-envs",
    "train CartPole-v1 --num-envs 0": "num_envs=0 is out of range",
    "train CartPole-v1 --num-envs many": "--num-envs",
    "train CartPole-v1 --num-seeds 0": "num_seeds=0",
    "train CartPole-v1 --seed -1": "seed=-1",
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
    "train CartPole-v1 --out {tmp}": "exists already",
    "train CartPole-v1 --out {tmp}/file/run": "cannot write",
    "eval {tmp}/none": "is no run folder",
    "eval {tmp} --num-episodes 0": "num_episodes=0",
    "export {tmp}/none": "is no run folder",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert cli.main(line.format(tmp=tmp_path).split()) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert BAD[line] in printed.err
    assert "Traceback" not in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['tyro'] = None; from purejaxvpg.__main__ import main; main()"
    block = f"import sys\n{code}\n".replace("main()", "sys.exit(main())")
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'purejaxvpg[cli]'" in done.stderr


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run", interrupted)
    assert cli.main(["train", "CartPole-v1", *TINY, "--out", "kept"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
