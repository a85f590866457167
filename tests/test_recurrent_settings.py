"""Memory under the user's settings of jax: traced only, nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest
from support.probes import ConstantValue

from purejaxvpg import VPGConfig, make_learner


def traced(memory):
    """The state after one update, and its metrics, as shapes and types."""
    learner = make_learner(
        VPGConfig(env=ConstantValue(), num_envs=2, num_steps=4, total_steps=8, hidden_sizes=(4,),
                  value_iterations=1, memory=memory, memory_size=5)
    )  # fmt: skip
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: learner.update(learner.init(key)), key)


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_no_rank_is_promoted(memory):
    with jax.numpy_rank_promotion("raise"):
        assert traced(memory)[1].finite.shape == ()


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_parameters_and_memory_are_float32_where_x64_is_on(memory, x64):
    state, _ = traced(memory)
    leaves = jax.tree.leaves((state.params, state.memory))
    assert {x.dtype for x in leaves} == {jnp.dtype("float32")}
