"""Policies that a study keeps: of every run that is done, of the best setting, or none."""

import itertools

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import Seen, stop_after
from support.sweeps import CONFIG, ONE

from purejaxvpg import Hyperparams, make_evaluate
from purejaxvpg.experiment import load_study, merge, sweep, train
from purejaxvpg.experiment.evaluation import evaluate_setting, evaluation_keys, policies_of

GRID = {"policy_lr": [1e-3, 1e-2, 3e-2]}
RUNS = np.arange(6)


@pytest.fixture(scope="module")
def whole():
    """Three settings, two seeds, and the state of every run at its end."""
    seen = Seen()
    study = sweep(CONFIG, GRID, 2, on_segment=seen, **ONE)
    ends = [segment for segment in seen if segment.updates == segment.num_updates]
    states = {
        int(run): jax.tree.map(lambda x, row=row: x[row], segment.state)
        for segment in ends
        for row, run in enumerate(segment.runs)
    }
    return study, states


def run(**how):
    return sweep(CONFIG, GRID, 2, **ONE, **how)


def names(folder):
    """Files of policies in a folder."""
    return sorted(path.name for path in folder.glob("policies/*"))


# ---------------------------------------------------------------------------------------- ALL


def test_the_policies_of_all_runs_are_those_at_the_end(whole):
    study, states = whole
    assert study.policies.runs.tolist() == RUNS.tolist()
    for h, s in itertools.product(range(3), range(2)):
        params, obs_stats = policies_of(study, h, study.seeds[[s]])
        state = states[int(study.index.of_settings([h])[s])]
        assert_same_bits(jax.tree.map(lambda x: x[0], params), state.params.policy)
        assert_same_bits(jax.tree.map(lambda x: np.asarray(x)[0], obs_stats), state.obs_stats)


def test_a_policy_that_is_kept_acts_as_the_trained_one(whole):
    study, states = whole
    outcome = evaluate_setting(study, 1, num_episodes=3, seed=5)
    config, hp = study.setting(1)
    assert hp.policy_lr == 1e-2
    evaluate = jax.jit(make_evaluate(config, 3, True))
    for s, key in enumerate(evaluation_keys(study.seeds, 5)):
        state = states[2 + s]
        expected = evaluate(key, state.params.policy, state.obs_stats, hp)
        assert_same_bits(jax.tree.map(lambda x, s=s: x[s], outcome), expected)


@pytest.mark.parametrize("keep", [None, "all"])
def test_all_are_kept_unless_asked_otherwise(whole, tmp_path, keep):
    study = run(folder=tmp_path / "study", keep_policies=keep)
    for kept in (study, load_study(tmp_path / "study")):
        assert_same_bits(kept.policies.arrays(RUNS), whole[0].policies.arrays(RUNS))
        assert kept.record.keep_policies == "all"
    parts = sorted(path.name for path in (tmp_path / "study" / "parts").iterdir())
    assert names(tmp_path / "study") == parts  # beside each part


def test_policies_come_in_the_order_asked(whole):
    study, _ = whole
    each = {int(run): study.policies.arrays([run]) for run in RUNS}
    mixed = study.policies.arrays([4, 0, 4])
    for name, x in mixed.items():
        expected = [each[4][name][0], each[0][name][0], each[4][name][0]]
        np.testing.assert_array_equal(x, np.stack(expected))


# --------------------------------------------------------------------------------- BEST, NONE


def test_of_the_best_setting_alone(whole, tmp_path):
    """In memory and in a folder: exactly its seeds."""
    best = whole[0].best()
    runs = whole[0].index.of_settings([best])
    study = run(folder=tmp_path / "study", keep_policies="best")
    for kept in (run(keep_policies="best"), study, load_study(tmp_path / "study")):
        assert kept.best() == best
        assert kept.policies.runs.tolist() == runs.tolist()
        assert_same_bits(kept.policies.arrays(runs), whole[0].policies.arrays(runs))
        evaluate_setting(kept, best, num_episodes=1)
        with pytest.raises(ValueError, match=r"the policy of run \d is not kept") as error:
            evaluate_setting(kept, (best + 1) % 3)
        assert "\n" not in str(error.value)
    assert names(tmp_path / "study") == ["best.npz"]


