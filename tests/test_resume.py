"""Studies that are killed or stopped: nothing lost, nothing computed twice, the same bits."""

import jax
import numpy as np
import pytest
from support.sweeps import CONFIG, GRID, ONE, Stop, assert_same_runs, stopped_at, whole_study

from purejaxvpg import Hyperparams
from purejaxvpg.experiment import engine, load_study, sweep, train
from purejaxvpg.experiment.pruning import SuccessiveHalving

PRUNED = {"prune": "successive_halving", "rungs": 2, "keep": 0.5}


@pytest.fixture(scope="module")
def study():
    """3 x 2 settings, 2 seeds: 12 runs, two at a time on one device."""
    return whole_study()


@pytest.fixture
def computed(monkeypatch):
    """Runs in the order in which they are computed from now on."""
    runs, original = [], engine.run_chunk

    def counting(program, chunk, *args):
        runs.extend(chunk.runs.tolist())
        return original(program, chunk, *args)

    monkeypatch.setattr(engine, "run_chunk", counting)
    return runs


def assert_same_updates(study, partial):
    """Every update that the partial study has done is the same, and it has no other."""
    for name, values in partial.metrics.items():
        expected = np.where(np.isnan(values), np.nan, study.metrics[name])
        np.testing.assert_array_equal(values, expected, err_msg=name)
    reached = ~np.isnan(partial.metrics["finite"])
    np.testing.assert_array_equal(reached.sum(-1), partial.updates)


@pytest.mark.parametrize("calls", [2, 13, 20, 40])
def test_a_killed_study_goes_on_to_the_same_bits(study, tmp_path, calls, computed):
    folder = tmp_path / "study"
    with pytest.raises(Stop):
        sweep(CONFIG, GRID, 2, folder=folder, on_progress=stopped_at(calls), **ONE)
    partial = load_study(folder)
    assert not partial.complete
    kept = int(partial.done.sum())
    assert kept == {2: 0, 13: 2, 20: 2, 40: 6}[calls]  # 13: told of the first chunk, which is kept
    computed.clear()
    resumed = sweep(CONFIG, GRID, 2, folder=folder, resume=True, **ONE)
    assert sorted(computed) == list(range(kept, 12))  # nothing that was done is done again
    assert resumed.complete
    assert assert_same_runs(study, resumed) == 12
    assert assert_same_runs(study, load_study(folder)) == 12


def test_a_chunk_that_was_stopped_goes_on_where_it_was(study, tmp_path):
    """After the 4th update of the second chunk, with its state on the disk."""
    seen, later, folder = [], [], tmp_path / "study"

    def stop(segment):
        seen.append(segment.updates)
        return len(seen) == 14

    partial = sweep(CONFIG, GRID, 2, folder=folder, on_segment=stop, **ONE)
    np.testing.assert_array_equal(partial.updates.ravel(), [10, 10, 4, 4] + [0] * 8)
    assert not partial.complete
    assert_same_updates(study, partial)
    assert load_study(folder).done.sum() == 2  # the unfinished chunk is no part yet
    hook = {"on_segment": lambda segment: later.append(segment.updates)}
    resumed = sweep(CONFIG, GRID, 2, folder=folder, resume=True, **hook, **ONE)
    assert later == [*range(5, 11), *list(range(1, 11)) * 4]
    assert assert_same_runs(study, resumed) == 12
    assert not (folder / "chunks").exists()


def test_a_study_in_memory_stops_too_and_returns_what_it_has(study):
    partial = sweep(CONFIG, GRID, 2, on_segment=lambda segment: segment.updates == 3, **ONE)
    np.testing.assert_array_equal(partial.updates.ravel(), [3, 3] + [0] * 10)
    assert_same_updates(study, partial)
    assert not partial.complete
    assert not partial.record.complete


def test_a_study_goes_on_at_the_width_it_began_with(tmp_path):
    how = {"devices": jax.devices()[:1], "folder": tmp_path / "study"}
    with pytest.raises(Stop):
        sweep(CONFIG, GRID, 2, chunk_size=2, on_progress=stopped_at(15), **how)
    resumed = sweep(CONFIG, GRID, 2, resume=True, **how)
    assert resumed.complete
    assert resumed.record.widths == [2]
    assert resumed.record.compilations_to_measure_memory == 0


