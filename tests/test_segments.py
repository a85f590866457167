"""Segments: a look, a hook, a stop and a checkpoint between any two updates, and no bit changed."""

import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import Seen, stop_after
from support.studies import assert_same_study
from support.sweeps import CONFIG, ONE

from purejaxvpg import Hyperparams
from purejaxvpg.experiment import Segment, load_study, segments, sweep, train
from purejaxvpg.experiment.checkpoints import Checkpoints
from purejaxvpg.experiment.segments import capacity
from purejaxvpg.state import Evaluation, Metrics

HP = Hyperparams(policy_lr=1e-2)
STEPS = CONFIG.steps_per_update
KINDS = {
    "prime": dataclasses.replace(CONFIG, total_steps=13 * STEPS),
    "prime, evaluated at the end": dataclasses.replace(
        CONFIG, total_steps=13 * STEPS, eval_every=13, eval_episodes=2
    ),
    "evaluated every 5": dataclasses.replace(
        CONFIG, total_steps=20 * STEPS, eval_every=5, eval_episodes=2, lr_schedule="linear"
    ),
}
PRIME, U = KINDS["prime"], 13


def run(config=PRIME, **how):
    """A run of two seeds."""
    return train(config, HP, 2, first_seed=3, **ONE, **how)


def files(folder):
    """Updates of the checkpoints in a folder."""
    return sorted(int(path.stem) for path in folder.glob("chunks/*/*.npz"))


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted run of each kind, and its segments."""
    studies = {}
    for kind, config in KINDS.items():
        seen = Seen()
        studies[kind] = run(config, on_segment=seen), seen
    return studies


# --------------------------------------------------------------------------------- THE HOOK


@pytest.mark.parametrize("kind", KINDS)
def test_segments_laid_end_to_end_are_the_study(whole, kind):
    study, seen = whole[kind]
    config = KINDS[kind]
    assert all(isinstance(segment, Segment) for segment in seen)
    assert {segment.num_updates for segment in seen} == {config.num_updates}
    assert all(segment.runs.tolist() == [0, 1] for segment in seen)
    for name in Metrics._fields:
        laid = np.concatenate([getattr(segment.metrics, name) for segment in seen], 1)
        np.testing.assert_array_equal(laid, study.metrics[name][0], name)
    lengths = [segment.metrics.kl.shape[1] for segment in seen]
    assert np.cumsum(lengths).tolist() == [segment.updates for segment in seen]
    assert max(lengths) <= capacity(config.num_updates)
    if not config.eval_every:
        assert all(segment.evaluations is None for segment in seen)
        return
    for name in Evaluation._fields:
        laid = np.concatenate([getattr(segment.evaluations, name) for segment in seen], 1)
        np.testing.assert_array_equal(laid, study.evaluations[name][0], name)
    before = 0
    for segment in seen:  # each holds the evaluations that lie in it
        number = segment.updates // config.eval_every - before // config.eval_every
        assert segment.evaluations.returns.shape == (2, number, 2)
        before = segment.updates


def test_a_segment_tells_time_and_holds_the_state(whole):
    study, seen = whole["prime"]
    seconds = [segment.seconds for segment in seen]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(study.record.seconds)
    for segment in seen:
        np.testing.assert_array_equal(segment.state.update, [segment.updates] * 2)
        assert segment.state.obs.shape[:2] == (2, CONFIG.num_envs)
    kept = study.policies.arrays([0, 1])
    kernels = [x for name, x in kept.items() if name.endswith("kernel")]
    last = jax.tree.leaves(seen[-1].state.params.policy)
    assert kernels
    assert all(any(np.array_equal(k, leaf) for leaf in last) for k in kernels)


def test_rows_of_padding_are_not_told():
    """Three runs, two at a time: the second chunk has one run in two rows."""
    seen = Seen()
    study = sweep(PRIME, {"gamma": [0.9, 0.95, 0.99]}, 1, on_segment=seen, **ONE)
    assert {tuple(segment.runs) for segment in seen} == {(0, 1), (2,)}
    for segment in seen:
        assert segment.metrics.kl.shape[0] == len(segment.runs)
        assert segment.state.obs.shape[0] == 2
    rows = [segment.metrics.kl for segment in seen if len(segment.runs) == 1]
    np.testing.assert_array_equal(np.concatenate(rows, 1), study.metrics["kl"][2])


@pytest.mark.parametrize(
    "answer", [None, False, 0, 1, "stop", np.False_, np.zeros(2), np.ones(2, bool)]
)
def test_only_true_stops(whole, answer):
    study = run(on_segment=lambda _: answer)
    assert study.complete
    assert_same_study(study, whole["prime"][0])


@pytest.mark.parametrize("answer", [lambda: True, lambda: np.True_, lambda: jnp.ones((), bool)])
def test_true_of_python_numpy_or_jax_stops(answer):
    """`segment.metrics.kl.mean() > 1` is numpy's, and one of `segment.state` is jax's."""
    assert run(on_segment=lambda _: answer()).updates.tolist() == [[1, 1]]


def test_an_error_of_the_hook_comes_through(tmp_path):
    """And what was kept so far stays."""

    def fails(segment):
        if segment.updates >= 5:
            raise ZeroDivisionError("of the hook")

    with pytest.raises(ZeroDivisionError, match="of the hook"):
        run(folder=tmp_path / "run", on_segment=fails, checkpoint_updates=2)
    assert files(tmp_path / "run")[-1] == 4
    assert not load_study(tmp_path / "run").complete


# --------------------------------------------------------------------------------- STOPPING


def test_a_stop_in_memory_returns_the_study_so_far(whole):
    study, expected = run(on_segment=stop_after(6)), whole["prime"][0]
    (end,) = set(study.updates.ravel().tolist())
    assert 6 <= end < 6 + capacity(U)
    assert not study.complete
    assert not study.record.complete
    assert not study.done.any()
    for name, x in study.metrics.items():
        np.testing.assert_array_equal(x[..., :end], expected.metrics[name][..., :end], name)
        assert np.isnan(x[..., end:]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_after_any_update_goes_on_to_the_same_bits(whole, kind, tmp_path):
    config, (expected, _) = KINDS[kind], whole[kind]
    for stop in range(1, config.num_updates):
        folder = tmp_path / str(stop)
        stopped = run(config, folder=folder, on_segment=stop_after(stop), checkpoint_updates=stop)
        assert stopped.updates.tolist() == [[stop, stop]]
        assert files(folder) == [stop]
        for name, x in stopped.metrics.items():
            np.testing.assert_array_equal(x[..., :stop], expected.metrics[name][..., :stop], name)
        seen = Seen()
        resumed = run(config, folder=folder, resume=True, on_segment=seen)
        assert seen.updates[0][1] == stop + 1  # nothing is computed twice
        assert_same_study(resumed, expected)
        assert_same_study(load_study(folder), expected)
        assert_same_bits(resumed.policies.arrays([0, 1]), expected.policies.arrays([0, 1]))
        assert not (folder / "chunks").exists()


def test_a_run_may_be_stopped_again_and_again(whole, tmp_path):
    """At every segment, until it is done."""
    ends, study = [], run(folder=tmp_path / "run", on_segment=lambda _: True)
    while not study.complete:
        ends.append(int(study.updates.max()))
        study = run(folder=tmp_path / "run", resume=True, on_segment=lambda _: True)
    assert ends == list(range(1, U))
    assert_same_study(study, whole["prime"][0])


def test_a_stop_at_the_last_update_is_none(whole, tmp_path):
    study = run(folder=tmp_path / "run", on_segment=stop_after(U))
    assert study.complete
    assert load_study(tmp_path / "run").record.complete
    assert_same_study(study, whole["prime"][0])


def test_a_stop_in_a_later_chunk_keeps_the_chunks_before_it(tmp_path):
    """Nothing but what came after the stop is computed when it goes on."""
    grid, folder = {"gamma": [0.9, 0.99]}, tmp_path / "study"

    def stop(segment):
        return segment.runs[0] == 2 and segment.updates >= 4

    expected = sweep(PRIME, grid, 2, **ONE)
    stopped = sweep(PRIME, grid, 2, folder=folder, on_segment=stop, checkpoint_updates=4, **ONE)
    assert stopped.updates.tolist() == [[U, U], [4, 4]]
    assert load_study(folder).updates.tolist() == [[U, U], [0, 0]]  # a checkpoint is no result
    seen = Seen()
    resumed = sweep(PRIME, grid, 2, folder=folder, resume=True, on_segment=seen, **ONE)
    assert [runs for runs, _ in seen.updates] == [[2, 3]] * len(seen)
    assert seen.updates[0][1] == 5
    assert_same_study(resumed, expected)


# ------------------------------------------------------------------------------ CHECKPOINTS


@pytest.fixture
def saved(monkeypatch):
    """Updates at which a checkpoint is kept."""
    updates, save = [], Checkpoints.save

    def noting(self, checkpoint):
        updates.append(checkpoint.update)
        save(self, checkpoint)

    monkeypatch.setattr(Checkpoints, "save", noting)
    return updates


@pytest.mark.parametrize("every", [1, 2, 5, 12, 13, 100])
def test_checkpoints_are_kept_at_exactly_every_so_many_updates(whole, saved, tmp_path, every):
    """But not at the end, where the results are."""
    how = {"checkpoint_updates": every, "checkpoint_minutes": 0}
    study = run(folder=tmp_path / "run", **how)
    assert saved == list(range(every, U, every))
    assert_same_study(study, whole["prime"][0])


def test_checkpoints_of_a_later_rung_are_counted_from_its_start(saved, tmp_path):
    """Rungs end after 6 and 13 updates: two chunks of the first, and one of the second."""
    pruned = {"prune": "successive_halving", "rungs": 2, "keep": 0.5, "checkpoint_minutes": 0}
    how = {"folder": tmp_path / "study", "checkpoint_updates": 3, **pruned, **ONE}
    assert sweep(PRIME, {"gamma": [0.9, 0.99]}, 2, **how).complete
    assert saved == [3, 3, 9, 12]


def test_without_updates_or_minutes_there_is_no_checkpoint(saved, tmp_path):
    assert run(folder=tmp_path / "run", checkpoint_minutes=0).complete
    assert saved == []


def test_checkpoints_by_the_clock(saved, tmp_path):
    """Of a hundredth of a second: more than none, and not at a fixed update."""
    assert run(folder=tmp_path / "run", checkpoint_minutes=1e-9).complete
    assert saved == list(range(1, U))  # due after every segment, so each has one update


def test_the_length_of_a_segment_follows_the_clock(whole, monkeypatch):
    """Short enough to be stopped in time, and never more than a tenth of the run."""
    monkeypatch.setattr(segments, "SECONDS", 1e9)
    fast = Seen()
    run(on_segment=fast)
    assert [updates for _, updates in fast.updates] == [1, 3, 5, 7, 9, 11, 13]  # 1, to measure
    monkeypatch.setattr(segments, "SECONDS", 1e-9)
    slow = Seen()
    study = run(on_segment=slow)
    assert [updates for _, updates in slow.updates] == list(range(1, U + 1))
    assert {capacity(u) for u in (1, 10)} == {1}
    assert (capacity(13), capacity(60), capacity(10**6)) == (2, 6, segments.MOST_UPDATES)
    assert_same_study(study, whole["prime"][0])  # the same bits, wherever segments end


def test_nothing_is_compiled_for_another_checkpoint_or_stop(tmp_path):
    """One program serves segments of every length."""
    run(folder=tmp_path / "a", on_segment=stop_after(3), checkpoint_updates=3)
    run(folder=tmp_path / "a", resume=True)
    compiled, lock = [], threading.Lock()

    def on_event(name, _seconds, **_):
        if name.endswith("backend_compile_duration"):
            with lock:
                compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        for every, stop in ((1, 2), (4, 8), (5, 5), (100, 9)):
            folder = tmp_path / f"{every}-{stop}"
            run(folder=folder, on_segment=stop_after(stop), checkpoint_updates=every)
            run(folder=folder, resume=True, checkpoint_updates=every)
        assert compiled == []
        jax.jit(lambda x: x + len(compiled))(np.ones(3))
        assert compiled  # else the test could not fail
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)
