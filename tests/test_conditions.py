"""Conditions: settings are compared within a world and never across, wherever they are compared."""

import json

import numpy as np
import pytest
from support import sweeps
from support.studies import make_spec, make_study

from purejaxvpg import VPGConfig
from purejaxvpg.cli.arguments import conditions_of
from purejaxvpg.experiment import Uniform, load_study, search, sweep
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.folder import existing
from purejaxvpg.experiment.policies import Block, Policies
from purejaxvpg.experiment.pruning import SuccessiveHalving, survivors_within
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec, differences
from purejaxvpg.experiment.store import Store

GRAVITY = "env_params.gravity"
GRID = {"policy_lr": [1e-3, 1e-2, 1e-1], GRAVITY: [5.0, 9.8]}
# Interquartile means of policy_lr x gravity.  The light world is the easier one, and the settings
# of the heavy world are in another order.
LEVELS = np.array([[100.0, 1.0], [300.0, 2.0], [200.0, 3.0]])


def scored(levels=LEVELS, grid=GRID, seeds=2, conditions=None, **missing):
    """A study of which every run has the score of its setting, plus 0.25 a seed."""
    spec = make_spec(grid, seeds, conditions=conditions)
    study = make_study(spec)
    scores = np.ravel(levels)[:, None, None] + 0.25 * np.arange(seeds)[:, None]
    metrics = study.metrics | {
        "episode_return_sum": np.broadcast_to(scores, study.metrics["kl"].shape) * 20,
        "episode_count": np.full(study.metrics["kl"].shape, 20.0),
    }
    return study._replace(metrics=metrics)


# ------------------------------------------------------------------------------- WHICH THEY ARE


@pytest.mark.parametrize(
    ("design", "conditions"),
    [
        ({"grid": {"policy_lr": [1, 2]}}, ()),
        ({"grid": {"env": ["A", "B"], "policy_lr": [1, 2], GRAVITY: [1]}}, ("env", GRAVITY)),
        ({"grid": {"max_episode_steps": [10, 20], "num_steps": [4, 8]}}, ("max_episode_steps",)),
        ({"zipped": {"policy_lr": [1, 2], "env": ["A", "B"]}}, ("env",)),
        ({"sample": {GRAVITY: Uniform(1, 9)}, "num_samples": 2}, (GRAVITY,)),
    ],
)
def test_names_that_make_the_world_are_conditions(design, conditions):
    assert make_design(**design).conditions == conditions


def test_a_study_can_declare_others_or_none():
    grid = {"gamma": [0.9, 0.99], "env": ["A", "B"]}
    assert make_design(grid, conditions=["gamma"]).conditions == ("gamma",)
    assert make_design(grid, conditions=["env", "gamma"]).conditions == ("gamma", "env")
    assert make_design(grid, conditions=[]).conditions == ()
    with pytest.raises(ValueError, match=r"condition gama does not vary.*did you mean gamma"):
        make_design(grid, conditions=["gama"])
    with pytest.raises(ValueError, match="condition gamma is named twice"):
        make_design(grid, conditions=["gamma", "gamma"])
    with pytest.raises(TypeError, match="conditions='env'; accepted: a list of names"):
        make_design(grid, conditions="env")


def test_on_the_command_line():
    assert conditions_of(()) is None
    assert conditions_of(("none",)) == []
    assert conditions_of(("env,gamma", "td")) == ["env", "gamma", "td"]


def test_settings_by_condition():
    """The last axis is the fastest; each condition is a product of axes again."""
    design = make_design(GRID)
    light, heavy = design.by_condition()
    assert (light.values, heavy.values) == ({GRAVITY: 5.0}, {GRAVITY: 9.8})
    assert light.settings.tolist() == [0, 2, 4]
    assert heavy.settings.tolist() == [1, 3, 5]
    whole = design.settings()
    assert design.within(heavy).settings() == [whole[h] for h in (1, 3, 5)]
    (everything,) = make_design(GRID, conditions=[]).by_condition()
    assert everything.values == {}
    assert everything.settings.tolist() == [0, 1, 2, 3, 4, 5]


def test_conditions_of_zipped_names_are_products_too():
    """1 and True are two values, though Python calls them equal."""
    design = make_design(
        {"gamma": [0.9, 0.99]},
        zipped={
            "policy_lr": [1e-3, 1e-2, 1e-1],
            "env": ["A", "B", "A"],
            "diagnostics": [1, 1, True],
        },
        conditions=["env", "diagnostics"],
    )
    conditions = design.by_condition()
    assert [c.settings.tolist() for c in conditions] == [[0, 3], [1, 4], [2, 5]]
    for condition in conditions:
        settings = design.within(condition).settings()
        assert settings == [design.settings()[h] for h in condition.settings]


# ---------------------------------------------------------------------------------- THE BEST


