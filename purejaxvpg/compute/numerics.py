"""Settings of jax that a program's numbers depend on.

A function that was traced, or a program that was compiled, under one setting is not the one of
another; jax's own caches do not know all of them (`jax_default_prng_impl`, for one).
"""

from typing import Any

import jax

# Each gives other numbers: generator of keys, layout of its draws, width of floats, precision of
# products, a number added to every seed.
NUMBERS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_random_seed_offset",
)
# The numbers stay, and what is traced may not: it raises, checks, or rounds otherwise.
TRACING = (
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_softmax_custom_jvp",
    "jax_explicit_x64_dtypes",
)

# The generator of a study's keys, whatever the default is: with `rbg` and `unsafe_rbg`, `vmap`
# draws the whole batch from its first key, and seeds would not be independent.
STUDY_KEYS = "threefry2x32"


def number_settings() -> dict[str, Any]:
    """The settings that give other numbers, as they are here and now, by jax's names."""
    return {name: getattr(jax.config, name) for name in NUMBERS}


def traced_settings_named() -> dict[str, Any]:
    """The settings under which functions are traced and that give the same numbers, by name."""
    return {name: getattr(jax.config, name, None) for name in TRACING}


def traced_settings() -> tuple[Any, ...]:
    """The settings under which a function was traced: other ones give another program."""
    return tuple(getattr(jax.config, name, None) for name in (*NUMBERS, *TRACING))
