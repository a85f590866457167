"""Settings of jax that a program's numbers depend on, and functions that are made once for each.

A function that was traced, or a program that was compiled, under one setting is not the one of
another; jax's own caches do not know all of them (`jax_default_prng_impl`, for one).
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

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


P = ParamSpec("P")
R = TypeVar("R")


def memoized(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache` that also tells jax's settings apart."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize)
        def made(_: tuple[Any, ...], *args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            settings = tuple(getattr(jax.config, name, None) for name in (*NUMBERS, *TRACING))
            return made(settings, *args, **kwargs)

        call.cache_clear = made.cache_clear  # type: ignore[attr-defined]
        return call

    return decorate
