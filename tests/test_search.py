"""Searches: what is asked and told, and one program for all rounds."""

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.searches import CONFIG, SIZES, SPACE, WIDE, near_a_hundredth, pretend_to_train

from purejaxvpg.experiment import Choice, LogUniform, Uniform, load_study, search, sweep
from purejaxvpg.experiment.searching import summarised

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")


@pytest.fixture
def pretended(monkeypatch):
    """Searches train nothing.  Returns: a function that sets the scores of their runs."""
    return pretend_to_train(monkeypatch)


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
    assert found.study.record.compilations == 1
    assert found.study.record.widths == [4]
    assert found.study.record.steps == 12 * 2 * 64


def test_the_study_is_that_of_one_sweep_over_its_settings(trained):
    study = trained[0].study
    columns = {name: [s[name] for s in study.design.settings()] for name in SPACE}
    twin = sweep(CONFIG, None, 2, zipped=columns, **WIDE)
    assert_same_bits(study.metrics, twin.metrics)
    assert_same_bits(study.evaluations, twin.evaluations)
    assert_same_bits(study.policies.arrays(range(24)), twin.policies.arrays(range(24)))
    for name in ("steps", "updates", "num_updates", "pruned", "seeds"):
        np.testing.assert_array_equal(getattr(study, name), getattr(twin, name))
    assert study.complete
    assert study.record.complete


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
        if progress.runs_done == 12 and seen.count("round") == 1:
            raise KeyboardInterrupt
        seen.append(progress.status)

    def tell(_):
        seen.append("round")

    seen, folder = [], tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        search(CONFIG, SPACE, **SIZES, **WIDE, folder=folder, on_progress=kill, on_round=tell)
    half = load_study(folder)
    assert half.done[:, 0].tolist() == half.done[:, 1].tolist() == [True] * 6 + [False] * 2

    told = []
    found = search(
        CONFIG,
        SPACE,
        **SIZES,
        **WIDE,
        folder=folder,
        resume=True,
        on_progress=told.append,
    )
    first = next(progress for progress in told if progress.num_runs)
    assert (first.runs_done, first.num_runs) == (12, 16)  # what was done is not run again
    for study in (found.study, load_study(folder)):
        assert study.design == trained[0].study.design
        for name, values in trained[0].study.metrics.items():
            np.testing.assert_array_equal(study.metrics[name], values)
    assert load_study(folder).record.complete
    names = {path.name for path in folder.iterdir()}
    assert names <= {".lock", "study.json", "study.nc", "metrics.jsonl", "parts", "policies"}


def test_a_search_that_is_stopped_returns_what_it_has(trained):
    """In its second round: no setting without all of its updates is told, or the best."""
    seen, rounds = [], []

    def stop(segment):
        seen.append(segment.updates)
        return len(seen) == 2 * 4 + 4 + 3  # two chunks of round 1, one of round 2, and a half

    hooks = {"on_segment": stop, "on_round": rounds.append}
    stopped = search(CONFIG, SPACE, **SIZES, **WIDE, **hooks)
    study = stopped.study
    np.testing.assert_array_equal(study.updates[:, 0], [4] * 6 + [3] * 2)
    assert [r.index for r in rounds] == [0]
    assert stopped.score == summarised(study.scores())[study.done.all(1)].max()
    assert study.design.settings() == trained[0].study.design.settings()[:8]
    for name, values in trained[0].study.metrics.items():
        np.testing.assert_array_equal(study.metrics[name][:6], values[:6], err_msg=name)


def test_static_names_cost_a_program_a_value():
    space = {"total_steps": Choice((64, 32)), "policy_lr": LogUniform(1e-3, 1e-1)}
    found = search(CONFIG, space, **SIZES, **WIDE)
    wanted = [setting["total_steps"] // 16 for setting in found.study.design.settings()]
    assert set(wanted) == {2, 4}
    np.testing.assert_array_equal(found.study.num_updates, wanted)
    assert found.study.done.all()
    assert found.study.record.compilations == 2
    reached = (~np.isnan(found.study.metrics["finite"])).sum(-1)
    np.testing.assert_array_equal(reached, np.repeat(wanted, 2).reshape(12, 2))