def test_none(tmp_path):
    study = run(folder=tmp_path / "study", keep_policies="none")
    for kept in (run(keep_policies="none"), study, load_study(tmp_path / "study")):
        assert kept.complete
        assert kept.policies.runs.tolist() == []
        with pytest.raises(ValueError, match="keep_policies left it out"):
            evaluate_setting(kept, 0)
    assert not (tmp_path / "study" / "policies").exists()


def test_other_words_are_refused(tmp_path):
    with pytest.raises(ValueError, match="keep_policies='some' is unknown; choose one of: all"):
        run(folder=tmp_path / "study", keep_policies="some")
    assert not (tmp_path / "study").exists()


def test_if_no_setting_has_a_score_all_are_kept(tmp_path):
    """Every run diverges: none of them is the best."""
    hopeless = {"policy_lr": [1e30, 2e30]}
    study = sweep(CONFIG, hopeless, 1, folder=tmp_path / "s", keep_policies="best", **ONE)
    assert study.diverged.all()
    assert study.policies.runs.tolist() == [0, 1]
    assert load_study(tmp_path / "s").policies.runs.tolist() == [0, 1]


# ------------------------------------------------------------------- RESUMED, MERGED, PRUNED


def in_second_chunk(segment):
    return segment.runs[0] == 2 and segment.updates >= 3


@pytest.mark.parametrize("keep", ["all", "best", "none"])
def test_a_study_that_goes_on_keeps_what_it_was_begun_to_keep(whole, tmp_path, keep):
    folder = tmp_path / "study"
    run(folder=folder, keep_policies=keep, on_segment=in_second_chunk)
    so_far = [] if keep == "none" else [0, 1]
    assert load_study(folder).policies.runs.tolist() == so_far  # of the runs that are done
    study = run(folder=folder, resume=True)
    best = whole[0].index.of_settings([whole[0].best()]).tolist()
    expected = {"all": RUNS.tolist(), "best": best, "none": []}[keep]
    for kept in (study, load_study(folder)):
        assert kept.record.keep_policies == keep
        assert kept.policies.runs.tolist() == expected
        if expected:
            assert_same_bits(kept.policies.arrays(expected), whole[0].policies.arrays(expected))


@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_study_that_is_done_has_its_policies_when_it_is_resumed(tmp_path, keep):
    study = run(folder=tmp_path / "study", keep_policies=keep)
    again = run(folder=tmp_path / "study", resume=True)
    assert again.policies.runs.tolist() == study.policies.runs.tolist()
    arrays = (x.policies.arrays(study.policies.runs) for x in (study, again))
    assert_same_bits(*arrays)


def test_one_may_choose_otherwise_when_it_goes_on(whole, tmp_path):
    folder = tmp_path / "study"
    run(folder=folder, keep_policies="none", on_segment=in_second_chunk)
    study = run(folder=folder, resume=True, keep_policies="all")
    assert study.policies.runs.tolist() == [2, 3, 4, 5]  # those of before are gone
    assert load_study(folder).record.keep_policies == "all"
    arrays = (x.policies.arrays([2, 3, 4, 5]) for x in (study, whole[0]))
    assert_same_bits(*arrays)


def test_shards_bring_theirs_together(whole, tmp_path):
    for i in range(2):
        share = run(folder=tmp_path / str(i), shard=(i, 2))
        assert share.policies.runs.tolist() == RUNS[3 * i : 3 * i + 3].tolist()
        run(folder=tmp_path / "one", shard=f"{i}/2")
    merged = merge(tmp_path / "all", [tmp_path / "1", tmp_path / "0"])
    for study in (merged, load_study(tmp_path / "all"), load_study(tmp_path / "one")):
        assert_same_bits(study.policies.arrays(RUNS), whole[0].policies.arrays(RUNS))


