"""Studies that are stopped, starved of memory or in use: the same bits, or a line."""

import math
import os
import subprocess
import warnings

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import Seen
from support.slow import slow_but
from support.studies import assert_same_study
from support.sweeps import CONFIG, GRID, ONE, assert_same_runs, whole_study

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.experiment import engine, load_study, rescue, sweep
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.files import (
    read_described,
    read_summed,
    write_described,
    write_summed,
)
from purejaxvpg.experiment.locks import locked
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.spec import Spec

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
HALVING = {"prune": "successive_halving", "rungs": 2, "keep": 0.5}


def stop_at_call(number):
    """An on_segment that stops the study at its so-many-th segment."""
    calls = []

    def on_segment(_):
        calls.append(1)
        return len(calls) == number

    return on_segment


@pytest.mark.parametrize(
    "kind", slow_but(["discrete", "pruned"], ["discrete", "continuous", "pruned"])
)
def test_a_stopped_study_goes_on_inside_its_chunk_to_the_same_bits(kind, tmp_path):
    config = PENDULUM if kind == "continuous" else CONFIG
    how, folder = {**ONE, **(HALVING if kind == "pruned" else {})}, tmp_path / "study"
    whole = sweep(config, GRID, 2, **how)
    for stops, number in enumerate((4, 8, 12)):  # in the first chunk, then wherever that leads
        stop = stop_at_call(number)
        study = sweep(config, GRID, 2, folder=folder, resume=stops > 0, on_segment=stop, **how)
        assert not study.complete
        assert len(list(folder.glob("chunks/*/*.npz"))) >= 1
        assert not load_study(folder).complete
    seen = Seen()
    resumed = sweep(config, GRID, 2, folder=folder, resume=True, on_segment=seen, **how)
    computed = sum(segment.metrics.kl.size for segment in seen)
    assert computed == np.isfinite(whole.metrics["kl"]).sum() - 2 * (4 + 8 + 12)  # nothing twice
    for study in (resumed, load_study(folder)):
        assert assert_same_runs(whole, study) == 12
        assert_same_study(whole, study)
    runs = whole.policies.runs
    assert_same_bits(resumed.policies.arrays(runs), whole.policies.arrays(runs))
    assert not (folder / "chunks").exists()


def test_a_chunk_goes_on_where_it_was_kept(tmp_path):
    """Nothing but what came after the last checkpoint is computed again, and its time counts."""
    folder = tmp_path / "study"
    sweep(CONFIG, {"gamma": [0.9]}, 2, folder=folder, on_segment=stop_at_call(8), **ONE)
    (path,) = folder.glob("chunks/*/*.npz")  # what it took until then counts
    assert path.name == "00000008.npz"
    write_summed(path, read_summed(path) | {"seconds": np.asarray([1000.0])})
    seen, progress = Seen(), []
    hooks = {"on_segment": seen, "on_progress": progress.append}
    resumed = sweep(CONFIG, {"gamma": [0.9]}, 2, folder=folder, resume=True, **hooks, **ONE)
    assert resumed.complete
    assert seen.updates == [([0, 1], 9), ([0, 1], 10)]
    assert 1000 < resumed.record.seconds < 1100
    assert (progress[-1].steps_done, progress[-1].steps_left) == (2 * 10 * 16, 0)
    assert progress[-1].steps_left == 0  # what the checkpoint had is not waited for
    assert progress[-1].steps_per_second > 1  # of this call, not of the 1000 s before it


