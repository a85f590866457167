"""Loggers: right numbers under the right names, whole files, and a training that they never end."""

import dataclasses
import errno
import json
import re
import sys
import types
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.logged import CONFIG, U, make_segment, read_events, read_lines, without_rates

from purejaxvpg import Hyperparams, loggers
from purejaxvpg.agent.optimize import SCHEDULES
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.groups import values_at
from purejaxvpg.loggers import jsonl
from purejaxvpg.loggers.names import NAMES, OF_METRICS, WITH_DIAGNOSTICS, every
from purejaxvpg.state import Metrics

EVALUATED = dataclasses.replace(CONFIG, eval_every=4, eval_episodes=2)


# -------------------------------------------------------------------------------------- ROWS


def test_every_metric_has_a_name_of_its_own():
    assert set(OF_METRICS) == set(Metrics._fields)
    assert len(set(NAMES)) == len(NAMES)
    assert set(loggers.rows(make_segment(0, U, EVALUATED)).series) == set(NAMES)


def test_rows_have_the_numbers_of_the_metrics():
    segment = make_segment(2, 5, EVALUATED, episode_count=[[2, 0, 4]])
    rows = loggers.rows(segment)
    assert rows.updates.tolist() == [3, 4, 5]
    assert rows.steps.tolist() == [48, 64, 80]
    for field, name in OF_METRICS.items():
        if not field.startswith("episode_"):
            np.testing.assert_array_equal(rows.series[name], getattr(segment.metrics, field), name)
    sums = segment.metrics.episode_return_sum
    expected = np.stack([sums[:, 0] / 2, [np.nan] * 2, sums[:, 2] / 4], 1)  # never a 0
    np.testing.assert_array_equal(rows.series["charts/episodic_return"], expected)
    lengths = segment.metrics.episode_length_sum[:, [0, 2]] / [2, 4]
    np.testing.assert_array_equal(rows.series["charts/episodic_length"][:, [0, 2]], lengths)
    nan = np.nan
    np.testing.assert_array_equal(
        rows.series["eval/episodic_return"], [[nan, 4.5, nan], [nan, 5.5, nan]]
    )
    np.testing.assert_array_equal(rows.series["eval/episodic_length"], [[nan, 7, nan]] * 2)
    assert (rows.series["charts/SPS"] == 2 * 80 / (5 / 4)).all()  # both runs, side by side


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rates_are_those_of_the_schedule(name):
    config = dataclasses.replace(CONFIG, lr_schedule=name)
    series = loggers.rows(make_segment(0, U, config)).series
    factors = np.asarray([SCHEDULES[name](U)(update) for update in range(U)])
    np.testing.assert_allclose(series["charts/learning_rate"], [0.5 * factors, 1.5 * factors], 1e-5)
    value_lr = Hyperparams().value_lr
    np.testing.assert_allclose(series["charts/value_learning_rate"], [value_lr * factors] * 2, 1e-5)


def test_rows_do_not_depend_on_where_segments_end():
    """Of a long run every 5th update, the evaluations, and the end."""
    whole = loggers.rows(make_segment(0, U, EVALUATED), 5)
    assert whole.updates.tolist() == [4, 5, 8, 10, 12]
    ends = [0, 1, 4, 6, 11, U]
    pieces = [loggers.rows(make_segment(a, b, EVALUATED), 5) for a, b in pairwise(ends)]
    for name, values in whole.series.items():
        if name != "charts/SPS":
            laid = np.concatenate([piece.series[name] for piece in pieces], 1)
            np.testing.assert_array_equal(laid, values, name)


@pytest.mark.parametrize(
    ("points", "step"), [(None, 1), (100, 1), (12, 1), (11, 2), (3, 4), (0, 12)]
)
def test_the_number_of_rows_is_bounded(points, step):
    assert every(make_segment(0, 1), points) == step


def test_unmeasured_metrics_have_no_series():
    config = dataclasses.replace(CONFIG, diagnostics=False)
    missing = set(NAMES) - set(loggers.rows(make_segment(0, 2, config)).series)
    assert missing == {
        "losses/approx_kl", "losses/policy_loss_change", "losses/value_loss_after",
        "eval/episodic_return", "eval/episodic_length",
    }  # fmt: skip