def test_the_best_is_of_one_condition():
    """policy_lr 1e-2 is best in the light world, 1e-1 in the heavy one."""
    study = scored()
    assert study.best_of_each().tolist() == [2, 5]
    assert study.best(**{GRAVITY: 9.8}) == 5
    assert study.best(**{GRAVITY: 9.8, "policy_lr": 1e-3}) == 1
    assert study.best_of_each(policy_lr=1e-3).tolist() == [0, 1]
    with pytest.raises(ValueError, match=rf"2 conditions \({GRAVITY}\) are left.*best_of_each"):
        study.best()
    with pytest.raises(ValueError, match="no setting of the study has policy_lr=7"):
        study.best(policy_lr=7)
    assert scored(conditions=[]).best() == 2
    assert scored(conditions=["policy_lr"]).best_of_each().tolist() == [0, 2, 4]
    assert study.with_conditions([]).best() == 2
    assert study.with_conditions([]).with_conditions(None).best_of_each().tolist() == [2, 5]
    with pytest.raises(ValueError, match="condition gamma does not vary"):
        study.with_conditions(["gamma"])


def test_a_diverged_run_is_the_worst_of_its_condition():
    """With 1, the worst of both worlds, the setting of 300 and 300 would come after the one of 200;
    with 200, the worst of its own world, it stays before."""
    study = scored(LEVELS * [[1, 1], [1, 1], [1, 1]], seeds=2)
    study.metrics["finite"][2, 1] = 0
    study.metrics["episode_return_sum"][0] = 290 * 20
    assert study.best_of_each().tolist() == [0, 5]
    study.metrics["episode_return_sum"][0] = 240 * 20
    assert study.best_of_each().tolist() == [2, 5]  # (300 + 200) / 2 is more than 240
    assert study.with_conditions([]).best() == 0  # (300 + 1) / 2 is less


def test_a_condition_without_scores_has_no_best():
    study = scored()
    study.metrics["episode_count"][1::2] = study.metrics["episode_return_sum"][1::2] = 0
    assert study.best_of_each().tolist() == [2]
    with pytest.raises(ValueError, match="2 conditions"):  # one is not judged, and not beaten
        study.best()
    with pytest.raises(ValueError, match="none is the best"):
        study.best(**{GRAVITY: 9.8})


def test_policies_to_keep_are_of_every_condition():
    """A condition without a score keeps all that it has."""
    study = scored()
    study = study._replace(policies=Policies((Block(np.arange(11), dict),)))
    assert study.best_runs().tolist() == [4, 5, 10, 11]
    study.metrics["episode_count"][1::2] = study.metrics["episode_return_sum"][1::2] = 0
    assert study.best_runs().tolist() == [4, 5, 2, 3, 6, 7, 10]
    study.metrics["episode_count"][:] = study.metrics["episode_return_sum"][:] = 0
    assert study.best_runs().tolist() == []


def test_a_condition_is_a_study_of_its_own():
    study = scored()
    runs = np.array([3, 2, 11, 0])
    study = study._replace(policies=Policies((Block(runs, lambda: {"w": 10.0 * runs}),)))
    heavy = study.within(study.design.by_condition()[1])
    assert heavy.best() == 2
    np.testing.assert_array_equal(heavy.scores(), study.scores()[1::2])
    assert heavy.setting(2) == study.setting(5)
    assert heavy.policies.runs.tolist() == [0, 1, 5]  # 2, 3 and 11 of the whole
    np.testing.assert_array_equal(heavy.policies.arrays([5, 0, 1])["w"], [110, 20, 30])


# ------------------------------------------------------------------------- OVER ALL CONDITIONS


def test_over_conditions_by_mean_rank():
    """Ranks 3, 1, 2 in the light world and 3, 2, 1 in the heavy one."""
    rows = scored().over_conditions()
    assert [row.values["policy_lr"] for row in rows] == [1e-2, 1e-1, 1e-3]
    assert [float(row.rank.value) for row in rows] == [1.5, 1.5, 3]
    assert [row.settings.tolist() for row in rows] == [[2, 3], [4, 5], [0, 1]]
    assert all(row.score is None for row in rows)


def test_normalised_scores_only_where_a_scale_is_given():
    """Scores 300, 300.25 and 2, 2.25 in bounds (100, 300) and (1, 3) are 1, 1.00125, 0.5, 0.625;
    the middle half of them is 0.625 and 1."""
    rows = scored().over_conditions(bounds=[(100, 300), (1, 3)])
    score = next(row.score for row in rows if row.values["policy_lr"] == 1e-2)
    assert score.value == pytest.approx((0.625 + 1) / 2)
    assert score.low < score.value < score.high
    for bad in ([(0, 1)], [(0, 1), (1, 1)], [(0, 1), (0, np.inf)]):
        with pytest.raises(ValueError, match=r"bounds=.*accepted: \(low, high\) of each of the 2"):
            scored().over_conditions(bounds=bad)


def test_settings_that_are_not_there_under_all_conditions_are_left_out():
    study = scored()
    study.updates[3] = 0  # policy_lr 1e-2 in the heavy world
    assert [row.values["policy_lr"] for row in study.over_conditions()] == [1e-1, 1e-3]
    paired = {"zipped": {"policy_lr": [1e-3, 1e-2], "env": ["A", "B"]}}
    design = make_design(**paired)
    assert make_study(make_spec(None, **paired)._replace(design=design)).over_conditions() == []