def test_a_damaged_checkpoint_of_a_chunk_is_not_used(tmp_path):
    folder, grid = tmp_path / "study", {"gamma": [0.9]}
    whole = sweep(CONFIG, grid, 2, **ONE)
    sweep(CONFIG, grid, 2, folder=folder, on_segment=stop_at_call(8), **ONE)
    (path,) = folder.glob("chunks/*/*.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="is not used: .*its sum is wrong"):
        resumed = sweep(CONFIG, grid, 2, folder=folder, resume=True, **ONE)
    assert assert_same_runs(whole, resumed) == 2


def test_a_stop_in_memory_ends_a_study_too():
    study = sweep(CONFIG, {"gamma": [0.9, 0.99]}, 2, on_segment=stop_at_call(4), **ONE)
    assert study.updates.tolist() == [[4, 4], [0, 0]]
    assert not study.complete


def test_a_stop_from_another_thread_ends_a_study(tmp_path):
    """As a signal sets it: `Prepared.stop`, at any time."""
    spec = Spec(CONFIG, Hyperparams(), make_design({"gamma": [0.9, 0.99]}), np.arange(2))
    options = Options(make_resources(ONE["devices"], "runs", 2, None))
    prepared = prepare(spec, options, tmp_path / "study")
    prepared.stop.set()
    study = engine.run(prepared)
    assert study.updates.max() == 0
    again = sweep(CONFIG, {"gamma": [0.9, 0.99]}, 2, folder=tmp_path / "study", resume=True, **ONE)
    assert again.complete


@pytest.mark.parametrize("call", [4, 14])
def test_a_study_goes_on_at_the_width_it_was_begun_with(call, tmp_path):
    """Killed in its first chunk, when nothing but a checkpoint is there, or in a later one."""
    how, calls = {"devices": ONE["devices"], "folder": tmp_path / "study"}, []

    def kill(_):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt  # after the checkpoint of the update before

    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIG, GRID, 2, chunk_size=2, on_segment=kill, checkpoint_updates=1, **how)
    seen = Seen()
    resumed = sweep(CONFIG, GRID, 2, resume=True, on_segment=seen, **how)
    assert len(seen) == 6 * 10 - (call - 1)  # nothing else is computed twice
    assert resumed.record.widths == [2]
    assert resumed.record.compilations_to_measure_memory == 0
    assert assert_same_runs(whole_study(), resumed) == 12
    assert not (tmp_path / "study" / "chunks").exists()


def test_a_checkpoint_of_another_width_is_not_left_behind(tmp_path):
    """It cannot be used, and the study is done."""
    how = {"devices": ONE["devices"], "folder": tmp_path / "study"}
    sweep(CONFIG, GRID, 2, chunk_size=2, on_segment=stop_at_call(4), **how)
    assert (tmp_path / "study" / "chunks").exists()
    study = sweep(CONFIG, GRID, 2, resume=True, chunk_size=4, other_settings=True, **how)
    assert study.complete
    assert study.record.widths == [4]
    assert not (tmp_path / "study" / "chunks").exists()


@pytest.mark.parametrize("changed", ["versions", "device"])
def test_other_versions_or_devices_are_announced(changed, tmp_path):
    """In one line that names nothing else."""
    grid, folder = {"gamma": [0.9, 0.99]}, tmp_path / "study"
    sweep(CONFIG, grid, 2, folder=folder, on_segment=stop_at_call(12), **ONE)
    fields = read_described(folder / "study.json", [3])
    if changed == "versions":
        fields["record"]["versions"]["jax"] = "0.1.2"
        line = f"begun with jax 0.1.2, and goes on with jax {jax.__version__}: its runs may round"
    else:
        fields["record"]["device"] = "abacus"
        del fields["record"]["jax_settings"]  # a folder of before
        line = "begun with device abacus, and goes on with device cpu: its runs may round"
    write_described(folder / "study.json", fields)
    with pytest.warns(UserWarning, match=line):
        resumed = sweep(CONFIG, grid, 2, folder=folder, resume=True, **ONE)
    assert resumed.complete
    if changed == "versions":
        assert resumed.record.versions["jax"] == "0.1.2"
        assert resumed.record.versions_at_the_end["jax"] == jax.__version__


# ------------------------------------------------------------------------------------- MEMORY


@pytest.fixture
def small_memory(monkeypatch):
    """A device that holds two runs and no more.  Returns the widths that were tried."""
    tried, original = [], engine.run_chunk

    def run_chunk(program, *args):
        tried.append(program.width)
        if program.width > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")
        return original(program, *args)

    monkeypatch.setattr(engine, "run_chunk", run_chunk)
    return tried


