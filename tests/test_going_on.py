"""Flags beside --resume, the line that goes on, longer runs, and shards that are asked for."""

import dataclasses
import shlex
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.studies import all_parts, make_spec

from purejaxvpg import Hyperparams, VPGConfig, cli, make_segment, make_train
from purejaxvpg.cli import arguments, flags, parsing, resuming
from purejaxvpg.experiment import files, load_study, planning, train
from purejaxvpg.experiment.checks import make_seeds
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.folder import existing, read_spec
from purejaxvpg.experiment.groups import resolve
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.pruning import make_pruning
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import LONGER, Spec
from purejaxvpg.experiment.store import Store

CONFIG = VPGConfig(num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,))


def begin(folder, config=CONFIG, hp=None, num_seeds=2, grid=None, prune=None, resume=False, **how):
    """A study in a folder, ready to be trained.  Compiles nothing."""
    pruning = make_pruning(prune, 3, 0.5)
    spec = Spec(config, hp or Hyperparams(), make_design(grid), make_seeds(num_seeds), pruning)
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    return prepare(spec, Options(resources, **how), folder, resume)


def longer(total_steps, **changes):
    return dataclasses.replace(CONFIG, total_steps=total_steps, **changes)


def asked(line):
    """The study that the words of a command ask for."""
    words = shlex.split(line)
    return resuming.spec_of(parsing.parse(words), words)


# --------------------------------------------------------------------------- FLAGS BESIDE --resume


def test_values_that_are_given_are_those_of_the_folder_or_named(tmp_path):
    """A value that is a flag's default counts when it is given."""
    folder = tmp_path / "run"
    begin(folder, hp=Hyperparams(gamma=0.5), num_seeds=3)
    same = f"train CartPole-v1 --resume {folder} --gamma 0.5 --num_seeds=3 --num-envs 2"
    spec = asked(same)
    assert spec.to_json() == read_spec(folder)[0].to_json()
    spec = asked(f"train --resume {folder} --gamma 0.99 --seed 4 --no-diagnostics")
    assert (spec.hyperparams.gamma, spec.config.diagnostics) == (0.99, False)
    assert spec.seeds.tolist() == [4, 5, 6]
    assert spec.config.num_envs == 2


REFUSED = {
    "train --resume {run} --gamma 0.99": "gamma is 0.5 there, and 0.99 is given",
    "train --resume {run} --num-seeds 7 --policy-lr 0.5": "num_seeds is 3 there, and 7 is given",
    "train Acrobot-v1 --resume {run}": "env is 'CartPole-v1' there, and 'Acrobot-v1' is given",
    "train --resume {run} --env-params gravity=5": "env_params is None there, and {'gravity': 5}",
    "train --resume {run} --total-steps 80": "total_steps=80 is less than the 160 of the study",
    "train --resume {run} --num-envs 4": "num_envs is 2 there, and 4 is given",
    "train --resume {run} --out there": "leave out --out there",
    "train --resume auto CartPole-v1": "--resume auto needs --out FOLDER",
    "train CartPole-v1 --out {run}": "resume it (--resume auto beside --out",
    "sweep --resume {study} --grid gamma=0.9": "axes is",
    "sweep --resume {study} --conditions gamma": "conditions is none there, and gamma is given",
    "sweep --resume {study} --num-samples 3": "num_samples=3 of nothing",
    "sweep --resume {study} --prune successive_halving": "prune is none there, and "
    "successive_halving --rungs 3 --keep 0.333333 is given",
}


@pytest.mark.parametrize("line", REFUSED)
def test_values_that_differ_are_refused_by_name(line, tmp_path, capsys):
    begin(tmp_path / "run", hp=Hyperparams(gamma=0.5), num_seeds=3)
    begin(tmp_path / "study", grid={"gamma": [0.9, 0.99]})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = shlex.split(line.format(run=tmp_path / "run", study=tmp_path / "study"))
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert REFUSED[line] in error
    assert "remove" not in error
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------- LONGER RUNS


