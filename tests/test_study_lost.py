"""Studies that are stopped, killed, starved of memory or of disk: the same bits, or a line."""

import os
import shutil
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
from test_sweep import CONFIG, GRID, ONE, assert_same_bits

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.experiment import schedule, store
from purejaxvpg.experiment.checkpoint import Checkpoints, Stopped
from purejaxvpg.experiment.files import locked, read_summed, write_summed
from purejaxvpg.experiment.grid import make_design
from purejaxvpg.experiment.results import load_run
from purejaxvpg.experiment.store import Spec
from purejaxvpg.experiment.sweep import prepare

PENDULUM = VPGConfig(
    env="Pendulum-v1",
    num_envs=2,
    num_steps=8,
    total_steps=160,
    hidden_sizes=(8,),
    value_iterations=1,
    normalize_obs=True,
    normalize_rewards=True,
    lr_schedule="linear",
    eval_every=1,
    eval_episodes=2,
    max_episode_steps=6,
)


def make_spec(config, grid=GRID, num_seeds=2, prune=None):
    return Spec(config, Hyperparams(), make_design(grid), np.arange(num_seeds), prune)


def run(spec, folder, stop_at=None, **how):
    """A study, asked to stop at its so-many-th segment."""
    told = []

    def on_progress(now):
        told.append(now)
        if now.status == "running" and len(told) == stop_at:
            study.stop()

    study = prepare(spec, folder=folder, on_progress=on_progress, **ONE, **how)
    return study.run()


@pytest.mark.parametrize("kind", ["discrete", "continuous", "pruned"])
def test_a_stopped_study_goes_on_inside_its_chunk_to_the_same_bits(kind, tmp_path):
    config = PENDULUM if kind == "continuous" else CONFIG
    prune = {"method": "successive_halving", "rungs": 2, "keep": 0.5} if kind == "pruned" else None
    spec = make_spec(config, prune=prune)
    whole = run(spec, None)
    for stops, stop_at in enumerate((5, 9, 13)):  # in the first chunk, then wherever that leads
        with pytest.raises(Stopped):
            run(spec, tmp_path / "study", stop_at, resume=stops > 0)
        assert len(list(tmp_path.glob("study/chunks/*/*.npz"))) >= 1
        assert not store.load_study(tmp_path / "study").complete
    advanced = []
    resumed = prepare(spec, folder=tmp_path / "study", resume=True, **ONE)
    resumed.on_progress = lambda now: advanced.append(now.steps_done)
    resumed = resumed.run()
    assert assert_same_bits(whole, resumed) == 12
    assert assert_same_bits(whole, store.load_study(tmp_path / "study")) == 12
    np.testing.assert_array_equal(whole.updates, resumed.updates)
    for name, values in whole.evaluations.items():
        np.testing.assert_array_equal(values, resumed.evaluations[name])
    assert not (tmp_path / "study" / "chunks").exists()


def test_a_chunk_goes_on_where_it_was_kept(tmp_path, monkeypatch):
    """Nothing but what came after the last checkpoint is computed again."""
    spec, updates = make_spec(CONFIG, {"gamma": [0.9]}), []
    with pytest.raises(Stopped):
        run(spec, tmp_path / "study", 8)
    original = schedule.run_chunk

    def counting(program, chunk, length, checkpoints, on_segment):
        def on_counted(done, seconds):
            updates.append(done)
            on_segment(done, seconds)

        return original(program, chunk, length, checkpoints, on_counted)

    monkeypatch.setattr(schedule, "run_chunk", counting)
    (path,) = tmp_path.glob("study/chunks/*/*.npz")  # what it took until then counts
    write_summed(path, read_summed(path) | {"seconds": np.asarray([1000.0, 0.0])})
    resumed = run(spec, tmp_path / "study", resume=True)
    assert resumed.complete
    assert 1000 < resumed.record["seconds"] < 1100
    (kept,) = {10 - len(updates)}
    assert kept >= 5
    assert updates == list(range(kept + 1, 11))