def test_a_chunk_that_does_not_fit_is_run_at_half_its_width(small_memory, tmp_path):
    expected = whole_study()
    small_memory.clear()
    how = {"devices": jax.devices()[:1], "folder": tmp_path / "study"}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        study = sweep(CONFIG, GRID, 2, chunk_size=4, **how)
    lines = [str(w.message) for w in warned if "do not fit in its memory" in str(w.message)]
    assert [line.split(";")[1].split()[3] for line in lines] == ["2"], lines
    assert small_memory == [4, *[2] * 6]
    assert study.record.widths == [2]
    assert study.record.program_widths == [2]
    assert assert_same_runs(expected, study) == 12
    spec = Spec(CONFIG, Hyperparams(), make_design(GRID), np.arange(2))
    options = Options(make_resources(how["devices"], "runs", "auto", None))
    again = prepare(spec, options, how["folder"], resume=True)
    assert [plan.width for plan in again.plans] == [2]


def test_one_run_that_does_not_fit_is_an_error_with_the_remedy(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")

    monkeypatch.setattr(engine, "run_chunk", full)
    monkeypatch.setattr("purejaxvpg.experiment.prepare.use_every_core", lambda: None)
    command = "CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
    command += " --value-iterations 1 --chunk-size 1"
    for name in ("train", "sweep"):
        assert cli.main([name, *command.split(), "--out", f"{tmp_path}/{name}"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "out of memory; lower --chunk-size" in said


def test_other_errors_of_the_device_come_through(monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: no such thing")

    monkeypatch.setattr(engine, "run_chunk", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="no such thing"):
        sweep(CONFIG, None, 2, **ONE)


# ------------------------------------------------------------------------- DISK AND NEIGHBOURS

COMMAND = "sweep CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --hidden-sizes 8"
COMMAND += " --value-iterations 1 --chunk-size 1 --grid gamma=0.9,0.99 --num-seeds 8 --no-report"


def test_a_disk_that_fills_is_a_line_and_what_is_kept_goes_on(tmp_path, capsys, monkeypatch):
    """Two chunks of 8 devices: the second cannot be written."""
    folder, original, written = tmp_path / "study", rescue.write_part, []

    def write_part(place, *args):
        if len(written) == 1 and place == folder:
            raise OSError(28, "No space left on device")
        written.append(1)
        original(place, *args)

    monkeypatch.setattr(rescue, "write_part", write_part)
    assert cli.main([*COMMAND.split(), "--out", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "No space left on device" in said
    assert "8 of 16 runs are done and kept" in said
    assert f"go on with: purejaxvpg sweep --resume {folder}" in said
    (place,) = tmp_path.glob("study-rescued-*")
    assert f"are kept in {place}" in said
    copy = said.partition("copy them there with: ")[2].partition(";")[0]
    subprocess.run(copy, shell=True, check=True)  # as the line says
    assert load_study(folder).done.all()  # the second chunk too
    monkeypatch.setattr(rescue, "write_part", original)
    assert cli.main(["sweep", "--resume", str(folder), "--chunk-size", "1", "--no-report"]) == 0
    study = load_study(folder)
    assert study.complete
    assert math.isfinite(study.metrics["kl"].sum())


def test_a_study_in_use_is_left_alone_and_another_share_is_not(tmp_path):
    spec = Spec(CONFIG, Hyperparams(), make_design({"gamma": [0.9, 0.99]}), np.arange(2))
    options = Options(make_resources(ONE["devices"], "runs", 2, None))
    folder = tmp_path / "study"
    study = prepare(spec, options, folder)
    with locked(folder), pytest.raises(OSError, match=rf"in use by process {os.getpid()} on"):
        engine.run(study)
    share = prepare(spec, options._replace(shard=(1, 2)), folder)
    with locked(folder, "-0-of-2"):
        assert engine.run(share).done.sum() == 2
    with locked(folder, "-1-of-2"), pytest.raises(OSError, match="in use by"):
        engine.run(prepare(spec, options._replace(shard=(1, 2)), folder))
    assert engine.run(study).complete
