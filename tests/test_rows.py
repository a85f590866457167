"""Rows in chunks give the numbers of one pass over all rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg.compute import rows as rows_module
from purejaxvpg.compute.rows import map_rows, summed_grad
from purejaxvpg.config import VPGConfig
from purejaxvpg.fields import doc_of


def summed_loss(seen):
    """A weighted sum over rows with two sums beside it; records the rows of each trace."""

    def loss(params, rows):
        (x, y), weight = rows  # [B, 3], [B], [B]
        seen.append(len(x))
        error = jnp.tanh(x @ params["w"]) + params["b"] - y
        squares = (weight * error**2).sum()
        return squares, {"sum": (weight * error).sum(), "weight": weight.sum()}

    return loss


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 4, 5, 7, 9, 10, 11, 1000])
def test_summed_grad_equals_value_and_grad(chunk_rows):
    """For chunks that divide the ten rows and chunks that do not, the padding adds nothing."""
    rng = np.random.default_rng(0)
    rows = ((rng.normal(size=(10, 3)), rng.normal(size=10)), rng.random(10))
    params = {"w": rng.normal(size=3), "b": np.array(0.7)}
    rows, params = jax.tree.map(jnp.asarray, (rows, params))
    seen = []
    actual = summed_grad(summed_loss(seen), params, rows, chunk_rows)
    assert max(seen) <= chunk_rows
    assert (len(rows[1]) in seen) == (chunk_rows >= 10)
    expected = jax.value_and_grad(summed_loss([]), has_aux=True)(params, rows)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), actual, expected)


def test_summed_grad_takes_integer_rows_and_no_sums():
    """Actions are integers, and a loss may return None beside itself."""

    def loss(table, rows):
        index, weight = rows
        return (weight * table[index] ** 2).sum(), None

    table, index = jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 1, 1, 2, 2, 2, 0])
    (value, nothing), grads = summed_grad(loss, table, (index, jnp.ones(7)), 3)
    assert nothing is None
    assert value == 2 * 1 + 2 * 4 + 3 * 9
    assert grads.tolist() == [2 * 2 * 1, 2 * 2 * 2, 3 * 2 * 3]


@pytest.mark.parametrize("chunk_rows", [1, 3, 4, 5, 7, 10, 1000])
def test_map_rows_equals_the_function(chunk_rows):
    seen = []

    def function(rows):
        seen.append(len(rows["x"]))
        return rows["x"] @ jnp.array([[1.0], [2.0]]), rows["i"] + 1

    rows = {"x": jnp.arange(20.0).reshape(10, 2), "i": jnp.arange(10)}
    actual = map_rows(function, rows, chunk_rows)
    assert max(seen) <= chunk_rows
    jax.tree.map(np.testing.assert_array_equal, actual, function(rows))


def test_the_chunk_that_is_not_given_is_the_platforms(monkeypatch):
    """4,096 rows on a CPU; elsewhere 256 times as many, so that few large passes are made.

    The config's explanation names both numbers.
    """
    assert (rows_module.CPU_ROWS, rows_module.ACCELERATOR_ROWS) == (4096, 1_048_576)
    (field,) = [f for f in dataclasses.fields(VPGConfig) if f.name == "gradient_rows"]
    assert "4,096 rows on a CPU" in doc_of(field)
    assert "1,048,576 elsewhere" in doc_of(field)
    monkeypatch.setattr(rows_module, "CPU_ROWS", 3)
    monkeypatch.setattr(rows_module, "ACCELERATOR_ROWS", 8)

    def widest(backend):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        seen = []
        map_rows(lambda x: seen.append(len(x)) or x, jnp.ones((12, 7)), None)
        return max(seen)

    assert widest("cpu") == 3
    assert widest("gpu") == 6


@pytest.mark.parametrize(
    ("numbers", "rows"),
    [(0, 4096), (32, 4096), (64, 2048), (400, 256), (84 * 84 * 4, 64), (10**6, 64)],
)
def test_large_rows_are_fewer_in_a_chunk_on_a_cpu(numbers, rows, monkeypatch):
    """At most 131,072 numbers of the largest array, so that activations fit the cache; 64 rows."""
    arrays = {"obs": jnp.zeros((2, numbers)), "target": jnp.zeros(2)}
    assert rows_module._default_rows(arrays) == rows
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert rows_module._default_rows(arrays) == 1_048_576
