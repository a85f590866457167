"""Disks that are full, small, read-only or gone: a line, what was kept, and no half file."""

import os
import shutil
import subprocess
import sys

import pytest

from purejaxvpg import cli
from purejaxvpg.experiment import load_study
from purejaxvpg.experiment.checkpoints import Checkpoints

TINY = "CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
TINY += " --value-iterations 1"
COMMANDS = {
    "train": f"train {TINY} --checkpoint-updates 1",
    "sweep": f"sweep {TINY} --checkpoint-updates 1 --chunk-size 1 --grid gamma=0.9,0.99 "
    "--no-report",
}

LIMITED = """
import resource, signal, sys
from purejaxvpg import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error then
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("size", [100, 3000])
def test_a_quota_is_a_line_and_no_half_file(size, tmp_path):
    """No file may grow beyond so many bytes: not run.json, or neither checkpoint nor part."""
    arguments = [str(size), *COMMANDS["train"].split(), "--out", "run"]
    own = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        env=own,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr
    told = done.stdout.count("a checkpoint could not be written")
    assert told == (9 if size == 3000 else 0)  # on the way, each time, and training went on
    assert all(path.stat().st_size < size for path in tmp_path.rglob("*") if path.is_file())
    assert not [path for path in tmp_path.rglob(".*.*") if path.suffix in (".json", ".npz")]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_keeps_what_there_was(tiny_disk, capsys, command):
    (tiny_disk / "filler").write_bytes(bytes(48_000))
    assert cli.main([*COMMANDS[command].split(), "--out", str(tiny_disk / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert "No space left on device" in said.err
    (tiny_disk / "filler").unlink()
    if (tiny_disk / "run").exists():  # something was kept
        assert cli.main([command, "--resume", str(tiny_disk / "run")]) in (0, 2)
    assert not [p for p in tiny_disk.rglob(".*") if p.is_file() and p.name != ".lock"]


def test_a_folder_that_vanishes_is_made_again(tmp_path, capsys, monkeypatch):
    """Results of hours are not lost with it."""
    original, saved = Checkpoints.save, []

    def save(self, checkpoint):
        original(self, checkpoint)
        saved.append(1)
        if len(saved) == 5:
            self.wait()
            shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(Checkpoints, "save", save)
    assert cli.main([*COMMANDS["train"].split(), "--out", str(tmp_path / "run")]) == 0
    study = load_study(tmp_path / "run")
    assert study.complete
    assert study.metrics["finite"].shape == (1, 1, 10)
    assert study.policies.runs.tolist() == [0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written_is_a_line(tiny_disk, capsys, command):
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert cli.main([*COMMANDS[command].split(), "--out", str(tiny_disk / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "cannot write" in said
    assert "Read-only file system" in said
