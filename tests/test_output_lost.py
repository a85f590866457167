"""Output that cannot be written, pictures that cannot be drawn: the work is kept all the same."""

import errno
import io
import subprocess
import sys

import matplotlib.text
import numpy as np
import pytest
from support.processes import environment
from support.studies import all_parts, make_spec

from purejaxvpg import VPGConfig, cli
from purejaxvpg.cli import terminal, training
from purejaxvpg.experiment import load_study
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store
from purejaxvpg.report import page, plots

TINY = "CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
TINY += " --value-iterations 1 --no-preset"


class Full(io.StringIO):
    """A stream on a disk that is full from the second write on."""

    def write(self, text):
        if self.getvalue():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


# ---------------------------------------------------------------------------------- THE TERMINAL


def test_work_goes_on_when_nobody_can_be_told(monkeypatch):
    out, err, done = Full(), io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with terminal.patient_output():
        for number in range(3):
            print(number)
            terminal.say("and more")
            done.append(number)
    assert done == [0, 1, 2]
    assert out.getvalue() == "0"
    assert err.getvalue().count("\n") == 1
    assert "lines are missing from the output" in err.getvalue()
    assert "(No space left on device)" in err.getvalue()


def test_output_that_can_be_written_is_no_news(capsys):
    with terminal.patient_output():
        print("hello")
    assert capsys.readouterr() == ("hello\n", "")


def test_errors_and_exit_codes_are_what_they_were(capsys):
    assert cli.main(["train", "CartPole-v1", "--num-seeds", "0"]) == 2
    assert capsys.readouterr().err.startswith("purejaxvpg: error: ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_disk_of_the_log_ends_no_study(tmp_path):
    code = "from purejaxvpg.__main__ import main; raise SystemExit(main())"
    words = ["sweep", *TINY.split(), "--grid", "gamma=0.9,0.99", "--no-report", "--out", "s"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env=environment(tmp_path / "cache"), timeout=200,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert load_study(tmp_path / "s").complete


# ---------------------------------------------------------------------------------- THE PICTURES


def finished(folder, grid):
    """A study that is done in its folder."""
    spec = make_spec(grid)
    store = Store(spec, folder, StudyRecord())
    for part in all_parts(spec):
        store.add(part)
    return store.study(StudyRecord())


@pytest.mark.parametrize(
    "error", [ValueError("no such font"), OSError(28, "No space left"), KeyError("x")]
)
@pytest.mark.parametrize("grid", [{}, None], ids=["picture", "report"])
def test_one_that_fails_is_a_warning(tmp_path, monkeypatch, grid, error):
    study = finished(tmp_path / "s", grid)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(plots, "learning_curve", fail)
    monkeypatch.setattr(page, "write_report", fail)
    name = "picture" if grid == {} else "report"
    with pytest.warns(
        UserWarning, match=rf"the {name} could not be made \(.+\); all results are in"
    ):
        training._draw(study, tmp_path / "s", report=True)
    assert load_study(tmp_path / "s").complete


@pytest.mark.parametrize("name", [r"Cost$\frac$", r"a$x^2$b", r"$", r"\$5$"])
def test_names_are_drawn_literally(tmp_path, monkeypatch, name):
    """Matplotlib reads two dollars as mathematics, and may not understand them."""
    drawn, layout = [], matplotlib.text.Text._get_layout

    def get_layout(self, renderer):
        drawn.append(self._preprocess_math(self.get_text()))
        return layout(self, renderer)

    monkeypatch.setattr(matplotlib.text.Text, "_get_layout", get_layout)
    plots.learning_curve(tmp_path / "curve.png", np.arange(3), np.ones((2, 3)), name)
    assert (name, False) in drawn
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


# --------------------------------------------------------------------------------- THE OWNER'S


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_owners_notes_outlive_an_interrupt_before_the_first_checkpoint(
    tmp_path, monkeypatch, capsys, command
):
    folder = tmp_path / "run"

    def interrupt(*_):
        (folder / "notes.txt").write_text("mine")
        raise KeyboardInterrupt

    monkeypatch.setattr(training.engine, "run", interrupt)
    words = [command, *TINY.split(), *(["--grid", "gamma=0.9,0.99"] if command == "sweep" else [])]
    assert cli.main([*words, "--out", str(folder)]) == 130
    assert cli.main([command, "--resume", str(folder)]) == 130
    assert capsys.readouterr().err.count("\n") == 2
    assert (folder / "notes.txt").read_text() == "mine"
    assert load_study(folder).config == VPGConfig(
        num_envs=2, num_steps=8, total_steps=160, hidden_sizes=(8,), value_iterations=1
    )