def test_values_at_are_those_of_the_settings():
    design = make_design({"gamma": [0.9, 0.99]}, {"policy_lr": [1, 2, 3], "value_lr": [4, 5, 6]})
    assert values_at(design, np.arange(6)) == design.settings()
    assert values_at(design, np.asarray([4, 1])) == [design.settings()[i] for i in (4, 1)]
    assert values_at(make_design(), np.asarray([0, 0])) == [{}, {}]


# -------------------------------------------------------------------------------------- JSONL


def test_lines_give_every_number_back(tmp_path):
    values = ({"gamma": 0.9, "env": "CartPole-v1"}, {"gamma": 0.99, "env": "CartPole-v1"})
    log = loggers.Jsonl(tmp_path / "metrics.jsonl")
    segment = make_segment(0, 3, EVALUATED, runs=(1, 2), values=values, episode_count=[[1, 0, 3]])
    log(segment)
    rows, series = read_lines(log.path), loggers.rows(segment).series
    assert [(row["run"], row["update"]) for row in rows] == [
        (r, u) for r in (1, 2) for u in (1, 2, 3)
    ]
    first = {"run": 2, "update": 1, "global_step": 16, "setting": 1, "seed": 0, **values[1]}
    assert {name: rows[3][name] for name in first} == first
    for place, row in enumerate(rows):
        i, j = divmod(place, 3)
        for name, numbers in series.items():
            assert (name in row) == bool(np.isfinite(numbers[i, j])), name
            if name in row:
                assert np.float32(row[name]) == numbers[i, j]
    assert "charts/episodic_return" not in rows[1]


def test_a_diverged_run_has_null(tmp_path):
    """In strict JSON, with its name; where no episode ended there is still no return."""
    log = loggers.Jsonl(tmp_path / "metrics.jsonl")
    bad = [[1.0, np.inf, np.nan]]
    log(make_segment(0, 3, kl=bad, finite=[[1, 0, 0]], episode_count=[[1, 1, 0]]))
    rows = read_lines(log.path)[:3]
    assert [row["losses/approx_kl"] for row in rows] == [1.0, None, None]
    assert [row["charts/finite"] for row in rows] == [1, 0, 0]
    assert ["charts/episodic_return" in row for row in rows] == [True, True, False]


def whole_file(tmp_path):
    log = loggers.Jsonl(tmp_path / "whole.jsonl")
    for first, updates in ((0, 4), (4, U)):
        log(make_segment(first, updates))
    return read_lines(log.path)


@pytest.mark.parametrize(
    "torn", [b"", b'{"run": 0, "upda', b'{"run": 0, "update": 7, "glo', b"\0\xff"]
)
def test_a_run_that_goes_on_has_each_row_once(tmp_path, torn):
    """Killed after update 6 and within a line, it goes on from the checkpoint at 4."""
    path = tmp_path / "metrics.jsonl"
    killed = loggers.Jsonl(path)
    killed(make_segment(0, 4))
    killed(make_segment(4, 6))
    killed(make_segment(0, 2, runs=(2, 3)))  # others are not touched
    others = [row for row in read_lines(path) if row["run"] > 1]
    with open(path, "ab") as file:
        file.write(torn)
    loggers.Jsonl(path)(make_segment(4, U))
    rows = read_lines(path)
    assert [row for row in rows if row["run"] > 1] == others
    mine = sorted((row for row in rows if row["run"] < 2), key=lambda x: (x["run"], x["update"]))
    expected = sorted(whole_file(tmp_path), key=lambda x: (x["run"], x["update"]))
    assert without_rates(mine) == without_rates(expected)
    assert not list(tmp_path.glob(".*"))


def test_a_chunk_that_begins_again_has_each_row_once(tmp_path):
    """At half the width, say, when memory ran out; and in a file of another study."""
    log = loggers.Jsonl(tmp_path / "metrics.jsonl")
    log(make_segment(0, 6))
    log(make_segment(0, 4, runs=(0,), values=({},)))
    log(make_segment(0, 4, runs=(1,), values=({},)))
    log(make_segment(4, U))
    rows = [(row["run"], row["update"]) for row in read_lines(log.path)]
    assert sorted(rows) == [(run, update) for run in (0, 1) for update in range(1, U + 1)]


