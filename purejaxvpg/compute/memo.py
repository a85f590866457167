"""Functions that give the same object again for the same arguments, so that it compiles once."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_CACHES: list[Any] = []


def memoized(
    maxsize: int,
) -> Callable[[Callable[..., Result]], "functools._lru_cache_wrapper[Result]"]:
    """`functools.lru_cache`, emptied by `forget` as well."""

    def decorate(function: Callable[..., Result]) -> "functools._lru_cache_wrapper[Result]":
        cached = functools.lru_cache(maxsize)(function)
        _CACHES.append(cached)
        return cached

    return decorate


def forget() -> None:
    """Empty every memoized function: an environment's name stands for another environment now."""
    for cached in _CACHES:
        cached.cache_clear()