def test_a_study_is_not_written_over_and_not_mixed_up(tmp_path):
    folder = tmp_path / "a"
    sweep(CONFIG, {"gamma": [0.9]}, 2, folder=folder, **ONE)
    before = {path: path.read_bytes() for path in folder.rglob("*.npz")}
    with pytest.raises(FileExistsError, match="resume it"):
        sweep(CONFIG, {"gamma": [0.9]}, 2, folder=folder, **ONE)
    with pytest.raises(ValueError, match="holds another study"):
        sweep(CONFIG, {"gamma": [0.8]}, 2, folder=folder, resume=True, **ONE)
    how = {"folder": folder, "resume": True, "split": "envs", "devices": jax.devices()[:2]}
    with pytest.raises(ValueError, match="begun with split='runs'; go on with the same"):
        sweep(CONFIG, {"gamma": [0.9]}, 2, **how)
    assert {path: path.read_bytes() for path in folder.rglob("*.npz")} == before


def test_a_run_is_a_study_and_goes_on_as_one(study, tmp_path, computed):
    folder, hp = tmp_path / "run", Hyperparams(policy_lr=3e-3, gae_lambda=1.0)
    with pytest.raises(Stop):
        train(CONFIG, hp, 4, folder=folder, on_progress=stopped_at(15), **ONE)
    assert (folder / "run.json").is_file()
    assert load_study(folder).done.tolist() == [[True, True, False, False]]
    computed.clear()
    resumed = train(CONFIG, hp, 4, folder=folder, resume=True, **ONE)
    assert computed == [2, 3]
    for name, values in study.metrics.items():
        np.testing.assert_array_equal(resumed.metrics[name][0, :2], values[3], err_msg=name)


# ----------------------------------------------------------------------------------- PRUNING


def test_pruned_settings_stop_and_the_others_are_untouched(study):
    pruned = sweep(CONFIG, GRID, 2, **PRUNED, **ONE)
    assert pruned.complete
    assert pruned.pruned.sum() == 3
    assert SuccessiveHalving(2, 0.5).bounds(10) == (0, 5, 10)
    for h in range(6):
        end = 5 if pruned.pruned[h] else 10
        for name, values in pruned.metrics.items():
            expected = study.metrics[name][h].copy()
            expected[:, end:] = np.nan
            np.testing.assert_array_equal(values[h], expected, err_msg=name)
    middle = study.trailing_returns()[:, :, 4]
    known = ~np.isnan(middle).any(1)
    if known.all():  # those that went on were the better half at the rung
        assert middle[~pruned.pruned].mean() >= middle[pruned.pruned].mean()


def test_a_killed_pruned_study_goes_on_to_the_same_bits(tmp_path):
    whole = sweep(CONFIG, GRID, 2, **PRUNED, **ONE)
    for calls, furthest in ((25, 5), (50, 10)):  # in the first rung, and in the second
        folder = tmp_path / str(calls)
        with pytest.raises(Stop):
            sweep(CONFIG, GRID, 2, folder=folder, on_progress=stopped_at(calls), **PRUNED, **ONE)
        assert load_study(folder).updates.max() == furthest
        resumed = sweep(CONFIG, GRID, 2, folder=folder, resume=True, **PRUNED, **ONE)
        np.testing.assert_array_equal(resumed.pruned, whole.pruned)
        assert assert_same_runs(whole, resumed) == 12


def test_survivors_of_a_rung_are_chosen_by_what_was_known_at_its_end(tmp_path, monkeypatch):
    """A study killed in its second rung must not judge the first by returns of the second."""
    chosen, original = [], engine.survivors_within

    def seen(conditions, scores, *rest):
        chosen.append(scores.copy())
        return original(conditions, scores, *rest)

    monkeypatch.setattr(engine, "survivors_within", seen)
    sweep(CONFIG, GRID, 2, folder=tmp_path / "s", **PRUNED, **ONE)
    sweep(CONFIG, GRID, 2, folder=tmp_path / "s", resume=True, **PRUNED, **ONE)  # all is there
    np.testing.assert_array_equal(chosen[0], chosen[1])
