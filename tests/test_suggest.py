"""Searches: what is asked and told, one program for all rounds, folders that go on."""

import sys

import jax
import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment import suggest
from purejaxvpg.experiment.grid import Choice, LogUniform, Uniform, make_design, resolve
from purejaxvpg.experiment.store import Part, Spec, Store, assemble, load_study
from purejaxvpg.experiment.suggest import search, summarised
from purejaxvpg.experiment.sweep import sweep
from purejaxvpg.state import Metrics

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

CONFIG = VPGConfig(
    num_envs=2,
    num_steps=8,
    total_steps=64,
    hidden_sizes=(8,),
    value_iterations=1,
    eval_every=2,
    eval_episodes=2,
    eval_steps=20,
)
SPACE = {"policy_lr": LogUniform(1e-4, 1.0), "gae_lambda": Choice((0.9, 1.0))}
SIZES = {"num_seeds": 2, "rounds": 3, "batch": 4}
# Two chunks a round, and one program for all tests that train.
WIDE = {"chunk_size": 4, "devices": jax.devices()[:1]}


def near_a_hundredth(setting, seed):
    """A score that is best at policy_lr = 0.01, a little different for each seed."""
    return -abs(np.log10(setting["policy_lr"]) + 2) + 0.01 * seed


class Pretended:
    """A sweep that trains nothing: it gives each run the score that a function says."""

    def __init__(self, score=near_a_hundredth, stop_at=None):
        self.score, self.stop_at, self.calls = score, stop_at, 0

    def __call__(self, config, grid, num_seeds, *, zip, hp, first_seed, folder, **_):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        if folder is not None:
            folder.mkdir()
        design, seeds = make_design(zip=zip), np.arange(first_seed, first_seed + num_seeds)
        runs = [(setting, seed) for setting in design.settings() for seed in seeds]
        scores = np.asarray([self.score(*run) for run in runs], np.float32)
        shape = (len(scores), config.num_updates)
        metrics = {name: np.ones(shape, np.float32) for name in Metrics._fields}
        metrics["finite"] *= np.isfinite(scores)[:, None]
        every, episodes = config.num_updates // config.eval_every, config.eval_episodes
        returns = np.broadcast_to(scores[:, None, None], (len(scores), every, episodes))
        evaluation = Evaluation(*[returns] * len(Evaluation._fields))
        part = Part(
            np.arange(len(scores)), 0, config.num_updates, Metrics(**metrics), evaluation, None
        )
        groups = len(resolve(design, config, hp))
        record = {
            "widths": [2],
            "program_widths": [2] * groups,
            "seconds": 1.0,
            "compile_seconds": 1.0,
            "steps": 8,
        }
        record["compilations_to_measure_memory"] = 0
        return assemble(Spec(config, hp, design, seeds, None), [part], record)


@pytest.fixture
def pretended(monkeypatch):
    """Searches train nothing.  Returns: a function that sets what scores they find."""

    def pretend(*args, **kwargs):
        monkeypatch.setattr(suggest, "sweep", Pretended(*args, **kwargs))
        return suggest.sweep  # type: ignore[attr-defined]

    pretend()
    return pretend


# ---------------------------------------------------------------------------- ASKED AND TOLD


def test_the_same_arguments_suggest_the_same_settings(pretended):
    first, again = (search(CONFIG, SPACE, **SIZES) for _ in range(2))
    assert first.study.design == again.study.design
    assert first.best == again.best
    other = search(CONFIG, SPACE, **SIZES, sample_seed=1)
    assert other.study.design != first.study.design


def test_a_sampler_of_ones_own_stays_as_it_was(pretended):
    own = optuna.samplers.RandomSampler(seed=3)
    first, again = (search(CONFIG, SPACE, **SIZES, suggest=own) for _ in range(2))
    assert first.study.design == again.study.design
    assert isinstance(first.optuna.sampler, optuna.samplers.RandomSampler)


