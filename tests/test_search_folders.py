"""Searches in folders: they go on where they were; and what no search can be."""

import sys

import jax
import numpy as np
import pytest
from support.searches import CONFIG, SIZES, SPACE, pretend_to_train

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment import Choice, LogUniform, Uniform, load_study, search
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.store import Store

pytest.importorskip("optuna", reason="the extra optuna is not installed")


@pytest.fixture
def pretended(monkeypatch):
    """Searches train nothing.  Returns: a function that sets the scores of their runs."""
    return pretend_to_train(monkeypatch)


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


def test_a_search_has_its_folder_from_the_first_round_to_the_last(pretended, tmp_path):
    """A second process would write study.json back to fewer settings, between two rounds."""
    lines = []

    def second(_):
        with pytest.raises(OSError, match="is in use by process") as error:
            search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", resume=True)
        lines.append(str(error.value))

    search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", on_round=second)
    assert len(lines) == 3
    assert pretended().calls == 0
    assert search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", resume=True).study.complete


def test_a_search_leaves_a_folder_of_something_else_alone(pretended, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty, and no study"):
        search(CONFIG, SPACE, **SIZES, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_policies_of_all_rounds_are_kept(pretended, tmp_path):
    """In memory, in a folder, and where a damaged part of an early round is run again."""
    runs, folder = range(24), tmp_path / "s"
    inside = search(CONFIG, SPACE, **SIZES).study
    kept = search(CONFIG, SPACE, **SIZES, folder=folder).study
    first = next(path for path in (folder / "parts").glob("*") if 0 in np.load(path)["runs"])
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="is left out, its runs are run again"):
        mended = search(CONFIG, SPACE, **SIZES, folder=folder, resume=True).study
    for study in (inside, kept, mended, load_study(folder)):
        np.testing.assert_array_equal(study.policies.arrays(runs)["params/w"][:, 0], runs)


def test_only_the_best_policies_are_kept_if_wanted(pretended, tmp_path):
    search(CONFIG, SPACE, **SIZES, folder=tmp_path / "s", keep_policies="best")
    study = load_study(tmp_path / "s")
    best = study.index.of_settings([study.best()])
    np.testing.assert_array_equal(study.policies.runs, best)
    np.testing.assert_array_equal(study.policies.arrays(best)["params/w"][:, 0], best)


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
    a_sweep = Spec(CONFIG, Hyperparams(), make_design(zipped={"gamma": [0.9]}), np.arange(2))
    Store(a_sweep, tmp_path / "sweep", StudyRecord())
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
        ({"split": "envs", "devices": jax.devices()[:1] * 3}, "num_envs=2 over 3 devices"),
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
