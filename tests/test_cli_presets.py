"""What comes from a preset: shown by --help, and printed by what takes it."""

import re
import shutil
from types import SimpleNamespace

import pytest

from purejaxvpg import cli, presets
from purejaxvpg.cli import parsing, studies, training


def shown(line, capsys):
    """Help as one line of words."""
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code in (0, None)
    printed = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    return " ".join(re.sub("[│╭╮╰╯─]", " ", printed).split())


@pytest.mark.parametrize("line", ["train {} --help", "sweep --help {}", "plan {} -h"])
def test_help_shows_the_values_of_the_presets(line, capsys):
    """Of the environment that is named; a value on the line goes before it."""
    text = shown(line.format("Pendulum-v1"), capsys)
    assert "Values marked preset are Pendulum-v1's; --no-preset: the usual defaults." in text
    assert "Discount per step. (preset: 0.9)" in text
    assert "down to zero (linear, cosine). (preset: linear)" in text
    assert "(preset: True)" in text  # normalize_rewards
    assert text.count("(preset: ") == len(presets.values("Pendulum-v1"))
    given = shown(line.format("Pendulum-v1 --gamma 0.5"), capsys)
    assert "Discount per step. (preset: 0.9)" in given


PLAIN = ["train --help", "train Pong-misc --help", "train Pendulum-v1 --no-preset --help",
         "train Pendulum-v1 --gama 1 --help"]  # fmt: skip


@pytest.mark.parametrize("line", PLAIN)
def test_help_shows_the_usual_defaults_otherwise(line, capsys):
    text = shown(line, capsys)
    assert "Discount per step. (default: 0.99)" in text
    assert "preset: " not in text


def test_help_of_all_and_of_other_commands(capsys):
    assert "List the environments." in shown("--help", capsys)
    assert "E, episodes of each policy." in shown("eval --help", capsys)


def line_of(words, varying=()):
    return parsing.preset_line(parsing.parse(words.split()), varying)


def test_a_run_says_which_values_come_from_the_preset():
    """Those of no flag, of no axis, and other than the usual defaults."""
    start = "preset of Pendulum-v1 (--no-preset: none): "
    everything = "total_steps=1000000, lr_schedule=linear, normalize_rewards=True, gamma=0.9"
    printed = line_of("train Pendulum-v1")[0]
    assert printed.startswith(start)
    assert sorted(printed.removeprefix(start).split(", ")) == sorted(everything.split(", "))
    assert "gamma" not in line_of("train Pendulum-v1 --gamma 0.5")[0]
    assert "gamma" not in line_of("sweep Pendulum-v1", ["gamma"])[0]
    assert line_of("plan CartPole-v1 --gae-lambda 1 --lr-schedule constant") == []
    for words in ("train Pong-misc", "train Pendulum-v1 --no-preset", "eval folder"):
        assert line_of(words) == []


LINE = "preset of CartPole-v1 (--no-preset: none): lr_schedule=linear, gae_lambda=0.98"
TINY = "CartPole-v1 --total-steps 64 --num-envs 2 --num-steps 8 --hidden-sizes 8 --chunk-size 1"


@pytest.mark.parametrize(("command", "axes"), [("train", ""), ("sweep", "--grid policy_lr=1,2")])
def test_a_run_prints_that_line(command, axes, tmp_path, capsys, monkeypatch):
    class Begun(Exception):
        """Training would begin now."""

    def begin(_):
        raise Begun

    monkeypatch.setattr(training.engine, "run", begin)
    words = f"{command} {TINY} --value-iterations 10 {axes} --out {tmp_path}/run".split()
    for more, printed in (([], True), (["--no-preset"], False)):
        with pytest.raises(Begun):
            cli.main([*words, *more])
        assert (LINE in " ".join(capsys.readouterr().out.split())) == printed
        shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_plan_prints_that_line(capsys, monkeypatch):
    def plan(spec, *_):
        group = SimpleNamespace(config=spec.config)
        numbers = {"measuring": 0, "num_runs": 1, "width": 1, "num_devices": 1, "chunks": 1}
        numbers["at_a_time"] = lambda _: "1 x 1"
        yield SimpleNamespace(group=group, device_bytes=1, **numbers), 1.0, 1.0

    monkeypatch.setattr(studies.planning, "plan", plan)
    assert cli.main(f"plan {TINY} --value-iterations 10".split()) == 0
    assert LINE in " ".join(capsys.readouterr().out.split())