def test_suggestions_close_in_on_the_optimum(pretended):
    space = {**SPACE, "policy_lr": LogUniform(1e-6, 1.0)}
    found = search(CONFIG, space, 2, rounds=8, batch=8)
    distance = np.abs(np.log10([s["policy_lr"] for s in found.study.design.settings()]) + 2)
    first, *_, last = distance.reshape(8, 8)
    assert last.mean() < first.mean() / 2
    assert found.score == pytest.approx(0.005 - distance.min(), abs=1e-6)
    assert found.best == found.study.design.settings()[int(distance.argmin())]
    assert found.best == found.optuna.best_params


def test_a_batch_holds_no_setting_twice(pretended):
    found = search(CONFIG, {"policy_lr": Uniform(0.001, 1.0)}, 1, rounds=3, batch=16)
    assert len(set(found.study.design.axes[0].points)) == 48


def test_the_score_is_the_interquartile_mean_with_lost_runs_as_the_worst():
    nan = np.nan
    scores = np.asarray([[1, 2, 3, 10], [nan, 4, 5, 6], [nan] * 4, [-8, 0, 0, nan]], float)
    # -8 is the lowest of all: [-8, 4, 5, 6] and [-8, -8, 0, 0], less their ends
    np.testing.assert_array_equal(summarised(scores), [2.5, 4.5, nan, -4.0])


def test_what_is_told_is_the_score_and_a_lost_setting_is_pruned(pretended):
    def score(setting, seed):
        lost = setting["policy_lr"] > 0.1 or (setting["policy_lr"] > 0.01 and seed == 0)
        return np.nan if lost else near_a_hundredth(setting, seed)

    pretended(score)
    rounds = []
    found = search(CONFIG, SPACE, **SIZES, on_round=rounds.append)
    told = np.concatenate([r.scores for r in rounds])
    assert [r.index for r in rounds] == [0, 1, 2]
    assert [s for r in rounds for s in r.settings] == found.study.design.settings()
    lost = [setting["policy_lr"] > 0.1 for setting in found.study.design.settings()]
    assert any(lost)
    states = [trial.state.name for trial in found.optuna.trials]
    assert states == ["PRUNED" if gone else "COMPLETE" for gone in lost]
    values = [np.nan if trial.value is None else trial.value for trial in found.optuna.trials]
    np.testing.assert_array_equal(values, told)
    scores = found.study.scores()
    assert np.isnan(scores[:, 0]).sum() > sum(lost)
    for end in (4, 8, 12):  # the worst so far, as each round knew it
        np.testing.assert_array_equal(told[end - 4 : end], summarised(scores[:end])[-4:])


def test_no_score_at_all_is_no_best(pretended):
    pretended(lambda setting, seed: np.nan)
    found = search(CONFIG, SPACE, **SIZES)
    assert found.best is None
    assert np.isnan(found.score)
    assert found.study.diverged.all()


def test_options_that_optuna_does_not_know_come_back_as_they_were(pretended):
    sizes = ([8], (4, 4))
    space = {"hidden_sizes": Choice(sizes), "policy_lr": LogUniform(1e-3, 1e-1)}
    found = search(CONFIG, space, **SIZES)
    assert {s["hidden_sizes"] for s in found.study.design.settings()} == {(8,), (4, 4)}
    assert {t.params["hidden_sizes"] for t in found.optuna.trials} == {"0: (8,)", "1: (4, 4)"}


def test_optuna_says_nothing(pretended, capfd):
    verbosity = optuna.logging.get_verbosity()
    search(CONFIG, SPACE, **SIZES)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == verbosity


# ------------------------------------------------------------------------------------ TRAINING


@pytest.fixture(scope="module")
def trained():
    """A search that trains, and the programs that were compiled by the end of each round."""
    compiled = []

    def count(event, _, **__):
        if "backend_compile" in event:
            compiled.append(event)

    counts = []
    jax.monitoring.register_event_duration_secs_listener(count)
    found = search(CONFIG, SPACE, **SIZES, **WIDE, on_round=lambda _: counts.append(len(compiled)))
    return found, counts