def test_a_run_that_is_done_trains_longer_to_the_numbers_of_a_long_run(tmp_path):
    """Also one that was stopped on the way; both are one study of the new length."""
    how = {"chunk_size": 1, "devices": jax.devices()[:1], "checkpoint_updates": 1}
    whole = train(longer(320), None, 1, **how)
    train(CONFIG, None, 1, folder=tmp_path / "run", **how)
    stop = {"on_segment": lambda segment: segment.updates >= 14}
    stopped = train(longer(320), None, 1, folder=tmp_path / "run", resume=True, **how, **stop)
    assert (stopped.updates.tolist(), stopped.complete) == ([[14]], False)
    assert not len(stopped.policies.runs)  # those of the shorter run are not its end
    assert not len(load_study(tmp_path / "run").policies.runs)
    study = train(longer(320), None, 1, folder=tmp_path / "run", resume=True, **how)
    for finished in (study, load_study(tmp_path / "run")):
        assert (finished.complete, finished.record.complete) == (True, True)
        assert finished.config.total_steps == 320
        assert_same_bits(finished.metrics, whole.metrics)
        assert_same_bits(finished.policies.arrays([0]), whole.policies.arrays([0]))
    fields = files.read_described(tmp_path / "run" / "run.json", [LONGER])
    assert fields["lengths"] == [160]
    again = train(longer(320), None, 1, folder=tmp_path / "run", resume=True, **how)
    assert_same_bits(again.metrics, whole.metrics)


def test_a_study_becomes_longer_once_and_keeps_its_files(tmp_path):
    """Twice longer: each length is a rung, and its parts bear the mark that they began with."""
    begin(tmp_path / "study", grid={"gamma": [0.9, 0.99]})
    mark = begin(tmp_path / "study", grid={"gamma": [0.9, 0.99]}, resume=True).store.fingerprint
    for steps in (320, 480):
        prepared = begin(
            tmp_path / "study", longer(steps), grid={"gamma": [0.9, 0.99]}, resume=True
        )
        assert prepared.longer_than == steps - 160
        assert prepared.store.fingerprint(np.arange(2)) == mark(np.arange(2))
    spec, record, _ = read_spec(tmp_path / "study")
    assert (spec.config.total_steps, spec.lengths, record.complete) == (480, (160, 320), False)
    same = begin(tmp_path / "study", longer(480), grid={"gamma": [0.9, 0.99]}, resume=True)
    assert same.longer_than == 0
    with pytest.raises(ValueError, match="total_steps=320 is less than the 480"):
        begin(tmp_path / "study", longer(320), grid={"gamma": [0.9, 0.99]}, resume=True)


CANNOT = {
    "its rungs are shares": {"grid": {"gamma": [0.9, 0.99]}, "prune": "successive_halving"},
    "total_steps is one of its axes": {"grid": {"total_steps": [160, 320]}},
}


BENT = {
    "lr_schedule=linear: up to 160 steps .* of 400, 40% of": {"config": {"lr_schedule": "linear"}},
    "^lr_schedule=cosine: up": {"grid": {"lr_schedule": ["constant", "cosine"]}},
    "^greedy_end: up": {"hp": Hyperparams(greedy_end=0.5)},
}


@pytest.mark.parametrize("line", BENT)
def test_schedules_that_bend_are_named(line, tmp_path):
    how = dict(BENT[line])
    changes = how.pop("config", {})
    begin(tmp_path / "study", longer(160, **changes), **how)
    with pytest.warns(UserWarning, match=line):
        begin(tmp_path / "study", longer(400, **changes), **how, resume=True)


@pytest.mark.slow
def test_schedules_go_on_as_in_a_run_of_the_new_length(tmp_path):
    """Up to the old end the numbers stay; there the learning rate is 0, and then half of it."""
    how = {"chunk_size": 1, "devices": jax.devices()[:1], "folder": tmp_path / "run"}
    short, long = (longer(steps, lr_schedule="linear") for steps in (160, 320))
    before = train(short, None, 1, **how)
    with pytest.warns(UserWarning, match="lr_schedule=linear"):
        begin(how["folder"], long, num_seeds=1, resume=True)
    study = train(long, None, 1, resume=True, **how)
    assert study.complete
    for name, values in before.metrics.items():
        np.testing.assert_array_equal(study.metrics[name][..., :10], values, name)
    state = jax.jit(make_train(short))(jax.random.key(0, impl="threefry2x32")).state
    expected = jax.jit(make_segment(long, 10))(state).metrics
    for name in ("value_loss", "entropy", "policy_grad_norm"):
        np.testing.assert_allclose(study.metrics[name][0, 0, 10:], getattr(expected, name), 2e-3)
    assert study.metrics["kl"][0, 0, 10] > 1e-7  # the policy moves again


@pytest.mark.parametrize("why", CANNOT)
def test_what_depends_on_the_length_is_not_made_longer(why, tmp_path):
    how = dict(CANNOT[why])
    changes = how.pop("config", {})
    begin(tmp_path / "study", longer(160, **changes), **how)
    with pytest.raises(ValueError, match=rf"cannot be made longer: .*{why}"):
        begin(tmp_path / "study", longer(320, **changes), **how, resume=True)
    assert read_spec(tmp_path / "study")[0].config.total_steps == 160


