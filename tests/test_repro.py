"""A folder says all that repeats it; a divergence says where it came from."""

import math
import os
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.assertions import assert_same_bits
from support.studies import make_study

from purejaxvpg import Hyperparams, VPGConfig, cli, make_learner
from purejaxvpg.cli import arguments, parsing, repro, training
from purejaxvpg.cli.repro import command
from purejaxvpg.debug import find_operation
from purejaxvpg.experiment import load_study
from purejaxvpg.experiment.design import Design
from purejaxvpg.experiment.devices import DETERMINISTIC
from purejaxvpg.experiment.folder import read_spec
from purejaxvpg.experiment.spec import Spec, differences

TINY = "--num-envs 2 --num-steps 8 --total-steps 64 --hidden-sizes 8 --value-iterations 1"
CONFIG = VPGConfig(
    env="Pendulum-v1",
    num_envs=2,
    num_steps=8,
    total_steps=64,
    hidden_sizes=(8,),
    value_iterations=1,
)

numbers = st.floats(1e-6, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "network": st.sampled_from(["mlp", "cnn"]),
            "hidden_sizes": st.lists(st.integers(1, 9), max_size=3).map(tuple),
            "normalize_obs": st.booleans(),
            "normalize_advantages": st.booleans(),
            "diagnostics": st.booleans(),
            "max_episode_steps": st.none() | st.integers(1, 9),
            "std": st.sampled_from(["state", "free"]),
            "optimizer": st.sampled_from(["adam", "sgd", "rmsprop"]),
            "obs_clip": numbers,
            "env_kwargs": st.just({"gravity": 9.5}) | st.just({}),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "policy_lr": numbers,
            "gamma": numbers,
            "entropy_coef": st.floats(-1e30, 1e30),
            "max_grad_norm": numbers | st.just(math.inf),
            "env_params": st.just({"length": 0.25, "force_mag": 1e-7}) | st.none(),
        },
    ),
    st.integers(0, 2**31),
    st.integers(1, 9),
    st.sampled_from(["auto", 1, 7]),
    st.sampled_from(["runs", "envs"]),
    st.booleans(),
)
def test_the_command_means_the_same_settings(
    fields, numbers, seed, num_seeds, width, split, deterministic
):
    config, hp = VPGConfig(env="CartPole-v1", **fields), Hyperparams(**numbers)
    spec = Spec(config, hp, Design(()), np.arange(seed, seed + num_seeds))
    flags = f"--a=1 {DETERMINISTIC}" if deterministic else ""
    study = make_study(spec, parts=[], split=split, xla_flags=flags)
    args = parsing.parse(shlex.split(command(study, "some where", width))[1:])
    assert parsing.config_of(args) == (config, hp)
    assert differences(arguments.spec_of(args).to_json(), spec.to_json()) == ""
    assert (args.seed, args.num_seeds, args.out) == (seed, num_seeds, "some where")
    assert (args.chunk_size, args.split) == (str(width), split)
    assert args.deterministic == deterministic


def test_a_run_is_repeated_to_the_same_bits(tmp_path, capsys):
    folder = tmp_path / "run"
    args = f"train CartPole-v1 {TINY} --policy-lr 0.02 --seed 3 --num-seeds 2 --out {folder}"
    assert cli.main(args.split()) == 0
    capsys.readouterr()
    assert cli.main(["repro", str(folder)]) == 0
    text = capsys.readouterr().out
    assert f"jax=={jax.__version__}" in text
    assert not (tmp_path / "run-again").exists()
    assert cli.main(["repro", str(folder), "--execute", "--out", str(tmp_path / "other")]) == 0
    assert "the same, every bit of 13 metrics" in capsys.readouterr().out
    assert_same_run(folder, tmp_path / "other")
    words = shlex.split(text.strip().splitlines()[-1])  # the command does the same
    assert words[:2] == ["purejaxvpg", "train"]
    assert cli.main(words[1:]) == 0
    assert_same_run(folder, tmp_path / "run-again")
    assert differences(*(read_spec(f"{folder}{x}")[0].to_json() for x in ("", "-again"))) == ""


def assert_same_run(folder, other):
    """Two folders have the same metrics and the same policies."""
    one, two = load_study(folder), load_study(other)
    assert_same_bits(one.metrics, two.metrics)
    assert_same_bits(one.policies.arrays([0, 1]), two.policies.arrays([0, 1]))