def test_a_damaged_checkpoint_of_a_chunk_is_not_used(tmp_path):
    spec = make_spec(CONFIG, {"gamma": [0.9]})
    whole = run(spec, None)
    with pytest.raises(Stopped):
        run(spec, tmp_path / "study", 8)
    (path,) = tmp_path.glob("study/chunks/*/*.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="is not used: .*its sum is wrong"):
        resumed = run(spec, tmp_path / "study", resume=True)
    assert assert_same_bits(whole, resumed) == 2


# ------------------------------------------------------------------------------------- MEMORY


@pytest.fixture
def small_memory(monkeypatch):
    """A device that holds two runs and no more.  Returns the widths that were tried."""
    tried, original = [], schedule.run_chunk

    def run_chunk(program, *args):
        tried.append(program.width)
        if program.width > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")
        return original(program, *args)

    monkeypatch.setattr(schedule, "run_chunk", run_chunk)
    return tried


def test_a_chunk_that_does_not_fit_is_run_at_half_its_width(small_memory, tmp_path):
    spec = make_spec(CONFIG)
    expected = run(spec, None)
    small_memory.clear()
    devices = {"devices": jax.devices()[:1]}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        study = prepare(spec, chunk_size=4, folder=tmp_path / "study", **devices).run()
    said = [str(one.message) for one in told if "do not fit in its memory" in str(one.message)]
    assert [line.split(";")[1].split()[3] for line in said] == ["2"], said
    assert small_memory == [4, *[2] * 6]
    assert study.record["widths"] == [2]
    assert study.record["program_widths"] == [2]
    assert assert_same_bits(expected, study) == 12
    again = prepare(spec, folder=tmp_path / "study", resume=True, **devices)
    assert [plan.width for plan in again.plans] == [2]


def test_one_run_that_does_not_fit_is_an_error_with_the_remedy(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")

    monkeypatch.setattr(schedule, "run_chunk", full)
    command = "sweep CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
    command += f" --value-iterations 1 --chunk-size 1 --out {tmp_path}/study"
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "out of memory; lower --chunk-size" in said


# ------------------------------------------------------------------------- DISK AND NEIGHBOURS

COMMAND = "sweep CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
COMMAND += " --value-iterations 1 --chunk-size 1 --grid gamma=0.9,0.99 --num-seeds 2 --no-report"


def test_a_disk_that_fills_is_a_line_and_what_is_kept_goes_on(tmp_path, capsys, monkeypatch):
    folder, original, written = tmp_path / "study", store.write_part, []

    def write_part(*args):
        if len(written) == 1:
            raise OSError(28, "No space left on device")
        written.append(1)
        original(*args)

    monkeypatch.setattr(store, "write_part", write_part)
    monkeypatch.setattr("purejaxvpg.cli.studies.devices.use_every_core", lambda: None)
    command = COMMAND.replace("--num-seeds 2", "--num-seeds 8")  # two chunks of 8 devices
    assert cli.main([*command.split(), "--out", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "No space left on device" in said
    assert f"go on with: purejaxvpg sweep --resume {folder}" in said
    monkeypatch.setattr(store, "write_part", original)
    assert cli.main(["sweep", "--resume", str(folder), "--chunk-size", "1", "--no-report"]) == 0
    study = store.load_study(folder)
    assert study.complete


def test_a_study_in_use_is_left_alone_and_another_share_is_not(tmp_path):
    spec = make_spec(CONFIG, {"gamma": [0.9, 0.99]})
    folder = tmp_path / "study"
    study = prepare(spec, folder=folder, **ONE)
    with locked(folder), pytest.raises(OSError, match=rf"in use by process {os.getpid()} on"):
        study.run()
    share = prepare(spec, folder=folder, part=(1, 2), **ONE)
    with locked(folder, "-0-of-2"):
        assert share.run().done.sum() == 2
    with locked(folder, "-1-of-2"), pytest.raises(OSError, match="in use by"):
        prepare(spec, folder=folder, part=(1, 2), **ONE).run()
    assert study.run().complete


def test_a_stop_in_memory_ends_a_study_too():
    with pytest.raises(Stopped):
        run(make_spec(CONFIG, {"gamma": [0.9, 0.99]}), None, 4)


# --------------------------------------------------------------------------------------- KILLS

KILLED = """
import os, signal, sys
from purejaxvpg import cli
from purejaxvpg.experiment import files
fsync, left = os.fsync, [int(sys.argv[1])]
def dies(handle):
    "The process dies in the middle of its so-many-th write; 0: never."
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
files.os.fsync = dies
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("what", ["train", "sweep"])
@pytest.mark.timeout(600)
def test_killed_while_writing(what, tmp_path):
    """SIGKILL between the bytes of a file and its name, four times; then it goes on to its end."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "TF_CPP_", "XLA_"))}
    own["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    if what == "train":
        begin = "train CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
        begin += " --value-iterations 1 --checkpoint-updates 3 --checkpoint-minutes 0"
    else:
        begin = COMMAND
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    main = [sys.executable, "-m", "purejaxvpg"]
    subprocess.run([*main, *begin.split(), "--out", whole], env=own, check=True, timeout=200)
    kills, arguments = 0, [*begin.split(), "--out", str(folder)]
    for write in (2, 1, 3, 2, 0):
        command = [sys.executable, "-c", KILLED, str(write), *arguments]
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=200)
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        described = folder / ("run.json" if what == "train" else "study.json")
        if described.exists():
            arguments = [what, "--resume", str(folder)]
            arguments += ["--checkpoint-updates", "3"] if what == "train" else ["--chunk-size", "1"]
            arguments += [] if what == "train" else ["--no-report"]
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
    if what == "train":
        one, other = load_run(whole), load_run(folder)
        for name, values in one.metrics.items():
            np.testing.assert_array_equal(values, other.metrics[name], err_msg=name)
        jax.tree.map(np.testing.assert_array_equal, one.policy_params, other.policy_params)
    else:
        assert assert_same_bits(store.load_study(whole), store.load_study(folder)) == 4


# ------------------------------------------------------------------------------ SMALL FOLDERS

RUN = "train CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
RUN += " --value-iterations 1 --checkpoint-updates 1"

LIMITED = """
import resource, signal, sys
from purejaxvpg import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error then
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("size", [100, 3000])
def test_a_quota_is_a_line_and_no_half_file(size, tmp_path):
    """No file may grow beyond so many bytes: not run.json, or neither checkpoint nor policy."""
    command = [sys.executable, "-c", LIMITED, str(size), *RUN.split(), "--out", "run"]
    own = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        command, env=own, capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr
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


def test_a_full_disk_keeps_what_there_was(tiny_disk, capsys):
    (tiny_disk / "filler").write_bytes(bytes(40_000))
    assert cli.main([*RUN.split(), "--out", str(tiny_disk / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert "No space left on device" in said.err
    (tiny_disk / "filler").unlink()
    if (tiny_disk / "run").exists():  # something was kept
        assert cli.main(["train", "--resume", str(tiny_disk / "run")]) in (0, 2)
    assert not [path for path in tiny_disk.rglob(".*") if path.is_file()]


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
    assert cli.main([*RUN.split(), "--out", str(tmp_path / "run")]) == 0
    assert load_run(tmp_path / "run").metrics["finite"].shape == (1, 10)


def test_a_folder_that_cannot_be_written_is_a_line(tiny_disk, capsys, monkeypatch):
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    monkeypatch.setattr("purejaxvpg.cli.studies.devices.use_every_core", lambda: None)
    for arguments in (RUN, COMMAND):
        assert cli.main([*arguments.split(), "--out", str(tiny_disk / "run")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert "cannot write" in said
        assert "Read-only file system" in said
