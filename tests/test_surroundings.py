"""Where a command runs: interrupts, devices, home folders, encodings, settings of jax."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time

import jax
import pytest
from support.processes import MAIN

from purejaxvpg import VPGConfig, __main__, cli
from purejaxvpg.experiment import load_policy, load_study, merge, paths, sweep, train
from purejaxvpg.experiment.devices import start_devices, use_compilation_cache
from purejaxvpg.experiment.folder import face_of

TINY = "--num-envs 2 --num-steps 8 --total-steps 16 --hidden-sizes 8 --value-iterations 1"
CONFIG = VPGConfig(num_envs=2, num_steps=8, total_steps=16, hidden_sizes=(8,))


def one_line(text):
    assert text.count("\n") == 1, text
    return text


# ------------------------------------------------------------------------------ INTERRUPTS

SLOW_IMPORT = """
import builtins, sys, time
plain = builtins.__import__
def slow(name, *rest):
    if name == "rich" or name.startswith("rich."):
        builtins.__import__ = plain
        print("importing", flush=True)
        try:
            time.sleep(60)
        except BaseException:  # as some libraries do
            pass
    return plain(name, *rest)
builtins.__import__ = slow
sys.argv = ["purejaxvpg", "envs"]
from purejaxvpg.__main__ import main
sys.exit(main())
"""


def test_an_interrupt_during_imports_is_one_line_even_where_it_is_swallowed():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", SLOW_IMPORT], **pipes)
    assert process.stdout.readline() == "importing\n"
    time.sleep(0.2)  # asleep by now
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "purejaxvpg: interrupted; nothing was written\n"


def test_the_handler_of_imports_is_gone_when_the_work_begins(monkeypatch):
    handlers = []

    def main(_, ready):
        handlers.append(signal.getsignal(signal.SIGINT))
        ready()
        handlers.append(signal.getsignal(signal.SIGINT))
        return 0

    monkeypatch.setattr(cli, "main", main)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert __main__.main() == 0
    assert handlers[0] is not signal.default_int_handler
    assert handlers[1] is signal.default_int_handler


def test_an_interrupt_that_is_ignored_stays_so(monkeypatch):
    """A shell has jobs in the background ignore Ctrl-C."""
    monkeypatch.setattr(cli, "main", lambda *_: 0)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert __main__.main() == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_is_ready_before_its_work():
    calls = []
    assert cli.main(["eval", "nothing"], lambda: calls.append(1)) == 2
    assert calls == [1]


# --------------------------------------------------------------------------------- DEVICES


def no_backend(*_):
    raise AssertionError  # as jax does, without a word


def test_a_platform_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax, "devices", no_backend)
    assert cli.main(["train", "CartPole-v1", *TINY.split()]) == 2
    assert "jax finds no device" in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="JAX_PLATFORMS=cpu, or install jax for this one"):
        sweep(CONFIG, progress=False)


def test_a_command_that_fails_for_want_of_a_device_says_so(monkeypatch, capsys):
    def needs_a_device(_):
        jax.devices()

    monkeypatch.setattr("purejaxvpg.cli.environments.show_envs", needs_a_device)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", no_backend)
        assert cli.main(["envs"]) == 2
    assert "jax finds no device" in one_line(capsys.readouterr().err)


def test_a_fault_of_ours_stays_a_traceback(monkeypatch):
    monkeypatch.setattr("purejaxvpg.cli.environments.show_envs", no_backend)
    with pytest.raises(AssertionError):
        cli.main(["envs"])


def test_the_reason_is_given_where_jax_gives_one(monkeypatch):
    def fails(*_):
        raise RuntimeError("Unable to initialize backend 'tpu':\n not found")

    monkeypatch.setattr(jax, "devices", fails)
    with pytest.raises(ValueError, match=r"\(Unable to initialize backend 'tpu': not found\)"):
        start_devices()


def test_without_jit_a_study_is_refused_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with jax.disable_jit():
        assert cli.main(["train", "CartPole-v1", *TINY.split()]) == 2
        assert "unset JAX_DISABLE_JIT" in one_line(capsys.readouterr().err)
        with pytest.raises(ValueError, match="a study is a compiled program"):
            train(CONFIG)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------ HOME FOLDERS


@pytest.fixture
def homeless(monkeypatch):
    """A user without HOME and without an entry in the password file."""

    def no_entry(_):
        raise KeyError("no entry")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


def test_a_user_without_a_home_has_no_cache_and_no_error(homeless, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    use_compilation_cache()
    monkeypatch.setattr(
        "purejaxvpg.experiment.devices.require",
        lambda *_: type("Platformdirs", (), {"user_cache_dir": staticmethod(lambda _: "~/.c")}),
    )
    use_compilation_cache()  # as an earlier version of platformdirs answers
    assert not list(tmp_path.iterdir())
    assert cli.main(["eval", "~/run"]) == 2
    assert "the home folder of ~ is unknown" in one_line(capsys.readouterr().err)


def test_a_tilde_is_the_home_folder_in_every_flag_and_argument(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for line, name, expected in (
        ("train CartPole-v1 --out=~/x", "out", f"{tmp_path}/x"),
        ("train --resume=~/x", "resume", f"{tmp_path}/x"),
        ("sweep CartPole-v1 --out ~/x", "out", f"{tmp_path}/x"),
        ("plan CartPole-v1 --out ~/x", "out", f"{tmp_path}/x"),
        ("eval ~/x", "folder", f"{tmp_path}/x"),
        ("export ~/x --out ~/y", "out", f"{tmp_path}/y"),
        ("repro ~/x --out ~/y", "out", f"{tmp_path}/y"),
        ("report ~/x --out ~/y", "out", f"{tmp_path}/y"),
        ("merge ~/x ~/y z", "sources", (f"{tmp_path}/y", "z")),
        ("merge ~/x ~/y z", "out", f"{tmp_path}/x"),
        ("eval a/~/x", "folder", "a/~/x"),
    ):
        assert getattr(cli.parsing.parse(line.split()), name) == expected, line


def test_a_tilde_is_the_home_folder_in_python(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("purejaxvpg.experiment.engine.run", lambda prepared: prepared.store)
    assert train(CONFIG, folder="~/run").folder == tmp_path / "run"
    assert face_of("~/run") == tmp_path / "run" / "run.json"
    assert load_study("~/run").config == CONFIG
    assert not merge("~/merged", ["~/run"]).complete
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_policy("~/run")
    with pytest.raises(ValueError, match="the home folder of ~nobody-at-all is unknown; write"):
        train(CONFIG, folder="~nobody-at-all/x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "run"]
    assert paths.expanded("./~") == tmp_path / "~"


# ------------------------------------------------------------------------------- NEW FOLDERS


def test_two_jobs_of_one_second_have_two_folders(tmp_path):
    name = tmp_path / "runs" / "CartPole-v1-20261127-164403"
    with paths.reserved(name) as one, paths.reserved(name) as two, paths.reserved(name) as three:
        assert [one, two.name, three.name] == [name, f"{name.name}-2", f"{name.name}-3"]
        assert all(path.is_dir() for path in (one, two, three))


def test_a_folder_of_nothing_goes_with_its_error_and_others_stay(tmp_path):
    with pytest.raises(KeyError), paths.reserved(tmp_path / "runs" / "a"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    (tmp_path / "runs").mkdir()  # the user's
    with pytest.raises(KeyError), paths.reserved(tmp_path / "runs" / "a"):
        raise KeyError
    assert list((tmp_path / "runs").iterdir()) == []
    with contextlib.suppress(KeyError), paths.reserved(tmp_path / "runs" / "a") as path:
        (path / "file").write_text("")
        raise KeyError
    assert (tmp_path / "runs" / "a" / "file").exists()


def test_the_command_takes_the_next_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.training.arguments, "default_folder", lambda *_: "runs/x")
    monkeypatch.setattr(
        cli.training.engine, "run", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    for name in ("x", "x-2"):
        assert cli.main(["train", "CartPole-v1", *TINY.split()]) == 130
        assert f"--resume runs/{name}\n" in capsys.readouterr().err
        assert face_of(f"runs/{name}") is not None


# ---------------------------------------------------------------------------------- NAMES


def test_a_name_that_stdout_cannot_say_is_escaped(tmp_path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*MAIN, "eval", "ä[/b]"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert r"\xe4[/b] is no run or study folder" in one_line(done.stderr)
    code = "from purejaxvpg import __main__ as m, cli; from purejaxvpg.cli.terminal import say\n"
    code += "cli.main = lambda *_: say('run folder: ä[/b]') or 0\nm.main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (done.stdout, done.stderr) == ("run folder: \\xe4[/b]\n", "")


# -------------------------------------------------------------------------- WHOLE NUMBERS


def test_whole_numbers_are_taken_as_people_type_them():
    args = cli.parsing.parse(
        "sweep CartPole-v1 --no-preset --total-steps 1e6 --num-seeds 1_0 --hidden-sizes 64,32 "
        "--max-episode-steps 2.5e2 --gradient-rows None --num-samples 1e1".split()
    )
    assert (args.total_steps, args.num_seeds, args.num_samples) == (10**6, 10, 10)
    assert (args.max_episode_steps, args.gradient_rows) == (250, None)
    assert args.hidden_sizes == (64, 32)
    assert isinstance(args.total_steps, int)
    for words in ("64 32", "(64,32)", "64, 32"):
        line = ["train", "CartPole-v1", "--hidden-sizes", *words.split()]
        assert cli.parsing.parse(line).hidden_sizes == (64, 32)


@pytest.mark.parametrize("text", ["1e6.5", "1.5", "1e-3", "inf", "nan", "many", "1,000", "0x10"])
def test_other_numbers_are_refused_by_name(text, capsys):
    assert cli.main(["train", "CartPole-v1", "--total-steps", text]) == 2
    message = one_line(capsys.readouterr().err)
    assert f"--total-steps: {text} is no whole number; write for example 1000000" in message


def test_a_size_that_is_no_number_is_refused(capsys):
    assert cli.main(["train", "CartPole-v1", "--hidden-sizes", "64,8.5"]) == 2
    assert "--hidden-sizes: 8.5 is no whole number" in one_line(capsys.readouterr().err)