class HalfFull:
    """A file on a disk that has room for ten more bytes."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:10])
        self.file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_warning_and_leaves_whole_lines(tmp_path, monkeypatch):
    log = loggers.Jsonl(tmp_path / "metrics.jsonl")
    log(make_segment(0, 4))
    before = log.path.read_bytes()

    def full(path, mode, **how):
        return (HalfFull if "a" in mode else lambda file: file)(open(path, mode, **how))

    monkeypatch.setattr(jsonl, "open", full, raising=False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        log(make_segment(4, 8))
        log(make_segment(8, U))
        log.keep()
        log.close()
    assert "No space left on device); the training goes on without it" in str(seen[0].message)
    assert len(seen) == 1
    assert log.path.read_bytes() == before


# ---------------------------------------------------------------------------------- TENSORBOARD


def test_event_files_have_the_points(tmp_path):
    pytest.importorskip("tensorboardX")
    values = ({"gamma": 0.9}, {"gamma": 0.99})
    segment = make_segment(0, U, EVALUATED, runs=(0, 3), values=values, episode_count=[[1, 0] * 6])
    loggers.TensorBoard(tmp_path)(segment)
    series = loggers.rows(segment).series
    for i, folder in enumerate(("0-gamma=0.9/seed_0", "1-gamma=0.99/seed_1")):
        points = read_events(tmp_path / folder)
        assert [step for step, _ in points] == list(range(16, 16 * U + 1, 16))
        for j, (_, point) in enumerate(points):
            expected = {name: x[i, j] for name, x in series.items() if np.isfinite(x[i, j])}
            assert point == {name: np.float32(x) for name, x in expected.items()}
    assert "charts/episodic_return" not in points[1][1]


@pytest.mark.parametrize("same", [True, False])
def test_tensorboard_forgets_what_came_after_the_checkpoint(tmp_path, same):
    """In another process, and in this one."""
    pytest.importorskip("tensorboardX")
    whole, killed = (
        loggers.TensorBoard(tmp_path / "whole"),
        loggers.TensorBoard(tmp_path / "killed"),
    )
    for first, updates in ((0, 4), (4, U)):
        whole(make_segment(first, updates))
    for first, updates in ((0, 4), (4, 6)):
        killed(make_segment(first, updates))
    again = killed if same else loggers.TensorBoard(tmp_path / "killed")
    again(make_segment(4, U, kl=7.0))
    killed.close()
    points, expected = (read_events(tmp_path / name / "seed_1") for name in ("killed", "whole"))
    assert [step for step, _ in points] == [step for step, _ in expected]
    assert [x["losses/approx_kl"] for _, x in points[4:]] == [7.0] * (U - 4)
    assert [x["losses/entropy"] for _, x in points] == [x["losses/entropy"] for _, x in expected]


def test_tensorboard_has_a_thousand_points_a_curve(tmp_path):
    pytest.importorskip("tensorboardX")
    config = dataclasses.replace(CONFIG, total_steps=16 * 2500)
    loggers.TensorBoard(tmp_path)(make_segment(0, 2500, config))
    assert len(read_events(tmp_path / "seed_0")) == 834  # every 3rd, and the last


# ---------------------------------------------------------------------------------- WANDB


class Wandb(types.ModuleType):
    """Stands for wandb: runs by id, and every point that they were sent."""

    def __init__(self):
        super().__init__("wandb")
        self.sent, self.given, self.finished = {}, [], []

    def Settings(self, **fields):
        return fields

    def init(self, **given):
        self.given.append(given)
        points = self.sent.setdefault(given["id"], [])
        return types.SimpleNamespace(
            define_metric=lambda *_, **__: None,
            log=points.append,
            finish=lambda: self.finished.append(given["id"]),
        )


@pytest.fixture
def wandb(monkeypatch):
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(sys.modules, "wandb.sdk", types.ModuleType("wandb.sdk"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return module


def test_wandb_has_a_run_for_each_seed(wandb, tmp_path):
    log = loggers.WandB(folder=tmp_path / "study", tags=["a"])
    segment = make_segment(0, U, EVALUATED, episode_count=[[1, 0] * 6])
    log(segment)
    series = loggers.rows(segment).series
    assert len(wandb.sent) == len(wandb.finished) == 2
    for i, (given, points) in enumerate(zip(wandb.given, wandb.sent.values(), strict=True)):
        assert (given["project"], given["group"]) == ("purejaxvpg", "study")
        assert (given["name"], given["tags"]) == (f"seed_{i}", ["a"])
        assert (given["config"]["policy_lr"], given["config"]["seed"]) == (0.5 + i, i)
        assert [point.pop("global_step") for point in points] == list(range(16, 16 * U + 1, 16))
        for j, point in enumerate(points):
            assert point == {n: x[i, j] for n, x in series.items() if np.isfinite(x[i, j])}
            json.dumps(point, allow_nan=False)


def test_wandb_goes_on_under_the_same_ids_and_sends_nothing_twice(wandb, tmp_path):
    killed = loggers.WandB("mine", tmp_path)
    killed(make_segment(0, 4))
    killed(make_segment(4, 6))
    assert len(wandb.given) == 2
    loggers.WandB("mine", tmp_path)(make_segment(4, U))
    assert len(wandb.sent) == 2
    assert [given["resume"] for given in wandb.given] == ["allow"] * 4
    for points in wandb.sent.values():
        assert [point["global_step"] for point in points] == list(range(16, 16 * U + 1, 16))


def test_wandb_that_is_interrupted_is_finished(wandb):
    with loggers.WandB() as log:
        log(make_segment(0, 4))
        assert wandb.finished == []
    assert len(wandb.finished) == 2


def test_two_studies_of_one_wandb_logger_are_runs_apart(wandb):
    log = loggers.WandB()
    log(make_segment(0, U))
    log(make_segment(0, U))
    assert [len(points) for points in wandb.sent.values()] == [U] * 4


def test_wandb_without_a_network_is_one_warning(wandb):
    def init(**_):
        raise ConnectionError("no network")

    wandb.init = init
    log = loggers.WandB()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        log(make_segment(0, 4))
        log(make_segment(4, U))
    assert "log for wandb could not be written (no network)" in str(seen[0].message)
    assert len(seen) == 1


def test_the_real_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb.sdk")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings(), loggers.WandB(folder=tmp_path) as log:
        warnings.simplefilter("ignore")  # those of wandb and its libraries
        log(make_segment(0, 4))
        assert not log.failed
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 2
    ids = {json.loads(path.read_text())["id"] for path in tmp_path.glob("wandb/runs/*.json")}
    assert len(ids) == 2


# ------------------------------------------------------------------------------------ TOGETHER


@pytest.mark.parametrize(("answers", "stop"), [((None, 1), False), ((None, True), True),
                                               ((np.True_, None), True), ((), False)])  # fmt: skip
def test_together_stops_when_one_wants_to(tmp_path, answers, stop):
    seen, log = [], loggers.Jsonl(tmp_path / "metrics.jsonl")
    hooks = [lambda segment, answer=answer: seen.append(segment) or answer for answer in answers]
    assert loggers.Together(*hooks, log)(make_segment(0, 2)) is stop
    assert len(seen) == len(answers)  # the first to stop does not silence the rest
    assert len(read_lines(log.path)) == 4


def test_an_error_of_a_users_callable_comes_through():
    with pytest.raises(ZeroDivisionError):
        loggers.Together(lambda _: 1 // 0)(make_segment(0, 2))
    with pytest.raises(TypeError, match=r"'metrics\.jsonl' is no hook; accepted: loggers and"):
        loggers.Together("metrics.jsonl")


@pytest.mark.parametrize("name", ["TensorBoard", "WandB"])
def test_a_missing_library_is_named_with_its_extra(name, monkeypatch):
    for module in list(sys.modules):
        if module.partition(".")[0] in ("tensorboardX", "wandb"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", [])

    class Nowhere:
        @staticmethod
        def find_spec(*_):
            return None

    monkeypatch.setattr(sys, "meta_path", [Nowhere])
    with pytest.raises(ImportError, match=rf"pip install 'purejaxvpg\[{name.lower()}\]'"):
        getattr(loggers, name)("somewhere")


# ------------------------------------------------------------------------------------ THE PAGE

PAGE = (Path(__file__).parent.parent / "docs" / "logging.md").read_text()


def test_the_page_has_every_name_and_no_other():
    table = PAGE.partition("\n## The names\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == sorted(
        NAMES, key=lambda name: table.find(f"| `{name}` |")
    )
    unmeasured = set(re.findall(r"`(losses/\w+)`", table.partition("--no-diagnostics")[2]))
    assert unmeasured == {OF_METRICS[field] for field in WITH_DIAGNOSTICS}


def test_the_code_of_the_page_runs():
    pytest.importorskip("tensorboardX")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    returns = np.concatenate(names["returns"], 1)
    assert returns.shape == (2, 10)
    assert names["study"].complete
    assert len(read_lines(f"{names['place']}/all.jsonl")) == 20
    assert len(read_events(f"{names['place']}/board/seed_1")) == 10
    assert np.nanmax(returns) >= names["best"].best > 0
