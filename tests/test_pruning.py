"""Successive halving: where the rungs end, and who goes on."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purejaxvpg.experiment.pruning import (
    SuccessiveHalving,
    make_pruning,
    pruning_from_json,
    pruning_to_json,
    survivors,
)

STEADY = settings(deadline=None, derandomize=True, database=None)

NAN = np.nan


def chosen(scores, keep, alive=None):
    scores = np.asarray(scores, float)
    alive = np.arange(len(scores)) if alive is None else np.asarray(alive)
    return survivors(scores, alive, keep).tolist()


def test_rungs_end_at_powers_of_the_share_kept():
    assert SuccessiveHalving(3, 1 / 3).bounds(90) == (0, 10, 30, 90)
    assert SuccessiveHalving(3, 1 / 3).bounds(100) == (0, 11, 33, 100)
    assert SuccessiveHalving(3, 0.5).bounds(80, eval_every=10) == (0, 20, 40, 80)
    assert SuccessiveHalving(2, 0.5).bounds(80, eval_every=10) == (0, 40, 80)


def test_a_short_run_has_rungs_that_end_together():
    """So that a rung is the same share of the run for all settings, however long theirs."""
    assert SuccessiveHalving(4, 1 / 3).bounds(20, eval_every=10) == (0, 10, 10, 10, 20)
    assert SuccessiveHalving(3, 1 / 3).bounds(5, eval_every=5) == (0, 5, 5, 5)
    assert SuccessiveHalving(3, 1 / 3).bounds(1) == (0, 1, 1, 1)


@STEADY
@given(
    rungs=st.integers(2, 6),
    keep=st.floats(0.01, 0.99),
    eval_every=st.integers(0, 20),
    units=st.integers(1, 50),
    blocks=st.booleans(),
)
def test_rungs_are_whole_evaluations_ascending_to_the_end(rungs, keep, eval_every, units, blocks):
    unit = eval_every or 1
    first, *ends = SuccessiveHalving(rungs, keep, blocks).bounds(unit * units, eval_every)
    assert first == 0
    assert len(ends) == rungs
    assert ends == sorted(ends)
    assert ends[0] > 0
    assert ends[-1] == unit * units
    assert all(end % unit == 0 for end in ends)


def _ends_of_format_1(pruning, num_updates, eval_every):
    """The rungs as commit bf46240 laid them: in segments of one length, ten or more of them."""
    unit = eval_every or 1
    count = num_updates // unit
    length = max(n for n in range(1, max(count // 10, 1) + 1) if count % n == 0) * unit
    fractions = [pruning.keep ** (pruning.rungs - 1 - k) for k in range(pruning.rungs)]
    return [max(round(part * (num_updates // length)), 1) * length for part in fractions]


def test_studies_of_format_1_keep_their_rungs():
    pruning = SuccessiveHalving(3, 1 / 3, blocks=True)
    assert pruning.bounds(100) == (0, 10, 30, 100)
    for num_updates, eval_every in [(100, 0), (90, 0), (97, 0), (240, 8), (20, 10), (7, 7), (1, 0)]:
        ends = _ends_of_format_1(pruning, num_updates, eval_every)
        assert pruning.bounds(num_updates, eval_every) == (0, *ends)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_description_is_read_back(blocks):
    pruning = SuccessiveHalving(4, 0.25, blocks)
    fields = json.loads(json.dumps(pruning_to_json(pruning)))
    assert pruning_from_json(fields) == pruning
    assert fields["method"] == "successive_halving"
    assert pruning_to_json(None) is pruning_from_json(None) is None


def test_a_description_of_format_1_means_blocks():
    fields = {"method": "successive_halving", "rungs": 3, "keep": 0.5}
    assert pruning_from_json(fields) == SuccessiveHalving(3, 0.5, blocks=True)
    assert pruning_to_json(SuccessiveHalving(3, 0.5, blocks=True)) == fields


def test_the_best_share_goes_on_in_order_of_place():
    assert chosen([[1, 1], [5, 5], [3, 3], [4, 4]], 0.5) == [1, 3]
    assert chosen([[1, 1], [5, 5], [3, 3], [4, 4]], 1 / 3) == [1, 3]  # 4/3, rounded up


def test_only_those_still_in_are_compared():
    assert chosen([[9, 9], [5, 5], [3, 3], [4, 4]], 0.5, alive=[2, 3]) == [3]
    assert chosen([[9, 9], [5, 5], [3, 3], [NAN, NAN]], 0.6, alive=[1, 2]) == [1, 2]


def test_the_interquartile_mean_ranks_and_not_the_mean():
    """One lucky seed of four is left out of it: means 25 and 3, interquartile means 0 and 3."""
    assert chosen([[0, 0, 0, 100], [3, 3, 3, 3]], 0.5) == [1]


def test_a_diverged_run_counts_as_the_worst_of_all():
    """The mean of what is left would be 10 against 6; with the worst, 1, it is 5.5."""
    assert chosen([[10, NAN], [6, 6], [1, 1]], 1 / 3) == [1]


@pytest.mark.parametrize("lost", [NAN, np.inf, -np.inf])
def test_a_diverged_setting_goes_after_the_worst_that_did_not(lost):
    """Its runs count as much as the worst of all, so it ties with it, and must not win the tie."""
    assert chosen([[lost], [5]], 0.5) == [1]
    assert chosen([[lost, lost], [2, lost], [2, 2], [9, 9]], 0.75) == [1, 2, 3]
    assert chosen([[lost, lost], [2, 2], [9, 9]], 2 / 3) == [1, 2]


def test_of_equal_settings_the_earlier_goes_on():
    assert chosen([[1, 1], [2, 2], [2, 2], [2, 2]], 0.5) == [1, 2]


def test_settings_that_all_diverged_are_cut_like_any():
    assert chosen(np.full((4, 3), NAN), 0.5) == [0, 1]


def test_at_least_one_goes_on():
    assert chosen([[1], [2]], 0.01) == [1]
    assert chosen([[NAN]], 0.01) == [0]


@pytest.mark.parametrize(
    ("number", "keep", "expected"), [(100, 0.07, 7), (9, 1 / 3, 3), (27, 1 / 3, 9)]
)
def test_rounding_keeps_nobody_more(number, keep, expected):
    """0.07 * 100 is 7.000000000000001 in floating point."""
    assert chosen(np.arange(number)[:, None], keep) == list(range(number - expected, number))


def test_no_method_prunes_nothing():
    assert make_pruning(None, 0, 9.0) is None


def test_numbers_are_kept_as_given():
    assert make_pruning("successive_halving", 4, 0.5) == SuccessiveHalving(4, 0.5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("hyperband", 3, 0.5), "prune='hyperband' is unknown; accepted: successive_halving"),
        ((True, 3, 0.5), "prune=True is unknown"),
        (("successive_halving", 1, 0.5), "rungs=1 is out of range; accepted: an integer >= 2"),
        (("successive_halving", 2.5, 0.5), "rungs=2.5 is out of range"),
        (("successive_halving", 3, 0), "keep=0 is out of range"),
        (("successive_halving", 3, 1), "keep=1 is out of range"),
        (("successive_halving", 3, NAN), "keep=nan is out of range"),
        (("successive_halving", 3, "half"), "keep='half' is out of range"),
    ],
)
def test_bad_pruning_is_one_line(arguments, match):
    with pytest.raises(ValueError, match=match) as caught:
        make_pruning(*arguments)
    assert "\n" not in str(caught.value)


def test_a_run_that_ended_no_episode_yet_does_not_count():
    """A policy that lasts longer has fewer ends early on; that must not count against it."""
    scores = np.array([[NAN, 9.0], [5.0, 5.0], [1.0, 1.0]])
    none = np.zeros((3, 2), bool)
    assert survivors(scores, np.arange(3), 1 / 3, none).tolist() == [0]
    assert survivors(scores, np.arange(3), 1 / 3).tolist() == [1]  # as diverged it is the worst


def test_all_go_on_where_a_setting_has_nothing_to_be_judged_by():
    scores = np.array([[NAN, NAN], [5.0, 5.0], [1.0, 1.0]])
    none = np.zeros((3, 2), bool)
    assert survivors(scores, np.arange(3), 1 / 3, none).tolist() == [0, 1, 2]
    assert survivors(scores, np.array([1, 2]), 1 / 3, none).tolist() == [1]
    lost = np.array([[True, True], [False, False], [False, False]])
    assert survivors(scores, np.arange(3), 1 / 3, lost).tolist() == [1]


def test_the_number_that_goes_on_to_the_end():
    assert SuccessiveHalving(3, 1 / 3).smallest(27) == 3
    assert SuccessiveHalving(2, 0.5).smallest(5) == 3
    assert SuccessiveHalving(5, 0.1).smallest(7) == 1