# ------------------------------------------------------------------------------------ PRUNING


def test_pruning_keeps_a_share_of_each_condition():
    """Compared across, the three of the light world would go on, and no one of the heavy world."""
    scores = np.repeat(np.ravel(LEVELS)[:, None], 2, 1)
    conditions = [c.settings for c in make_design(GRID).by_condition()]
    everyone = np.arange(6)
    assert survivors_within(conditions, scores, everyone, 1 / 3).tolist() == [2, 5]
    assert survivors_within(conditions, scores, everyone, 2 / 3).tolist() == [2, 3, 4, 5]
    assert survivors_within([everyone], scores, everyone, 1 / 2).tolist() == [0, 2, 4]
    assert survivors_within(conditions, scores, np.array([1, 3]), 1 / 2).tolist() == [3]


def test_pruning_that_would_compare_nothing_is_refused():
    """Every point of the sample is a world of its own."""
    sample = {"policy_lr": Uniform(0.001, 0.1), GRAVITY: Uniform(1, 9)}
    how = {"sample": sample, "num_samples": 4, "prune": "successive_halving"}
    with pytest.raises(ValueError, match=rf"no two of the 4 settings have the same {GRAVITY}"):
        sweep(sweeps.CONFIG, None, 1, **how)
    assert len(make_spec(None, sample=sample, num_samples=4, conditions=[]).compared()) == 1


def test_a_sweep_prunes_within_conditions(tmp_path):
    """The return of CartPole is the length of an episode, so all that are cut after 4 steps score
    less than those cut after 8.  Each limit loses one of its two settings."""
    grid = {"policy_lr": [1e-3, 1e-2], "env_params.max_steps_in_episode": [4, 8]}
    how = {"prune": "successive_halving", "rungs": 2, "keep": 0.5, "keep_policies": "best"}
    study = sweep(sweeps.CONFIG, grid, 1, folder=tmp_path / "study", **how, **sweeps.ONE)
    assert study.scores().reshape(2, 2).max(0)[0] <= 4 < study.scores().reshape(2, 2).min(0)[1]
    assert study.pruned.reshape(2, 2).sum(0).tolist() == [1, 1]
    assert study.policies.runs.tolist() == np.flatnonzero(~study.pruned).tolist()
    assert load_study(tmp_path / "study").best_of_each().tolist() == study.policies.runs.tolist()


# ----------------------------------------------------------------------------------- IN FILES


def test_study_json_records_them(tmp_path):
    spec = make_spec(GRID, prune=SuccessiveHalving(2, 0.5), conditions=["policy_lr"])
    Store(spec, tmp_path / "s", StudyRecord())
    fields = json.loads((tmp_path / "s" / "study.json").read_text())
    assert fields["conditions"] == ["policy_lr"]
    assert load_study(tmp_path / "s").design == spec.design
    default = make_spec(GRID, prune=SuccessiveHalving(2, 0.5))
    assert differences(spec.to_json(), default.to_json()) == "conditions"
    with pytest.raises(ValueError, match=r"another study \(its conditions differ: "):
        existing(default, tmp_path / "s", join=True)


def test_a_study_of_before_has_the_default_ones_and_goes_on_pruning_as_it_began(tmp_path):
    """Its pruning was across conditions; the settings that have gone on must be the same ones."""
    spec = make_spec(GRID, prune=SuccessiveHalving(2, 0.5))
    fields = spec.to_json()
    del fields["conditions"]
    old = Spec.from_json(fields)
    assert old.design.conditions == (GRAVITY,)
    assert [places.tolist() for places in old.compared()] == [[0, 1, 2, 3, 4, 5]]
    assert [places.tolist() for places in spec.compared()] == [[0, 2, 4], [1, 3, 5]]
    assert differences(old.to_json(), spec.to_json()) == ""
    plain = make_spec(GRID).to_json()
    del plain["conditions"]
    assert len(Spec.from_json(plain).compared()) == 2  # it was not pruned


# ------------------------------------------------------------------------------------- SEARCH


def test_a_search_does_not_look_for_the_easiest_world():
    pytest.importorskip("optuna")
    space = {"policy_lr": Uniform(0.001, 0.1), GRAVITY: Uniform(1, 9)}
    with pytest.raises(ValueError, match=rf"space has {GRAVITY}.*easiest world.*conditions=\[\]"):
        search(VPGConfig(), space, rounds=1, batch=1)
    with pytest.raises(ValueError, match=r"a search compares all .*accepted: None, or \[\]"):
        search(VPGConfig(), space, rounds=1, batch=1, conditions=["policy_lr"])
    bad = {"env_params.gravitas": Uniform(1, 9)}
    with pytest.raises(ValueError, match="gravitas"):  # past that check, and refused by the next
        search(VPGConfig(), bad, rounds=1, batch=1, conditions=[])
