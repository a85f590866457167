"""Settings of jax that change numbers: one program for each, and none is changed unannounced."""

import dataclasses

import jax
import numpy as np
import pytest
from support.assertions import as_numpy, assert_same_bits

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.agent import make_agent
from purejaxvpg.cli.repro import _surroundings
from purejaxvpg.compute import memoized
from purejaxvpg.experiment import evaluation, files, program, stacking
from purejaxvpg.experiment.checks import make_seeds
from purejaxvpg.experiment.design import Design
from purejaxvpg.experiment.devices import DETERMINISTIC
from purejaxvpg.experiment.folder import read_spec
from purejaxvpg.experiment.jax_settings import (
    check_same_jax_settings,
    jax_settings,
    restore_jax_settings,
)
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.record import StudyRecord, differences, made_with
from purejaxvpg.experiment.spec import FORMAT, Spec

CONFIG = VPGConfig(num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,))
OTHERS = {
    "generator": lambda: jax.default_prng_impl("rbg"),
    "layout": lambda: jax.threefry_partitionable(False),
    "x64": lambda: jax.enable_x64(True),
    "precision": lambda: jax.default_matmul_precision("float32"),
    "debug_nans": lambda: jax.debug_nans(True),
}


# ----------------------------------------------------------------------- PROGRAMS OF ONE SETTING


@pytest.mark.parametrize("name", OTHERS)
def test_functions_are_made_once_for_each_setting(name):
    made = {}
    for when in ("before", "after"):
        made[when] = [make(CONFIG) for make in (make_learner, make_train, make_agent)]
        with OTHERS[name]():
            made[f"other, {when}"] = [
                make(CONFIG) for make in (make_learner, make_train, make_agent)
            ]
    for one, again, other in zip(made["before"], made["after"], made["other, before"], strict=True):
        assert one is again
        assert one is not other
    assert made["other, before"] == made["other, after"]


def test_a_memoized_function_keeps_its_name_and_its_errors():
    @memoized(2)
    def double(x: int) -> int:
        """Twice x."""
        return 2 * x

    assert (double.__name__, double.__doc__, double(3)) == ("double", "Twice x.", 6)
    with pytest.raises(TypeError, match="unhashable"):
        double([1])


@pytest.fixture
def _no_updates_are_compiled(monkeypatch):
    """Programs of first states alone."""
    program._compile.cache_clear()
    lower = program._Traced.lower_init
    monkeypatch.setattr(program._Traced, "lower_advance", lambda traced: lower(traced))
    yield
    program._compile.cache_clear()


# Orthogonal initialisation, the default, takes most of the compilation of a first state.
QUICK = dataclasses.replace(CONFIG, kernel_init="lecun_normal")


def first_state():
    """Of seeds 0 and 1, as a study's program makes it."""
    hps = stacking.stack_hyperparams(QUICK, [Hyperparams()] * 2)
    compiled = program.compile_program(QUICK, 1, 2, jax.devices()[:1], hps)
    return compiled.init(np.arange(2, dtype=np.uint32), compiled.place(hps))


@pytest.mark.usefixtures("_no_updates_are_compiled")
@pytest.mark.slow
def test_a_program_of_another_layout_of_draws_is_not_used_again():
    """The first states are those of the plain function, and others than under the default."""
    before = as_numpy(first_state().obs)
    with jax.threefry_partitionable(False):
        keys = jax.vmap(jax.random.key)(np.arange(2, dtype=np.uint32))
        plain = jax.jit(jax.vmap(lambda key: make_learner(QUICK).init(key).obs))(keys)
        study = as_numpy(first_state().obs)
    np.testing.assert_allclose(study, plain, rtol=1e-6)
    assert not np.array_equal(before, study)
    assert_same_bits(before, as_numpy(first_state().obs))  # the first program again


@pytest.mark.usefixtures("_no_updates_are_compiled")
def test_seeds_of_a_study_are_independent_whatever_the_default_generator_is():
    """With `rbg`, `vmap` would draw both rows from the first seed's key."""
    expected, seeds = first_state(), np.arange(2)
    keys = evaluation.evaluation_keys(seeds)
    with jax.default_prng_impl("rbg"):
        assert_same_bits(expected, first_state())
        assert_same_bits(keys, evaluation.evaluation_keys(seeds))


