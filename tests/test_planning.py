"""Programs that a study compiles, their widths, and the memory they take."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
from support.sweeps import CONFIG, GRID, ONE, RATES, whole_study

from purejaxvpg import Hyperparams
from purejaxvpg.experiment import memory, planning, program, sweep
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.groups import resolve
from purejaxvpg.experiment.planning import Resources, plan_group
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.stacking import stack_hyperparams

ONE_DEVICE = jax.devices()[:1]


@pytest.fixture
def compiled(monkeypatch):
    """Widths of the training programs that are compiled from now on."""
    for name in ("_compile", "_program_bytes"):  # as if none had been compiled before
        fresh = functools.lru_cache(getattr(program, name).__wrapped__)
        monkeypatch.setattr(program, name, fresh)
    widths, original = [], program._Traced.lower_advance

    def counting(traced):
        widths.append(traced.seeds.shape[0])
        return original(traced)

    monkeypatch.setattr(program._Traced, "lower_advance", counting)
    return widths


@pytest.fixture(scope="module")
def line():
    """Memory of the programs of these tests, measured once."""
    hps = stack_hyperparams(CONFIG, [Hyperparams()])
    return memory.measure_memory(CONFIG, 1, ONE_DEVICE, hps)


# ------------------------------------------------------------------------------- COMPILATIONS


def test_one_compilation_where_rollouts_are_small(compiled):
    study = sweep(CONFIG, {"policy_lr": RATES, "gamma": [0.9, 0.99]}, 2, devices=ONE_DEVICE)
    assert compiled == [12]
    assert study.record.widths == [12]
    assert study.record.compilations == 1
    assert study.record.compilations_to_measure_memory == 0


@pytest.mark.slow
def test_one_training_compilation_beside_two_that_measure_memory(compiled, line):
    """And the chunk that memory_limit gives stays within it."""
    how = {"memory_limit": line.at(3), "devices": ONE_DEVICE}
    study = sweep(CONFIG, {"policy_lr": RATES}, 3, **how)
    assert sorted(compiled) == [2, 3, 64]
    assert study.record.compilations == 1
    assert study.record.compilations_to_measure_memory == 2
    assert study.record.widths == [3]
    assert study.record.chunks == [3]
    with pytest.raises(ValueError, match=r"one run takes .* MB .* and the limit is .* lower"):
        sweep(CONFIG, {"policy_lr": RATES}, 3, memory_limit=1000, devices=ONE_DEVICE)
    assert sorted(compiled) == [2, 3, 64]


@pytest.mark.slow
def test_static_values_cost_one_compilation_each(compiled):
    study = sweep(CONFIG, {"estimator": ["gae", "td"], "policy_lr": RATES}, 1, **ONE)
    assert compiled == [2, 2]
    assert study.complete
    assert study.record.compilations == 2


def test_environment_parameters_are_traced_axes(compiled):
    limits = {"env_params.max_steps_in_episode": [3, 5]}
    study = sweep(CONFIG, limits, 1, **ONE)
    assert compiled == [2]
    sums = {name: values.sum(-1) for name, values in study.metrics.items()}
    lengths = sums["episode_length_sum"] / sums["episode_count"]
    np.testing.assert_array_equal(lengths[:, 0], [3, 5])


# ------------------------------------------------------------------------------------- WIDTHS


@pytest.mark.slow
def test_the_measured_line_lies_just_above_what_programs_take(line):
    """Narrower ones and wider ones than were measured."""
    hps = stack_hyperparams(CONFIG, [Hyperparams()])
    for width in (1, 24, 128):
        used = program.program_bytes(CONFIG, 1, width, jax.devices()[0], hps)
        assert used <= line.at(width) <= 1.5 * used, width


def test_runs_that_leave_the_cache_are_measured_unless_each_is_alone(line, monkeypatch):
    """As if the cache held no more than two of these runs, and then not even one."""
    (group,) = resolve(make_design(GRID), CONFIG, Hyperparams())
    for module in (memory, planning):
        monkeypatch.setattr(module, "working_set", lambda _: line.at(2))
    plan = plan_group(group, 20, Resources(ONE_DEVICE))
    assert (plan.width, plan.chunks, plan.measuring) == (2, 10, 2)
    assert plan.device_bytes == line.at(2)
    for module in (memory, planning):
        monkeypatch.setattr(module, "working_set", lambda _: 1000)
    plan = plan_group(group, 20, Resources(ONE_DEVICE))
    assert (plan.width, plan.chunks, plan.measuring) == (1, 20, 2)
    alone = plan_group(group, 8, Resources(jax.devices()))
    assert (alone.width, alone.num_devices, alone.measuring) == (1, 8, 0)


def test_a_plan_says_what_a_sweep_then_does():
    spec = Spec(CONFIG, Hyperparams(), make_design(GRID), np.arange(2))
    study, resources = whole_study(), Resources(ONE_DEVICE, chunk_size=2)
    ((plan, compiling, seconds),) = planning.plan(spec, resources)
    assert (plan.num_runs, plan.width, plan.num_devices, plan.chunks) == (12, 2, 1, 6)
    assert study.record.chunks == [6]
    assert plan.device_bytes > 0
    assert compiling >= 0
    assert math.isfinite(seconds)


@pytest.mark.slow
def test_a_plan_of_environments_split_over_devices_is_of_that_program():
    """Each device holds half of a run: fewer bytes than a whole one takes."""
    config = dataclasses.replace(CONFIG, num_envs=64, total_steps=64 * 8)
    spec = Spec(config, Hyperparams(), make_design(), np.arange(2))
    plans = [
        next(planning.plan(spec, Resources(jax.devices()[:2], split, 1)))[0]
        for split in ("envs", "runs")
    ]
    assert [(plan.width, plan.chunks) for plan in plans] == [(1, 2), (1, 1)]
    assert plans[0].device_bytes < plans[1].device_bytes


@pytest.mark.slow
def test_a_pruned_study_is_as_wide_as_what_is_left_of_it():
    """Else the survivors would run in a chunk of padding, and pruning would save no time."""
    study = sweep(
        CONFIG, GRID, 8, prune="successive_halving", rungs=2, keep=0.5, devices=jax.devices()[:8]
    )
    assert study.record.widths == [3]  # 3 settings x 8 seeds on 8 devices
