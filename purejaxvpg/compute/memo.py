"""Functions that give the same object again for the same arguments and settings of jax."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from purejaxvpg.compute.numerics import traced_settings

P = ParamSpec("P")
R = TypeVar("R")

_EMPTY: list[Callable[[], None]] = []  # one for each memoized function


def memoized(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache` that tells jax's settings apart, and that `forget` empties."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize)
        def made(_: tuple[Any, ...], *args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return made(traced_settings(), *args, **kwargs)

        call.cache_clear = made.cache_clear  # type: ignore[attr-defined]
        _EMPTY.append(made.cache_clear)
        return call

    return decorate


def forget() -> None:
    """Empty every memoized function: a name that configs hold stands for something else now."""
    for empty in _EMPTY:
        empty()