def test_one_program_serves_all_rounds(trained):
    found, counts = trained
    assert counts[0] > 0
    assert counts[1:] == [counts[0]] * 2  # nothing at all is compiled after the first round
    assert found.study.record["compilations"] == 1
    assert found.study.record["widths"] == [4]
    assert found.study.record["steps"] == 12 * 2 * 64


def test_the_study_is_that_of_one_sweep_over_its_settings(trained):
    study = trained[0].study
    columns = {name: [s[name] for s in study.design.settings()] for name in SPACE}
    twin = sweep(CONFIG, None, 2, zip=columns, **WIDE)
    for name in ("metrics", "evaluations"):
        ours, theirs = getattr(study, name), getattr(twin, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    for name in ("steps", "updates", "num_updates", "pruned", "seeds"):
        np.testing.assert_array_equal(getattr(study, name), getattr(twin, name))
    assert study.complete
    assert study.record["complete"]


def test_tables_and_cubes_have_the_settings_along_one_axis(trained):
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    study = trained[0].study
    data = study.to_xarray()
    assert data["score"].dims == ("sample", "seed")
    rates = [setting["policy_lr"] for setting in study.design.settings()]
    np.testing.assert_array_equal(data["policy_lr"], rates)
    np.testing.assert_array_equal(study.to_dataframe()["policy_lr"], np.repeat(rates, 2))


def test_a_killed_search_goes_on_inside_its_round(trained, tmp_path):
    def kill(progress):
        if progress.runs_done == 4 and seen.count("round") == 1:
            raise KeyboardInterrupt
        seen.append(progress.status)

    def tell(_):
        seen.append("round")

    seen, folder = [], tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        search(CONFIG, SPACE, **SIZES, **WIDE, folder=folder, on_progress=kill, on_round=tell)
    half = load_study(folder)
    np.testing.assert_array_equal(half.done, np.repeat([True, False], 4)[:, None] & [True, True])

    runs = []
    found = search(
        CONFIG,
        SPACE,
        **SIZES,
        **WIDE,
        folder=folder,
        resume=True,
        on_progress=lambda progress: runs.append((progress.runs_done, progress.num_runs)),
    )
    assert runs[0] == (4, 8)  # the chunk that was done is not run again
    for study in (found.study, load_study(folder)):
        assert study.design == trained[0].study.design
        for name, values in trained[0].study.metrics.items():
            np.testing.assert_array_equal(study.metrics[name], values)
    assert load_study(folder).record["complete"]
    assert {path.name for path in folder.iterdir()} <= {"study.json", "study.nc", "parts"}


def test_static_names_cost_a_program_a_value():
    space = {"total_steps": Choice((64, 32)), "policy_lr": LogUniform(1e-3, 1e-1)}
    found = search(CONFIG, space, **SIZES, **WIDE)
    wanted = [setting["total_steps"] // 16 for setting in found.study.design.settings()]
    assert set(wanted) == {2, 4}
    np.testing.assert_array_equal(found.study.num_updates, wanted)
    assert found.study.done.all()
    assert found.study.record["compilations"] == 2
    reached = (~np.isnan(found.study.metrics["finite"])).sum(-1)
    np.testing.assert_array_equal(reached, np.repeat(wanted, 2).reshape(12, 2))


# -------------------------------------------------------------------------------------- FOLDERS


def test_finished_rounds_are_not_run_again(pretended, tmp_path):
    whole = search(CONFIG, SPACE, 2, rounds=5, batch=4)
    pretended(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s")
    assert load_study(tmp_path / "s").done.sum() == 2 * 4 * 2

    again = pretended()
    search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", resume=True)
    assert again.calls == 1
    more = search(CONFIG, SPACE, 2, rounds=5, batch=4, folder=tmp_path / "s", resume=True)
    assert again.calls == 3
    assert more.study.design == whole.study.design
    assert more.best == whole.best
    assert [t.value for t in more.optuna.trials] == [t.value for t in whole.optuna.trials]
    np.testing.assert_array_equal(load_study(tmp_path / "s").scores(), whole.study.scores())

    fewer = search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", resume=True)
    assert again.calls == 3
    assert len(fewer.study.num_updates) == 12
    assert len(load_study(tmp_path / "s").num_updates) == 20  # what is done stays done


@pytest.mark.parametrize(
    "changed",
    [
        {"space": {**SPACE, "policy_lr": LogUniform(1e-3, 1.0)}},
        {"space": {**SPACE, "gamma": Uniform(0.9, 1.0)}},
        {"num_seeds": 3},
        {"first_seed": 1},
        {"sample_seed": 1},
        {"hp": Hyperparams(value_lr=0.1)},
        {"config": VPGConfig(num_envs=4, num_steps=4, total_steps=64)},
    ],
)
def test_a_folder_goes_on_only_with_the_search_it_holds(pretended, tmp_path, changed):
    asked = {"config": CONFIG, "space": SPACE, **SIZES, "folder": tmp_path / "s"}
    search(**asked)
    before = (tmp_path / "s" / "study.json").read_bytes()
    twin = pretended()
    with pytest.raises(ValueError, match="holds another search") as refused:
        search(**asked | changed, resume=True)
    assert "\n" not in str(refused.value)
    assert twin.calls == 0
    assert (tmp_path / "s" / "study.json").read_bytes() == before


def test_a_folder_that_holds_something_is_left_alone(pretended, tmp_path):
    search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s")
    with pytest.raises(FileExistsError, match="holds a study already"):
        search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="not empty"):
            search(CONFIG, SPACE, **SIZES, folder=tmp_path / "other", resume=resume)
    a_sweep = Spec(CONFIG, Hyperparams(), make_design(zip={"gamma": [0.9]}), np.arange(2), None)
    Store(a_sweep, tmp_path / "sweep", join=False)
    with pytest.raises(ValueError, match="holds another search"):
        search(CONFIG, SPACE, **SIZES, folder=tmp_path / "sweep", resume=True)


# ------------------------------------------------------------------------------------ BAD INPUT


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"space": {}}, "space is empty"),
        ({"space": {"policy_rl": Uniform(0, 1)}}, "policy_rl is neither.*policy_lr"),
        ({"space": {"policy_lr": [0.1, 0.2]}}, r"policy_lr=\[0.1, 0.2\]; accepted: Uniform"),
        ({"space": {"env_params.gravitas": Uniform(1, 2)}}, "gravitas"),
        ({"space": {"num_envs": Choice((2, 3))}}, "num_envs=3"),
        ({"space": {"num_envs": Uniform(2, 4)}}, r"num_envs is static.*accepted: Choice"),
        ({"space": {"policy_lr": Choice(("a", "b"))}}, "policy_lr='a' is not a number"),
        ({"space": {"gamma": Choice((0.9, 0.9))}}, "gamma has 0.9 twice"),
        ({"rounds": 0}, "rounds=0 is out of range"),
        ({"batch": 0}, "batch=0 is out of range"),
        ({"batch": 2.0}, "batch=2.0 is out of range"),
        ({"num_seeds": 0}, "num_seeds=0 is out of range"),
        ({"suggest": "hyperopt"}, "suggest='hyperopt' is unknown; accepted: optuna"),
        ({"resume": True}, "pass folder="),
        ({"prune": "successive_halving"}, "a search takes no prune"),
        ({"shard": "envs", "devices": jax.devices()[:1] * 3}, "num_envs=2 over 3 devices"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(pretended, wrong, said):
    never = pretended()
    with pytest.raises((ValueError, TypeError), match=said) as refused:
        search(**{"config": CONFIG, "space": SPACE, **SIZES} | wrong)
    assert "\n" not in str(refused.value)
    assert never.calls == 0


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'purejaxvpg\[optuna\]'"):
        search(CONFIG, SPACE, **SIZES)
