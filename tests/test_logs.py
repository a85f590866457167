"""Logs of a study: in its folder as it runs, whole after a kill, and no bit of a run changed."""

import contextlib
import io
import threading
import warnings

import jax
import numpy as np
import pytest
from support.logged import read_events, read_lines, without_rates
from support.segments import stop_after
from support.studies import assert_same_study
from support.sweeps import CONFIG, ONE, Stop

from purejaxvpg import Hyperparams, loggers
from purejaxvpg.cli import arguments, parsing, resuming
from purejaxvpg.cli.terminal import UserError
from purejaxvpg.cli.words import repeated
from purejaxvpg.experiment import LogUniform, logs, search, sweep, train
from purejaxvpg.experiment.design import Design
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.loggers.names import OF_METRICS

HP, GRID = Hyperparams(policy_lr=1e-2), {"gamma": [0.9, 0.99]}


def run(**how):
    """A run of two seeds."""
    return train(CONFIG, HP, 2, first_seed=3, **ONE, **how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in a folder, and its rows."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return run(folder=folder), read_lines(folder / "metrics.jsonl")


def assert_rows_of(study, rows):
    """Each run and update has one row, with its numbers."""
    settings = study.design.settings()
    assert len(rows) == study.done.size * CONFIG.num_updates
    assert len({(row["run"], row["update"]) for row in rows}) == len(rows)
    for row in rows:
        setting, place = divmod(row["run"], len(study.seeds))
        assert (row["setting"], row["seed"]) == (setting, study.seeds[place])
        assert row["global_step"] == row["update"] * CONFIG.steps_per_update
        assert settings[setting].items() <= row.items()
        numbers = {n: x[setting, place, row["update"] - 1] for n, x in study.metrics.items()}
        for field, name in OF_METRICS.items():
            if not field.startswith("episode_"):
                assert np.float32(row[name]) == np.float32(numbers[field])
        assert ("charts/episodic_return" in row) == (numbers["episode_count"] > 0)


def test_a_run_in_a_folder_has_its_rows(whole):
    study, rows = whole
    assert_rows_of(study, rows)
    assert [row["run"] for row in rows[:2]] == [0, 1]
    assert {row["charts/learning_rate"] for row in rows} == {0.01}


def test_a_study_has_one_file_with_settings_and_seeds(tmp_path):
    study = sweep(CONFIG, GRID, 2, folder=tmp_path / "study", **ONE)
    assert_rows_of(study, read_lines(tmp_path / "study" / "metrics.jsonl"))


def test_rows_of_a_large_study_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_ROWS", 12)  # for four runs: three each
    sweep(CONFIG, GRID, 2, folder=tmp_path / "study", **ONE)
    rows = read_lines(tmp_path / "study" / "metrics.jsonl")
    assert [row["update"] for row in rows if row["run"] == 1] == [4, 8, 10]


def test_shards_have_files_of_their_own(tmp_path):
    """Else the lines of one could fall into those of another."""
    for shard in ("0/2", "1/2"):
        sweep(CONFIG, GRID, 2, folder=tmp_path / "study", shard=shard, **ONE)
    for i in (0, 1):
        rows = read_lines(tmp_path / "study" / f"metrics-{i}-of-2.jsonl")
        assert {row["run"] for row in rows} == {2 * i, 2 * i + 1}
    assert not (tmp_path / "study" / "metrics.jsonl").exists()


@pytest.mark.parametrize("updates", [1, 4, 9])
def test_a_stopped_run_goes_on_in_its_file(whole, tmp_path, updates):
    folder = tmp_path / "run"
    run(folder=folder, on_segment=stop_after(updates))
    rows = read_lines(folder / "metrics.jsonl")
    assert without_rates(rows) == without_rates(whole[1][: 2 * updates])
    study = run(folder=folder, resume=True)
    assert without_rates(read_lines(folder / "metrics.jsonl")) == without_rates(whole[1])
    assert_same_study(study, whole[0])


def test_a_killed_run_goes_on_from_its_checkpoint_in_every_log(whole, tmp_path):
    """Killed after update 8, it goes on from 6: rows 7 and 8 are not there twice."""
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "run"
    how = {"folder": folder, "checkpoint_updates": 3, "checkpoint_minutes": 0}
    logged = []

    def kill(segment):
        logged.append(segment.updates)
        if segment.updates == 8:
            raise Stop

    log = loggers.TensorBoard(folder / "tensorboard")
    with pytest.raises(Stop):
        run(on_segment=loggers.Together(log, kill), **how)
    assert max(row["update"] for row in read_lines(folder / "metrics.jsonl")) == 8
    run(resume=True, on_segment=loggers.Together(log, lambda s: logged.append(s.updates)), **how)
    assert logged == [*range(1, 9), *range(7, 11)]
    assert without_rates(read_lines(folder / "metrics.jsonl")) == without_rates(whole[1])
    points = read_events(folder / "tensorboard" / "seed_3")
    rows = [row for row in whole[1] if row["seed"] == 3]
    assert [step for step, _ in points] == [row["global_step"] for row in rows]
    for (_, point), row in zip(points, rows, strict=True):
        assert point["losses/entropy"] == np.float32(row["losses/entropy"])


def test_a_log_is_on_the_disk_before_a_checkpoint_or_a_part(tmp_path, monkeypatch):
    """After a power cut no row before the checkpoint is missing."""
    events = []

    class Log(loggers.Logger):
        def write(self, segment):
            events.append(segment.updates)

        def sync(self):
            events.append("sync")

        def end(self):
            events.append("end")

    how = {"checkpoint_updates": 4, "checkpoint_minutes": 0}
    run(folder=tmp_path / "run", on_segment=Log(), **how)
    assert events == [1, 2, 3, 4, "sync", 5, 6, 7, 8, "sync", 9, 10, "sync", "end"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_logs_are_closed_however_it_ends(tmp_path, error):
    closed = []

    class Log(loggers.Logger):
        def write(self, segment):
            pass

        def end(self):
            closed.append(True)

    def interrupt(_):
        raise error

    with pytest.raises(error):
        run(on_segment=loggers.Together(Log(), interrupt))
    assert closed == [True]


def test_a_logger_that_fails_harms_nothing(whole, tmp_path):
    class Broken(loggers.Logger):
        name = "the log on the moon"

        def write(self, segment):
            raise OSError("no air")

    with pytest.warns(UserWarning, match=r"the log on the moon could not be written \(no air\)"):
        study = run(folder=tmp_path / "run", on_segment=Broken())
    assert study.complete
    assert_same_study(study, whole[0])
    assert without_rates(read_lines(tmp_path / "run" / "metrics.jsonl")) == without_rates(whole[1])


def test_nothing_is_written_through_a_link(tmp_path):
    """A folder may come from somebody else."""
    target, folder = tmp_path / "theirs", tmp_path / "run"
    target.write_text("theirs")
    run(folder=folder, on_segment=stop_after(2))
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to(target)
    with pytest.warns(UserWarning, match=r"no log jsonl: .*metrics\.jsonl is a link"):
        assert run(folder=folder, resume=True).complete
    assert target.read_text() == "theirs"


def test_no_log_changes_a_bit_or_a_program(whole, tmp_path):
    """Loggers are beside the compiled function, so nothing is compiled for them."""
    pytest.importorskip("tensorboardX")
    compiled, lock = [], threading.Lock()

    def on_event(name, _seconds, **_):
        if name.endswith("backend_compile_duration"):
            with lock:
                compiled.append(name)

    run()  # in memory, without any log
    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        log = loggers.Together(loggers.TensorBoard(tmp_path / "t"), loggers.Jsonl(tmp_path / "j"))
        study = run(on_segment=log)
        assert compiled == []
        jax.jit(lambda x: x + len(compiled))(np.ones(3))
        assert compiled  # else the test could not fail
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)
    assert_same_study(study, whole[0])


def test_a_log_copies_nothing_from_the_device(tmp_path):
    """The numbers are on the host by the time of the hook."""
    log = loggers.Jsonl(tmp_path / "metrics.jsonl")

    def guarded(segment):
        with jax.transfer_guard("disallow"):
            log(segment)
        assert not [
            x for x in jax.tree.leaves((segment.metrics, segment.hp)) if isinstance(x, jax.Array)
        ]

    run(on_segment=guarded)
    assert len(read_lines(log.path)) == 2 * CONFIG.num_updates


# --------------------------------------------------------------------------------- THE FLAG


def prepared(tmp_path, number=2, folder="run", **options):
    seeds = np.arange(number)
    given = Options(make_resources(jax.devices()[:1], "runs", 1, None), **options)
    folder = folder and tmp_path / folder
    return prepare(Spec(CONFIG, HP, Design(()), seeds), given, folder)


def test_the_flag_names_logs_in_the_folder(tmp_path):
    pytest.importorskip("tensorboardX")
    made = logs._logs(prepared(tmp_path, log=("tensorboard",)))
    assert [type(log) for log in made] == [loggers.Jsonl, loggers.TensorBoard]
    assert [log.points for log in made] == [logs.MOST_ROWS // 2, 1000]
    assert made[1].folder == tmp_path / "run" / "tensorboard"
    (only,) = logs._logs(prepared(tmp_path, folder="b", log=("jsonl",)))
    assert (only.path, only.points) == (tmp_path / "b" / "metrics.jsonl", None)
    assert logs._logs(prepared(tmp_path, folder="c", log=("none",))) == []


def test_logs_that_cannot_be_are_refused(tmp_path):
    pytest.importorskip("tensorboardX")
    with pytest.raises(ValueError, match="a curve for each of 501 runs; accepted: at most 500"):
        prepared(tmp_path, 501, log=("tensorboard",))
    with pytest.raises(ValueError, match="log='csv' is unknown; choose one of: jsonl, tensorb"):
        prepared(tmp_path, log=("csv",))
    with pytest.raises(ValueError, match=r"log='jsonl' is written into the folder .* pass folder="):
        prepared(tmp_path, folder=None, log=("jsonl",))
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(logs.NEEDS, "wandb", "a_library_that_nobody_has")
    with pytest.raises(ImportError, match=r"pip install 'purejaxvpg\[wandb\]'"):
        prepared(tmp_path, log=("wandb",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", ["--log tensorboard,wandb", "--log tensorboard --log wandb"])
def test_several_logs_are_named_at_once_or_apart(words):
    argv = ["train", "CartPole-v1", *words.split()]
    args = parsing.parse(argv)
    assert arguments.logs_of(args.log) == ("tensorboard", "wandb")
    assert repeated(argv) == []
    assert resuming.command("a", args) == "purejaxvpg train --resume a --log tensorboard,wandb"


def test_an_unknown_log_is_one_line():
    with pytest.raises(ValueError, match="--log csv is unknown; choose one of: jsonl, tensor"):
        arguments.logs_of(("csv",))
    with pytest.raises(UserError), contextlib.redirect_stderr(io.StringIO()):
        parsing.parse(["eval", "folder", "--log", "wandb"])


def test_a_search_closes_its_logs_and_keeps_one_file(tmp_path):
    pytest.importorskip("optuna")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optuna
        outcome = search(
            CONFIG, {"policy_lr": LogUniform(1e-3, 1e-2)}, 2, rounds=2, batch=1,
            folder=tmp_path / "search", **ONE,
        )  # fmt: skip
    assert_rows_of(outcome.study, read_lines(tmp_path / "search" / "metrics.jsonl"))