@pytest.mark.parametrize("folder", [None, "study"])
def test_settings_that_were_pruned_keep_none(whole, tmp_path, folder):
    """A policy half way is none of a run that is done."""
    folder = folder and tmp_path / folder
    how = {"prune": "successive_halving", "rungs": 2, "keep": 0.5, "folder": folder}
    study = run(**how)
    alive = study.index.of_settings(np.flatnonzero(~study.pruned))
    assert 0 < len(alive) < 6
    for kept in [study] if folder is None else [study, load_study(folder)]:
        assert kept.policies.runs.tolist() == alive.tolist()
        assert_same_bits(kept.policies.arrays(alive), whole[0].policies.arrays(alive))
    if folder:
        merged = merge(tmp_path / "all", [folder])
        assert merged.policies.runs.tolist() == alive.tolist()


def test_a_run_that_was_stopped_has_no_policy_in_its_folder(tmp_path):
    train(CONFIG, folder=tmp_path / "run", on_segment=stop_after(4), **ONE)
    assert load_study(tmp_path / "run").policies.runs.tolist() == []
    with pytest.raises(ValueError, match="the run is not done"):
        evaluate_setting(load_study(tmp_path / "run"))


# ------------------------------------------------------------------------------------- DAMAGE


def test_a_damaged_file_is_named_and_the_numbers_are_read(tmp_path):
    study = run(folder=tmp_path / "study")
    path = tmp_path / "study" / "policies" / names(tmp_path / "study")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    back = load_study(tmp_path / "study")
    np.testing.assert_array_equal(back.metrics["kl"], study.metrics["kl"])
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read: damaged") as error:
        back.policies.arrays(RUNS)
    assert "\n" not in str(error.value)


def test_damaged_best_policies_are_left_out_with_a_warning(tmp_path):
    run(folder=tmp_path / "study", keep_policies="best")
    path = tmp_path / "study" / "policies" / "best.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"best.npz cannot be read: damaged.* are left out"):
        back = load_study(tmp_path / "study")
    assert back.complete
    assert back.policies.runs.tolist() == []


@pytest.mark.filterwarnings("ignore:.*best policies are left out:UserWarning")
@pytest.mark.parametrize("keep", ["all", "best"])
def test_policies_of_another_study_are_not_taken(tmp_path, keep):
    """They have the same names and shapes."""
    run(folder=tmp_path / "a", keep_policies=keep)
    other = Hyperparams(gamma=0.5)
    sweep(CONFIG, GRID, 2, hp=other, folder=tmp_path / "b", keep_policies=keep, **ONE)
    for path in (tmp_path / "b" / "policies").iterdir():
        (tmp_path / "a" / "policies" / path.name).write_bytes(path.read_bytes())
    back = load_study(tmp_path / "a")
    runs = back.index.of_settings([back.best()])
    with pytest.raises(ValueError, match=r"belongs to another study|is not kept"):
        back.policies.arrays(runs)


# --------------------------------------------------------------------------------- EVALUATION


def test_evaluation_draws_nothing_that_training_drew():
    """fold_in(key, i) is split(key, n)[i]: the careless choice would reuse a training key."""
    seeds = np.arange(4)
    training = [jax.random.split(jax.random.key(seed), 64) for seed in seeds]
    used = {tuple(row) for keys in training for row in jax.random.key_data(keys).tolist()}
    assert tuple(jax.random.key_data(jax.random.fold_in(jax.random.key(0), 1)).tolist()) in used
    for seed in range(3):
        rows = {tuple(row) for row in jax.random.key_data(evaluation_keys(seeds, seed)).tolist()}
        assert len(rows) == 4
        assert not rows & used


def test_a_seed_that_is_not_in_the_study_is_refused(whole):
    with pytest.raises(ValueError, match="seed=9 is not in the study; accepted: 0 to 1"):
        policies_of(whole[0], 0, np.asarray([0, 9]))
