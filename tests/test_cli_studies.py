"""sweep, plan, merge and report on the command line, end to end."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support.refusals import assert_refused
from support.slow import slow_but

from purejaxvpg import cli
from purejaxvpg.cli import arguments, numbers, parsing, typed
from purejaxvpg.experiment import Choice, LogUniform, Uniform, engine, load_study

TINY = (
    "CartPole-v1 --total-steps 160 --num-envs 2 --num-steps 8 --hidden-sizes 8 "
    "--value-iterations 1 --chunk-size 2"
)
SWEEP = f"sweep {TINY} --grid policy_lr=1e-3,1e-2 gamma=0.9,0.99 --num-seeds 6"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study folder made by the command in a process of its own, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    command = [sys.executable, "-m", "purejaxvpg", *SWEEP.split(), "--out", str(folder)]
    wide = {**os.environ, "COLUMNS": "160"}
    return folder, subprocess.run(command, capture_output=True, text=True, timeout=250, env=wide)


def run(line, **places):
    return cli.main(line.format(**places).split())


def test_sweep_prints_a_table_and_leaves_a_study_with_its_report(study):
    folder, done = study
    assert done.returncode == 0, done.stderr
    assert "policy_lr=0.01, gamma=0.99" in " ".join(done.stdout.split())
    assert "by the other half it scores" in done.stdout
    assert "steps/s" in done.stdout
    kept = load_study(folder)
    assert kept.complete
    assert kept.design.shape == (2, 2)
    assert kept.record.command == f"purejaxvpg {SWEEP} --out {folder}"
    assert kept.policies.runs.tolist() == list(range(24))
    page = (folder / "report" / "report.html").read_text()
    assert "policy_lr" in page
    assert (folder / "report" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_cube_opens_with_names(study):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(study[0] / "study.nc", engine="h5netcdf") as cube:
        assert dict(cube.sizes)["update"] == 10
        assert cube["entropy"].dims == ("policy_lr", "gamma", "seed", "update")
        values = cube["score"].sel(policy_lr=1e-2, gamma=0.9)
        np.testing.assert_array_equal(values, load_study(study[0]).scores()[2])


def test_report_is_written_where_it_is_wanted(study, tmp_path, capsys):
    assert run("report {run} --out {out} --target 100", run=study[0], out=tmp_path / "r") == 0
    assert "report.html" in capsys.readouterr().out
    assert "shortfall from the target 100" in (tmp_path / "r" / "report.html").read_text()


def test_plan_says_what_it_would_take_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = f"plan {TINY} --grid policy_lr=1e-3,1e-2 estimator=gae,td --num-seeds 20"
    assert run(line) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "estimator=td" in printed
    assert "80 runs, 12,800 steps: 2 compilations, 0 small ones" in printed
    assert not list(tmp_path.iterdir())


def test_shards_are_merged(study, tmp_path):
    for index in range(2):
        line = SWEEP + " --shard {i}/2 --out {out}"
        assert run(line, i=index, out=tmp_path / str(index)) == 0
    assert run("merge {t}/all {t}/0 {t}/1", t=tmp_path) == 0
    merged, whole = load_study(tmp_path / "all"), load_study(study[0])
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(values, merged.metrics[name], err_msg=name)


def test_an_interrupted_sweep_says_how_to_go_on_and_does(study, tmp_path, capsys, monkeypatch):
    original, chunks = engine.run_chunk, []

    def interrupting(*args):
        if chunks:  # the second of two: this process has 8 devices, and so 16 rows a chunk
            raise KeyboardInterrupt
        chunks.append(1)
        return original(*args)

    folder = tmp_path / "study"
    with monkeypatch.context() as patched:
        patched.setattr(engine, "run_chunk", interrupting)
        assert run(SWEEP + " --out {out}", out=folder) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    how = f"purejaxvpg sweep --resume {folder} --chunk-size 2"
    assert f"16 of 24 runs are done and kept; go on with: {how}" in said
    assert load_study(folder).done.sum() == 16
    assert run(f"{how.removeprefix('purejaxvpg ')} --no-report") == 0
    resumed, whole = load_study(folder), load_study(study[0])
    assert resumed.complete
    assert resumed.record.command == f"purejaxvpg {SWEEP} --out {folder}"  # as it was begun
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(values, resumed.metrics[name], err_msg=name)


# ---------------------------------------------------------------------------------- PARSING


def test_values_are_literals_names_or_tuples():
    assert typed.values_of("1e-3,3e-3") == [1e-3, 3e-3]
    assert typed.values_of("gae,td") == ["gae", "td"]
    assert typed.values_of("(64,64),(8,)") == [(64, 64), (8,)]
    assert typed.values_of("True,False") == [True, False]
    assert typed.values_of("64") == [64]


def test_ranges_to_sample_from():
    assert typed.range_of("--sample policy_lr", "log:1e-4:1e-2") == LogUniform(1e-4, 1e-2)
    assert typed.range_of("--sample gamma", "uniform:0.9:1") == Uniform(0.9, 1)
    assert typed.range_of("--sample estimator", "choice:gae:td") == Choice(("gae", "td"))


def test_sizes_of_memory():
    assert numbers.bytes_of("") is None
    assert numbers.bytes_of("800MB") == 800_000_000
    assert numbers.bytes_of("2GiB") == 2 * 2**30
    assert numbers.bytes_of("1.5GB") == 1_500_000_000


def test_the_preset_gives_the_defaults_of_a_sweep():
    args = parsing.parse(["sweep", "Pendulum-v1", "--gamma", "0.5"])
    spec = arguments.spec_of(args)
    assert spec.hyperparams.gamma == 0.5
    assert spec.config.num_envs == parsing.parse(["train", "Pendulum-v1"]).num_envs


BAD = {
    "sweep": "needs ENV, or --resume FOLDER",
    "sweep CartPole-v2": "did you mean CartPole-v1",
    "sweep CartPole-v1 --grid polcy_lr=1": "did you mean policy_lr",
    "sweep CartPole-v1 --grid policy_lr": "is not name=value",
    "sweep CartPole-v1 --grid policy_lr=": "axis policy_lr has no values",
    "sweep CartPole-v1 --grid policy_lr=abc": "policy_lr='abc' is not a number",
    "sweep CartPole-v1 --grid gamma=0.9,2": "gamma=2 is out of range",
    "sweep CartPole-v1 --grid num_envs=3": "does not divide total_steps",
    "sweep CartPole-v1 --grid gamma=0.9 gamma=0.8": "gives gamma twice",
    "sweep CartPole-v1 --grid gamma=0.9 --zipped gamma=0.8": "gamma varies twice",
    "sweep CartPole-v1 --zipped gamma=0.9,0.8 policy_lr=1": "make them equal",
    "sweep CartPole-v1 --zip gamma=0.9": "--zip is called --zipped now",
    "sweep CartPole-v1 --zip=gamma=0.9": "--zip is called --zipped now",
    "plan CartPole-v1 --zip gamma=0.9": "--zip is called --zipped now",
    "sweep CartPole-v1 --shard envs --out x": "shard='envs' is called split='envs' now",
    "sweep CartPole-v1 --shard 1/2/3 --out x": "is not i/n",
    "sweep CartPole-v1 --split envs --num-envs 3 --total-steps 750": "splits num_envs=3 over 8",
    "plan CartPole-v1 --split envs --num-envs 3 --total-steps 750": "splits num_envs=3 over 8",
    "plan CartPole-v1 --chunk-size 2 --memory-limit 1GB": "leave out one of them",
    "sweep CartPole-v1 --keep-policies some": "some",
    "sweep CartPole-v1 --checkpoint-updates -1": "checkpoint_updates=-1",
    "sweep CartPole-v1 --sample policy_lr=1e-3": "is no range",
    "sweep CartPole-v1 --sample policy_lr=log:0:1 --num-samples 3": "accepted: low > 0",
    "sweep CartPole-v1 --sample policy_lr=log:1e-4:1": "num_samples=0",
    "sweep CartPole-v1 --num-seeds 0": "num_seeds=0",
    "sweep CartPole-v1 --seed -1": "--seed -1 is out of range; accepted: 0 to 4294967295",
    "sweep CartPole-v1 --chunk-size few": "is neither auto nor an integer",
    "sweep CartPole-v1 --memory-limit lots": "is no size",
    "sweep CartPole-v1 --memory-limit 1KB --num-seeds 100": "one run takes",
    "sweep CartPole-v1 --shard 3/3 --out x": "is not i/n",
    "sweep CartPole-v1 --shard 0/3": "needs --out FOLDER",
    "sweep CartPole-v1 --shard 0/3 --out x --prune successive_halving": "prune compares all",
    "sweep CartPole-v1 --out x --coordinator a:1": "needs --num-processes",
    "sweep CartPole-v1 --process-id 1": "need --coordinator",
    "sweep --resume {tmp}/none": "is no run or study folder",
    "sweep --resume {tmp}/none --grid gamma=0.9": "is no run or study folder",
    "sweep CartPole-v1 --shard auto --out x": "SLURM_ARRAY_TASK_ID is not set",
    "sweep CartPole-v1 --cluster": "need --out FOLDER",
    "sweep CartPole-v1 --chunk-size 2 --memory-limit 1GB": "leave out one of them",
    "sweep CartPole-v1 --out {tmp}": "is not empty",
    "sweep CartPole-v1 --out {tmp}/file/x": "cannot write",
    "plan CartPole-v1 --grid polcy_lr=1": "did you mean policy_lr",
    "merge {tmp}/all {tmp}/none": "is no run or study folder",
    "merge {tmp}/all": "name at least one study folder",
    "report {tmp}/none": "is no run or study folder",
}


@pytest.mark.parametrize("line", slow_but([x for x in BAD if "1KB" not in x], BAD))
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    printed = assert_refused(line.format(tmp=tmp_path).split(), BAD[line], capsys)
    assert "Traceback" not in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shards_of_different_studies_are_not_merged(study, tmp_path, capsys):
    other = tmp_path / "other"
    assert run(SWEEP + " --seed 5 --shard 0/8 --out {out}", out=other) == 0
    capsys.readouterr()
    assert run("merge {t}/all {a} {b}", t=tmp_path, a=study[0], b=other) == 2
    assert "parts of different studies (their seeds differ)" in capsys.readouterr().err
