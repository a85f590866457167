"""Settings of jax that change numbers: one program for each, and none is changed unannounced."""

import dataclasses

import jax
import numpy as np
import pytest
from support.assertions import as_numpy, assert_same_bits

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.agent import make_agent
from purejaxvpg.compute import memoized
from purejaxvpg.experiment import evaluation, program, stacking

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
