"""Cells of the user's: where an episode begins, and refusals in one line.  Nothing is compiled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg import VPGConfig
from purejaxvpg.agent.imported import with_imported
from purejaxvpg.agent.memory import make_cell

SIZE, FEATURES = 5, 3


def cell_of(memory):
    return make_cell(VPGConfig(memory=memory), FEATURES)


def test_every_environment_begins_with_the_same_memory():
    """Also one that is drawn: a replay of some rows begins as the rollout did."""
    cell = cell_of(nn.GRUCell(SIZE, carry_init=nn.initializers.normal()))
    four = np.asarray(cell.zero(4))
    assert np.abs(four).min() > 0
    np.testing.assert_array_equal(four, np.broadcast_to(cell.zero(1), (4, SIZE)))


class Cell(nn.RNNCellBase):
    """h' = tanh(W x + h), and what a test makes of it."""

    change: str = ""

    @nn.compact
    def __call__(self, h, x):
        size = SIZE + 2 if self.change == "wider" else SIZE
        after = jnp.tanh(nn.Dense(size)(x) + h[:, :1])
        if self.change == "raises":
            raise KeyError("h")
        if self.change == "half":
            return after.astype(jnp.bfloat16), after
        if self.change == "alone":
            return after
        out = {"flat": after[:, 0], "whole": after.astype(int)}.get(self.change, after)
        return after, out

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], SIZE))

    @property
    def num_feature_axes(self):
        return 1


REFUSED = {
    "wider": r"memory Cell turned memory float32\[2, 5\] into float32\[2, 7\]; a cell must return",
    "half": r"memory Cell turned memory float32\[2, 5\] into bfloat16\[2, 5\]; a cell must return",
    "alone": r"memory Cell turned memory float32\[2, 5\] into None; a cell must return memory as",
    "flat": r"memory Cell returned features float32\[2\] of two environments; .* here \[2, M\]",
    "whole": r"memory Cell returned features int32\[2, 5\] of two environments; .* floats \[n, M\]",
    "raises": r"memory Cell raised KeyError at .*test_users_cells.py:\d+ .*: 'h'",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_cell_that_breaks_its_contract_is_refused_in_one_line(change):
    with pytest.raises(ValueError, match=f"^{REFUSED[change]}") as error:
        cell_of(Cell(change=change))
    assert "\n" not in str(error.value)


def test_trained_parameters_are_float32():
    with pytest.raises(TypeError, match=r"^memory GRUCell has .*bfloat16; accepted: trained") as e:
        cell_of(nn.GRUCell(SIZE, param_dtype=jnp.bfloat16))
    assert "\n" not in str(e.value)


def test_a_cell_that_keeps_to_it_is_taken():
    assert jax.tree.map(jnp.shape, cell_of(Cell()).zero(3)) == (3, SIZE)


def test_a_class_that_needs_more_than_a_size_is_named_as_an_object():
    config = VPGConfig(memory="flax.linen:ConvLSTMCell", memory_size=SIZE)
    expected = r"^memory='flax.linen:ConvLSTMCell' cannot be made of features=5 alone .*as NAME ="
    with pytest.raises(TypeError, match=expected):
        with_imported(config)
