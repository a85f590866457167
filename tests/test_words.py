"""Words of a command that are refused before anything is made, and what the line advises."""

import shlex
import sys

import jax
import numpy as np
import pytest
from support.refusals import assert_refused
from support.studies import CONFIG, make_spec, make_study

from purejaxvpg import Hyperparams, cli
from purejaxvpg.by_name import load
from purejaxvpg.cli import flags, parsing, training
from purejaxvpg.cli.words import repeated
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.spec import Spec, named_differences
from purejaxvpg.ranges import Uniform

REFUSED = {
    "train CartPole-v1 --policy-lr 0,003": "--policy-lr: 0,003 is no number; write for example "
    "0.003\n",
    "train CartPole-v1 --policy-lr 1,000,0": "1,000,0 is no number; write for example 0.003 or "
    "3e-3\n",
    "train CartPole-v1 --shard 0/2": "--shard is no flag of train, but of sweep and plan; write: "
    "purejaxvpg sweep CartPole-v1 --shard 0/2\n",
    "train CartPole-v1 --grid gamma=0,1": "; write: purejaxvpg sweep CartPole-v1 --grid gamma=0,1",
    "eval runs --gamma 0.5": "--gamma is no flag of eval, but of train, sweep and plan\n",
    "train CartPole-v1 --target 3": "--target is no flag of train, but of report\n",
    "train CartPole-v1 --diagnostics true": "--diagnostics takes no value; write --diagnostics, "
    "or --no-diagnostics\n",
    "train CartPole-v1 --no-preset=no": "--preset takes no value; write --preset, or --no-preset",
    "eval runs --greedy True": "--greedy takes no value; write --greedy, or leave it out\n",
    "sweep CartPole-v1 --grid gamma=0,1 --grid policy_lr=0.1,1": "--grid is given twice; give it "
    "once with all its values\n",
    "train CartPole-v1 --no-preset --seed -1": "--seed -1 is out of range; accepted: 0 to",
    "plan CartPole-v1 --no-preset --seed 4294967296": "--seed 4294967296 is out of range",
}


@pytest.mark.parametrize("line", REFUSED)
def test_the_line_names_the_flag_and_what_to_write(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(line.split(), REFUSED[line], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [("--gamma 0.9 --gamma=0.99", "gamma", 0.99), ("--num-envs 2 --num_envs 4", "num_envs", 4),
     ("--diagnostics --no-diagnostics", "diagnostics", False)],
)  # fmt: skip
def test_of_a_flag_that_is_given_twice_the_last_counts(words, name, value):
    """As with `sbatch scripts/sweep_slurm.sh --out FOLDER`, whose words come after the script's."""
    args = parsing.parse(f"train CartPole-v1 {words}".split())
    assert getattr(args, name) == value
    assert repeated(words.split()) == [f"--{name.replace('_', '-')}"]
    assert repeated("--import json --import csv".split()) == []


def test_a_repeated_flag_is_said_once_the_work_is_done(tmp_path, capsys):
    """And not beside the line of an error."""
    tiny = "--num-envs 2 --num-steps 2 --total-steps 4 --hidden-sizes 2 --value-iterations 1"
    line = f"plan CartPole-v1 --no-preset {tiny} --num-seeds 2 --num-seeds 1"
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().err.endswith("--num-seeds was given twice; the last one counted\n")
    assert_refused(f"{line} --num-envs 0".split(), "num_envs=0 is out of range", capsys)


def test_a_flag_once_is_as_it_was():
    """Words that look like flags of other kinds: a value that is a word, a folder named true."""
    line: str = (
        "train CartPole-v1 --diagnostics --network auto --no-preset --policy_lr 1e-2 --gamma 1"
    )
    args = parsing.parse(shlex.split(line))
    assert (args.diagnostics, args.network, args.preset) == (True, "auto", False)
    assert (args.policy_lr, args.gamma) == (0.01, 1.0)
    assert isinstance(args.gamma, float)
    assert parsing.parse(["report", "true", "--target", "None"]).target is None
    assert parsing.parse(["report", "runs", "--target", "-5"]).target == -5


def test_help_shows_numbers_as_they_are_typed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert "--policy-lr FLOAT" in shown
    assert f"(default: {flags.Train.policy_lr})" in shown


# -------------------------------------------------------------------------------- STUDIES IN WORDS


def test_another_study_is_described_in_words_of_the_command_line():
    def described(grid=None, prune=None, conditions=None, **design):
        spec = Spec(CONFIG, Hyperparams(), make_design(grid, **design), np.arange(2), prune)
        return spec.to_json() | ({"conditions": conditions} if conditions else {})

    one = described({"gamma": [0.9, 0.99], "hidden_sizes": [(8,), (8, 4)]})
    other = described(
        {"gamma": [0.9]}, zipped={"policy_lr": [0.1, 0.2], "estimator": ["gae", "td"]}
    )
    assert named_differences(one, other) == (
        "axes is --grid gamma=0.9,0.99 hidden_sizes=(8),(8,4) there, and "
        "--grid gamma=0.9 --zipped policy_lr=0.1,0.2 estimator=gae,td is given"
    )
    drawn = described(sample={"gamma": Uniform(0, 1)}, num_samples=3)
    assert named_differences(drawn, described()) == (
        "axes is --sample (3 points of gamma) there, and none is given"
    )


def test_values_that_no_setting_has_are_answered_with_those_there_are():
    study = make_study(make_spec({"gamma": [0.9, 0.99], "network": ["mlp", "auto"]}))
    with pytest.raises(ValueError, match=r"has gamma=0.8; there are gamma=0.9,0.99$"):
        study.where(gamma=0.8)
    zipped = make_study(make_spec(zipped={"gamma": [0.9, 0.99], "policy_lr": [0.1, 0.2]}))
    line = r"has gamma=0.9, policy_lr=0.2; there are gamma=0.9,0.99 and policy_lr=0.1,0.2, but not"
    with pytest.raises(ValueError, match=line):
        zipped.where(gamma=0.9, policy_lr=0.2)


@pytest.mark.parametrize(
    ("shard", "line"),
    [
        ((0, 8), "shard 0 of 8 (from 0) has none of the 2 runs; there is nothing to do"),
        ((7, 8), "1 run, 1 program to compile, 1 chunk of 1 x 1 devices"),
    ],
)
def test_the_plan_of_a_shard(shard, line, tmp_path):
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    spec = make_spec({"gamma": [0.9, 0.99]}, num_seeds=1)
    assert training._plan_line(prepare(spec, Options(resources, shard=shard), tmp_path)) == line


# ------------------------------------------------------------------------------- MODULES OF A USER

MODULES = {
    "import json\n\ndef f():\n    return json.loads('{')\n\nX = f()\n": (
        "JSONDecodeError at {path}:4 (return json.loads('{{')): Expecting property name"
    ),
    "import os\nX = (\n": "SyntaxError at {path}:2 (X = (): '(' was never closed",
    "import nothing_of_this_name\n": (
        "ModuleNotFoundError at {path}:1 (import nothing_of_this_name): No module named"
    ),
}


@pytest.mark.parametrize("text", MODULES)
def test_an_error_of_the_users_module_names_its_line(text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "module_of_a_user.py"
    path.write_text(text)
    with pytest.raises(ImportError) as error:
        load("env", "module_of_a_user:X")
    sys.modules.pop("module_of_a_user", None)
    reason = MODULES[text].format(path=path)
    start = f"env='module_of_a_user:X' cannot be imported: {reason}"
    assert str(error.value).startswith(start)
    assert "\n" not in str(error.value)
