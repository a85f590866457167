"""Sweeps: the same bits wherever a run is computed, nothing lost, nothing computed twice."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig, make_train
from purejaxvpg.experiment import placement, planning, schedule, store
from purejaxvpg.experiment.grid import LogUniform, make_design
from purejaxvpg.experiment.runner import seed_keys
from purejaxvpg.experiment.sweep import sweep

CONFIG = VPGConfig(
    num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,)
)  # 10 updates, in 10 segments
RATES, LAMBDAS = [1e-3, 3e-3, 1e-2], [0.9, 1.0]
GRID = {"policy_lr": RATES, "gae_lambda": LAMBDAS}
ONE = {"chunk_size": 2, "devices": jax.devices()[:1]}  # width 2, which all these tests share


def curves(study):
    """(setting, seed) -> every metric of that run, `[metrics, U]`."""
    found = {}
    for h, setting in enumerate(study.design.settings()):
        for s, seed in enumerate(study.seeds):
            rows = np.stack([values[h, s] for values in study.metrics.values()])
            found[(*sorted(setting.items()), int(seed))] = rows
    return found


def assert_same_bits(study, other):
    """Every run that both have is the same, bit for bit."""
    ours, theirs = curves(study), curves(other)
    shared = ours.keys() & theirs.keys()
    assert shared
    for run in shared:
        np.testing.assert_array_equal(ours[run], theirs[run], err_msg=str(run))
    return len(shared)


@pytest.fixture(scope="module")
def study():
    """3 x 2 settings, 2 seeds: 12 runs, two at a time on one device."""
    return sweep(CONFIG, GRID, 2, **ONE)


# --------------------------------------------------------------------------------- SAME BITS


def test_a_study_is_whole_and_labelled(study):
    assert study.complete
    assert study.metrics["entropy"].shape == (6, 2, 10)
    assert np.isfinite(study.metrics["policy_loss"]).all()
    assert study.design.settings()[1] == {"policy_lr": 1e-3, "gae_lambda": 1.0}
    np.testing.assert_array_equal(study.steps[0], 16 * np.arange(1, 11))


def test_a_run_is_the_training_that_make_train_gives(study):
    """Another width is another program: the first update agrees to 1e-6."""
    train = jax.jit(jax.vmap(make_train(CONFIG), in_axes=(0, None)))
    result = train(seed_keys(study.seeds), Hyperparams(policy_lr=1e-2, gae_lambda=0.9))
    for name, expected in result.metrics._asdict().items():
        found = study.metrics[name][4, :, 0]
        np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6, atol=1e-6, err_msg=name)


def test_settings_matter_and_seeds_matter(study):
    """Else all that follows would hold of a sweep that ran one setting with one seed."""
    last = study.metrics["policy_loss"][:, :, -1]
    assert len(np.unique(last)) == 12


def test_the_order_of_the_grid_changes_no_bit(study):
    turned = {"gae_lambda": LAMBDAS[::-1], "policy_lr": RATES[::-1]}
    assert assert_same_bits(study, sweep(CONFIG, turned, 2, **ONE)) == 12


def test_the_number_of_runs_changes_no_bit(study):
    more = {"policy_lr": [3e-3, 7e-3], "gae_lambda": [1.0]}
    assert assert_same_bits(study, sweep(CONFIG, more, 3, **ONE)) == 2


def test_what_else_is_swept_changes_no_bit(study):
    """A hyperparameter that varies and one that does not are both arrays in the program."""
    other = sweep(CONFIG, {"gamma": [0.99, 0.5]}, 2, hp=Hyperparams(policy_lr=3e-3), **ONE)
    plain = sweep(CONFIG, None, 2, hp=Hyperparams(policy_lr=3e-3), **ONE)
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(values[0], other.metrics[name][0], err_msg=name)


def test_the_first_seed_changes_no_bit(study):
    later = sweep(CONFIG, {"policy_lr": RATES, "gae_lambda": [1.0]}, 2, first_seed=1, **ONE)
    assert assert_same_bits(study, later) == 3


@pytest.mark.parametrize("number", [2, 8])
def test_the_number_of_devices_changes_no_bit(study, number):
    """12 runs on 8 devices, two on each: four rows are padding."""
    spread = sweep(CONFIG, GRID, 2, chunk_size=2, devices=jax.devices()[:number])
    assert assert_same_bits(study, spread) == 12
    assert spread.record["num_devices"] == number


def test_shards_that_ran_apart_merge_to_the_same_bits(study, tmp_path):
    for index in range(4):
        share = sweep(CONFIG, GRID, 2, part=(index, 4), folder=tmp_path / str(index), **ONE)
        assert not share.complete
        assert share.done.sum() == 3
    merged = store.merge(tmp_path / "all", [tmp_path / str(i) for i in (2, 0, 3, 1)])
    assert merged.complete
    assert assert_same_bits(study, merged) == 12
    assert assert_same_bits(study, store.load_study(tmp_path / "all")) == 12


def test_shards_may_share_a_folder(study, tmp_path):
    for index in (1, 0):
        found = sweep(CONFIG, GRID, 2, part=(index, 2), folder=tmp_path / "one", **ONE)
    assert found.complete  # the last one sees the others' parts
    loaded = store.load_study(tmp_path / "one")
    assert assert_same_bits(study, loaded) == 12
    assert loaded.record["complete"]
    assert loaded.record["steps"] == 12 * 160


def test_another_width_agrees_in_the_first_update(study):
    wider = sweep(CONFIG, GRID, 2, chunk_size=6, devices=jax.devices()[:1])
    for run, rows in curves(wider).items():
        np.testing.assert_allclose(rows[:, 0], curves(study)[run][:, 0], rtol=1e-6, atol=1e-6)


def test_environments_of_one_run_split_over_devices_agree():
    config = dataclasses.replace(CONFIG, num_envs=16, total_steps=16 * 8 * 2)
    whole = sweep(config, None, 1, chunk_size=1, devices=jax.devices()[:1])
    split = sweep(config, None, 1, shard="envs", devices=jax.devices())
    for name, values in whole.metrics.items():
        np.testing.assert_allclose(values, split.metrics[name], rtol=1e-5, atol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match="num_envs=2 over 8 devices"):
        sweep(CONFIG, None, 1, shard="envs")


# ------------------------------------------------------------------------------ NOTHING LOST


class Stop(Exception):
    """Stands for a kill."""


def stopped_at(calls):
    """on_progress that raises at its so-many-th call."""
    seen = []

    def on_progress(_):
        seen.append(1)
        if len(seen) == calls:
            raise Stop

    return on_progress


@pytest.mark.parametrize("calls", [2, 20, 40])
def test_a_killed_study_goes_on_to_the_same_bits(study, tmp_path, calls, monkeypatch):
    folder = tmp_path / "study"
    with pytest.raises(Stop):
        sweep(CONFIG, GRID, 2, folder=folder, on_progress=stopped_at(calls), **ONE)
    partial = store.load_study(folder)
    assert not partial.complete
    kept = int(partial.done.sum())
    assert kept == {2: 0, 20: 2, 40: 6}[calls]
    counted = []
    original = schedule.run_chunk

    def counting(program, chunk, *args):
        counted.extend(chunk.runs.tolist())
        return original(program, chunk, *args)

    monkeypatch.setattr(schedule, "run_chunk", counting)
    resumed = sweep(CONFIG, GRID, 2, folder=folder, resume=True, **ONE)
    assert len(counted) == 12 - kept  # nothing that was done is done again
    assert resumed.complete
    assert assert_same_bits(study, resumed) == 12
    assert assert_same_bits(study, store.load_study(folder)) == 12


def test_a_study_goes_on_at_the_width_it_began_with(tmp_path):
    kwargs = {"devices": jax.devices()[:1], "folder": tmp_path / "study"}
    with pytest.raises(Stop):
        sweep(CONFIG, GRID, 2, chunk_size=2, on_progress=stopped_at(15), **kwargs)
    resumed = sweep(CONFIG, GRID, 2, resume=True, **kwargs)
    assert resumed.record["widths"] == [2]
    assert resumed.record["compilations_to_measure_memory"] == 0


def test_a_study_is_not_written_over_and_not_mixed_up(tmp_path):
    sweep(CONFIG, {"gamma": [0.9]}, 2, folder=tmp_path / "a", **ONE)
    with pytest.raises(FileExistsError, match="resume it"):
        sweep(CONFIG, {"gamma": [0.9]}, 2, folder=tmp_path / "a", **ONE)
    with pytest.raises(ValueError, match="holds another study"):
        sweep(CONFIG, {"gamma": [0.8]}, 2, folder=tmp_path / "a", resume=True, **ONE)


# -------------------------------------------------------------------------------- DIVERGENCE


def test_a_hopeless_setting_is_marked_and_its_neighbours_untouched():
    hopeless = sweep(CONFIG, {"policy_lr": [1e-3, 1e30, 1e-2]}, 3, **ONE)
    tame = sweep(CONFIG, {"policy_lr": [1e-3, 2e-3, 1e-2]}, 3, **ONE)
    np.testing.assert_array_equal(hopeless.diverged, [[False] * 3, [True] * 3, [False] * 3])
    assert hopeless.complete
    assert assert_same_bits(hopeless, tame) == 6
    assert np.isnan(hopeless.scores()[1]).all()
    assert np.isfinite(hopeless.scores()[[0, 2]]).all()


# ------------------------------------------------------------------------------------ MEMORY


@pytest.fixture
def compiled(monkeypatch):
    """Widths of the training programs that are compiled from now on."""
    placement._compile_program.cache_clear()
    placement._program_bytes.cache_clear()
    widths, original = [], placement._compile_segment

    def counting(traced, **how):
        widths.append(traced.seeds.shape[0])
        return original(traced, **how)

    monkeypatch.setattr(placement, "_compile_segment", counting)
    return widths


def test_one_training_compilation_beside_two_that_measure_memory(compiled):
    study = sweep(CONFIG, {"policy_lr": RATES, "gamma": [0.9, 0.99]}, 2, devices=jax.devices()[:1])
    assert sorted(compiled) == [2, 12, 64]
    assert study.record["compilations"] == 1
    assert study.record["compilations_to_measure_memory"] == 2


def test_static_values_cost_one_compilation_each(compiled):
    study = sweep(CONFIG, {"estimator": ["gae", "td"], "policy_lr": RATES}, 1, **ONE)
    assert compiled == [2, 2]
    assert study.complete
    assert study.record["compilations"] == 2


def test_a_chunk_stays_within_the_memory_limit():
    line = planning.memory.measure_memory(
        CONFIG, 1, jax.devices()[:1], placement.stack_hyperparams(CONFIG, [Hyperparams()])
    )
    limit = line.at(3)
    kwargs = {"memory_limit": limit, "devices": jax.devices()[:1]}
    study = sweep(CONFIG, {"policy_lr": RATES}, 3, **kwargs)
    assert study.record["widths"] == [3]
    assert study.record["chunks"] == [3]
    with pytest.raises(ValueError, match=r"one run takes .* MB .* and the limit is .* lower"):
        sweep(CONFIG, {"policy_lr": RATES}, 3, memory_limit=1000, devices=jax.devices()[:1])


def test_the_measured_line_lies_just_above_what_programs_take():
    """Narrower ones and wider ones than were measured."""
    hps = placement.stack_hyperparams(CONFIG, [Hyperparams()])
    line = planning.memory.measure_memory(CONFIG, 1, jax.devices()[:1], hps)
    for width in (1, 24, 128):
        used = placement.program_bytes(CONFIG, 1, width, jax.devices()[0], hps)
        assert used <= line.at(width) <= 1.5 * used, width


def test_a_plan_says_what_a_sweep_then_does(study):
    design = make_design(GRID)
    plans = list(planning.plan(CONFIG, design, 2, chunk_size=2, devices=jax.devices()[:1]))
    ((found, compiling, seconds),) = plans
    assert (found.num_runs, found.width, found.num_devices, found.chunks) == (12, 2, 1, 6)
    assert study.record["chunks"] == [6]
    assert found.device_bytes > 0
    assert compiling >= 0
    assert math.isfinite(seconds)


# -------------------------------------------------------------------------------------- AXES


def test_environment_parameters_are_traced_axes(compiled):
    limits = {"env_params.max_steps_in_episode": [3, 5]}
    study = sweep(CONFIG, limits, 1, **ONE)
    assert compiled == [2]
    sums = {name: values.sum(-1) for name, values in study.metrics.items()}
    lengths = sums["episode_length_sum"] / sums["episode_count"]
    np.testing.assert_array_equal(lengths[:, 0], [3, 5])


def test_zip_sample_and_static_axes_combine(study):
    found = sweep(
        CONFIG,
        {"num_envs": [2, 4]},
        1,
        zip={"policy_lr": [1e-3, 1e-2], "gae_lambda": [0.9, 1.0]},
        sample={"gamma": LogUniform(0.9, 0.99)},
        num_samples=2,
        **ONE,
    )
    assert found.design.shape == (2, 2, 2)
    assert found.complete
    np.testing.assert_array_equal(found.num_updates, [10] * 4 + [5] * 4)
    assert np.isnan(found.metrics["entropy"][4:, :, 5:]).all()
    assert np.isfinite(found.metrics["entropy"][4:, :, :5]).all()


def test_evaluations_come_along():
    config = dataclasses.replace(CONFIG, eval_every=5, eval_episodes=3)
    study = sweep(config, {"policy_lr": RATES[:2]}, 2, **ONE)
    assert study.evaluations["returns"].shape == (2, 2, 2, 3)
    last = study.evaluations["returns"][:, :, -1].astype(np.float64)
    np.testing.assert_allclose(study.scores(), last.mean(-1), rtol=1e-12)


# ----------------------------------------------------------------------------------- PRUNING


def test_pruned_settings_stop_and_the_others_are_untouched(study):
    pruned = sweep(CONFIG, GRID, 2, prune="successive_halving", rungs=2, keep=0.5, **ONE)
    assert pruned.complete
    assert pruned.pruned.sum() == 3
    for h in range(6):
        end = 5 if pruned.pruned[h] else 10
        for name, values in pruned.metrics.items():
            expected = study.metrics[name][h].copy()
            expected[:, end:] = np.nan
            np.testing.assert_array_equal(values[h], expected, err_msg=name)
    middle = study.returns()[:, :, 4]
    known = ~np.isnan(middle).any(1)
    if known.all():  # those that went on were the better half at the rung
        assert middle[~pruned.pruned].mean() >= middle[pruned.pruned].mean()


def test_a_killed_pruned_study_goes_on_to_the_same_bits(tmp_path):
    kwargs = {"prune": "successive_halving", "rungs": 2, "keep": 0.5, **ONE}
    whole = sweep(CONFIG, GRID, 2, **kwargs)
    for calls in (25, 50):  # in the first rung, and in the second
        folder = tmp_path / str(calls)
        with pytest.raises(Stop):
            sweep(CONFIG, GRID, 2, folder=folder, on_progress=stopped_at(calls), **kwargs)
        resumed = sweep(CONFIG, GRID, 2, folder=folder, resume=True, **kwargs)
        np.testing.assert_array_equal(resumed.pruned, whole.pruned)
        assert assert_same_bits(whole, resumed) == 12


def test_survivors_of_a_rung_are_chosen_by_what_was_known_at_its_end(tmp_path, monkeypatch):
    """A study killed in its second rung must not judge the first by returns of the second."""
    kwargs = {"prune": "successive_halving", "rungs": 2, "keep": 0.5, **ONE}
    chosen, original = [], schedule.survivors

    def seen(scores, alive, keep, diverged):
        chosen.append(scores.copy())
        return original(scores, alive, keep, diverged)

    monkeypatch.setattr(schedule, "survivors", seen)
    sweep(CONFIG, GRID, 2, folder=tmp_path / "s", **kwargs)
    sweep(CONFIG, GRID, 2, folder=tmp_path / "s", resume=True, **kwargs)  # all rungs are there
    np.testing.assert_array_equal(chosen[0], chosen[1])


def test_a_pruned_study_is_as_wide_as_what_is_left_of_it():
    """Else the survivors would run in a chunk of padding, and pruning would save no time."""
    study = sweep(
        CONFIG, GRID, 8, prune="successive_halving", rungs=2, keep=0.5, devices=jax.devices()[:8]
    )
    assert study.record["widths"] == [3]  # 3 settings x 8 seeds on 8 devices


# --------------------------------------------------------------------------------- BAD INPUT

BAD = {
    "did you mean policy_lr": {"grid": {"polcy_lr": [1]}},
    "axis gamma has no values": {"grid": {"gamma": []}},
    "gamma='x' is not a number": {"grid": {"gamma": ["x"]}},
    "gamma=2 is out of range": {"grid": {"gamma": [0.9, 2]}},
    "did you mean gravity": {"grid": {"env_params.gravty": [1.0]}},
    "total_steps=100": {"grid": {"total_steps": [100]}},
    "num_seeds=0": {"num_seeds": 0},
    "first_seed=-1": {"first_seed": -1},
    "chunk_size=0": {"chunk_size": 0},
    "memory_limit=-5": {"memory_limit": -5},
    "first_seed=0.5": {"first_seed": 0.5},
    "memory_limit='8GB'": {"memory_limit": "8GB"},
    "leave out one of them": {"memory_limit": 10**9, "chunk_size": 2},
    "shard='rows' is unknown": {"shard": "rows"},
    r"part=\(3, 3\) is out of range": {"part": (3, 3), "folder": "x"},
    "pass folder=": {"part": (0, 3)},
    "resume=True needs the folder": {"resume": True},
    "prune='hyperband' is unknown": {"prune": "hyperband"},
    "rungs=1 is out of range": {"prune": "successive_halving", "rungs": 1},
    "prune compares scores": {"prune": "successive_halving", "grid": {"eval_every": [0, 5]}},
    "prune compares all settings": {"prune": "successive_halving", "part": (0, 2), "folder": "x"},
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line_before_anything_runs(said, compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"grid": None, "num_seeds": 1, **BAD[said]}
    with pytest.raises((ValueError, TypeError), match=said) as error:
        sweep(CONFIG, **arguments)
    assert "\n" not in str(error.value)
    assert not compiled
    assert not list(tmp_path.iterdir())