# ------------------------------------------------------------------------- RECORDED AND COMPARED


def begin(folder, resume=False, **changes):
    """A study of one run in a folder, ready to be trained.  Compiles nothing."""
    spec = Spec(CONFIG, Hyperparams(), Design(()), make_seeds(1))
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    return prepare(spec, Options(resources, **changes), folder, resume)


def recorded(folder):
    return read_spec(folder)[1].jax_settings


REFUSED = {
    "generator": "jax_default_prng_impl='threefry2x32', and not 'rbg'.*set "
    "JAX_DEFAULT_PRNG_IMPL=threefry2x32, or pass --other-settings",
    "layout": "jax_threefry_partitionable=True, and not False.*set JAX_THREEFRY_PARTITIONABLE=1,",
    "x64": "jax_enable_x64=False, and not True.*set JAX_ENABLE_X64=0,",
    "precision": "jax_default_matmul_precision=None, and not 'float32'.*"
    "unset JAX_DEFAULT_MATMUL_PRECISION,",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_study_goes_on_under_the_settings_it_was_begun_with(name, tmp_path):
    """Others are refused in one line with the way back, or announced and recorded."""
    begin(tmp_path / "run")
    face = (tmp_path / "run" / "run.json").read_text()
    with OTHERS[name]():
        with pytest.raises(ValueError, match=f"{tmp_path}/run was begun with {REFUSED[name]}") as e:
            begin(tmp_path / "run", resume=True)
        assert "\n" not in str(e.value)
        with pytest.warns(UserWarning, match="going on with other numbers"):
            prepared = begin(tmp_path / "run", resume=True, other_settings=True)
    assert (tmp_path / "run" / "run.json").read_text() == face
    assert prepared.store.record.jax_settings != prepared.record.jax_settings
    begin(tmp_path / "run", resume=True)


def test_flags_that_matter_are_compared_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to=here {DETERMINISTIC}")
    begin(tmp_path / "run")
    assert recorded(tmp_path / "run")["XLA_FLAGS"] == DETERMINISTIC
    monkeypatch.setenv("XLA_FLAGS", f"{DETERMINISTIC} --xla_force_host_platform_device_count=3")
    begin(tmp_path / "run", resume=True)
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(ValueError, match="numbers; pass --deterministic, or pass --other-settings"):
        begin(tmp_path / "run", resume=True)


def test_another_kind_of_device_is_refused(tmp_path):
    begin(tmp_path / "run")
    before = recorded(tmp_path / "run")
    with pytest.raises(ValueError, match=r"device=.cpu., and not .abacus..*run it on cpu, or"):
        check_same_jax_settings("run", before, {**before, "device": "abacus"}, allowed=False)


def test_folders_that_recorded_no_settings_go_on_as_before(tmp_path):
    begin(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    fields = files.read_described(path, [FORMAT])
    del fields["record"]["jax_settings"]
    files.write_described(path, fields)
    with jax.threefry_partitionable(False):
        begin(tmp_path / "run", resume=True)


def test_what_checkpoints_and_repro_say_of_them():
    with jax.enable_x64(True):
        before = made_with()
    assert differences(before, made_with()) == [
        "jax_enable_x64 was True, and is False: they are other numbers"
    ]
    with jax.threefry_partitionable(False):
        record = StudyRecord(jax_settings=jax_settings())
    assert _surroundings(record)[-1] == (
        "# export JAX_DEFAULT_PRNG_IMPL=threefry2x32 JAX_THREEFRY_PARTITIONABLE=0 "
        "JAX_ENABLE_X64=0 JAX_RANDOM_SEED_OFFSET=0"
    )
    try:
        assert restore_jax_settings(record.jax_settings) == [
            "jax_threefry_partitionable is False, as the study had it (here it was True)"
        ]
        assert jax.config.jax_threefry_partitionable is False
    finally:
        jax.config.update("jax_threefry_partitionable", True)
