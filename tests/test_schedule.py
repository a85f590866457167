"""The work that is left, and runs by number: pure functions that need no jax."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purejaxvpg.experiment.pruning import SuccessiveHalving
from purejaxvpg.experiment.runs import RunIndex, parse_shard
from purejaxvpg.experiment.schedule import Track, Work, pending

STEADY = settings(deadline=None, derandomize=True, database=None)

INDEX = RunIndex(num_settings=4, num_seeds=3)
# Two programs: settings 0 and 2 train for 9 updates, settings 1 and 3 for 6; three rungs each.
TRACKS = [Track((0, 2), (0, 1, 3, 9)), Track((1, 3), (0, 1, 2, 6))]
ALL = np.arange(4)


def nothing(start, end):
    """No run has been through any span."""
    return set()


def described(work):
    """The fields of each item, with its runs as a list."""
    return [(w.group, w.runs.tolist(), w.start, w.end, w.num_runs) for w in work]


def test_it_is_imported_without_jax():
    code = "import sys, purejaxvpg.experiment.schedule; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False"], done.stderr


# --------------------------------------------------------------------------------------- WORK


def test_a_rung_takes_every_group_through_its_span():
    runs = [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]
    spans = [[(0, 1), (0, 1)], [(1, 3), (1, 2)], [(3, 9), (2, 6)]]
    for rung in range(3):
        work = pending(TRACKS, INDEX, rung, ALL, nothing)
        assert described(work) == [(g, runs[g], *spans[rung][g], 6) for g in range(2)]


def test_runs_that_are_done_are_left_out_and_counted():
    """By span: a run that is through the first rung is not through the second."""

    def done(start, end):
        return {(0, 1): {0, 7, 9}, (1, 2): {3, 4, 5, 9, 10, 11}}.get((start, end), set())

    first = [(0, [1, 2, 6, 8], 0, 1, 6), (1, [3, 4, 5, 10, 11], 0, 1, 6)]
    assert described(pending(TRACKS, INDEX, 0, ALL, done)) == first
    second = [(0, [0, 1, 2, 6, 7, 8], 1, 3, 6), (1, [], 1, 2, 6)]
    assert described(pending(TRACKS, INDEX, 1, ALL, done)) == second


def test_settings_that_pruning_has_stopped_are_left_out():
    work = pending(TRACKS, INDEX, 1, np.array([2, 3]), nothing)
    assert described(work) == [(0, [6, 7, 8], 1, 3, 3), (1, [9, 10, 11], 1, 2, 3)]
    assert [w.group for w in pending(TRACKS, INDEX, 1, np.array([3]), nothing)] == [1]
    assert pending(TRACKS, INDEX, 1, np.array([], int), nothing) == []


def test_equal_bounds_do_nothing():
    """Rungs of a short run end together; its runs count, and none is left to do."""
    short = [Track((0, 1, 2, 3), (0, 2, 2, 5))]
    runs = list(range(12))
    work = [described(pending(short, INDEX, rung, ALL, nothing))[0] for rung in range(3)]
    assert work == [(0, runs, 0, 2, 12), (0, [], 2, 2, 12), (0, runs, 2, 5, 12)]


def test_a_shard_computes_its_own_runs_alone():
    """12 runs over 5 shards: 2, 2, 3, 2, 3 of them in a row; group 0 has settings 0 and 2."""
    shards = [pending(TRACKS, INDEX, 0, ALL, nothing, (i, 5)) for i in range(5)]
    assert described(shards[0]) == [(0, [0, 1], 0, 1, 2)]
    assert described(shards[1]) == [(0, [2], 0, 1, 1), (1, [3], 0, 1, 1)]
    assert described(shards[2]) == [(0, [6], 0, 1, 1), (1, [4, 5], 0, 1, 2)]
    assert [sum(w.num_runs for w in work) for work in shards] == [2, 2, 3, 2, 3]


@st.composite
def studies(draw):
    """(tracks, index, alive, runs done): settings in groups at random, each with bounds."""
    num_settings, num_seeds = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    groups = draw(st.lists(st.integers(0, 3), min_size=num_settings, max_size=num_settings))
    rungs = SuccessiveHalving(2, draw(st.floats(0.1, 0.9)))
    tracks = [
        Track(
            tuple(h for h in range(num_settings) if groups[h] == g),
            rungs.bounds(draw(st.integers(1, 30))),
        )
        for g in sorted(set(groups))
    ]
    alive = draw(st.sets(st.integers(0, num_settings - 1)))
    done = draw(st.sets(st.integers(0, num_settings * num_seeds - 1)))
    return tracks, RunIndex(num_settings, num_seeds), np.array(sorted(alive), int), done


@STEADY
@given(studies(), st.integers(0, 1), st.integers(1, 20))
def test_shards_share_the_work_out_and_leave_none(study, rung, number):
    tracks, index, alive, finished = study

    def done(start, end):
        return finished

    whole = pending(tracks, index, rung, alive, done)
    shards = [pending(tracks, index, rung, alive, done, (i, number)) for i in range(number)]
    for work in whole:
        parts = [w for shard in shards for w in shard if w.group == work.group]
        runs = np.concatenate([part.runs for part in parts])
        assert sorted(runs) == work.runs.tolist()  # all of them, and none twice
        assert sum(part.num_runs for part in parts) == work.num_runs
        assert {(part.start, part.end) for part in parts} == {(work.start, work.end)}
    assert {w.group for shard in shards for w in shard} == {w.group for w in whole}
    wanted = set(index.of_settings(alive).tolist())
    busy = [w for w in whole if w.start < w.end]
    idle = index.of_settings([h for w in whole if w.start == w.end for h in tracks[w.group][0]])
    runs = [run for w in busy for run in w.runs.tolist()]
    assert sorted(runs) == sorted(wanted - finished - set(idle.tolist()))
    assert all(not len(w.runs) for w in whole if w.start == w.end)


@STEADY
@given(studies())
def test_the_order_of_rungs_leaves_nothing_undone(study):
    """Doing what is pending, rung after rung, ends at U with every span done once."""
    tracks, index, _, _ = study
    through: dict[tuple[int, int], set[int]] = {}

    def done(start, end):
        return through.get((start, end), set())

    alive, updates = np.arange(index.num_settings), np.zeros(len(index), int)
    for rung in range(2):
        for work in pending(tracks, index, rung, alive, done):
            assert (updates[work.runs] == work.start).all()
            updates[work.runs] = work.end
            through.setdefault((work.start, work.end), set()).update(work.runs.tolist())
        again = pending(tracks, index, rung, alive, done)
        assert not any(len(work.runs) for work in again)
    for track in tracks:
        assert (updates[index.of_settings(track.settings)] == track.bounds[-1]).all()


# --------------------------------------------------------------------------------------- RUNS


def test_runs_by_number_by_hand():
    assert len(INDEX) == 12
    assert INDEX.of_settings([2, 0]).tolist() == [6, 7, 8, 0, 1, 2]
    assert INDEX.of_settings([]).tolist() == []
    assert INDEX.settings(np.array([0, 2, 3, 11])).tolist() == [0, 0, 1, 3]
    assert INDEX.seed_places(np.array([0, 2, 3, 11])).tolist() == [0, 2, 0, 2]
    assert INDEX.cube(np.arange(24).reshape(12, 2)).shape == (4, 3, 2)
    assert INDEX.cube(np.arange(12))[2].tolist() == [6, 7, 8]


@STEADY
@given(st.integers(1, 50), st.integers(1, 9))
def test_setting_and_seed_give_a_run_its_number(num_settings, num_seeds):
    index = RunIndex(num_settings, num_seeds)
    runs = index.of_settings(range(num_settings))
    assert runs.tolist() == list(range(len(index)))
    np.testing.assert_array_equal(index.settings(runs) * num_seeds + index.seed_places(runs), runs)
    places = index.cube(runs)
    for h in range(num_settings):
        np.testing.assert_array_equal(places[h], index.of_settings([h]))
        assert (index.settings(places[h]) == h).all()
        assert index.seed_places(places[h]).tolist() == list(range(num_seeds))


@STEADY
@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 30))
def test_shards_are_even_consecutive_and_whole(num_settings, num_seeds, number):
    index = RunIndex(num_settings, num_seeds)
    runs = np.arange(len(index))
    shards = [index.in_shard(runs, (i, number)) for i in range(number)]
    assert np.concatenate(shards).tolist() == runs.tolist()
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


# ------------------------------------------------------------------------------------- SHARDS


@pytest.mark.parametrize("shard", ["2/4", (2, 4), [2, 4], np.array([2, 4]), (np.int64(2), 4)])
def test_a_shard_as_text_or_as_a_pair(shard):
    assert parse_shard(shard) == (2, 4)


def test_no_shard_is_all_of_the_study():
    assert parse_shard(None) is None
    whole = pending(TRACKS, INDEX, 0, ALL, nothing)
    assert described(pending(TRACKS, INDEX, 0, ALL, nothing, (0, 1))) == described(whole)
    assert isinstance(whole[0], Work)


@pytest.mark.parametrize(
    "shard",
    ["", "3", "4/4", "-1/4", "0/0", "1/2/3", "a/b", "0.5/2", (4, 4), (-1, 4), (1,), (0, 1, 2),
     (0.5, 2), ("0", 2), (None, 2), 3, 0.5, {"i": 0}, object],
)  # fmt: skip
def test_what_is_no_shard_is_one_line_with_an_example(shard):
    with pytest.raises(ValueError, match=r"is not i/n with 0 <= i < n; write for example 0/4") as e:
        parse_shard(shard)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["runs", "envs"])
def test_the_old_meaning_of_shard_names_the_new(name):
    with pytest.raises(ValueError, match=f"shard='{name}' is called split='{name}' now"):
        parse_shard(name)