def test_runs_without_their_state_are_not_made_longer(tmp_path):
    spec = make_spec()
    store = Store(spec, tmp_path / "study", StudyRecord(), existing(spec, tmp_path, join=True))
    for part in all_parts(spec):
        store.add(part)
    config = dataclasses.replace(spec.config, total_steps=2 * spec.config.total_steps)
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    with pytest.raises(ValueError, match=r"4 of 4 runs are done, and their training state was not"):
        prepare(spec._replace(config=config), Options(resources), tmp_path / "study", True)
    assert read_spec(tmp_path / "study")[0].to_json() == spec.to_json()


def test_a_shard_makes_no_study_longer(tmp_path):
    begin(tmp_path / "run")
    for how in ({"shard": (0, 2), "resume": True}, {"shard": (0, 2)}):
        with pytest.raises(ValueError, match="make it longer in one process, without a shard"):
            begin(tmp_path / "run", longer(320), **how)


# ----------------------------------------------------------------------------- THE LINE, AND AUTO

OTHER = {int: 3, float: 2.5, bool: None, str: "7"}


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_line_that_goes_on_repeats_every_flag(command):
    """Each flag that says how a study is run, at another value than its default."""
    cls = {"train": flags.Train, "sweep": flags.Sweep}[command]
    args = parsing.parse([command, "CartPole-v1"])
    tried = []
    for field in dataclasses.fields(cls):
        if field.name in (*resuming.IDENTITY, "imports"):  # a folder records what it imports
            continue
        default = field.default
        value = not default if isinstance(default, bool) else OTHER.get(type(default))
        fixed = {
            "log": ("jsonl,tensorboard",),  # as parsed
            "keep_policies": "best",
            "keep_states": "no",
            "split": "envs",
            "shard": "1/3",
        }
        value = fixed.get(field.name, value)
        changed = dataclasses.replace(args, **{field.name: value})
        shard = (1, 3) if field.name == "shard" else None
        line = shlex.split(resuming.command("a folder", changed, shard))
        assert line[:4] == ["purejaxvpg", command, "--resume", "a folder"]
        again = parsing.parse(line[1:])
        assert getattr(again, field.name) == value, field.name
        tried.append(field.name)
    assert {"memory_limit", "deterministic", "checkpoint_minutes", "checkpoint_updates",
            "other_settings"} <= set(tried)  # fmt: skip
    assert resuming.command("r", args) == f"purejaxvpg {command} --resume r"


def test_the_same_line_begins_goes_on_and_succeeds(tmp_path, capsys):
    line = ("train CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 32 --hidden-sizes 8 "
            f"--value-iterations 1 --no-preset --out {tmp_path}/run --resume auto")  # fmt: skip
    assert cli.main(shlex.split(line)) == 0
    part = next((tmp_path / "run" / "parts").glob("*.npz"))
    before = part.stat().st_mtime_ns, part.stat().st_ino
    assert cli.main(shlex.split(line)) == 0  # at once
    assert (part.stat().st_mtime_ns, part.stat().st_ino) == before
    part.unlink()
    (tmp_path / "run" / "metrics.npz").unlink()
    assert cli.main(shlex.split(line)) == 0
    assert load_study(tmp_path / "run").complete
    capsys.readouterr()
    assert cli.main([*shlex.split(line), "--gamma", "0.5"]) == 2
    assert "gamma is 0.99 there, and 0.5 is given" in capsys.readouterr().err


def test_several_processes_promise_no_unfinished_chunk(monkeypatch):
    """They keep no checkpoints, so nothing is left of a chunk that was stopped."""
    study = SimpleNamespace(done=np.array([[True, False]]), updates=np.array([[10, 4]]))
    args = parsing.parse(["sweep", "CartPole-v1"])
    line = resuming.how_to_go_on(study, "runs/x", args, None)
    assert line.startswith("1 of 2 runs are done and kept, the others up to update 4; go on with: ")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    line = resuming.how_to_go_on(study, "runs/x", args, None)
    assert "the others begin again: several processes keep whole chunks only; go on" in line
    assert "up to update" not in line


# --------------------------------------------------------------------------------- SLURM'S ARRAYS


def array_task(monkeypatch, index="9", count="4", first="5", step="2", last=None):
    pairs = [("ID", index), ("COUNT", count), ("MIN", first), ("STEP", step)]
    pairs += [("MAX", last)] * (last is not None)
    for name, value in pairs:
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "99")


def test_a_plain_sweep_in_an_array_is_the_whole_study(monkeypatch):
    """As in an array over environments, each task of which has a study of its own."""
    array_task(monkeypatch)
    assert arguments.shard_of("") is None
    assert arguments.shard_of("none") is None
    args = parsing.parse(["sweep", "CartPole-v1"])
    assert arguments.default_folder(args, None).startswith("runs/CartPole-v1-sweep-2")


