"""Everything that a terminal, a pipe or a log shows: one line for an error, and every digit."""

import io
import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from purejaxvpg import VPGConfig, cli
from purejaxvpg.cli import output, terminal
from purejaxvpg.experiment import display, searching, sweep, train
from purejaxvpg.experiment.progress import Progress
from purejaxvpg.report import tables

# ------------------------------------------------------------------------------- ONE LINE

WRONG = {
    "": "Expected one of {train, eval, export, render, repro, sweep, plan, merge, report, plot, "
    "compare, envs, doctor, completion}.",
    "trian CartPole-v1": "unknown command trian; did you mean train?",
    "swep CartPole-v1": "unknown command swep; did you mean sweep?",
    "train CartPole-v1 --num-env 3": "perhaps you meant --num-envs INT",
    "train CartPole-v1 --estimator gea": "estimator='gea' is unknown; ",
    "train CartPole-v1 --gamma": "Missing value for argument '--gamma'. Expected 1 values.",
    "train CartPole-v1 --num-envs 2.5": "--num-envs: 2.5 is no whole number; write for example "
    "1000000, 1_000_000 or 1e6",
    "train CartPole-v1 |a|": "Unrecognized options: |a|",
    "eval": "Missing from purejaxvpg eval: FOLDER",
    "--nothing": "Unrecognized options: --nothing",
    "train CartPole-v9": "did you mean CartPole-v1",
}
CHILD = """
import fcntl, json, os, struct, sys, termios
from purejaxvpg import cli

assert sys.stdout.isatty() and sys.stderr.isatty()
for columns in (20, 80, 300):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    assert os.get_terminal_size().columns == columns
    for colour in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}):
        before = dict(os.environ)
        os.environ.update(colour)
        for line in json.loads(sys.argv[1]):
            print("<<<", flush=True)
            code = cli.main(line.split())
            print(f">>>{code}", flush=True)
        os.environ.clear()
        os.environ.update(before)
"""


