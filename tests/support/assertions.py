"""Comparisons of pytrees."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def assert_same_bits(x: Any, y: Any) -> None:
    """Two pytrees are alike: structure, types, shapes and bits.

    NaN equals NaN, and 0 differs from -0.  Keys are compared as data.
    """
    assert jax.tree.structure(x) == jax.tree.structure(y)
    for (path, one), other in zip(jax.tree.leaves_with_path(x), jax.tree.leaves(y), strict=True):
        where, one, other = jax.tree_util.keystr(path), as_numpy(one), as_numpy(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        np.testing.assert_array_equal(one, other, where)
        if jnp.issubdtype(one.dtype, jnp.floating):
            signs = [np.signbit(a) & ~np.isnan(a) for a in (one, other)]
            np.testing.assert_array_equal(*signs, f"{where}, signs of zeros")


def as_numpy(x: Any) -> np.ndarray:
    """The array; a key's data if it holds keys."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    return np.asarray(x)
