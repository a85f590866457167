"""Parts of a study as one cube: each number in its place, NaN where none reaches."""

import numpy as np
from support.studies import EVALUATING, PRUNE, assert_same_study, make_part, make_spec, make_study

SPEC = make_spec()


def test_parts_go_to_their_runs_and_updates():
    parts = [make_part(SPEC, [2, 1], 0, 2), make_part(SPEC, [1], 2, 4), make_part(SPEC, [3])]
    study = make_study(SPEC, parts)
    np.testing.assert_array_equal(study.updates, [[0, 4], [2, 4]])
    whole = make_study(SPEC).metrics["kl"]
    expected = np.where(np.arange(4) < study.updates[..., None], whole, np.nan)
    np.testing.assert_array_equal(study.metrics["kl"], expected)
    np.testing.assert_array_equal(study.done, [[False, True], [False, True]])
    np.testing.assert_array_equal(study.steps, [[32, 64, 96, 128]] * 2)


def test_the_order_of_parts_is_nothing():
    spec = make_spec(config=EVALUATING)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [0, 1], 2, 4), make_part(spec, [2, 3])]
    assert_same_study(make_study(spec, parts), make_study(spec, parts[::-1]))
    assert_same_study(make_study(spec, parts), make_study(spec))


def test_what_comes_after_a_lost_part_does_not_count():
    """A part of a rung is lost: the run is run again, and until then it ends before the gap."""
    spec = make_spec(config=EVALUATING, prune=PRUNE)
    parts = [make_part(spec, [0], 0, 2), make_part(spec, [0, 1], 2, 4), make_part(spec, [2, 3])]
    study = make_study(spec, parts, complete=True, settings_at_the_end=[0, 1])
    np.testing.assert_array_equal(study.updates, [[4, 0], [4, 4]])
    assert np.isnan(study.metrics["kl"][0, 1]).all()
    assert np.isnan(study.evaluations["returns"][0, 1]).all()
    assert not study.complete


def test_settings_with_fewer_updates_have_nan_beyond_their_end():
    spec = make_spec({"num_envs": [4, 2]})  # U = 4 and 8
    study = make_study(spec)
    assert study.metrics["kl"].shape == (2, 2, 8)
    assert np.isnan(study.metrics["kl"][0, :, 4:]).all()
    assert np.isfinite(study.metrics["kl"][0, :, :4]).all()
    assert np.isfinite(study.metrics["kl"][1]).all()
    np.testing.assert_array_equal(study.num_updates, [4, 8])
    np.testing.assert_array_equal(study.steps[0], [32, 64, 96, 128] + [np.nan] * 4)
    np.testing.assert_array_equal(study.steps[1], np.arange(16, 129, 16))
    assert study.complete


def test_evaluations_go_to_their_place_padded_with_nan():
    """V = 2, 1, 0 and E = 3, 2, 0 by setting."""
    axes = {"eval_every": [2, 4, 0], "eval_episodes": [3, 2, 5]}
    spec = make_spec(grid={}, zipped=axes, config=EVALUATING)
    study = make_study(spec)
    returns = study.evaluations["returns"]  # [3, 2, 2, 3]
    np.testing.assert_array_equal(returns[0, 1], [[1, 2, 3], [1.25, 2.25, 3.25]])
    np.testing.assert_array_equal(returns[1, 0], [[2, 3, np.nan], [np.nan] * 3])
    assert np.isnan(returns[2]).all()
    assert study.evaluations["finished"].dtype == np.float32
    later = make_study(spec, [make_part(spec, [0, 1], 2, 4), make_part(spec, [0, 1], 0, 2)])
    np.testing.assert_array_equal(later.evaluations["returns"][0], returns[0])


def test_evaluations_of_a_part_that_ends_between_two_go_to_their_place():
    """A stop after three updates, evaluated at the second: V = 1 so far."""
    spec = make_spec(grid={}, num_seeds=1, config=EVALUATING)
    part = make_part(spec, [0], 0, 3)
    part = part._replace(evaluations=type(part.evaluations)(*[x[:, :1] for x in part.evaluations]))
    returns = make_study(spec, [part]).evaluations["returns"][0, 0]
    np.testing.assert_array_equal(returns, [[0, 1, 2], [np.nan] * 3])


def test_a_study_that_never_evaluates_has_no_evaluations():
    assert make_study(SPEC).evaluations == {}


# --------------------------------------------------------------------------------------- PRUNED


def pruned_study(keep_first=True, **record):
    """Two settings; the second stopped after update 2."""
    spec = make_spec(prune=PRUNE)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [2, 3], 0, 2)]
    parts += [make_part(spec, [0, 1], 2, 4)] if keep_first else []
    return make_study(spec, parts, **record)


def test_a_study_with_settings_stopped_by_pruning_is_complete():
    study = pruned_study(complete=True, settings_at_the_end=[0])
    np.testing.assert_array_equal(study.pruned, [False, True])
    np.testing.assert_array_equal(study.done, [[True, True], [False, False]])
    assert study.complete


def test_an_interrupted_study_has_nothing_pruned_yet():
    study = pruned_study(complete=False, settings_at_the_end=[0, 1])
    assert not study.pruned.any()
    assert not study.complete
    assert not pruned_study().pruned.any()


def test_a_survivor_whose_part_is_lost_is_not_called_pruned():
    study = pruned_study(keep_first=False, complete=True, settings_at_the_end=[0])
    np.testing.assert_array_equal(study.pruned, [False, True])
    assert not study.complete