def test_an_array_task_takes_its_share_when_asked_to(monkeypatch):
    array_task(monkeypatch)
    assert arguments.shard_of("auto") == (2, 4)
    assert arguments.shard_of("0/3") == (0, 3)
    args = parsing.parse(["sweep", "CartPole-v1", "--shard", "auto"])
    assert arguments.default_folder(args, (2, 4)) == "runs/CartPole-v1-sweep-99"  # for all tasks
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    with pytest.raises(ValueError, match="SLURM_ARRAY_TASK_ID is not set; give --shard i/n"):
        arguments.shard_of("auto")


@pytest.mark.parametrize(("index", "count"), [("5", "2"), ("4", "3"), ("1", "3")])
def test_some_tasks_of_an_array_run_again_must_say_which_share(index, count, monkeypatch):
    """--array=3,5 has 2 tasks, and neither is share 0 of 2."""
    array_task(monkeypatch, index, count, "3")
    if index == "5":
        assert arguments.shard_of("auto") == (1, 2)
    else:
        with pytest.raises(ValueError, match="give --shard i/n"):
            arguments.shard_of("auto")


@pytest.mark.parametrize("index", ["3", "5"])
def test_no_task_of_a_gapped_array_takes_a_share(index, monkeypatch):
    """--array=3,5 with all that SLURM sets: the first of them is not share 0 of 2 either."""
    array_task(monkeypatch, index, "2", "3", "1", last="5")
    with pytest.raises(ValueError, match=f"TASK_ID={index} is not one of 2 in a row; give --shard"):
        arguments.shard_of("auto")
    array_task(monkeypatch, index, "3", "3", "1", last="5")  # --array=3-5
    assert arguments.shard_of("auto") == (int(index) - 3, 3)


def test_the_missing_variable_of_an_array_is_named(monkeypatch):
    array_task(monkeypatch)
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    with pytest.raises(ValueError, match="SLURM_ARRAY_TASK_COUNT is not set; give --shard i/n"):
        arguments.shard_of("auto")


# --------------------------------------------------------------------------------- WHAT plan SAYS


def plans(line):
    """Of each group: runs, updates of all runs, updates of its chunks.  Compiles nothing."""
    args = parsing.parse(shlex.split(f"plan {line} --chunk-size 2 --no-preset"))
    spec = arguments.spec_of(args)
    resources = make_resources(jax.devices()[:1], args.split, 2, None)
    groups = resolve(spec.design, spec.config, spec.hyperparams)
    shard = arguments.shard_of(args.shard)
    each = [planning.plan_shard(spec, group, resources, shard) for group in groups]
    return [(p.num_runs, *planning.updates_of(spec, p)) for p in each if p]


TINY = "CartPole-v1 --num-envs 2 --num-steps 8 --total-steps 160 --grid gamma=0.9,0.95,0.99,0.999"


def test_a_plan_counts_what_pruning_leaves():
    """4 settings x 3 seeds go 2 updates, 2 settings to 5, 1 setting to 10; chunks of two runs."""
    assert plans(f"{TINY} --num-seeds 3") == [(12, 12 * 10, 6 * 10)]
    pruned = plans(f"{TINY} --num-seeds 3 --prune successive_halving --rungs 3 --keep 0.5")
    assert pruned == [(12, 12 * 2 + 6 * 3 + 3 * 5, 6 * 2 + 3 * 3 + 2 * 5)]


def test_a_plan_is_of_the_shard():
    """12 runs in 5 shares: the third has runs 4, 5, 6."""
    assert plans(f"{TINY} --num-seeds 3 --shard 2/5") == [(3, 30, 20)]
    two = f"{TINY} estimator=td,gae --num-seeds 3"
    assert plans(f"{two} --shard 0/24") == [(1, 10, 10)]  # the other program has none of them


def test_plan_on_the_command_line_honours_shard_split_and_prune(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(planning, "plan", lambda *given: calls.append(given) or iter(()))
    assert cli.main(shlex.split(f"plan {TINY} --shard 2/5 --split envs")) == 0
    (spec, resources, shard), printed = calls[0], capsys.readouterr().out
    assert (shard, resources.split, spec.pruning) == ((2, 5), "envs", None)
    assert "shard 2 of 5" in printed
    assert cli.main(shlex.split(f"plan {TINY} --prune successive_halving --keep 0.5")) == 0
    assert "settings, rung by rung: 4 then 2 then 1" in capsys.readouterr().out
    monkeypatch.undo()
    assert cli.main(shlex.split(f"plan {TINY} --prune successive_halving --shard 0/2")) == 2
    assert "prune compares all settings" in capsys.readouterr().err