def under_a_terminal(arguments, env):
    """Everything that a process prints on a terminal that is its stdin, stdout and stderr."""
    terminal_end, process_end = pty.openpty()
    process = subprocess.Popen(
        arguments, env=env, stdin=process_end, stdout=process_end, stderr=process_end
    )
    os.close(process_end)
    pieces = []
    while True:
        try:
            piece = os.read(terminal_end, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(terminal_end)
    return process.wait(), b"".join(pieces).decode()


def test_bad_input_is_one_line_in_a_terminal_of_any_width_and_colour():
    env = {name: x for name, x in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-c", CHILD, json.dumps(list(WRONG))]
    code, printed = under_a_terminal(command, env | {"TERM": "xterm-256color"})
    assert code == 0, printed[-500:]
    blocks = re.findall(r"<<<\r\n(.*?)>>>(\d+)\r\n", printed, re.DOTALL)
    assert len(blocks) == 3 * 4 * len(WRONG)
    for i, (text, exit_code) in enumerate(blocks):
        message = list(WRONG.values())[i % len(WRONG)]
        assert exit_code == "2"
        assert text.count("\n") == 1, text
        assert text.startswith("purejaxvpg: error: ")
        assert message in text
        assert not re.search("[\x1b│╭╰─]", text), text


def test_the_width_of_the_terminal_is_as_before(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert cli.main(["train", "--num-env"]) == 2
    assert os.environ["COLUMNS"] == "77"
    monkeypatch.delenv("COLUMNS")
    assert cli.main(["train", "--num-env"]) == 2
    assert "COLUMNS" not in os.environ


# --------------------------------------------------------------------------------- TABLES

SCORES = {"last 20 episodes": np.asarray([-1234.56, -335.25]), "best": np.asarray([500.0, 12.5])}


def printed(table, monkeypatch, **how):
    """The text of a table on a console of another make."""
    text = io.StringIO()
    console = Console(file=text, markup=False, color_system=None, **how)
    monkeypatch.setattr(terminal, "console", console)
    terminal.show(table)
    return text.getvalue()


def cells_of(table):
    return [cell for column in table.columns[1:] for cell in column.cells]


@pytest.mark.parametrize("width", [10, 20, 40, 60, 79, 80, 100])
def test_a_table_in_a_narrow_terminal_loses_no_digit(width, monkeypatch):
    table = tables.summary("Pendulum-v1: return after 1,000,000 steps", SCORES)
    text = printed(table, monkeypatch, width=width, force_terminal=True)
    assert "…" not in text
    for cell in cells_of(table):
        assert cell in text  # whole, in one line
    assert "95% of IQM" in text


def test_a_label_that_is_too_long_is_folded_and_its_numbers_stay_whole(monkeypatch):
    table = Table()
    table.add_column("setting", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True, overflow="fold")
    table.add_row("policy_lr=0.00012345, env_params.max_steps_in_episode=100", "-335.123")
    text = printed(table, monkeypatch, width=50, force_terminal=True)
    assert "-335.123" in text
    assert "policy_lr=0.00012345," in text
    assert "env_params.max_steps_in_episode=100" in text


def test_a_pipe_has_no_width(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    label = ", ".join(f"env_params.parameter_{i}={i}.12345" for i in range(20))
    table = tables.summary(label, {label: np.asarray([1.0])})
    terminal.show(table)
    lines = capsys.readouterr().out.splitlines()
    assert any(label in line and "1.0" in line for line in lines)


# --------------------------------------------------------------------------------- MARKUP


def test_names_are_no_markup(capsys):
    for name in ("x[/y]", "x[bold]y", ":smile:", "[link=a]b[/link]"):
        terminal.say(name)
        terminal.console.print(f"{name} again")
        table = Table(title=name)
        table.add_column(name)
        table.add_row(name)
        terminal.show(table)
        text = capsys.readouterr().out
        assert text.count(name) == 5, text


def test_a_bar_takes_names_as_they_are(monkeypatch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system=None, width=120)
    monkeypatch.setattr(output, "console", console)
    with output.Bar("x[/y]") as bar:
        bar.show(NOW._replace(status="compiling [/z]"))
    assert "x[/y]" in text.getvalue()
    assert "compiling [/z]" in text.getvalue()


# ------------------------------------------------------------------------------- PROGRESS

NOW = Progress(
    runs_done=3, num_runs=12, steps_done=1_000, steps_left=9_000, steps_per_second=100.0,
    mean_return=12.345, status="running",
)  # fmt: skip
LINE = "3 of 12 runs, 1,000 of 10,000 steps, 100 steps/s, mean return 12.3, 1 min 30 s left"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_says_runs_steps_rate_return_and_time_left():
    assert display.words(NOW) == LINE
    one = NOW._replace(num_runs=1, mean_return=float("nan"))
    assert display.words(one) == "1,000 of 10,000 steps, 100 steps/s, 1 min 30 s left"
    begun = NOW._replace(
        steps_done=0, steps_left=10_000, steps_per_second=0.0, status="compiling for 12 runs"
    )
    assert display.words(begun) == "3 of 12 runs, 0 of 10,000 steps, compiling for 12 runs"
    planned = one._replace(steps_done=0, steps_left=0, status="measuring memory")
    assert display.words(planned) == "measuring memory"  # no work is counted yet


def test_a_log_has_a_line_after_10_20_40_seconds_and_then_every_10_minutes():
    log, now = io.StringIO(), [0.0]
    lines, at = display.Lines(log, clock=lambda: now[0]), []
    for second in range(4000):
        now[0] = float(second)
        before = log.getvalue()
        lines.show(NOW)
        at += [second] * (log.getvalue() != before)
    assert at == [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040, 3640]
    written = log.getvalue().splitlines()
    assert written[0] == f"[0:00:10] {LINE}"
    assert written[-1] == f"[1:00:40] {LINE}"


def test_a_terminal_has_one_line_that_ends_with_the_study(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    text = Terminal()
    lines = display.Lines(text)
    lines.show(NOW)
    lines.show(NOW._replace(runs_done=12))
    shown = f"\r\x1b[K{LINE[:29]}\r\x1b[K12 of 12 runs{LINE[12:28]}\n"
    assert text.getvalue() == shown


class Full(io.StringIO):
    def isatty(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [Full(), None])
def test_a_stream_that_cannot_be_written_ends_nothing(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    display.Lines(stream, clock=iter([0.0, 100.0]).__next__).show(NOW)


def test_the_command_line_writes_lines_to_a_log(capsys, monkeypatch):
    monkeypatch.setattr(display, "FIRST", 0.0)
    with output.Bar("CartPole-v1") as bar:
        bar.show(NOW)
    assert capsys.readouterr().out == f"[0:00:00] {LINE}\n"


@pytest.mark.parametrize(
    ("progress", "hook", "is_shown"),
    [(None, False, True), (None, True, False), (True, True, True), (True, False, True),
     (False, False, False), (False, True, False)],
)  # fmt: skip
def test_python_shows_progress_unless_told_not_to_or_given_a_hook(
    progress, hook, is_shown, monkeypatch, capsys
):
    monkeypatch.setattr(display, "FIRST", 0.0)
    calls = []
    function = display.shown(progress, calls.append if hook else None)
    if function is not None:
        function(NOW)
    assert calls == [NOW] * hook
    assert capsys.readouterr().err == f"[0:00:00] {LINE}\n" * is_shown


def test_sweep_train_and_search_show_it(monkeypatch, capsys):
    def run(prepared):
        prepared.options.on_progress(NOW)

    monkeypatch.setattr(display, "FIRST", 0.0)
    monkeypatch.setattr("purejaxvpg.experiment.engine.run", run)
    config = VPGConfig(num_envs=2, num_steps=8, total_steps=16)
    calls = (
        lambda **how: sweep(config, {"gamma": [0.5, 0.9]}, **how),
        lambda **how: train(config, **how),
        lambda **how: searching._options(1, 1, None, False, how).on_progress(NOW),
    )
    for call in calls:
        for how, is_shown in (
            ({}, True), ({"progress": False}, False), ({"on_progress": lambda _: None}, False),
        ):  # fmt: skip
            call(chunk_size=1, **how)
            assert ("[0:00:0" in capsys.readouterr().err) == is_shown


def test_progress_is_true_false_or_none():
    with pytest.raises(TypeError, match="progress=3 has the wrong type; accepted: True, False"):
        display.shown(3, None)