def test_numbers_that_differ_are_named(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    assert cli.main(f"train CartPole-v1 {TINY} --out {folder}".split()) == 0

    def another(folder):
        spec, *rest = read_spec(folder)
        return spec._replace(hyperparams=Hyperparams(policy_lr=0.5)), *rest

    monkeypatch.setattr(repro, "read_spec", another)
    capsys.readouterr()
    assert cli.main(["repro", str(folder), "--execute"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "differ in " in message
    assert "policy_loss" in message


@pytest.mark.parametrize("what", ["train CartPole-v1", "sweep CartPole-v1 --grid gamma=0.9,0.99"])
def test_what_is_not_done_is_not_repeated(what, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "begun"
    with monkeypatch.context() as patched:
        patched.setattr(training.engine, "run", interrupted)
        assert cli.main(f"{what} {TINY} --out {folder}".split()) == 130
    capsys.readouterr()
    assert cli.main(["repro", str(folder)]) == 2
    how = f"is not done; see: purejaxvpg {what.split()[0]} --resume {folder}"
    assert how in capsys.readouterr().err


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_study_is_repeated_to_the_same_bits(tmp_path, capsys):
    folder = tmp_path / "study"
    line = (
        f"sweep CartPole-v1 {TINY} --grid gamma=0.9,0.99 --num-seeds 2 --chunk-size 1 --no-report"
    )
    assert cli.main([*line.split(), "--out", str(folder)]) == 0
    capsys.readouterr()
    assert cli.main(["repro", str(folder), "--execute"]) == 0
    text = capsys.readouterr().out
    assert "chunk_size=1" in text
    assert "the same, every bit of 13 metrics" in text
    assert load_study(f"{folder}-again").complete
    for name, values in load_study(folder).metrics.items():
        np.testing.assert_array_equal(values, load_study(f"{folder}-again").metrics[name])


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_what_is_no_run_is_a_line(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["repro", str(tmp_path / folder)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "is no run or study folder" in text


# --------------------------------------------------------------------------------- DETERMINISM


@pytest.mark.slow
def test_deterministic_sets_its_flags_and_records_them(tmp_path, capsys):
    """And both versions of the compiler know them: a flag that is unknown ends the process."""
    folder = tmp_path / "run"
    args = f"train CartPole-v1 {TINY} --deterministic --out {folder}"
    own = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-m", "purejaxvpg", *args.split()], env=own, check=True)
    assert load_study(folder).record.xla_flags == DETERMINISTIC
    assert cli.main(["repro", str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.strip().endswith("--deterministic")
    assert f"XLA_FLAGS={DETERMINISTIC}" in text


# ---------------------------------------------------------------------------------- DIVERGENCE


@pytest.fixture(scope="module")
def learner():
    plain = make_learner(CONFIG)
    return plain._replace(init=jax.jit(plain.init), update=jax.jit(plain.update))


def diverged(learner, hp):
    """The state of a run of Pendulum after an update under `hp` that it could not take."""
    state = learner.init(jax.random.key(0), hp)
    state, _ = learner.update(state, hp)
    assert not state.finite
    return state


def test_the_operation_is_found(learner):
    hp = Hyperparams(env_params={"l": 0.0})  # 3 g / (2 l), an infinity less another
    text = find_operation(CONFIG, hp, diverged(learner, hp))
    assert text.startswith("the first NaN comes from ")
    assert "at pendulum.py:" in text
    assert "(step_env), called by gymnax_adapter.py:" in text
    assert "\n" not in text


def test_what_overflows_without_nan_is_said(learner):
    # The same parameters in a mapping: one program for both tests.
    hp = Hyperparams(
        value_lr=1e22, env_params={"l": 1.0}
    )  # Adam's step is as long: V is 1e22, and its square infinite
    text = find_operation(CONFIG, hp, diverged(learner, hp))
    assert text == (
        "no operation gives NaN, and there are numbers too large for float32 in value_loss_after"
    )


@pytest.mark.slow
def test_debug_nans_on_the_command_line(tmp_path, capsys):
    line = f"train Pendulum-v1 --no-preset {TINY} --num-seeds 2 --env-params l=0.0 --debug-nans"
    assert cli.main([*line.split(), "--out", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert text.count("the first NaN comes from") == 2  # once a seed, of 4 updates
    assert "seed 0 at update 1: " in text
    assert "2 of 2 seeds diverged, and stay at their last finite state: seed 0 at update 1" in text
    assert load_study(tmp_path / "run").diverged_at.tolist() == [[1, 1]]
    assert cli.main(["eval", str(tmp_path / "run"), "--num-episodes", "2"]) == 0
    assert "seed 1 at update 1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["jax", None])
def test_other_versions_are_announced_before_anything_runs(name, monkeypatch, capsys):
    now = repro.versions()
    had = {**now, name: "0.8.7"} if name else now
    run = make_study(Spec(CONFIG, Hyperparams(), Design(()), np.arange(1)), versions=had)
    monkeypatch.setattr(repro, "load_study", lambda _: run)
    monkeypatch.setattr(repro, "read_spec", lambda _: [None])

    def prepare(*_):
        raise ValueError("it would run now")

    monkeypatch.setattr(repro, "prepare", prepare)
    assert cli.main(["repro", "a", "--execute"]) == 2
    printed = capsys.readouterr()
    assert "it would run now" in printed.err
    line = f"the numbers may differ, for the versions do: jax was 0.8.7, is {now['jax']}\n"
    assert printed.out.endswith(line) if name else line[:20] not in printed.out
